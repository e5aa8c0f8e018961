"""How often a model is right: questions of generated and real sets, answers, figures with intervals, a report.

>>> from internvl.evaluation import evaluate
>>> evaluate("nano", sets=["generated:lines"], count=100).table[0].figure.value     # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from internvl.evaluation.metrics import judge
    from internvl.evaluation.progress import EvalProgress
    from internvl.evaluation.results import Results
    from internvl.evaluation.runner import EvalConfig, evaluate
    from internvl.evaluation.verdict import Truth, Verdict

_HOMES = {
    "EvalConfig": "runner",
    "EvalProgress": "progress",
    "Results": "results",
    "Truth": "verdict",
    "Verdict": "verdict",
    "evaluate": "runner",
    "judge": "metrics",
}

__all__ = ["EvalConfig", "EvalProgress", "Results", "Truth", "Verdict", "evaluate", "judge"]


def __getattr__(name: str) -> Any:
    """Load a public name on first use: the metrics need no torch."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"internvl.evaluation.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'internvl.evaluation' has no attribute {name!r}")

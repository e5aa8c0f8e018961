"""How far a run is, for whoever shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class EvalProgress:
    """How far a run is."""

    total: int
    """Samples of all sets."""
    done: int = 0
    """Samples whose questions are all answered, now or by an earlier run."""
    done_before: int = 0
    set: str = ""
    """Of the last answer."""
    questions: int = 0
    """Answered in this run; so are the next two."""
    tokens: int = 0
    failed: int = 0
    left: dict[str, int] = field(default_factory=dict)
    """Samples of each set that are still open."""


OnProgress = Callable[[EvalProgress], None]

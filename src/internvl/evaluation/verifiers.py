"""Verifiers: how good a sampled answer is, from 0 to 1.

`read_verifier("metric")` holds it against the reference answer by the question's metric, "regex:EXPRESSION" looks for
a form, "module:function" calls the user's own `(question, answer, reference) -> bool | float`. Called by
`evaluation.pairs`.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import re
import sys
from collections.abc import Callable

from internvl.errors import ConfigError
from internvl.evaluation.metrics import find_metric, judge
from internvl.evaluation.pair_questions import PairQuestion

Verifier = Callable[[PairQuestion, str], float]
"""(question, answer) -> score from 0 (wrong) to 1 (right)."""

_NUMBER = re.compile(r"[-+]?(?:[€$£¥] ?)?\d+(?:[.,']\d+)*(?: ?[€$£¥%])?")
SHORT_ANSWER = 60
"""Characters; longer reference answers are judged by their letters."""


def read_verifier(name: str) -> Verifier:
    """Return the verifier that a command line names.

    Raises:
        ConfigError: There is none of that name, or it cannot be imported or compiled.
    """
    if name == "metric":
        return by_metric
    kind, _, rest = name.partition(":")
    if kind == "regex" and rest:
        return _by_expression(rest)
    if rest:
        return _by_function(kind, rest)
    raise ConfigError(
        f"there is no verifier {name!r}; expected metric, regex:EXPRESSION, or module:function, a Python function "
        "(question, answer, reference) -> score"
    )


def by_metric(question: PairQuestion, answer: str) -> float:
    """Judge by the question's metric; where it names none, by `metric_for` its reference answer."""
    return judge(metric_of(question), answer, question.truth).score


def metric_of(question: PairQuestion) -> str:
    """The metric that judges answers to a question."""
    return question.metric or metric_for(question.truth.text)


def metric_for(reference: str) -> str:
    """Return the metric that fits the look of a reference answer.

    >>> [metric_for(text) for text in ("12.50", "Yes", '{"total": 3}', "a red cup")]
    ['exact_number', 'yesno', 'json_kv_f1', 'exact_ci']
    """
    text = reference.strip()
    if "<box>" in text:
        return "iou@0.5"
    if _is_json_object(text):
        return "json_kv_f1"
    if text.casefold().rstrip(".") in ("yes", "no"):
        return "yesno"
    if _NUMBER.fullmatch(text):
        return "exact_number"
    return "exact_ci" if len(text) <= SHORT_ANSWER and "\n" not in text else "cer"


def check_metric(name: str) -> str:
    """Return the name of a metric. Raises ConfigError with the nearest one where there is none."""
    find_metric(name)
    return name


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _by_expression(expression: str) -> Verifier:
    try:
        pattern = re.compile(expression, re.DOTALL)
    except re.error as error:
        raise ConfigError(f"the verifier regex:{expression} is no regular expression: {error}") from None
    return lambda question, answer: float(pattern.fullmatch(answer.strip()) is not None)


def _by_function(module: str, function: str) -> Verifier:
    here = os.getcwd()
    sys.path.insert(0, here)  # a file of the user's beside the rows, as `python -m` finds it
    try:
        judged = getattr(importlib.import_module(module), function, None)
    except ImportError as error:
        raise ConfigError(
            f"the verifier {module}:{function} cannot be imported from {here}: {error}. Expected a module that Python "
            "finds there, or an installed one"
        ) from error
    finally:
        sys.path.remove(here)
    if not callable(judged):
        raise ConfigError(f"the verifier {module}:{function}: {module} has no function {function!r}")

    def verify(question: PairQuestion, answer: str) -> float:
        score = judged(question.question, answer, question.truth.text)
        if not isinstance(score, int | float) or not math.isfinite(score) or not 0 <= score <= 1:
            raise ConfigError(
                f"the verifier {module}:{function} gave {score!r} to an answer to {question.key}; expected True, "
                "False, or a number from 0 to 1"
            )
        return float(score)

    return verify

"""What a metric is given, and what it says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What an answer is held against."""

    text: str
    """The expected answer in the form that the metric reads (JSON, a table, boxes, or plain text)."""
    alternatives: tuple[str, ...] = ()
    """Other answers that are as good (any_of_names)."""
    options: tuple[str, ...] = ()
    """What the question lets choose from (choice, choice_letter)."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How good an answer is."""

    score: float
    """0 (useless, or empty) to 1 (as expected)."""
    details: Mapping[str, float] = field(default_factory=dict)
    """Counts behind the score, for figures over a set: letters, edits, fields, right, cell_f1, iou ..."""


Metric = Callable[[str, Truth], Verdict]
"""Judges an answer, with white space at its ends removed."""

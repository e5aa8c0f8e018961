"""Answers -> figures: sums over sums, each with a 95 % interval.

A figure is a numerator over a denominator, summed over questions: the mean score is scores over questions, the
character error rate is edits over letters. The interval comes from drawing the samples (not the questions: those about
one picture stand or fall together) again with replacement (Efron's percentile bootstrap), from a fixed seed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from internvl.evaluation.journal import Row

DRAWS = 1000
SEED = 0

Ratio = Callable[[Row], tuple[float, float] | None]
"""What a question adds to numerator and denominator; None: nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured number."""

    name: str
    value: float
    low: float
    """Of the 95 % interval; so is `high`. Equal to the value where there is but one sample."""
    high: float
    questions: int
    samples: int
    """Pictures, pairs or clips that the questions are about."""
    lower_is_better: bool = False

    def as_json(self) -> dict[str, Any]:
        """The fields, rounded to what the number of questions can tell."""
        return {key: round(v, 5) if isinstance(v, float) else v for key, v in asdict(self).items()}


def score(row: Row) -> tuple[float, float]:
    """The mean score."""
    return row["score"], 1


def error_rate(row: Row) -> tuple[float, float] | None:
    """Edits over letters (micro-averaged)."""
    details = row["details"]
    return (details["edits"], details["letters"]) if "edits" in details else None


def clipped_error_rate(row: Row) -> tuple[float, float] | None:
    """The mean over questions of edits over letters, each at most 1: one runaway answer counts as one."""
    return (1 - row["score"], 1) if "edits" in row["details"] else None


def word_error_rate(row: Row) -> tuple[float, float] | None:
    """Word edits over words, of answers of more than one word."""
    details = row["details"]
    return (details["word_edits"], details["words"]) if "words" in details else None


def exact_fields(row: Row) -> tuple[float, float] | None:
    """Share that is exactly right: of a JSON answer each field, of other answers to be exact the one."""
    details = row["details"]
    if "fields" in details:
        return details["right"], details["fields"]
    return (row["score"], 1) if row["metric"].startswith("exact") else None


def cell_f1(row: Row) -> tuple[float, float] | None:
    """Mean F1 of table cells."""
    return (row["details"]["cell_f1"], 1) if "cell_f1" in row["details"] else None


def mean_iou(row: Row) -> tuple[float, float] | None:
    """Mean overlap over the expected boxes."""
    details = row["details"]
    return (details["iou"] * details["boxes"], details["boxes"]) if "iou" in details else None


MEASURES: Mapping[str, tuple[Ratio, bool]] = {
    "score": (score, False),
    "CER": (error_rate, True),
    "CER, mean of items": (clipped_error_rate, True),
    "WER": (word_error_rate, True),
    "exact": (exact_fields, False),
    "cell F1": (cell_f1, False),
    "mean IoU": (mean_iou, False),
}
"""Name -> what it sums, and whether lower is better."""


def make_figure(
    name: str, rows: Iterable[Row], ratio: Ratio, *, lower_is_better: bool = False
) -> Figure | None:
    """Return the figure over some answers; None where they add nothing."""
    sums: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
    questions = 0
    for row in rows:
        added = ratio(row)
        if added is not None:
            questions += 1
            pair = sums[row["set"], row["sample"]]
            pair[0] += added[0]
            pair[1] += added[1]
    table = np.array([sums[key] for key in sorted(sums)]).reshape(
        -1, 2
    )  # (samples, 2); order must not matter
    total = table.sum(0)
    if not questions or not total[1]:
        return None
    low, high = _interval(table)
    return Figure(
        name=name,
        value=float(total[0] / total[1]),
        low=low,
        high=high,
        questions=questions,
        samples=len(table),
        lower_is_better=lower_is_better,
    )


def _interval(table: np.ndarray) -> tuple[float, float]:
    """2.5 % and 97.5 % of the ratio over samples drawn again."""
    number = len(table)
    # (DRAWS, samples): how often each sample was drawn
    drawn = np.random.default_rng(SEED).multinomial(number, np.full(number, 1 / number), size=DRAWS)
    sums = drawn @ table
    ratios = sums[:, 0] / np.maximum(sums[:, 1], 1e-12)
    low, high = np.percentile(ratios[sums[:, 1] > 0], (2.5, 97.5))
    return float(low), float(high)


def make_figures(rows: Sequence[Row]) -> list[Figure]:
    """Return every measure that these answers have."""
    made = (
        make_figure(name, rows, ratio, lower_is_better=lower) for name, (ratio, lower) in MEASURES.items()
    )
    return [figure for figure in made if figure is not None]


def group_rows(rows: Iterable[Row], key: Callable[[Row], Any]) -> dict[str, list[Row]]:
    """Return the answers by what `key` says of them (None: left out), in the order of its text, numbers as numbers."""
    groups: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        value = key(row)
        if value is not None:
            groups[value].append(row)
    ordered = sorted(groups, key=lambda value: (isinstance(value, str), value))
    return {str(value): groups[value] for value in ordered}

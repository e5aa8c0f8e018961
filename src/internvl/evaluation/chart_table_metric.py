"""The metric of a chart read into a table: which values stand under which headings, whatever their order."""

from __future__ import annotations

from typing import NamedTuple

from internvl.evaluation.assignment import assign
from internvl.evaluation.edit_distance import normalised_distance
from internvl.evaluation.numbers import find_number
from internvl.evaluation.tables import read_table
from internvl.evaluation.verdict import Truth, Verdict

KEY_TOLERANCE = 0.5
VALUE_TOLERANCE = 0.5
"""tau and theta of the paper: beyond them a heading, or a value, is plainly wrong."""


class Entry(NamedTuple):
    """One value of a table and its two headings."""

    key: str
    value: str


def rms_f1(answer: str, truth: Truth) -> Verdict:
    """Relative mapping similarity, F1 (Liu et al., "DePlot", arXiv:2212.10505, section 4.2).

    A table is a set of (row heading, column heading, value). Entries are paired so that their headings agree best;
    a pair is worth the similarity of the headings (edit distance, cut at tau) times that of the values (relative
    error, cut at theta). The better of the answer and its transpose counts.
    """
    expected, given = _grid(truth.text), _grid(answer)
    wanted = _entries(expected)
    if not wanted or not given:
        return Verdict(0.0)
    flipped = [list(column) for column in zip(*_filled(given), strict=True)]
    return Verdict(max(_f1(wanted, _entries(given)), _f1(wanted, _entries(flipped))))


def _grid(text: str) -> list[list[str]]:
    table = read_table(text)
    return table.grid() if table else []


def _filled(grid: list[list[str]]) -> list[list[str]]:
    width = max(map(len, grid))
    return [row + [""] * (width - len(row)) for row in grid]


def _entries(grid: list[list[str]]) -> list[Entry]:
    """The cells below and right of the headings; a table of one column or row has none."""
    if not grid:
        return []
    head = grid[0]
    return [
        Entry(f"{row[0]} {head[x] if x < len(head) else ''}".casefold(), row[x])
        for row in grid[1:]
        for x in range(1, len(row))
    ]


def _f1(wanted: list[Entry], given: list[Entry]) -> float:
    if not given:
        return 0.0
    keys = [[_similarity(want.key, entry.key, KEY_TOLERANCE) for entry in given] for want in wanted]
    worth = sum(keys[i][j] * _value_similarity(wanted[i].value, given[j].value) for i, j in assign(keys))
    return 2 * worth / (len(wanted) + len(given))  # = 2 P R / (P + R) with P, R = worth / number


def _similarity(a: str, b: str, tolerance: float) -> float:
    distance = normalised_distance(a, b)
    return 1 - distance if distance < tolerance else 0.0


def _value_similarity(expected: str, given: str) -> float:
    want, have = find_number(expected), find_number(given)
    if want is None or have is None:
        return _similarity(expected.casefold(), given.casefold(), KEY_TOLERANCE)
    if want == have:
        return 1.0
    error = abs(want - have) / abs(want) if want else 1.0
    return 1 - error if error < VALUE_TOLERANCE else 0.0

"""Levenshtein distance of texts, and the place in a long text that is nearest to a short one.

Both are bit-parallel (G. Myers, "A fast bit-vector algorithm for approximate string matching", JACM 46(3), 1999;
H. Hyyrö's form of 2003): a column of the table of distances is two integers of as many bits as the pattern has letters,
so a page of 3000 letters takes milliseconds in plain Python.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple


def _columns(pattern: Sequence[Hashable], text: Sequence[Hashable], *, anywhere: bool) -> Iterator[int]:
    """Yield, after each item of `text`, the distance of the whole pattern to what of the text has been read.

    With `anywhere` to the nearest part of the text that ends there.
    """
    length = len(pattern)
    full, top = (1 << length) - 1, 1 << (length - 1)
    where: dict[Hashable, int] = {}
    for i, item in enumerate(pattern):
        where[item] = where.get(item, 0) | 1 << i
    # bit i: going down from row i to row i + 1 of the column the distance rises (`up`) or falls (`down`) by one
    up, down, distance = full, 0, length
    for item in text:
        same = where.get(item, 0)
        diagonal = (((same & up) + up) ^ up) | same | down  # no dearer than one row up in the last column
        rises = down | ~(diagonal | up) & full
        falls = up & diagonal
        distance += bool(rises & top) - bool(falls & top)
        rises, falls = (rises << 1) | (not anywhere), falls << 1
        up = (falls | ~(diagonal | rises)) & full
        down = rises & diagonal & full
        yield distance


def edit_distance(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """Return how many items must be inserted, deleted or replaced to make `b` of `a`.

    >>> edit_distance("kitten", "sitting")
    3
    """
    if not a or not b:
        return len(a) or len(b)
    distance = 0
    for distance in _columns(a, b, anywhere=False):  # noqa: B007 - the last one is meant
        pass
    return distance


def normalised_distance(a: str, b: str) -> float:
    """Return the edit distance over the longer length: 0 equal, 1 nothing in common; 0 for two empty texts."""
    if a == b:
        return 0.0
    return edit_distance(a, b) / max(len(a), len(b))


class Found(NamedTuple):
    """The part of a text that is nearest to a pattern."""

    distance: int
    end: int
    """Where it ends in the text: its items stand before this place."""


def nearest_part(pattern: Sequence[Hashable], text: Sequence[Hashable]) -> Found:
    """Return the earliest of the parts of `text` with the smallest distance to `pattern`.

    >>> nearest_part("quick", "the qvick fox")
    Found(distance=1, end=9)
    """
    best = Found(len(pattern), 0)
    if pattern:
        for end, distance in enumerate(_columns(pattern, text, anywhere=True), 1):
            if distance < best.distance:
                best = Found(distance, end)
    return best

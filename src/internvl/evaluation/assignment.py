"""The best pairing of two sets: each member at most once, the largest sum of gains."""

from __future__ import annotations

import math
from collections.abc import Sequence


def assign(gains: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
    """Return (row, column) pairs, min(rows, columns) of them, with the largest sum of `gains`.

    The Hungarian method with potentials (Kuhn 1955; shortest augmenting paths after Jonker and Volgenant 1987),
    O(rows^2 columns).

    >>> assign([[1.0, 5.0], [4.0, 7.0]])
    [(0, 1), (1, 0)]
    """
    if not gains or not gains[0]:
        return []
    if len(gains) > len(gains[0]):
        return sorted((row, column) for column, row in assign(list(zip(*gains, strict=True))))
    rows, columns = len(gains), len(gains[0])
    # number 0 of each side is a helper; rows and columns count from 1
    row_price, column_price = [0.0] * (rows + 1), [0.0] * (columns + 1)
    row_of = [0] * (columns + 1)
    for row in range(1, rows + 1):
        row_of[0], column = row, 0
        slack, before, done = [math.inf] * (columns + 1), [0] * (columns + 1), [False] * (columns + 1)
        while row_of[column]:
            done[column] = True
            here, step, nearest = row_of[column], math.inf, 0
            for other in range(1, columns + 1):
                if done[other]:
                    continue
                cost = -gains[here - 1][other - 1] - row_price[here] - column_price[other]
                if cost < slack[other]:
                    slack[other], before[other] = cost, column
                if slack[other] < step:
                    step, nearest = slack[other], other
            for other in range(columns + 1):
                if done[other]:
                    row_price[row_of[other]] += step
                    column_price[other] -= step
                else:
                    slack[other] -= step
            column = nearest
        while column:
            row_of[column] = row_of[before[column]]
            column = before[column]
    return sorted((row_of[column] - 1, column - 1) for column in range(1, columns + 1) if row_of[column])

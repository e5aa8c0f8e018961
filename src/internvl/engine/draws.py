"""Where a random number falls among an answer's likeliest tokens. numpy only.

The tokens of an answer lie one behind the other, likeliest first, each as long as it is likely, cut by top-p and min-p;
a number in [0, 1) says where. Long sums are made for many answers at once, what is left for each alone: at these sizes
that is plain Python, which is faster than numpy. Legend: `n` answers, `k` candidates.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Cuts:
    """How an answer draws from its tokens."""

    temperature: float
    top_p: float
    min_p: float


class Lines:
    """The likeliest tokens of each answer, laid out."""

    def __init__(self, scores: NDArray[np.float32], counts: Sequence[int], cuts: Sequence[Cuts]) -> None:
        """Lay out the first `counts[i]` scores of each row of `scores` (n, k), largest first."""
        exact = scores.astype(np.float64)
        temperatures = np.array([each.temperature for each in cuts])
        self._counts = counts
        self._cuts = cuts
        self._weights = np.exp((exact - exact[:, :1]) / temperatures[:, None])
        """(n, k), how much more or less likely than the row's best."""
        self._ends = self._weights.cumsum(axis=1)
        """(n, k), the running sums of the weights."""

    def place(self, row: int, number: float, mass: float | None = None) -> int:
        """Return which token of a row `number` falls on where all weigh `mass` together; None: there are no others.

        `counts[row]`: on one behind them, or that depends on those behind.
        """
        cuts, ends, size = self._cuts[row], self._ends[row], self._counts[row]
        if mass is None:
            mass = ends[size - 1]
        num_kept = bisect_left(ends, cuts.top_p * mass, 0, size) + 1
        if cuts.min_p:
            num_likely = int(np.count_nonzero(self._weights[row, :size] >= cuts.min_p))
            num_kept = min(num_kept, num_likely if num_likely < size else size + 1)
        if num_kept <= size:
            return min(bisect_right(ends, number * ends[num_kept - 1], 0, size), num_kept - 1)
        return size if cuts.top_p < 1 or cuts.min_p else bisect_right(ends, number * mass, 0, size)

    def sure_place(self, row: int, number: float, num_behind: int) -> int:
        """Return the same where `num_behind` tokens follow, of which only that they are no likelier is known.

        `counts[row]` also where it depends on what those weigh.
        """
        place = self.place(row, number)
        if num_behind:
            last = self._counts[row] - 1
            most = self._ends[row, last] + num_behind * self._weights[row, last]
            if self.place(row, number, most) != place:
                return self._counts[row]
        return place

"""Where a random number falls among an answer's likeliest tokens. numpy only.

The tokens of an answer lie one behind the other, likeliest first, each as long as it is likely, cut by top-p and min-p;
a number in [0, 1) says where. Long sums are made for many answers at once, what is left for each alone: at these sizes
that is plain Python, which is faster than numpy. Legend: `n` answers, `k` candidates.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Cuts:
    """How an answer draws from its tokens."""

    temperature: float
    top_p: float
    min_p: float


class Line(NamedTuple):
    """The likeliest tokens of one answer, laid out."""

    weights: NDArray[np.float64]
    """(k,), how much more or less likely than the best."""
    ends: NDArray[np.float64]
    """(k,), the running sums of `weights`."""
    cuts: Cuts

    def place(self, number: float, mass: float | None = None) -> int:
        """Return which token `number` falls on where all tokens weigh `mass` together; None: there are no others.

        As many as there are: on one behind them, or that depends on those behind.
        """
        cuts, ends, size = self.cuts, self.ends, len(self.ends)
        if mass is None:
            mass = ends[-1]
        num_kept = bisect_left(ends, cuts.top_p * mass) + 1
        if cuts.min_p:
            num_likely = bisect_right(self.weights, -cuts.min_p, key=lambda weight: -weight)
            num_kept = min(num_kept, num_likely if num_likely < size else size + 1)
        if num_kept <= size:
            return min(bisect_right(ends, number * ends[num_kept - 1]), num_kept - 1)
        return size if cuts.top_p < 1 or cuts.min_p else bisect_right(ends, number * mass)

    def sure_place(self, number: float, num_behind: int) -> int:
        """Return the same where `num_behind` tokens follow, of which only that they are no likelier is known.

        As many as there are also where it depends on what those weigh.
        """
        place = self.place(number)
        if num_behind:
            most = self.ends[-1] + num_behind * self.weights[-1]
            if self.place(number, most) != place:
                return len(self.ends)
        return place


def lines(scores: NDArray[np.float32], counts: Sequence[int], cuts: Sequence[Cuts]) -> list[Line]:
    """Lay out the first `counts[i]` scores of each row of `scores` (n, k), largest first."""
    exact = scores.astype(np.float64)
    temperatures = np.array([each.temperature for each in cuts])
    weights = np.exp((exact - exact[:, :1]) / temperatures[:, None])
    rows = zip(weights, weights.cumsum(axis=1), counts, cuts, strict=True)
    return [Line(row[:count], ends[:count], each) for row, ends, count, each in rows]

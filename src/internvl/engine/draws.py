"""Where random numbers fall among the likeliest tokens, for many answers in one go. numpy only.

The tokens of an answer lie one behind the other, likeliest first, each as long as it is likely, cut by top-p and min-p;
a number in [0, 1) says where. All is done row by row, so that an answer is the same alone and in any batch.
Legend: `n` answers, `k` candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Cuts:
    """How each answer draws from its tokens, (n,) each."""

    temperature: Numbers
    top_p: Numbers
    min_p: Numbers

    @classmethod
    def of(cls, rows: Sequence[tuple[float, float, float]]) -> Self:
        """Of temperature, top-p and min-p of each answer."""
        return cls(*np.array(rows, np.float64).T)


class Line:
    """The likeliest tokens of each answer, laid out."""

    def __init__(self, scores: NDArray[np.float32], counts: NDArray[np.int64], cuts: Cuts) -> None:
        """Lay out the first `counts[i]` scores of each row of `scores` (n, k), largest first."""
        exact = scores.astype(np.float64)
        weights = np.exp((exact - exact[:, :1]) / cuts.temperature[:, None])
        if counts.min() < scores.shape[1]:
            weights[np.arange(scores.shape[1]) >= counts[:, None]] = 0
        self._counts = counts
        self._cuts = cuts
        self._weights = weights
        """(n, k), how much more or less likely than the row's best; 0 behind the row's own."""
        self._ends = weights.cumsum(axis=1)
        """(n, k), the running sums of the weights."""

    def places(self, numbers: Numbers, masses: Numbers | None = None) -> NDArray[np.int64]:
        """Return which token of its row each number in [0, 1) falls on, where all of row i weigh `masses[i]` together.

        None: there are no others. `counts[i]`: on one behind them, or that depends on those behind.
        """
        counts, top_p, min_p = self._counts, self._cuts.top_p, self._cuts.min_p
        if masses is None:
            masses = self._ends[:, -1]
        num_kept = self._count(self._ends < (top_p * masses)[:, None]) + 1
        if min_p.any():
            num_likely = self._count(self._weights >= min_p[:, None])
            num_kept = np.where(num_likely < counts, np.minimum(num_kept, num_likely), num_kept)
        inside = num_kept <= counts
        last = self._ends[np.arange(len(counts)), np.minimum(num_kept, counts) - 1]
        fallen = self._count(self._ends <= (numbers * np.where(inside, last, masses))[:, None])
        cut = (top_p < 1) | (min_p > 0)
        return np.where(inside, np.minimum(fallen, num_kept - 1), np.where(cut, counts, fallen))

    def sure_places(self, numbers: Numbers, num_behind: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the same where `num_behind[i]` tokens follow, of which only that they are no likelier is known.

        `counts[i]` also where it depends on what they weigh.
        """
        places = self.places(numbers)
        if not num_behind.any():
            return places
        least = self._weights[np.arange(len(self._counts)), self._counts - 1]
        others = self.places(numbers, self._ends[:, -1] + num_behind * least)
        return np.where(places == others, places, self._counts)

    def _count(self, true: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return how many of each row's own are true, where what is true comes first."""
        return np.minimum(np.count_nonzero(true, axis=1), self._counts)

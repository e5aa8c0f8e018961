"""The likeliest tokens of each answer of a step, found for all of them in one pass over the logits.

In: the logits of a step; out: for each row as many of its largest as its sampler asks for. Nothing here depends on
what else is in the batch: of equal scores the smaller id comes first, whoever looks. Legend: `B` rows, `V` vocabulary,
`W` columns of a row, `m` columns looked into, `h` hits, `k` candidates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: A row is laid out as so many lines below each other, and the largest of each column is found first: that takes a CPU
#: as long as reading the numbers once does, and a fifth of `max` or `topk`.
_LINES = 16
#: Groups of columns, by which it is found where to look: so many, or four for each token that is wanted. With fewer
#: one has to look at more columns than needed, and ordering more takes longer than that.
_GROUPS = 128

_EMPTY = 0x7FFFFFFF << 32
"""Key of a place that no token has: behind all others; its score is NaN, its id 0."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """The largest scores of a row, largest first, and whose they are."""

    scores: NDArray[np.float32]
    """(k,), at least one; the first is NaN when any score of the row is."""
    token_ids: NDArray[np.int64]
    """(k,)"""

    @property
    def best_score(self) -> float:
        """The largest score."""
        return float(self.scores[0])

    @property
    def best_token_id(self) -> int:
        """Whose it is."""
        return int(self.token_ids[0])


@dataclass(frozen=True, slots=True)
class BatchCandidates:
    """The candidates of all rows of a batch, in arrays that are as wide as the longest of them."""

    scores: NDArray[np.float32]
    """(B, k)"""
    token_ids: NDArray[np.int64]
    """(B, k)"""
    counts: NDArray[np.int64]
    """(B,), how many are a row's own; what stands behind them means nothing."""
    vocab_size: int

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, row: int) -> Candidates:
        count = self.counts[row]
        return Candidates(self.scores[row, :count], self.token_ids[row, :count])

    def __iter__(self) -> Iterator[Candidates]:
        rows = zip(self.scores, self.token_ids, self.counts.tolist(), strict=True)
        return (Candidates(scores[:count], token_ids[:count]) for scores, token_ids, count in rows)


def find_candidates(logits: Tensor, sizes: Sequence[int]) -> BatchCandidates:
    """Return the `sizes[b]` largest (all, if there are fewer) of each row b of `logits` (B, V), on any device."""
    B, V = logits.shape
    sizes = [min(size, V) for size in sizes]
    most = max(sizes)
    look = _look_by_columns if max(_GROUPS, 4 * most) <= V // _LINES else _look_everywhere
    wanted = np.array(sizes)
    rows, token_ids, scores = look(logits, wanted, most)
    found = np.bincount(rows, minlength=B)
    width = max(1, int(found.max()))
    keys = np.full((B, width), _EMPTY)
    starts = np.arange(0, B * width, width) - (found.cumsum() - found)
    keys.ravel()[np.arange(len(rows)) + starts[rows]] = _keys(scores, token_ids)
    keys.sort(axis=1)
    keys = keys[:, :most]
    counts = np.maximum(1, np.minimum(found, wanted))  # where something is no number, nothing is found
    return BatchCandidates(_scores(keys), keys & 0xFFFFFFFF, counts, V)


def ranked(scores: Tensor, size: int) -> Candidates:
    """Return the `size` largest of one row of `scores` (V,), as `find_candidates` does; faster where it is many."""
    values = _array(scores)
    keys = np.sort(_keys(values, np.arange(len(values))))[:size]
    return Candidates(_scores(keys), keys & 0xFFFFFFFF)


# -- score and id as one integer: sorted several times as fast as an array of places is by score


def _keys(scores: NDArray[np.float32], token_ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return integers in the order of candidates: larger scores first, of equal ones the smaller id."""
    bits = (scores + np.float32(0)).view(np.int32)  # of -0.0 it makes 0.0
    return (~_rising(bits)).astype(np.int64) << 32 | token_ids


def _scores(keys: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the scores that `_keys` was given."""
    return _rising(~(keys >> 32).astype(np.int32)).view(np.float32)


def _rising(bits: NDArray[np.int32]) -> NDArray[np.int32]:
    """Turn the bits of numbers into integers in the order of the numbers, and back."""
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


# -- what may be among the largest

_Found = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]
"""Rows, which rise, token ids, and scores (h,)."""


def _look_by_columns(logits: Tensor, wanted: NDArray[np.int64], most: int) -> _Found:
    """Find what reaches a score that `wanted[b]` or more of each row of `logits` (B, V) reach; `most` are wanted."""
    V = logits.shape[1]
    W = V // _LINES
    # Every line begins W behind the last and is a little longer, so that the last ends with the row. Columns from W on
    # are those that follow, a line lower, and count in the last line only.
    lines = logits.unfold(1, V - (_LINES - 1) * W, W)  # (B, V) -> (B, 16, W + V % 16)
    largest = lines.amax(dim=1)  # (B, W + V % 16)
    columns = _array(largest)
    thresholds = columns.max(axis=1) if most == 1 else _group_thresholds(largest, columns, W, wanted, most)
    rows, chosen = _at_least(columns, thresholds)
    at_row, at_column = (torch.from_numpy(each).to(logits.device) for each in (rows, chosen))
    inside = _array(lines[at_row, :, at_column])  # (m, 16)
    inside[chosen >= W, :-1] = np.nan
    nth, line = _at_least(inside, thresholds[rows])
    return rows[nth], line * W + chosen[nth], inside[nth, line]


def _group_thresholds(
    largest: Tensor, columns: NDArray[np.float32], W: int, wanted: NDArray[np.int64], most: int
) -> NDArray[np.float32]:
    """Return scores that `wanted[b]` tokens or more reach, (B,), by the largest of the `W` columns and what follows.

    NaN where any is. The largest of a group of columns is another token's score for each group, so that as many tokens
    as groups reach a score. `columns` are `largest` as an array.
    """
    num_groups = max(_GROUPS, 4 * most)
    end = W // num_groups * num_groups
    groups = largest[:, :end].unflatten(1, (-1, num_groups)).amax(dim=1)  # (B, W) -> (B, groups)
    thresholds = _thresholds(_array(groups), wanted)
    thresholds[np.isnan(columns[:, end:]).any(axis=1)] = np.nan
    return thresholds


def _look_everywhere(logits: Tensor, wanted: NDArray[np.int64], most: int) -> _Found:
    """Find the same in a small vocabulary, or where much of a large one is asked for."""
    scores = _array(logits)
    rows, token_ids = _at_least(scores, _thresholds(scores, wanted))
    return rows, token_ids, scores[rows, token_ids]


def _thresholds(scores: NDArray[np.float32], wanted: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the `wanted[b]`-th largest of each row of `scores` (B, n), (B,); NaN where any of them is."""
    ordered = np.sort(scores, axis=1)  # NaN last
    thresholds = ordered[np.arange(len(wanted)), -wanted]
    thresholds[np.isnan(ordered[:, -1])] = np.nan
    return thresholds


def _at_least(
    scores: NDArray[np.float32], thresholds: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where `scores` (B, n) reach their row's threshold (B,): rows, which rise, and places in the row."""
    rows, places = np.divmod(np.flatnonzero(scores >= thresholds[:, None]), max(1, scores.shape[1]))
    return rows, places


def _array(scores: Tensor) -> NDArray[np.float32]:
    return (scores if scores.dtype == torch.float32 else scores.float()).numpy(force=True)

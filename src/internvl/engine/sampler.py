"""logits -> next token, for one answer: greedy, or sampled with a generator of its own.

The order is transformers': repetition penalty, forbidden tokens (what the answer's format does not admit
among them), temperature, top-k, top-p, min-p. Each answer draws exactly one number per token from its own
generator, so that it is the same alone or in a batch. Legend: `V` vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from internvl.engine.candidates import Candidates, find_candidates, ranked
from internvl.errors import InternVLError
from internvl.types import GenerationConfig, TokenLogprob

if TYPE_CHECKING:
    from internvl.engine.grammar import Constraint

#: Temperatures are kept between these, far outside of what changes anything, as float32 divides by both and
#: never gets 0 / 0 or infinity / infinity: the coldest leaves the likeliest token only, the hottest tells none apart.
_COLDEST, _HOTTEST = 1e-30, 1e30
#: Tokens that are looked at first where all may come. More are hardly ever needed, and few are soon found.
_FIRST = 64
#: Tokens that are found for all answers of a step together; who samples from more costs the others nothing.
_MOST_TOGETHER = 256
#: Random numbers made at once.
_NUMBERS = 32


class Sampler:
    """Chooses the tokens of one answer."""

    def __init__(
        self,
        gen_config: GenerationConfig,
        *,
        seed: int,
        bad_sequences: Sequence[Sequence[int]] = (),
        constraint: Constraint | None = None,
    ) -> None:
        self._gen = gen_config
        self._constraint = constraint
        self._bad_sequences = [list(sequence) for sequence in bad_sequences if sequence]
        self._greedy = not gen_config.do_sample or gen_config.temperature == 0
        self._temperature = min(max(gen_config.temperature, _COLDEST), _HOTTEST)
        self._size = 1 if self._greedy else min(gen_config.top_k or _FIRST, _MOST_TOGETHER)
        self._generator = torch.Generator().manual_seed(seed % 2**63)
        self._numbers: list[float] = []

    @property
    def num_candidates(self) -> int:
        """How many of the likeliest tokens `choose` wants to be shown."""
        changes = self._constraint is not None or self._gen.repetition_penalty != 1
        return 1 if changes else self._size

    def choose(
        self,
        logits: Tensor,
        candidates: Candidates,
        token_ids: Sequence[int],
        masked: Collection[int] = (),
    ) -> int:
        """Return the next token id.

        `logits` (V,) on any device, left unchanged, and the `num_candidates` or more likeliest among them (found for
        a whole batch at once); `token_ids` the answer so far; `masked` ids must not come.
        """
        _check_finite(candidates.best_score)
        forbidden = {*masked, *self._gen.bad_token_ids, *self._ends_of_bad_words(token_ids)}
        unchanged = not forbidden and self._gen.repetition_penalty == 1
        if self._greedy and unchanged and self._admits(candidates.best_token_id):
            return self._chosen(candidates.best_token_id)
        if unchanged and self._constraint is None:
            return self._draw(logits, candidates)
        scores = logits.to("cpu", torch.float32, copy=True)
        if self._gen.repetition_penalty != 1 and token_ids:
            _penalise(scores, token_ids, self._gen.repetition_penalty)
        if forbidden:
            scores[list(forbidden)] = -torch.inf
        if self._constraint is not None:
            scores = self._constraint.mask(scores)
        candidates = find_candidates(scores[None], [self._size])[0]
        _check_finite(candidates.best_score)
        return self._chosen(candidates.best_token_id if self._greedy else self._draw(scores, candidates))

    def _admits(self, token_id: int) -> bool:
        return self._constraint is None or self._constraint.admits(token_id)

    def _chosen(self, token_id: int) -> int:
        if self._constraint is not None:
            self._constraint.advance(token_id)
        return token_id

    def _draw(self, scores: Tensor, candidates: Candidates) -> int:
        """Return a token drawn from `scores` (V,), cut by temperature, top-k, top-p and min-p.

        The tokens lie one behind the other, likeliest first, each as long as it is likely; a number says where.
        """
        number = self._next_number()
        V = len(scores)
        most = min(self._gen.top_k or V, V)
        weights = self._weights(candidates, most)
        ends = weights.cumsum()
        size = len(ends)
        if size < most and not self._gen.top_k:
            # What all tokens weigh together takes long to find out, and what the rest weighs at most often settles it.
            seen = float(ends[-1])
            place = self._place(number, weights, ends, seen)
            if place != self._place(number, weights, ends, seen + (V - size) * float(weights[-1])):
                mass = _mass(scores, candidates.best_score, self._temperature)
                place = self._place(number, weights, ends, mass)
            if place < size:
                return int(candidates.token_ids[place])
        if size < most:
            candidates = ranked(scores, most)
            weights = self._weights(candidates, most)
            ends = weights.cumsum()
        return int(candidates.token_ids[self._place(number, weights, ends, float(ends[-1]))])

    def _next_number(self) -> float:
        """Return the next of this answer's numbers in [0, 1); many are made at once, for the time that one takes."""
        if not self._numbers:
            made = torch.rand(_NUMBERS, generator=self._generator, dtype=torch.float64)
            self._numbers = made.tolist()[::-1]
        return self._numbers.pop()

    def _weights(self, candidates: Candidates, most: int) -> NDArray[np.float64]:
        """Return how much more or less likely than the best the first `most` candidates are (k,)."""
        scores = candidates.scores[:most].astype(np.float64)
        return np.exp((scores - scores[0]) / self._temperature)

    def _place(
        self, number: float, weights: NDArray[np.float64], ends: NDArray[np.float64], mass: float
    ) -> int:
        """Return which of the likeliest tokens `number` in [0, 1) falls on where all weigh `mass` together.

        `ends` are the running sums of `weights`. As many as there are: on one behind them, or that depends on those
        behind.
        """
        top_p, min_p = self._gen.top_p, self._gen.min_p
        size = len(ends)
        num_kept = int(ends.searchsorted(top_p * mass)) + 1
        if min_p:
            num_likely = int(np.count_nonzero(weights >= min_p))
            num_kept = min(num_kept, num_likely if num_likely < size else size + 1)
        if num_kept <= size:
            return min(int(ends.searchsorted(number * ends[num_kept - 1], side="right")), num_kept - 1)
        return size if top_p < 1 or min_p else int(ends.searchsorted(number * mass, side="right"))

    def _ends_of_bad_words(self, token_ids: Sequence[int]) -> list[int]:
        """Tokens that would complete a forbidden word now."""
        return [
            sequence[-1]
            for sequence in self._bad_sequences
            if len(sequence) == 1 or list(token_ids[1 - len(sequence) :]) == sequence[:-1]
        ]


def _mass(scores: Tensor, largest: float, temperature: float) -> float:
    """Return the sum of all weights exp((score - largest) / temperature) of `scores` (V,)."""
    weights = (scores.float() - largest).div_(temperature).exp_()
    return float(weights.cpu().numpy().sum())  # pairwise, so that float32 will do


def _penalise(scores: Tensor, token_ids: Sequence[int], penalty: float) -> None:
    """Make tokens that were said less likely (CTRL, arXiv:1909.05858). The prompt does not count: the
    reference generates from embeddings and never sees its ids, and a question's words are often the
    answer's."""
    said = torch.tensor(sorted(set(token_ids)))
    values = scores[said]
    scores[said] = torch.where(values > 0, values / penalty, values * penalty)


def _check_finite(score: float) -> None:
    """Refuse to go on from numbers that are none: argmax and sorting put NaN first."""
    if not math.isfinite(score):
        raise InternVLError(
            f"the model's best score is {score}: with dtype float16 an overflow (use dtype='bfloat16' or"
            " 'float32'), else damaged weights, or every token was forbidden"
        )


def token_logprob(logits: Tensor, token_id: int, num_top: int) -> TokenLogprob:
    """Return how likely the model found `token_id`, and its `num_top` likeliest tokens; `logits` (V,) are
    raw."""
    logprobs = logits.float().log_softmax(dim=0)
    values, ids = logprobs.topk(min(num_top, len(logprobs)))
    top = tuple(zip(ids.tolist(), values.tolist(), strict=True))
    return TokenLogprob(token_id, float(logprobs[token_id]), top)

"""logits -> next token, for one answer: greedy, or sampled with a generator of its own.

The order is transformers': repetition penalty, forbidden tokens (what the answer's format does not admit
among them), temperature, top-k, top-p, min-p. Each answer draws exactly one number per token from its own
generator, so that it is the same alone or in a batch. Most answers of a step are chosen together
(`choose_together`); the others, whose scores are changed first, one by one. Legend: `V` vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from internvl.engine.candidates import BatchCandidates, Candidates, find_candidates, ranked
from internvl.engine.draws import Cuts, Lines
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
        self._cuts = Cuts(self._temperature, gen_config.top_p, gen_config.min_p)
        self._plain = (
            constraint is None
            and gen_config.repetition_penalty == 1
            and not (gen_config.bad_token_ids or self._bad_sequences)
            and gen_config.top_k <= _MOST_TOGETHER
        )
        """Whether the model's scores stay as they are, and enough of them are found together."""
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
        found: BatchCandidates,
        token_ids: Sequence[int],
        masked: Collection[int] = (),
        row: int = 0,
        chosen: int | None = None,
    ) -> int:
        """Return the next token id.

        This answer's is row `row` of `logits` (B, V), on any device and left unchanged, and of `found`: the
        `num_candidates` or more likeliest; `token_ids` the answer so far; `masked` ids must not come; `chosen` is what
        `choose_together` chose already, if it did.
        """
        if chosen is not None:
            return chosen
        return self._choose_alone(logits[row], found[row], token_ids, masked)

    def _choose_alone(
        self, logits: Tensor, candidates: Candidates, token_ids: Sequence[int], masked: Collection[int]
    ) -> int:
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
        """Return a token drawn from `scores` (V,), cut by temperature, top-k, top-p and min-p."""
        V = len(scores)
        most = min(self._gen.top_k or V, V)
        size = min(len(candidates.scores), most)
        number = self._next_number()
        self._numbers.pop()
        if size == most or not self._gen.top_k:
            line = self._line(candidates, size)
            # What all tokens weigh takes long to find out, and what the rest weighs at most often settles it.
            place = line.sure_place(0, number, V - size if size < most else 0)
            if place == size:
                place = line.place(0, number, _mass(scores, candidates.best_score, self._temperature))
            if place < size:
                return int(candidates.token_ids[place])
        candidates = ranked(scores, most)
        return int(candidates.token_ids[self._line(candidates, most).place(0, number)])

    def _line(self, candidates: Candidates, size: int) -> Lines:
        return Lines(candidates.scores[None, :size], [size], [self._cuts])

    def _next_number(self) -> float:
        """Return the next of this answer's numbers in [0, 1), which is the last of `_numbers`.

        Many are made at once, for the time that one takes.
        """
        if not self._numbers:
            made = torch.rand(_NUMBERS, generator=self._generator, dtype=torch.float64)
            self._numbers = made.tolist()[::-1]
        return self._numbers[-1]

    def _ends_of_bad_words(self, token_ids: Sequence[int]) -> list[int]:
        """Tokens that would complete a forbidden word now."""
        return [
            sequence[-1]
            for sequence in self._bad_sequences
            if len(sequence) == 1 or list(token_ids[1 - len(sequence) :]) == sequence[:-1]
        ]


def choose_together(
    samplers: Sequence[Sampler], found: BatchCandidates, masked: Sequence[Collection[int]]
) -> list[int | None]:
    """Return the next token ids of many answers, in the time that a few take one by one.

    `found` are the candidates of their logits, `masked` what must not come. None: more than the candidates has to be
    looked at, which is left to the sampler's own `choose`; its numbers are then as if nobody had asked.
    """
    fine = np.isfinite(found.scores[:, 0]).tolist()
    plain = [
        good and sampler._plain and not ids for sampler, good, ids in zip(samplers, fine, masked, strict=True)
    ]
    best = found.token_ids[:, 0].tolist()
    chosen = [
        token_id if easy and sampler._greedy else None
        for sampler, easy, token_id in zip(samplers, plain, best, strict=True)
    ]
    rows = [row for row, sampler in enumerate(samplers) if plain[row] and not sampler._greedy]
    if not rows:
        return chosen
    drawing = [samplers[row] for row in rows]
    counts = found.counts[rows].tolist()
    lines = Lines(found.scores[rows], counts, [sampler._cuts for sampler in drawing])
    for n, (row, sampler) in enumerate(zip(rows, drawing, strict=True)):
        num_behind = 0 if sampler._gen.top_k else found.vocab_size - counts[n]
        place = lines.sure_place(n, sampler._next_number(), num_behind)
        if place < counts[n]:
            sampler._numbers.pop()
            chosen[row] = int(found.token_ids[row, place])
    return chosen


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

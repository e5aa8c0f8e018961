"""logits -> next token, for one answer: greedy, or sampled with a generator of its own.

The order is transformers': repetition penalty, forbidden tokens (what the answer's format does not admit
among them), temperature, top-k, top-p, min-p. Each answer draws exactly one number per token from its own
generator, so that it is the same alone or in a batch. Legend: `V` vocabulary.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from internvl.errors import InternVLError
from internvl.types import GenerationConfig, TokenLogprob

if TYPE_CHECKING:
    from internvl.engine.grammar import Constraint


#: Temperatures are kept between these, far outside of what changes anything, as float32 divides by both and
#: never gets 0 / 0 or infinity / infinity: the coldest leaves the likeliest token only, the hottest tells none apart.
_COLDEST, _HOTTEST = 1e-30, 1e30


class Best(NamedTuple):
    """The likeliest token of a row of logits."""

    score: float
    token_id: int


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
        self._generator = torch.Generator().manual_seed(seed % 2**63)

    def choose(
        self, logits: Tensor, best: Best, token_ids: Sequence[int], masked: Collection[int] = ()
    ) -> int:
        """Return the next token id.

        `logits` (V,) on any device, left unchanged, and `best` among them (found for a whole batch at once);
        `token_ids` the answer so far; `masked` ids must not come.
        """
        _check_finite(best.score)
        forbidden = {*masked, *self._gen.bad_token_ids, *self._ends_of_bad_words(token_ids)}
        unchanged = not forbidden and self._gen.repetition_penalty == 1
        if self._greedy and unchanged and self._admits(best.token_id):
            return self._chosen(best.token_id)
        if unchanged and self._constraint is None:
            return self._draw(logits)
        scores = logits.float().cpu().clone()
        if self._gen.repetition_penalty != 1 and token_ids:
            _penalise(scores, token_ids, self._gen.repetition_penalty)
        if forbidden:
            scores[list(forbidden)] = -torch.inf
        if self._constraint is not None:
            scores = self._constraint.mask(scores)
        _check_finite(float(scores.max()))
        return self._chosen(int(scores.argmax()) if self._greedy else self._draw(scores))

    def _admits(self, token_id: int) -> bool:
        return self._constraint is None or self._constraint.admits(token_id)

    def _chosen(self, token_id: int) -> int:
        if self._constraint is not None:
            self._constraint.advance(token_id)
        return token_id

    def _draw(self, scores: Tensor) -> int:
        """Return a token drawn from `scores` (V,), cut by temperature, top-k, top-p and min-p."""
        gen = self._gen
        number = float(torch.rand((), generator=self._generator, dtype=torch.float64))
        most = min(gen.top_k or len(scores), len(scores))
        # Of a whole vocabulary hardly ever more than the first are needed, and sorting it takes 100 ms.
        mass = None if gen.top_k else _mass(scores, self._temperature)
        for size in [most] if gen.top_k else [256, 8192, most]:
            values, ids = top_scores(scores, min(size, most))  # likeliest first
            largest, *_ = found = values.tolist()
            weights = [math.exp((value - largest) / self._temperature) for value in found]
            ends = _kept(weights, mass or sum(weights), gen.top_p, gen.min_p)
            complete = size >= most or len(ends) < len(weights)
            drawn = number * ends[-1] if complete else number
            if complete or (gen.top_p == 1 and not gen.min_p and drawn < ends[-1]):
                break
        return int(ids[min(bisect_right(ends, drawn), len(ends) - 1)])

    def _ends_of_bad_words(self, token_ids: Sequence[int]) -> list[int]:
        """Tokens that would complete a forbidden word now."""
        return [
            sequence[-1]
            for sequence in self._bad_sequences
            if len(sequence) == 1 or list(token_ids[1 - len(sequence) :]) == sequence[:-1]
        ]


#: Numbers in a row whose largest is found in one vectorised pass. Finding the largest of a vocabulary this way, and
#: then looking only where it can be, takes a CPU a fifth of the time of `max` or `topk` over all.
_STRIDE = 256


def likeliest(logits: Tensor) -> list[Best]:
    """Return the likeliest token of each row of `logits` (B, V)."""
    B, V = logits.shape
    num_strides = V // _STRIDE
    if logits.device.type != "cpu" or num_strides < 2:
        scores, token_ids = logits.max(dim=-1)
        return [Best(*pair) for pair in zip(scores.tolist(), token_ids.tolist(), strict=True)]
    strides = logits[:, : num_strides * _STRIDE].unflatten(1, (num_strides, _STRIDE))
    best = strides.amax(dim=-1).argmax(dim=-1)  # (B,)
    scores, places = strides[torch.arange(B), best].max(dim=-1)
    token_ids = best * _STRIDE + places
    if num_strides * _STRIDE < V:
        rest, places = logits[:, num_strides * _STRIDE :].max(dim=-1)
        behind = (rest > scores) | rest.isnan()  # what is no number wins, as in `max`
        scores = torch.where(behind, rest, scores)
        token_ids = torch.where(behind, places + num_strides * _STRIDE, token_ids)
    return [Best(*pair) for pair in zip(scores.tolist(), token_ids.tolist(), strict=True)]


def top_scores(scores: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return the `size` largest of `scores` (V,), largest first, and their places."""
    num_strides = len(scores) // _STRIDE
    if scores.device.type != "cpu" or 2 * size > num_strides:
        return scores.topk(size)
    end = num_strides * _STRIDE
    # The largest lie in the strides with the largest maxima, or behind the last stride.
    strides = scores[:end].view(num_strides, _STRIDE)
    chosen = strides.amax(dim=1).topk(size).indices
    values, places = torch.cat((strides[chosen].flatten(), scores[end:])).topk(size)
    inside = chosen[(places // _STRIDE).clamp(max=size - 1)] * _STRIDE + places % _STRIDE
    return values, torch.where(places < size * _STRIDE, inside, places - size * _STRIDE + end)


def _kept(weights: Sequence[float], mass: float, top_p: float, min_p: float) -> list[float]:
    """Return the running sums of the probabilities weight / mass, likeliest first, of those that are kept."""
    ends: list[float] = []
    total = 0.0
    for weight in weights:
        if total >= top_p or weight < min_p * weights[0] or weight == 0:
            break
        total += weight / mass
        ends.append(total)
    return ends


def _mass(scores: Tensor, temperature: float) -> float:
    """Return the sum of all weights exp((score - largest) / temperature) of `scores` (V,)."""
    scores = scores.float()
    return float(((scores - scores.max()) / temperature).exp().sum(dtype=torch.float64))


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

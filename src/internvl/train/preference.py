"""Learning from pairs of answers: DPO, BCO, and MPO, which is both and the likelihood of the better answer.

`loss = 0.8 * DPO + 0.2 * BCO + 1.0 * NLL` (MPO, arXiv:2411.10442). DPO (arXiv:2305.18290) compares the two answers
of a pair, BCO (arXiv:2404.04656) each answer with a running mean of rewards. A reward is
`beta * (log p(answer) - log p_reference(answer))`. Legend: `n` labels that count, `P` pairs, `T` tokens.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from internvl.errors import ConfigError, DataError
from internvl.train.batch import TrainBatch, TrainSample
from internvl.train.collate import collate_packed
from internvl.train.config import BcoMean
from internvl.train.objectives import LossSums, TokenLoss, target_mask


@dataclass(slots=True, kw_only=True)
class PreferencePair:
    """One question with two answers; both samples begin with the same prompt and pictures."""

    chosen: TrainSample
    rejected: TrainSample

    def __post_init__(self) -> None:
        tiles = self.chosen.num_tiles, self.rejected.num_tiles
        if tiles[0] != tiles[1]:
            raise DataError(
                f"{self.chosen.where}: the chosen answer comes with {tiles[0]} tiles, the rejected with {tiles[1]}; "
                "both answer one question about the same pictures"
            )

    @property
    def num_tokens(self) -> int:
        """Tokens of both conversations."""
        return self.chosen.num_tokens + self.rejected.num_tokens

    @property
    def num_tiles(self) -> int:
        """Tiles of the pictures, which both have."""
        return self.chosen.num_tiles

    @property
    def truncated(self) -> bool:
        """Whether one of them was cut off."""
        return self.chosen.truncated or self.rejected.truncated


@dataclass(slots=True, kw_only=True)
class PreferenceBatch:
    """Pairs in one forward pass: the conversations with the chosen answers, then those with the rejected ones."""

    sequences: TrainBatch
    """2 P documents or rows; `pixel_values` hold the pictures once, for they are the same in both halves."""
    num_pairs: int

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> PreferenceBatch:
        """Return the batch with its tensors on `device`."""
        return replace(self, sequences=self.sequences.to(device, non_blocking=non_blocking))

    @property
    def num_valid_tokens(self) -> int:
        """Labels that count."""
        return self.sequences.num_valid_tokens

    @property
    def num_tokens(self) -> int:
        """Tokens that are not padding."""
        return self.sequences.num_tokens

    @property
    def num_tiles(self) -> int:
        """Tiles, each counted once."""
        return self.sequences.num_tiles


def pack_pairs(pairs: Sequence[PreferencePair]) -> PreferenceBatch:
    """Put both conversations of every pair into one packed row: nothing is padded."""
    samples = [pair.chosen for pair in pairs]
    samples += [replace(pair.rejected, pixel_values=None) for pair in pairs]  # the same pictures: given once
    return PreferenceBatch(sequences=collate_packed(samples, averaging="token"), num_pairs=len(pairs))


def sequence_sums(batch: TrainBatch, entropies: Tensor, num_sequences: int) -> Tensor:
    """Add up `entropies` (n,), those of `target_mask`, by document or row: (num_sequences,)."""
    row, column = target_mask(batch).nonzero(as_tuple=True)
    if batch.cu_seqlens is not None:
        row = torch.bucketize(column, batch.cu_seqlens[1:].long(), right=True)
    return entropies.new_zeros(num_sequences).index_add(0, row, entropies)


@dataclass(slots=True)
class PreferenceObjective:
    """DPO, BCO and NLL of the chosen answers, each with its weight; a weight of 0 leaves a term out."""

    reference: Callable[[PreferenceBatch], Tensor]
    """Log probabilities (2 P,) of the answers under the frozen model that training started from."""
    beta: float = 0.1
    dpo_weight: float = 0.8
    bco_weight: float = 0.2
    nll_weight: float = 1.0
    mean: float = 0.0
    """BCO's threshold: the mean reward of all answers so far."""
    count: float = 0.0
    """Answers that it is the mean of."""
    mean_over: BcoMean = "update"
    """How BCO's mean moves where an update has several micro-batches, see `begin`."""
    _references: deque[Tensor] = field(init=False, default_factory=deque)
    """Of the micro-batches of this update, where `begin` has taken their rewards already."""
    weights: Mapping[str, float] = field(init=False)

    def __post_init__(self) -> None:
        weights = {"dpo": self.dpo_weight, "bco": self.bco_weight, "nll": self.nll_weight}
        self.weights = {name: weight for name, weight in weights.items() if weight}
        if not self.weights or min(self.weights.values()) < 0:
            raise ConfigError(
                f"preference weights dpo {self.dpo_weight}, bco {self.bco_weight}, nll {self.nll_weight}: "
                "none may be negative, and one must be positive"
            )

    def denominators(self, batch: PreferenceBatch) -> dict[str, Tensor]:
        """Pairs for DPO and BCO, labels of the chosen answers for the likelihood."""
        pairs = torch.tensor(float(batch.num_pairs), dtype=torch.float64)
        ones = torch.ones_like(batch.sequences.labels, dtype=torch.float64)[:, 1:]
        labels = sequence_sums(batch.sequences, ones[target_mask(batch.sequences)], 2 * batch.num_pairs)
        tokens = labels[: batch.num_pairs].sum()
        return {"dpo": pairs, "bco": pairs, "nll": tokens, "pairs": pairs}

    @torch.no_grad()
    def begin(self, losses: TokenLoss, batches: Sequence[PreferenceBatch], device: torch.device) -> None:
        """Take the rewards of all micro-batches into BCO's mean before the first of them is learnt from.

        So accumulating is the large batch, for one more forward pass of the policy. With `mean_over` "micro_batch" the
        mean moves from one micro-batch to the next, as the references' does.
        """
        self._references.clear()
        if "bco" not in self.weights or len(batches) == 1 or self.mean_over == "micro_batch":
            return
        rewards = []
        for batch in batches:
            moved = batch.to(device)
            policy = answer_logps(losses, moved)
            self._references.append(self.reference(moved).to(policy))
            rewards.append(self.beta * (policy - self._references[-1]))
        self._update_mean(torch.cat(rewards))

    def __call__(self, losses: TokenLoss, batch: PreferenceBatch) -> LossSums:
        """One micro-batch; moves BCO's running mean first, as the references do, unless `begin` has done so."""
        known = bool(self._references)
        policy = answer_logps(losses, batch)
        with torch.no_grad():
            reference = self._references.popleft() if known else self.reference(batch).to(policy)
        rewards = self.beta * (policy - reference)  # (2 P,)
        chosen, rejected = rewards.chunk(2)
        terms: dict[str, Tensor] = {}
        if "dpo" in self.weights:
            terms["dpo"] = -F.logsigmoid(chosen - rejected).sum()
        if "bco" in self.weights:
            if not known:
                self._update_mean(rewards.detach())
            terms["bco"] = -(F.logsigmoid(chosen - self.mean) + F.logsigmoid(self.mean - rejected)).sum()
        if "nll" in self.weights:
            terms["nll"] = -policy[: batch.num_pairs].sum()
        with torch.no_grad():
            metrics = {
                "reward_chosen": ("pairs", chosen.detach().sum()),
                "reward_rejected": ("pairs", rejected.detach().sum()),
                "reward_margin": ("pairs", (chosen - rejected).detach().sum()),
                "reward_accuracy": ("pairs", (chosen > rejected).float().sum()),
            }
        return LossSums(terms=terms, metrics=metrics)

    def _update_mean(self, rewards: Tensor) -> None:
        """Take these rewards (2 P,) of all ranks into the running mean."""
        total = torch.stack((rewards.double().sum(), rewards.new_tensor(len(rewards)).double()))
        if dist.is_initialized():
            dist.all_reduce(total)
        added, number = total.tolist()
        self.count += number
        self.mean += (added / number - self.mean) * number / self.count

    def state_dict(self) -> dict[str, Any]:
        """BCO's running mean."""
        return {"mean": self.mean, "count": self.count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict()`."""
        self.mean, self.count = float(state["mean"]), float(state["count"])


def answer_logps(losses: TokenLoss, batch: PreferenceBatch) -> Tensor:
    """Log probability of each answer (2 P,), chosen ones first: the sum over its labels."""
    entropies = losses(batch.sequences, 2)["answers"]
    return -sequence_sums(batch.sequences, entropies, 2 * batch.num_pairs)

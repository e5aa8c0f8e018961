"""One update: count, forward and backward for every micro-batch, check, step.

What the losses are divided by is counted over micro-batches and ranks before the first forward pass, so each term is
divided once by its true number. A loss or gradient that is not finite refuses the update on all ranks alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from internvl.train.config import Precision
from internvl.train.objectives import LossSums, Objective, TokenLoss
from internvl.train.parallel import Ranks, clip_gradients, last_of_step, sum_over_ranks


@dataclass(slots=True, kw_only=True)
class StepResult:
    """What one update did, over all ranks."""

    loss: float
    grad_norm: float
    """Before clipping."""
    refused: str = ""
    """Why the weights were left as they were; "" when they were updated."""
    num_valid_tokens: int = 0
    num_tokens: int = 0
    num_tiles: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    """Terms of the loss (undivided by their weights) and what else the objective measured, all as means."""


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """Products in bfloat16 where `precision` asks for it beside float32 weights."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


@dataclass(slots=True)
class TrainStep:
    """Everything that an update needs; called once per update."""

    losses: TokenLoss
    objective: Objective
    optimizer: torch.optim.Optimizer
    clip_norm: float = 1.0
    precision: Precision = "float32"
    where: Ranks = field(default_factory=Ranks)

    def __call__(self, batches: Sequence[Any]) -> StepResult:
        """Learn from these micro-batches of this rank; every rank calls with as many."""
        counts = self._count(batches)
        denominators = {name.removeprefix("/"): n for name, n in counts.items() if name.startswith("/")}
        self.optimizer.zero_grad(set_to_none=True)
        before = self.objective.state_dict()
        with autocast(self.precision, self.where.device):
            self.objective.begin(self.losses, batches, self.where.device)
        found: dict[str, Tensor] = {}
        for number, batch in enumerate(batches):
            last_of_step(self.losses, number == len(batches) - 1)
            with autocast(self.precision, self.where.device):
                sums = self.objective(self.losses, batch.to(self.where.device))
            total = self._total(sums, denominators)
            if total.requires_grad:  # a batch without pictures teaches a projector alone nothing
                total.backward()
            for name, value in _means(sums, denominators).items():
                found[name] = found.get(name, torch.zeros((), device=value.device)) + value
        if not counts["tiles"]:
            self._forget_blank_tiles()
        metrics = sum_over_ranks(found, self.where)
        loss = sum(weight * metrics[name] for name, weight in self.objective.weights.items())
        result = StepResult(
            loss=loss,
            grad_norm=self._clip(),
            num_valid_tokens=round(counts["valid"]),
            num_tokens=round(counts["tokens"]),
            num_tiles=round(counts["tiles"]),
            metrics=metrics,
        )
        result.refused = self._reason(result, denominators)
        if result.refused:
            self.objective.load_state_dict(before)  # a running mean must not keep what is not finite
        else:
            self.optimizer.step()
        return result

    def _count(self, batches: Sequence[Any]) -> dict[str, float]:
        """Denominators (names begin with a slash) and sizes of this update, over all ranks."""
        counts: dict[str, Tensor] = {}
        for batch in batches:
            sizes = {"valid": batch.num_valid_tokens, "tokens": batch.num_tokens, "tiles": batch.num_tiles}
            one = {name: torch.tensor(float(size), dtype=torch.float64) for name, size in sizes.items()}
            one |= {f"/{name}": n for name, n in self.objective.denominators(batch).items()}
            counts = {name: counts[name] + n if counts else n for name, n in one.items()}
        return sum_over_ranks(counts, self.where)

    def _total(self, sums: LossSums, denominators: dict[str, float]) -> Tensor:
        """The loss to differentiate. Sharding averages gradients over ranks, hence the factor."""
        weights = self.objective.weights
        scaled = [
            term * (self.where.data_size * weights[name] / max(denominators[name], 1e-12))
            for name, term in sums.terms.items()
        ]
        return torch.stack(scaled).sum()

    def _forget_blank_tiles(self) -> None:
        """Without a picture in the whole update, what only pictures teach is left as it is, by momentum and decay too.

        Sharded ranks have run a blank tile for their layers' sake, which leaves gradients of zero; one process has not.
        """
        model = self.losses.model
        for part in (model.vision, model.projector):
            for parameter in part.parameters():
                parameter.grad = None

    def _clip(self) -> float:
        """Norm of all gradients; larger ones are scaled down to `clip_norm`."""
        parameters = [
            p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None
        ]
        return clip_gradients(parameters, self.clip_norm or math.inf)

    def _reason(self, result: StepResult, denominators: dict[str, float]) -> str:
        empty = [name for name in self.objective.weights if denominators[name] <= 0]
        if len(empty) == len(self.objective.weights):
            return "no label in the whole step"
        if not math.isfinite(result.loss):
            return f"the loss is {result.loss}"
        if not math.isfinite(result.grad_norm):
            return f"the norm of the gradients is {result.grad_norm}"
        return ""


def _means(sums: LossSums, denominators: dict[str, float]) -> dict[str, Tensor]:
    """This micro-batch's part of every term and metric, divided."""
    means = {
        name: term.detach().float() / max(denominators[name], 1e-12) for name, term in sums.terms.items()
    }
    for name, (by, value) in sums.metrics.items():
        means[name] = value.float() / max(denominators[by], 1e-12)
    return means

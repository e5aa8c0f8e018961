"""The training step and the run around it: losses, schedule, checkpoints that resume exactly."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internvl.models.internvl import InternVLModel
from internvl.train.nano.config import StageConfig
from internvl.train.nano.conversation import IGNORE_INDEX
from internvl.train.nano.dataset import Batch, NanoDataset, batches
from internvl.train.nano.dense import HEAD_WEIGHTS, DenseHeads

log = logging.getLogger(__name__)


class Trainee(nn.Module):
    """The model and its training-only heads."""

    def __init__(self, model: InternVLModel) -> None:
        super().__init__()
        self.model = model
        self.heads = DenseHeads(model.config)

    def forward(self, batch: Batch, stage: StageConfig) -> dict[str, Tensor]:
        """Losses by name; `total` is what is minimised."""
        losses: dict[str, Tensor] = {}
        total = self.model.decoder.embed.weight.new_zeros(())
        embeds = None
        if batch.pixel_values is not None:
            features = self.model.vision_features(batch.pixel_values)
            side = round(features.shape[1] ** 0.5)
            embeds = self.model.projector(features, side, side)
            if stage.dense_weight:
                losses = self.heads(features, embeds, batch.targets)
                weighted = [HEAD_WEIGHTS[name] * loss for name, loss in losses.items()]
                total = total + stage.dense_weight * torch.stack(weighted).sum()
        if stage.language_weight:
            spoken = None if embeds is None else embeds[: len(embeds) - batch.num_silent]
            losses["language"] = language_loss(self.model, batch, spoken)
            total = total + stage.language_weight * losses["language"]
        return {**losses, "total": total}


def language_loss(model: InternVLModel, batch: Batch, image_embeds: Tensor | None) -> Tensor:
    """Mean cross-entropy over the labelled tokens; only their logits are computed."""
    # right padding needs no mask: attention is causal
    hidden = model.decoder(model.merge(batch.input_ids, image_embeds))
    labels = batch.labels[:, 1:]
    counted = labels != IGNORE_INDEX
    return F.cross_entropy(model.decoder.lm_head(hidden[:, :-1][counted]), labels[counted])


@dataclass(slots=True)
class Run:
    """One stage's training."""

    trainee: Trainee
    stage: StageConfig
    directory: Path
    optimizer: torch.optim.Optimizer
    step: int = 0

    def save(self) -> None:
        """Write everything that resuming needs; the old file stays until the new one is whole."""
        self.directory.mkdir(parents=True, exist_ok=True)
        target = self.directory / f"{self.stage.name}.pt"
        temporary = target.with_suffix(".tmp")
        torch.save(
            {
                "trainee": self.trainee.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "step": self.step,
            },
            temporary,
        )
        temporary.replace(target)

    def resume(self) -> bool:
        """Continue from this stage's own checkpoint if there is one."""
        path = self.directory / f"{self.stage.name}.pt"
        if not path.exists():
            return False
        state = torch.load(path, weights_only=True)
        self.trainee.load_state_dict(state["trainee"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        return True


def make_optimizer(trainee: Trainee, stage: StageConfig) -> torch.optim.Optimizer:
    """AdamW; vectors and embeddings are not decayed."""
    decayed = [p for n, p in trainee.named_parameters() if p.ndim >= 2 and "embed" not in n]
    others = [p for n, p in trainee.named_parameters() if p.ndim < 2 or "embed" in n]
    groups = [
        {"params": decayed, "weight_decay": stage.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=stage.learning_rate, betas=(0.9, 0.98), eps=1e-8)


def train(
    run: Run,
    dataset: NanoDataset,
    *,
    workers: int,
    deadline: float | None = None,
    log_every: int = 50,
    save_every: int = 200,
    on_save: Callable[[Run], None] | None = None,
) -> None:
    """Run the stage to its end, or to `deadline` (time.time()), whichever comes first.

    A step whose loss or gradient is not finite is refused before the update and counted.
    """
    stage, trainee = run.stage, run.trainee
    trainee.train()
    began, seen, refused = time.time(), 0, 0
    running: dict[str, float] = {}
    for batch in batches(dataset, first_step=run.step, steps=stage.steps, workers=workers):
        for group in run.optimizer.param_groups:
            group["lr"] = stage.learning_rate_at(run.step)
        run.optimizer.zero_grad(set_to_none=True)
        losses = trainee(batch, stage)
        losses["total"].backward()
        norm = nn.utils.clip_grad_norm_(trainee.parameters(), stage.clip_norm)
        if torch.isfinite(norm):
            run.optimizer.step()
        else:
            refused += 1
        run.step += 1
        seen += stage.items_per_step
        for name, loss in losses.items():
            running[name] = 0.95 * running.get(name, loss.item()) + 0.05 * loss.item()
        if run.step % log_every == 0:
            rate = seen / (time.time() - began)
            shown = " ".join(f"{name} {value:.3f}" for name, value in running.items())
            log.info("%s step %d: %s | %.1f/s refused %d", stage.name, run.step, shown, rate, refused)
        late = deadline is not None and time.time() > deadline
        if run.step % save_every == 0 or run.step == stage.steps or late:
            run.save()
            if on_save is not None:
                on_save(run)
                trainee.train()
        if late:
            return

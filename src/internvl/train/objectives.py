"""Losses: (model, batch) -> sums that the step divides.

Every term of a loss is a sum over labels (or pairs) and a denominator that is counted before the forward pass, over
all micro-batches and ranks of a step. So accumulating is the large batch, exactly, and a rank with few labels weighs
as little as it should. Legend: `B` rows, `T` tokens, `D` decoder width, `V` vocabulary, `n` labels that count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internvl.models.internvl import InternVLModel
from internvl.nn.recompute import run_layer
from internvl.train.batch import IGNORE_INDEX, TrainBatch
from internvl.train.dense import DenseHeads

#: Logits held at once (elements); more labels are worked off in chunks whose logits are computed again in the
#: backward pass. 2**27 float32 are 0.5 GB.
MAX_LOGITS = 2**27


@dataclass(slots=True, kw_only=True)
class LossSums:
    """What one micro-batch adds to a step."""

    terms: Mapping[str, Tensor]
    """Term -> its sum, with gradient; divided by the term's denominator, weighted, and added up it is the loss."""
    metrics: Mapping[str, tuple[str, Tensor]] = field(default_factory=dict)
    """Name -> (the denominator that it is divided by, its sum), without gradient."""


class Objective(Protocol):
    """A loss, as the training step sees it."""

    @property
    def weights(self) -> Mapping[str, float]:
        """Term -> its weight in the loss."""
        ...

    def denominators(self, batch: Any) -> dict[str, Tensor]:
        """Name -> what this micro-batch adds to a denominator (0-dim float64); cheap, before any forward pass."""
        ...

    def begin(self, losses: TokenLoss, batches: Sequence[Any], device: torch.device) -> None:
        """Before an update: look at all its micro-batches on this rank, where the loss of one depends on the others."""
        ...

    def __call__(self, losses: TokenLoss, batch: Any) -> LossSums:
        """Run the model on one micro-batch."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What resuming needs; empty for most."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict()`."""
        ...


def target_mask(batch: TrainBatch) -> Tensor:
    """(B, T - 1) True where the *next* token's label counts: shifted, and never across documents."""
    counted = batch.labels[:, 1:] != IGNORE_INDEX
    if batch.cu_seqlens is not None:
        starts = batch.cu_seqlens[1:-1].long()
        if len(starts):
            counted = counted.clone()
            counted[0, starts - 1] = False
    return counted


class TokenLoss(nn.Module):
    """The model with its head cut down to what training asks: the cross entropy of each label that counts.

    A module of its own, so that sharding, which works on `forward`, covers all of the model.
    """

    def __init__(self, model: InternVLModel, heads: DenseHeads | None = None) -> None:
        super().__init__()
        self.model = model
        self.heads = heads
        """Ask what patches and image tokens show; trained along, and no part of the model."""
        self.max_logits = MAX_LOGITS
        self.needs_tile = False
        """Give pictureless batches one blank tile without effect: sharded ranks must all run the same layers."""

    def forward(self, batch: TrainBatch, image_copies: int = 1, *, answers: bool = True) -> dict[str, Tensor]:
        """What the losses are made of.

        Args:
            batch: What to run the model on.
            image_copies: The pictures' tokens occur this often, one whole set after the other (pairs of answers).
            answers: False: only what lies where is asked for, and the decoder does not run.

        Returns:
            "answers": cross entropies (n,) float32, in the order of the labels where `target_mask` is True; and, with
            heads and targets, the sum of each head's losses by its name.
        """
        found: dict[str, Tensor] = {}
        image_embeds = None
        unused = None
        if batch.num_tiles:
            assert batch.pixel_values is not None
            features, image_embeds = self.see(batch.pixel_values)
            if self.heads is not None and batch.dense is not None:
                found = self.heads(features, image_embeds, batch.dense)
            if image_copies > 1:
                image_embeds = image_embeds.repeat(image_copies, 1, 1)
        elif self.needs_tile:
            side = self.model.config.image_size
            unused = self.see(torch.zeros(1, 3, side, side, device=batch.input_ids.device))[1].sum()
        if self.heads is not None and not found:
            found = self.heads.unasked()
            if unused is not None:
                found = {name: loss + 0.0 * unused for name, loss in found.items()}
        if answers:
            hidden = self.hidden_states(batch, image_embeds, unused)[:, :-1]
            counted = target_mask(batch)
            found["answers"] = self.cross_entropy(hidden[counted], batch.labels[:, 1:][counted])
        return found

    def hidden_states(self, batch: TrainBatch, image_embeds: Tensor | None, unused: Tensor | None) -> Tensor:
        """(B, T, D) after the final norm; `unused` is added without effect."""
        model = self.model
        inputs_embeds = model.merge(batch.input_ids, image_embeds)
        if unused is not None:
            inputs_embeds = inputs_embeds + 0.0 * unused
        if batch.cu_seqlens is not None:
            return model.decoder(inputs_embeds, cu_seqlens=batch.cu_seqlens)
        # Right padding needs no mask under causal attention: what stands after a token is never seen by it.
        mask = batch.attention_mask
        if mask is not None and bool(mask[:, 0].all()):
            mask = None
        return model.decoder(inputs_embeds, attention_mask=mask)

    def see(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """Tiles (N, 3, S, S) -> features (N, P, C) and embeddings (N, K, D).

        A frozen vision tower keeps nothing for the backward pass. Tiles smaller than the model's are windows of its
        grid of positions, at a random place.
        """
        model, vision = self.model, self.model.config.vision
        trained = any(parameter.requires_grad for parameter in model.vision.parameters())
        rows, columns = (side // vision.patch_size for side in pixel_values.shape[-2:])
        origin = None
        if pixel_values.shape[-1] < model.config.image_size:
            origin = (
                int(torch.randint(vision.grid_size - rows + 1, ())),
                int(torch.randint(vision.grid_size - columns + 1, ())),
            )
        with torch.set_grad_enabled(trained and torch.is_grad_enabled()):
            features = model.vision_features(pixel_values, origin=origin)
        return features, model.projector(features, rows, columns)

    def cross_entropy(self, hidden: Tensor, labels: Tensor) -> Tensor:
        """(n, D) and (n,) -> (n,) float32; logits only for these, and not for too many at once."""
        head = _Head(self.model.decoder.lm_head)
        chunk = max(1, self.max_logits // self.model.config.text.vocab_size)
        if len(labels) <= chunk:
            return head(hidden, labels)
        parts = zip(hidden.split(chunk), labels.split(chunk), strict=True)
        return torch.cat([run_layer(head, *part, recompute=True) for part in parts])


class _Head(nn.Module):
    """Logits and their cross entropy, as one step that can be computed again."""

    def __init__(self, lm_head: nn.Module) -> None:
        super().__init__()
        self.lm_head = lm_head

    def forward(self, hidden: Tensor, labels: Tensor) -> Tensor:
        """(n, D), (n,) -> (n,)."""
        return F.cross_entropy(self.lm_head(hidden).float(), labels, reduction="none")


@dataclass(slots=True)
class SupervisedObjective:
    """Next-token prediction on the labelled tokens: sum(w * ce) / sum(w); and what lies where, if it is asked for.

    Args:
        answers: Weight of next-token prediction; 0: the decoder does not run.
        places: Weights of the dense heads, by name; empty: there are none.
    """

    answers: float = 1.0
    places: Mapping[str, float] = field(default_factory=dict)

    @property
    def weights(self) -> Mapping[str, float]:
        """Term -> its weight in the loss."""
        return ({"loss": self.answers} if self.answers else {}) | dict(self.places)

    def denominators(self, batch: TrainBatch) -> dict[str, Tensor]:
        """The labels' weights, how many labels there are, and the places that are asked."""
        counted = target_mask(batch)
        weight = batch.loss_weight[:, 1:][counted].sum(dtype=torch.float64)
        counts = {"loss": weight, "tokens": counted.sum(dtype=torch.float64)}
        if self.places and batch.dense is not None:
            counts |= DenseHeads.denominators(batch.dense)
        elif self.places:
            counts |= {name: torch.zeros((), dtype=torch.float64) for name in self.places}
        return counts

    def begin(self, losses: TokenLoss, batches: Sequence[TrainBatch], device: torch.device) -> None:
        """Nothing to look at: labels do not know of each other."""

    def __call__(self, losses: TokenLoss, batch: TrainBatch) -> LossSums:
        """One micro-batch."""
        found = losses(batch, answers=bool(self.answers))
        if not self.answers:
            return LossSums(terms=found)
        entropies = found.pop("answers")
        weight = batch.loss_weight[:, 1:][target_mask(batch)]
        total = (entropies * weight).sum()
        return LossSums(
            terms={"loss": total} | found, metrics={"token_loss": ("tokens", entropies.detach().sum())}
        )

    def state_dict(self) -> dict[str, Any]:
        """Nothing to keep."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing was kept."""

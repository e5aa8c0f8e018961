"""What a run will cost, before it starts: memory, seconds, tokens, and how full its rows are.

Tokens and packing are measured on real batches of the recipe's data; memory is added up from the shapes; seconds come
from the operations of a step (`flops`) and a measured rate. Legend: `T` tokens of a batch, `D` decoder width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from internvl.models.internvl import InternVLModel
from internvl.train.batch import IGNORE_INDEX, TrainBatch
from internvl.train.config import TrainConfig
from internvl.train.flops import measured_flops, peak_flops
from internvl.train.preference import PreferenceBatch
from internvl.train.setup import with_precision, work_of_run

#: Share of the rate of one large product that a whole step reaches: norms, attention, optimizer, small products.
CPU_SHARE = 0.35
GPU_SHARE = 0.40


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Per rank, unless it says otherwise; sizes in bytes."""

    num_parameters: int
    num_trained: int
    weight_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    activation_bytes: int
    """At the largest batch that was looked at."""
    tokens_per_step: float
    """Over all ranks and micro-batches; padding left out. So the three below."""
    labels_per_step: float
    tiles_per_step: float
    documents_per_step: float
    packing_efficiency: float
    """Share of places that hold tokens, padding the rest."""
    flops_per_step: float
    seconds_per_step: float
    steps: int
    """Of the recipe, or until about the end of its data where that comes first."""
    num_batches: int
    """Batches that were looked at."""

    @property
    def total_bytes(self) -> int:
        """Memory of one rank at its peak."""
        return self.weight_bytes + self.gradient_bytes + self.optimizer_bytes + self.activation_bytes

    @property
    def total_seconds(self) -> float:
        """The whole run."""
        return self.steps * self.seconds_per_step

    @property
    def total_tokens(self) -> float:
        """The whole run."""
        return self.steps * self.tokens_per_step


def predict(
    config: TrainConfig,
    model: InternVLModel,
    batches: Sequence[TrainBatch | PreferenceBatch],
    *,
    num_rows: int | None = None,
    num_ranks: int = 1,
    device: torch.device | None = None,
) -> Prediction:
    """Predict from a model (on the meta device is enough) and some micro-batches of the recipe's data.

    `num_rows` until the data ends, over all ranks; None: it does not.
    """
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config = with_precision(config, device)
    rows = [batch.sequences if isinstance(batch, PreferenceBatch) else batch for batch in batches]
    per_step = config.run.accumulation(num_ranks) * config.run.data_parts(num_ranks)
    count = max(1, len(rows))
    work = work_of_run(config, model)
    flops = sum(work.batch(row, padding=True, lengths=lengths_of(row)) for row in rows)
    if config.run.recompute is True:
        flops *= 4 / 3
    if config.objective.is_preference:
        flops *= 4 / 3  # the reference's forward pass
    flops = flops / count * per_step
    documents = sum(len(lengths_of(row)) for row in rows) / count * per_step
    steps = config.run.steps
    if num_rows is not None and documents:
        each = documents / 2 if config.objective.is_preference else documents
        steps = min(steps, math.ceil(num_rows / each - 1e-9))
    half = config.run.precision != "float32"
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    weights = sum(p.numel() * p.itemsize for p in model.parameters())
    state = sum(2 * p.numel() * p.itemsize for p in model.parameters() if p.requires_grad)
    gradients = sum(p.numel() * p.itemsize for p in model.parameters() if p.requires_grad)
    average = 4 * trained if config.optimizer.ema_decay else 0
    if config.objective.is_preference:
        weights *= 2
    return Prediction(
        num_parameters=sum(p.numel() for p in model.parameters()),
        num_trained=trained,
        weight_bytes=weights // num_ranks,
        gradient_bytes=gradients // num_ranks,
        optimizer_bytes=(state + average) // num_ranks,
        activation_bytes=max((activation_bytes(config, model, row, half=half) for row in rows), default=0),
        tokens_per_step=sum(sum(lengths_of(row)) for row in rows) / count * per_step,
        labels_per_step=sum(row.num_valid_tokens for row in rows) / count * per_step,
        tiles_per_step=sum(row.num_tiles for row in rows) / count * per_step,
        documents_per_step=documents,
        packing_efficiency=efficiency(config, rows),
        flops_per_step=flops,
        seconds_per_step=flops / num_ranks / rate(device, half=half),
        steps=steps,
        num_batches=len(rows),
    )


def lengths_of(batch: TrainBatch) -> list[int]:
    """Tokens of each document or row; what only fills a packed row up, and so has no label, is none."""
    if batch.cu_seqlens is not None:
        lengths = batch.cu_seqlens.diff().tolist()
        labels = batch.labels[0].split(lengths)
        return [n for n, own in zip(lengths, labels, strict=True) if bool((own != IGNORE_INDEX).any())]
    if batch.attention_mask is not None:
        return batch.attention_mask.sum(dim=1).tolist()
    return [batch.input_ids.shape[1]] * batch.input_ids.shape[0]


def efficiency(config: TrainConfig, rows: Sequence[TrainBatch]) -> float:
    """Share of the places of packed rows (of `max_tokens`) or padded batches that hold tokens."""
    packed = config.data.packing and not config.objective.is_preference
    places = sum(config.data.max_tokens if packed else row.input_ids.numel() for row in rows)
    return sum(sum(lengths_of(row)) for row in rows) / places if places else 0.0


def activation_bytes(config: TrainConfig, model: InternVLModel, row: TrainBatch, *, half: bool) -> int:
    """What a forward pass keeps for the backward pass, and the logits.

    Kept per layer, in sizes of its input: 1 where layers are computed again, about 16 + 3 * (MLP width / width) where
    they are not, and 7 + 2 * (MLP width / width) where only what is cheap is.
    """
    shape, item = model.config, 2 if half else 4
    text, vision = shape.text, shape.vision
    answers = config.objective.kind != "dense"  # else the decoder does not run
    tokens, labels = (row.input_ids.numel(), row.num_valid_tokens) if answers else (0, 0)
    patches = row.num_tiles * (((config.data.tile_size or shape.image_size) // vision.patch_size) ** 2 + 1)
    kept = 0
    for part, count, size, width, inner, layers in (
        (model.decoder, tokens, text.hidden_size, text.hidden_size, text.intermediate_size, text.num_layers),
        (
            model.vision,
            patches,
            vision.hidden_size,
            vision.hidden_size,
            vision.intermediate_size,
            vision.num_layers,
        ),
    ):
        trained = any(p.requires_grad for p in part.parameters()) or part is model.decoder
        whole = count * size * item * round(16 + 3 * inner / width)
        if not trained:
            kept += whole // 8  # one layer at a time, nothing kept
        elif config.run.recompute == "selective":
            kept += layers * count * size * item * round(7 + 2 * inner / width) + whole
        elif config.run.recompute:
            kept += layers * count * size * 4 + whole
        else:
            kept += layers * whole
    return kept + min(labels * text.vocab_size, 2**27) * 4 * 3


def rate(device: torch.device, *, half: bool) -> float:
    """Operations per second that a step reaches on this device."""
    dtype = torch.bfloat16 if half else torch.float32
    if device.type == "cuda":
        return GPU_SHARE * peak_flops(device, dtype)
    return CPU_SHARE * measured_flops(device, dtype)


def facts(prediction: Prediction) -> dict[str, Any]:
    """All figures by name, for JSON."""
    names = [name for name in Prediction.__dataclass_fields__]
    values = {name: getattr(prediction, name) for name in names}
    return values | {
        "total_bytes": prediction.total_bytes,
        "total_seconds": prediction.total_seconds,
        "total_tokens": prediction.total_tokens,
    }

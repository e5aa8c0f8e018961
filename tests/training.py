"""What tests of training share: made-up rows and batches, and the reference's groups of parameters."""

import re
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from fakes import IMAGE_TOKEN_ID
from internvl.models.internvl import InternVLModel
from internvl.train.batch import IGNORE_INDEX, TrainBatch, TrainSample

#: Our parameters -> the reference's groups.
GROUPS = {
    r"vision\.": "vision_model",
    r"projector\.": "mlp1",
    r"decoder\.embed\.": "embed_tokens",
    r"decoder\.lm_head\.": "lm_head",
    r"decoder\.": "language_model",
}


def group_norms(model: InternVLModel) -> dict[str, float]:
    """Norm of the gradients of each part, under the reference's names."""
    squares: dict[str, float] = {}
    for name, parameter in model.named_parameters():
        group = next(group for pattern, group in GROUPS.items() if re.match(pattern, name))
        if parameter.grad is not None:
            squares[group] = squares.get(group, 0.0) + parameter.grad.double().square().sum().item()
    return {group: square**0.5 for group, square in squares.items()}


def make_sample(
    seed: int, *, tiles: int | None = None, labelled: tuple[int, int | None] = (-4, None), vocab: int = 80
) -> TrainSample:
    """A row for `fakes.tiny_model`: 0 to 2 tiles of 4 tokens, words, and labels on a slice of it."""
    generator = torch.Generator().manual_seed(seed)
    num_tiles = seed % 3 if tiles is None else tiles
    words = torch.randint(IMAGE_TOKEN_ID + 1, vocab, (6 + 3 * seed % 7,), generator=generator)
    ids = torch.cat((words[:2], torch.full((4 * num_tiles,), IMAGE_TOKEN_ID), words[2:]))
    labels = torch.full_like(ids, IGNORE_INDEX)
    where = slice(labelled[0] - seed % 2 if labelled[0] < 0 else labelled[0], labelled[1])
    labels[where] = ids[where]
    labels[ids == IMAGE_TOKEN_ID] = IGNORE_INDEX
    pixels = torch.randn(num_tiles, 3, 56, 56, generator=generator)
    return TrainSample(
        input_ids=ids,
        labels=labels,
        pixel_values=pixels if num_tiles else None,
        num_image_tokens=4 * num_tiles,
        where=f"made-up:{seed}",
    )


def weights(sample: TrainSample, power: float) -> torch.Tensor:
    """1 / (labels of the row) ** power at each label that is a target."""
    counted = sample.labels != IGNORE_INDEX
    counted[0] = False
    return counted.float() * max(int(counted.sum()), 1) ** -power


def packed(samples: Sequence[TrainSample], power: float = 0.0) -> TrainBatch:
    """All rows in one, with nothing between."""
    lengths = torch.tensor([sample.num_tokens for sample in samples])
    return TrainBatch(
        input_ids=torch.cat([sample.input_ids for sample in samples])[None],
        labels=torch.cat([sample.labels for sample in samples])[None],
        position_ids=torch.cat([torch.arange(length) for length in lengths.tolist()])[None],
        cu_seqlens=F.pad(lengths.cumsum(0), (1, 0)).int(),
        loss_weight=torch.cat([weights(sample, power) for sample in samples])[None],
        pixel_values=_tiles(samples),
    )


def padded(samples: Sequence[TrainSample], power: float = 0.0) -> TrainBatch:
    """One row each, filled up on the right."""
    width = max(sample.num_tokens for sample in samples)

    def stack(rows: Sequence[torch.Tensor], value: float) -> torch.Tensor:
        return torch.stack([F.pad(row, (0, width - len(row)), value=value) for row in rows])

    return TrainBatch(
        input_ids=stack([sample.input_ids for sample in samples], 0),
        labels=stack([sample.labels for sample in samples], IGNORE_INDEX),
        attention_mask=stack([torch.ones_like(sample.labels) for sample in samples], 0).bool(),
        position_ids=torch.arange(width).repeat(len(samples), 1),
        loss_weight=stack([weights(sample, power) for sample in samples], 0),
        pixel_values=_tiles(samples),
    )


def _tiles(samples: Sequence[TrainSample]) -> torch.Tensor | None:
    found = [sample.pixel_values for sample in samples if sample.pixel_values is not None]
    return torch.cat(found) if found else None

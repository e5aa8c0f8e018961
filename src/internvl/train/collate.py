"""Samples -> a `TrainBatch`: padded rows, or documents packed into one row; and the weight of every label.

Shapes: `B` rows, `T` tokens, `N` tiles.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from internvl.errors import ConfigError
from internvl.preprocess.transforms import IMAGENET
from internvl.train.batch import IGNORE_INDEX, TrainBatch, TrainSample

_EXPONENTS = {"token": 0.0, "square": -0.5, "sample": -1.0}


def label_weights(labels: Tensor, averaging: str) -> Tensor:
    """Return the weight of each label of one document, (T,) float32.

    `n` labels that count weigh 1 each (token), 1 / n (sample) or 1 / sqrt(n) (square): a long answer then counts as
    its tokens, as one, or in between. The first token is no target: nothing stands before it.
    """
    learnt = labels != IGNORE_INDEX
    learnt[0] = False
    count = max(1, int(learnt.sum()))
    return learnt.to(torch.float32) * count ** _EXPONENTS[averaging]


def collate(
    samples: Sequence[TrainSample], *, averaging: str = "square", pad_id: int = 0, multiple: int = 1
) -> TrainBatch:
    """Pad samples on the right, one a row.

    Args:
        samples: At least one.
        averaging: See `label_weights`.
        pad_id: Fills up the ids.
        multiple: Pad to a multiple of so many tokens.
    """
    _check(samples, averaging)
    longest = max(sample.num_tokens for sample in samples)
    length = -(-longest // multiple) * multiple
    shape = (len(samples), length)
    input_ids = torch.full(shape, pad_id, dtype=torch.int64)
    labels = torch.full(shape, IGNORE_INDEX, dtype=torch.int64)
    mask = torch.zeros(shape, dtype=torch.bool)
    weight = torch.zeros(shape, dtype=torch.float32)
    for row, sample in enumerate(samples):
        n = sample.num_tokens
        input_ids[row, :n] = sample.input_ids
        labels[row, :n] = _targets(sample.labels)
        mask[row, :n] = True
        weight[row, :n] = label_weights(sample.labels, averaging)
    return TrainBatch(
        input_ids=input_ids,
        labels=labels,
        attention_mask=None if bool(mask.all()) else mask,
        position_ids=torch.arange(length).expand(shape).contiguous(),
        loss_weight=weight,
        pixel_values=_pixels(samples),
        dense=_dense(samples),
    )


def collate_packed(
    samples: Sequence[TrainSample], *, averaging: str = "square", pad_id: int = 0, length: int | None = None
) -> TrainBatch:
    """Put samples one after the other into one row; attention stays within each (`cu_seqlens`).

    Args:
        samples: At least one.
        averaging: See `label_weights`.
        pad_id: Fills up the ids.
        length: Fill the row up to so many tokens; what is filled is a document of its own that teaches nothing (as
            in the reference), so that every row has the same shape. None: as long as the documents.
    """
    _check(samples, averaging)
    lengths = [sample.num_tokens for sample in samples]
    fill = 0 if length is None else length - sum(lengths)
    if fill < 0:
        raise ConfigError(f"documents of {sum(lengths)} tokens do not fit into a packed row of {length}")
    ids = [sample.input_ids for sample in samples]
    labels = [_targets(sample.labels) for sample in samples]
    weights = [label_weights(sample.labels, averaging) for sample in samples]
    if fill:
        lengths.append(fill)
        ids.append(torch.full((fill,), pad_id, dtype=torch.int64))
        labels.append(torch.full((fill,), IGNORE_INDEX, dtype=torch.int64))
        weights.append(torch.zeros(fill))
    ends = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
    return TrainBatch(
        input_ids=torch.cat(ids)[None],
        labels=torch.cat(labels)[None],
        position_ids=torch.cat([torch.arange(n) for n in lengths])[None],
        cu_seqlens=ends,
        loss_weight=torch.cat(weights)[None],
        pixel_values=_pixels(samples),
        dense=_dense(samples),
    )


def _check(samples: Sequence[TrainSample], averaging: str) -> None:
    if not samples:
        raise ConfigError("a batch needs at least one sample")
    if averaging not in _EXPONENTS:
        raise ConfigError(f"averaging is {averaging!r}; expected {', '.join(_EXPONENTS)}")


def _targets(labels: Tensor) -> Tensor:
    """Labels without the first: in a packed row the document before it would be asked for it."""
    labels = labels.clone()
    labels[0] = IGNORE_INDEX
    return labels


def _pixels(samples: Sequence[TrainSample]) -> Tensor | None:
    """Join the tiles of all samples, (N, 3, S, S) float32, normalised."""
    found = [sample.pixel_values for sample in samples if sample.pixel_values is not None]
    if not found:
        return None
    return torch.cat([normalized(tiles) for tiles in found])


def _dense(samples: Sequence[TrainSample]) -> dict[str, Tensor] | None:
    """Join what the tiles of all samples show; samples without tiles have nothing to say."""
    found = [sample.dense for sample in samples if sample.dense is not None]
    if not found:
        return None
    return {name: torch.cat([dense[name] for dense in found]).long() for name in found[0]}


def normalized(tiles: Tensor) -> Tensor:
    """Return tiles (N, 3, S, S) as the vision tower takes them: uint8 normalised, floats as they are."""
    if tiles.dtype != torch.uint8:
        return tiles
    mean = torch.tensor(IMAGENET.mean).view(3, 1, 1)
    std = torch.tensor(IMAGENET.std).view(3, 1, 1)
    return tiles.to(torch.float32).div_(255).sub_(mean).div_(std)

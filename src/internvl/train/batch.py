"""The two nouns that every part of training shares: a tokenized row, and what a step is given.

Shapes: `B` rows, `T` tokens, `N` tiles (flat over all pictures), `S` the side of a tile in pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor

#: Label of a token that is not learnt; cross entropy leaves it out.
IGNORE_INDEX = -100


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSample:
    """One row of the data, tokenized."""

    input_ids: Tensor
    """(T,) int64."""
    labels: Tensor
    """(T,) int64, as `input_ids` where the loss counts, else IGNORE_INDEX; not shifted."""
    pixel_values: Tensor | None = None
    """(N, 3, S, S), the tiles of all pictures in the order of the text; None without pictures. float32, or uint8 that
    is not normalised yet: a quarter of the memory while samples wait, and `collate` normalises."""
    dense: Mapping[str, Tensor] | None = None
    """What each patch and image token of the tiles shows (`train.dense`), int16 with a leading N; None: not asked."""
    num_image_tokens: int = 0
    """Image tokens among `input_ids`: N times the tokens of a tile."""
    where: str = ""
    """The row it comes from, e.g. "receipts.jsonl:12"."""
    truncated: bool = False
    """Its end was cut off."""

    @property
    def num_tokens(self) -> int:
        """T, image tokens included."""
        return self.input_ids.shape[0]

    @property
    def num_tiles(self) -> int:
        """N; 0 without pictures."""
        return 0 if self.pixel_values is None else self.pixel_values.shape[0]


@dataclass(slots=True, kw_only=True)
class TrainBatch:
    """What one forward pass is given: padded rows, or documents packed into one row."""

    input_ids: Tensor
    """(B, T) int64."""
    labels: Tensor
    """(B, T) int64, not shifted; the first token of each document is never a target of the one before it."""
    attention_mask: Tensor | None = None
    """(B, T) bool, False at padding; None: nothing is padded."""
    position_ids: Tensor
    """(B, T) int64, from 0 in every document."""
    cu_seqlens: Tensor | None = None
    """(documents + 1,) int32: where each document of a packed row (B = 1) begins, and T; None: not packed."""
    loss_weight: Tensor
    """(B, T) float32: weight of the cross entropy of the label that stands *at* this place; 0 where nothing is
    learnt. Not divided yet: the loss is `sum(weight * loss) / sum(weight)` over all micro-batches and ranks."""
    pixel_values: Tensor | None = None
    """(N, 3, S, S) float32, in the order of the image tokens; None without pictures."""
    dense: dict[str, Tensor] | None = None
    """What the tiles' places show, int64 by head (`train.dense`); None: not asked."""

    @property
    def num_valid_tokens(self) -> int:
        """Labels that count."""
        return int((self.labels != IGNORE_INDEX).sum())

    @property
    def num_tokens(self) -> int:
        """Tokens that are not padding."""
        if self.attention_mask is None:
            return self.input_ids.numel()
        return int(self.attention_mask.sum())

    @property
    def num_tiles(self) -> int:
        """N; 0 without pictures."""
        return 0 if self.pixel_values is None else self.pixel_values.shape[0]

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> TrainBatch:
        """Return the batch with its tensors on `device`."""
        moved = {
            f.name: value.to(device, non_blocking=non_blocking)
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), Tensor)
        }
        dense = None
        if self.dense is not None:
            dense = {name: value.to(device, non_blocking=non_blocking) for name, value in self.dense.items()}
        return TrainBatch(**moved, dense=dense)

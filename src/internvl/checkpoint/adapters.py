"""Weights that are stored as several tensors: unmerged LoRA, and packed experts (`mxfp4`).

Upstream's fine-tunes may be saved before their LoRA is merged.

PEFT's names: `<part>.base_model.model.<module>.base_layer.weight` beside `...lora_A.default.weight` (r, in)
and `...lora_B.default.weight` (out, r). Merging adds `alpha / r * B @ A` (LoRA, arXiv:2106.09685).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from internvl.checkpoint.shards import Shards
from internvl.errors import CheckpointError

#: Upstream wraps with lora_alpha = 2 * r, for the vision tower and for the language model alike.
ALPHA_OVER_RANK = 2.0

_LORA = re.compile(r"^(?P<module>.+)\.lora_(?P<side>[AB])(\.[^.]+)?\.weight$")


@dataclass(slots=True)
class StoredNames:
    """The names in a file without PEFT's wrapping, and the tensors that make up one weight together."""

    stored: dict[str, str] = field(default_factory=dict)
    """Plain name -> name in the file."""
    pairs: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Plain name of a weight -> names of its A and B in the file."""
    packed: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Plain name of a weight -> names of its blocks and scales in the file."""

    def __contains__(self, name: str) -> bool:
        return name in self.stored or name in self.packed

    def __iter__(self) -> Iterator[str]:
        yield from self.stored
        yield from self.packed


def unwrap_names(names: Shards | list[str]) -> StoredNames:
    """Take PEFT's wrapping off all names and find LoRA pairs and packed weights."""
    result = StoredNames()
    halves: dict[str, dict[str, str]] = {}
    for name in names:
        plain = name.replace(".base_model.model.", ".").replace(".base_layer.", ".")
        match = _LORA.match(plain)
        if match is None:
            result.stored[plain] = name
        else:
            halves.setdefault(f"{match['module']}.weight", {})[match["side"]] = name
    for plain in [name for name in result.stored if name.endswith("_blocks")]:
        weight = plain.removesuffix("_blocks")
        if f"{weight}_scales" in result.stored:
            result.packed[weight] = (result.stored.pop(plain), result.stored.pop(f"{weight}_scales"))
    for weight, sides in halves.items():
        if set(sides) != {"A", "B"} or weight not in result.stored:
            raise CheckpointError(
                f"the LoRA tensors of {weight} are incomplete (found {sorted(sides.values())}); "
                "a merge needs the weight itself, lora_A and lora_B"
            )
        result.pairs[weight] = (sides["A"], sides["B"])
    return result


def merge_delta(weight: Tensor, a: Tensor, b: Tensor, *, scale: float = ALPHA_OVER_RANK) -> Tensor:
    """`weight + scale * B @ A`, computed in float32 and returned in the weight's dtype."""
    if a.shape[0] != b.shape[1] or (b.shape[0], a.shape[1]) != tuple(weight.shape):
        raise CheckpointError(
            f"LoRA tensors {tuple(a.shape)} and {tuple(b.shape)} do not fit a weight {tuple(weight.shape)}"
        )
    delta = (b.to(torch.float32) @ a.to(torch.float32)) * scale
    return (weight.to(torch.float32) + delta).to(weight.dtype)

"""Linear layers for inference on a CPU: weights laid out once for the kernels, in full precision, int8 or int4.

Legend: `M` rows (tokens), `K` inputs, `N` outputs. All are made from an `nn.Linear` and take its place; none
can be trained or saved.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internvl.nn.device import has_fast_kernels


def can_pack(dtype: torch.dtype) -> bool:
    """Whether oneDNN lays out weights of this dtype on this CPU."""
    cpu = torch.device("cpu")
    known = dtype in (torch.float32, torch.bfloat16) and torch.backends.mkldnn.is_available()
    return known and has_fast_kernels(dtype, cpu)


ROWS_AT_ONCE = 2**13
"""Rows of a weight that are worked on together: a vocabulary's in full would be held several times over."""


class Packed(nn.Module):
    """A layer whose weights nobody trains or saves any more: they are no parameters."""

    weight: Tensor
    weight_bytes: int
    """Memory that the weights take as they are held."""


class PackedEmbedding(Packed):
    """The rows of an embedding table in half precision, as the file has them; float32 only those that are asked for."""

    def __init__(self, embedding: nn.Embedding, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        weight = embedding.weight.detach()
        self.weight = weight.bfloat16() if weight.dtype == torch.float32 else weight  # (V, D)
        self.weight_bytes = self.weight.nbytes

    @staticmethod
    def fits(embedding: nn.Embedding, dtype: torch.dtype) -> bool:
        """Whether memory is saved, and nothing is lost."""
        weight = embedding.weight.detach()
        if weight.dtype != torch.float32:
            return weight.dtype != dtype
        pieces = weight.split(ROWS_AT_ONCE)  # no second table at once
        return all(torch.equal(piece.bfloat16().float(), piece) for piece in pieces)

    def forward(self, ids: Tensor) -> Tensor:
        """(...) -> (..., D)."""
        return F.embedding(ids, self.weight).to(self.dtype)


class PackedLinear(Packed):
    """The same numbers, in oneDNN's blocked layout: no reordering in every call (SPEED: 95 -> 55 ms a token)."""

    def __init__(self, linear: nn.Linear, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        weight = linear.weight.detach()
        weight = weight.to(dtype or weight.dtype).contiguous()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight, 1)
        self.weight_bytes = weight.nbytes
        self.bias = None if linear.bias is None else linear.bias.detach().to(weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., N)."""
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")


def activation_range() -> int:
    """Largest magnitude of a quantised activation.

    Without VNNI instructions the kernel adds pairs of products in 16 bits, which 8-bit activations overflow;
    7-bit ones keep the sum exact.
    """
    return 127 if torch.cpu._is_vnni_supported() else 63


_TINY = torch.full((1,), 1e-14)
"""Keeps the step of a silent row above 0."""


class Int8Linear(Packed):
    """Weights in int8, one scale per output; activations quantised per token as they come.

    The products are summed in integers, so a token's result does not depend on what else is in the batch.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach()  # (N, K)
        scale, rounded = torch.empty(len(weight)), torch.empty(weight.shape, dtype=torch.int8)
        for rows, row_scale, values in zip(
            weight.split(ROWS_AT_ONCE), scale.split(ROWS_AT_ONCE), rounded.split(ROWS_AT_ONCE), strict=True
        ):
            row_scale.copy_((rows.float().abs().amax(dim=1) / 127).clamp(min=1e-12))
            values.copy_((rows.float() / row_scale[:, None]).round_())
        self.weight = torch.ops.onednn.qlinear_prepack(rounded, None)
        self.scale = scale
        self.weight_bytes = rounded.nbytes + scale.nbytes
        self.zero = torch.zeros(len(scale), dtype=torch.int64)
        self.bias = None if linear.bias is None else linear.bias.detach().float()
        self.limit = activation_range()
        self.middle = torch.full((1,), self.limit + 1.5)

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., N)."""
        rows = x.reshape(-1, x.shape[-1])
        # for one row every operation here takes as long as a tenth of the product: there are few of them
        if len(rows) <= FEW_ROWS:
            largest = torch.linalg.vector_norm(rows, math.inf, dim=1, keepdim=True, dtype=torch.float32)
        else:
            largest = rows.abs().amax(dim=1, keepdim=True).float()
        step = torch.add(_TINY, largest, alpha=1 / self.limit)  # (M, 1)
        # cut off is rounded: the middle holds half a step more than the zero point
        quantised = torch.addcdiv(self.middle, rows, step).to(torch.uint8)
        out = torch.ops.onednn.qlinear_pointwise(
            quantised, 1.0, self.limit + 1, self.weight, self.scale, self.zero, None, 1.0, 0, torch.float32, "none",
            [], "",
        )  # fmt: skip
        out = out.mul_(step) if self.bias is None else torch.addcmul(self.bias, out, step, out=out)
        return out.to(x.dtype).view(*x.shape[:-1], len(self.scale))


GROUP = 32
"""Inputs that share a scale and a zero point in int4."""
FEW_ROWS = 8
"""Rows that the int4 kernel takes at once: past it, it is slower a row."""
MANY_ROWS = 128
"""From here on unpacking the weights once and multiplying in full precision is faster than the int4 kernel."""
BLOCKS_AT_ONCE = 16
"""Blocks of rows that are unpacked together: what they take stays in the CPU's cache."""


def round_to_int4(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Values 0 to 15 (N, K) of a float32 weight, and scale and zero point (N, K / GROUP, 1) in bfloat16.

    They stand for `(values - 8) * scale + zero`.
    """
    N, K = weight.shape
    groups = weight.view(N, K // GROUP, GROUP)
    low, high = groups.amin(dim=2, keepdim=True), groups.amax(dim=2, keepdim=True)
    # rounded to what is stored, so that the values are chosen for the scale that will be used
    scale = ((high - low) / 15).clamp(min=1e-8).bfloat16()
    zero = (low + 8 * scale.float()).bfloat16()
    values = ((groups - zero.float()) / scale.float()).round_().add_(8).clamp_(0, 15)
    return values.view(N, K), scale, zero


class Int4Linear(Packed):
    """Weights in int4 with a bfloat16 scale and zero point per `GROUP` inputs; activations stay as they are.

    Rows up to `MANY_ROWS` go through the weight-only kernel; for more (a prompt) the weights are unpacked.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach()  # (N, K)
        self.out_features = len(weight)
        parts = [_to_int4(rows) for rows in weight.split(ROWS_AT_ONCE)]
        self.weight = torch.cat([values for values, _ in parts])
        self.scale_zero = torch.cat([scale_zero for _, scale_zero in parts], dim=1)  # (K / GROUP, N, 2)
        self.weight_bytes = self.weight.nbytes + self.scale_zero.nbytes
        self.bias = None if linear.bias is None else linear.bias.detach()

    @staticmethod
    def fits(linear: nn.Linear) -> bool:
        """Whether the kernel takes these sizes."""
        return linear.in_features % GROUP == 0

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., N)."""
        rows = x.reshape(-1, x.shape[-1])
        if len(rows) <= FEW_ROWS:
            out = self._few(rows)
        elif len(rows) < MANY_ROWS:
            out = torch.cat([self._few(part) for part in rows.split(FEW_ROWS)])
        else:
            out = self._many(rows)
        out = out[:, : self.out_features]
        if self.bias is not None:
            out += self.bias
        return out.reshape(*x.shape[:-1], self.out_features)

    def _few(self, rows: Tensor) -> Tensor:
        # the kernel's other dtypes are not vectorised on every CPU
        halves = rows.to(torch.bfloat16)
        out = torch.ops.aten._weight_int4pack_mm_for_cpu(halves, self.weight, GROUP, self.scale_zero)
        return out.to(rows.dtype)

    def _many(self, rows: Tensor) -> Tensor:
        weight = self.unpacked(rows.dtype)
        if can_pack(rows.dtype):
            return torch.ops.mkldnn._linear_pointwise(rows, weight, None, "none", [], "")
        return F.linear(rows, weight)

    def unpacked(self, dtype: torch.dtype) -> Tensor:
        """The weight (N, K) that the stored values stand for; rows that fill up the last block included."""
        row_of_nibble = nibble_rows().argsort()  # (block,)
        low, high = row_of_nibble[0::2], row_of_nibble[1::2]
        block = len(row_of_nibble)
        num_groups, N = self.scale_zero.shape[:2]
        stored = self.weight.view(torch.int8).view(N // block, -1, block // 2).transpose(1, 2).contiguous()
        weight = torch.empty(N // block, block, num_groups * GROUP, dtype=dtype)
        for bytes_, rows in zip(stored.split(BLOCKS_AT_ONCE), weight.split(BLOCKS_AT_ONCE), strict=True):
            rows[:, low] = ((bytes_ & 15) - 8).to(dtype)
            rows[:, high] = (((bytes_ >> 4) & 15) - 8).to(dtype)
        scale, zero = self.scale_zero.to(dtype).transpose(0, 1).contiguous().split(1, dim=2)  # (N, groups, 1)
        grouped = weight.view(N, num_groups, GROUP)
        at_once = BLOCKS_AT_ONCE * block
        for part, factor, offset in zip(
            grouped.split(at_once), scale.split(at_once), zero.split(at_once), strict=True
        ):
            part.mul_(factor).add_(offset)
        return weight.view(N, -1)


def _to_int4(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (n, K) of a weight -> the kernel's nibbles, and its scales and zero points (K / GROUP, n, 2).

    Rows are added to fill the last block: vocabularies are seldom whole blocks.
    """
    rows = F.pad(rows.float(), (0, 0, 0, -len(rows) % nibble_rows().numel()))
    groups = rows.unflatten(1, (-1, GROUP))  # (n, K / GROUP, GROUP)
    low, high = groups.amin(dim=2, keepdim=True), groups.amax(dim=2, keepdim=True)
    # rounded to what is stored, so that the values are chosen for the scale that will be used
    scale = ((high - low) / 15).clamp(min=1e-8).bfloat16()
    zero = (low + 8 * scale.float()).bfloat16()
    values = ((groups - zero.float()) / scale.float()).round_().add_(8).clamp_(0, 15)
    packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(values.flatten(1).to(torch.int32), 1)
    return packed, torch.cat((scale, zero), dim=2).transpose(0, 1).contiguous()


@lru_cache(maxsize=1)
def nibble_rows() -> Tensor:
    """(block,) where the int4 layout keeps each row of a block among the nibbles of one input.

    The layout depends on the CPU and has no public description: it is read off by packing numbers. A block is
    the run of rows whose nibbles for one input lie together.
    """
    rows, inputs = 128, 2 * GROUP
    found = torch.zeros(rows * inputs, dtype=torch.int64)
    number = torch.arange(rows)[:, None].expand(rows, inputs)
    for digit in range(2):
        values = ((number >> (4 * digit)) & 15).to(torch.int32).contiguous()
        packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(values, 1).view(torch.uint8).flatten()
        found += torch.stack((packed & 15, packed >> 4), dim=-1).flatten().to(torch.int64) << (4 * digit)
    for block in (16, 32, 64, 128):
        places = found.view(-1, inputs, block)  # row number kept at each nibble
        if bool((places[0] < block).all()) and bool((places == places[:, :1]).all()):
            return places[0, 0].argsort()
    raise RuntimeError("the int4 layout of this CPU is not one of blocks of rows; use int8")

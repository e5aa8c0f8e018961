"""MXFP4, the packed form of GPT-OSS's original expert weights: 4-bit floats in blocks of 32 with a shared
exponent.

A weight `X` of E experts is stored as `X_blocks` (E, rows, groups, 16) uint8, two numbers a byte, low half
first, and `X_scales` (E, rows, groups) uint8, a power of two with bias 127 (OCP Microscaling formats v1.0,
section 5.3). The model holds `X` as (E, groups * 32, rows).
"""

from __future__ import annotations

import torch
from torch import Tensor

#: The 16 values of an E2M1 number, by its bits.
VALUES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)
SCALE_BIAS = 127


def packed_shape(blocks: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of the weight whose `_blocks` have this shape."""
    experts, rows, groups, half = blocks
    return (experts, groups * half * 2, rows)


def unpack_expert(blocks: Tensor, scales: Tensor) -> Tensor:
    """One expert, float32: blocks (rows, groups, 16), scales (rows, groups) -> (groups * 32, rows)."""
    values = torch.tensor(VALUES)
    low, high = values[(blocks & 0xF).long()], values[(blocks >> 4).long()]
    numbers = torch.stack((low, high), dim=-1).flatten(2)  # (rows, groups, 16, 2) -> (rows, groups, 32)
    numbers = torch.ldexp(numbers, scales.int()[..., None] - SCALE_BIAS)
    return numbers.flatten(1).T  # (rows, groups * 32) -> (groups * 32, rows)

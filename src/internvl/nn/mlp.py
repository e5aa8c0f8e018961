"""The two feed-forward forms: plain GELU in the vision tower, gated SiLU in the decoder."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class GeluMLP(nn.Module):
    """Linear, exact GELU, linear; both with bias (InternViT)."""

    def __init__(self, hidden_size: int, intermediate_size: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(hidden_size, intermediate_size)
        self.fc2 = nn.Linear(intermediate_size, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        return self.fc2(F.gelu(self.fc1(x)))


class GatedMLP(nn.Module):
    """down(silu(gate(x)) * up(x)); gate and up share one weight, gate rows first, for one product less."""

    def __init__(self, hidden_size: int, intermediate_size: int, *, bias: bool = False) -> None:
        super().__init__()
        self.gate_up = nn.Linear(hidden_size, 2 * intermediate_size, bias=bias)
        self.down = nn.Linear(intermediate_size, hidden_size, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)

"""Root-mean-square normalisation, as the decoders and the 6B vision tower use it."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class RMSNorm(nn.Module):
    """Scale each vector to unit root mean square, then by a learned weight (arXiv:1910.07467).

    Statistics are taken in float32 whatever the dtype of the input.
    """

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(size))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise over the last dimension; shape and dtype stay."""
        if x.dtype == torch.float32:
            if x.device.type == "cpu" and torch.is_grad_enabled():
                out: Tensor = _Trained.apply(x, self.weight, self.eps)
                return out
            return F.rms_norm(x, self.weight.shape, self.weight, self.eps)
        # The references round to the low precision first and multiply by the weight after.
        return self.weight * F.rms_norm(x.float(), self.weight.shape, None, self.eps).to(x.dtype)

    def extra_repr(self) -> str:
        """Size and epsilon, for `print(model)`."""
        return f"{self.weight.numel()}, eps={self.eps}"


class _Trained(torch.autograd.Function):
    """`F.rms_norm` on a CPU with a backward pass of its own: torch's goes through nine small steps there.

    Forward and backward of (4096, 256) on two cores: 3.0 instead of 7.9 ms.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """(..., C), (C,) -> (..., C)."""
        scale = torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
        ctx.save_for_backward(x, weight, scale)
        return x * scale * weight

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x and weight."""
        x, weight, scale = ctx.saved_tensors
        unit = x * scale
        of_weight = (grad_out * unit).flatten(0, -2).sum(0)
        of_unit = grad_out * weight
        along = (of_unit * unit).mean(-1, keepdim=True)
        return torch.addcmul(of_unit, unit, along, value=-1).mul_(scale), of_weight, None

"""Muon for the matrices of the layers, AdamW for all else (Jordan et al. 2024, kellerjordan.github.io/posts/muon).

The step of a matrix is its momentum with all singular values made about equal, scaled so that its entries are as large
as AdamW's (arXiv:2502.16982): one learning rate serves both. Unlike torch's Muon it orthogonalises in bfloat16 only
where that is fast (CPUs without bfloat16 units need thirty times as long), and takes joined queries, keys and values
as the three matrices that they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from internvl.nn.device import has_fast_kernels

MOMENTUM = 0.95
STEPS = 5
#: Of the quintic iteration; they trade exactness (singular values end within 0.7 .. 1.2) for speed.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
#: Root mean square of AdamW's steps, in learning rates.
ADAMW_RMS = 0.2


class Muon(torch.optim.AdamW):
    """AdamW but for groups with `"matrices": n`, whose parameters are n matrices on top of each other."""

    def __init__(self, groups: Iterable[dict[str, Any]], **settings: Any) -> None:
        super().__init__([{"matrices": 0, **group} for group in groups], **settings)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        groups = self.param_groups
        for group in groups:
            if group["matrices"]:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self._update(parameter, group)
        self.param_groups = [group for group in groups if not group["matrices"]]
        try:
            return super().step(closure)
        finally:
            self.param_groups = groups

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        momentum = state.setdefault("exp_avg", torch.zeros_like(parameter))
        grad = parameter.grad
        assert grad is not None
        momentum.lerp_(grad, 1 - MOMENTUM)
        ahead = _whole(grad.lerp(momentum, MOMENTUM))  # Nesterov's
        stacked = ahead.unflatten(0, (group["matrices"], -1))  # (n * R, C) -> (n, R, C)
        scale = ADAMW_RMS * math.sqrt(max(stacked.shape[1:]))
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        fast = stacked.bfloat16() if has_fast_kernels(torch.bfloat16, stacked.device) else stacked
        update = _share(orthogonalized(fast).to(parameter.dtype).flatten(0, 1), parameter)
        parameter.add_(update, alpha=-group["lr"] * scale)


def _whole(tensor: Tensor) -> Tensor:
    """All of a matrix that is shared out over processes: its singular values are no matter of some of its rows."""
    gather = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else gather()


def _share(tensor: Tensor, like: Tensor) -> Tensor:
    """This process's share of what all have computed alike."""
    if not hasattr(like, "device_mesh"):
        return tensor
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(like, DTensor)
    return distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None)


def orthogonalized(matrices: Tensor) -> Tensor:
    """Return matrices (n, R, C) with all singular values near 1 (Newton-Schulz); zeros stay zeros."""
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x

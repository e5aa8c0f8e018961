"""Activation checkpointing: a layer's intermediate values are computed again in the backward pass, not kept."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def run_layer(layer: nn.Module, *inputs: Any, recompute: bool) -> Any:
    """Run `layer(*inputs)`; with `recompute`, and where gradients are wanted, only its inputs stay in memory.

    Random numbers (drop path) are drawn alike in both passes.
    """
    if recompute and torch.is_grad_enabled():
        return checkpoint(layer, *inputs, use_reentrant=False)
    return layer(*inputs)


def set_recompute(model: nn.Module, recompute: bool) -> None:
    """Choose it for every part of `model` that knows of it (`recompute` of the vision tower and the decoder)."""
    for module in model.modules():
        if hasattr(module, "recompute"):
            module.recompute = recompute  # type: ignore[assignment]  # each such part has it as a bool

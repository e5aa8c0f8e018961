"""Activation checkpointing: a layer's intermediate values are computed again in the backward pass, not kept."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

#: Nothing; everything; or all but products of matrices and attention, which are what takes the time.
Recompute = Literal[False, True, "selective"]

#: What "selective" keeps the results of.
_KEPT = frozenset(
    {
        "aten::mm",
        "aten::addmm",
        "aten::bmm",
        "aten::baddbmm",
        "aten::_scaled_dot_product_flash_attention_for_cpu",
        "aten::_scaled_dot_product_flash_attention",
        "aten::_scaled_dot_product_efficient_attention",
        "aten::_scaled_dot_product_cudnn_attention",
        "torch_attn::_varlen_attn",
    }
)


def run_layer(layer: nn.Module, *inputs: Any, recompute: Recompute) -> Any:
    """Run `layer(*inputs)`; where gradients are wanted, only what `recompute` leaves of it stays in memory.

    Random numbers (drop path) are drawn alike in both passes.
    """
    if not recompute or not torch.is_grad_enabled():
        return layer(*inputs)
    if recompute == "selective":
        contexts = partial(create_selective_checkpoint_contexts, _policy)
        return checkpoint(layer, *inputs, use_reentrant=False, context_fn=contexts)
    return checkpoint(layer, *inputs, use_reentrant=False)


def set_recompute(model: nn.Module, recompute: Recompute) -> None:
    """Choose it for every part of `model` that knows of it (`recompute` of the vision tower and the decoder)."""
    for module in model.modules():
        if hasattr(module, "recompute"):
            module.recompute = recompute  # type: ignore[assignment]  # each such part has it


def _policy(context: Any, operation: Any, *arguments: Any, **options: Any) -> CheckpointPolicy:
    kept = operation._schema.name in _KEPT
    return CheckpointPolicy.MUST_SAVE if kept else CheckpointPolicy.PREFER_RECOMPUTE

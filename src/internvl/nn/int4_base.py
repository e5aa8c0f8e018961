"""Frozen linear layers in 4 bits that gradients pass through: the base of QLoRA (arXiv:2305.14314), on any device.

The same rounding as `nn.packed.Int4Linear`, so that an adapter is trained on the weights it is served with by
`quantize="int4"`. Legend: `K` inputs, `N` outputs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internvl.errors import ConfigError
from internvl.nn.lora_linear import plain_linear
from internvl.nn.packed import GROUP, round_to_int4


class Int4Base(nn.Module):
    """A weight in int4 with a bfloat16 scale and zero point per `GROUP` inputs; unpacked for each product."""

    nibbles: Tensor
    """(N, K / 2) uint8: an input's value in the low half, the next one's in the high half."""
    scale: Tensor
    """(N, K / GROUP, 1)."""
    zero: Tensor
    """(N, K / GROUP, 1)."""
    bias: Tensor | None

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.out_features, self.in_features = linear.weight.shape
        self.dtype = linear.weight.dtype
        values, scale, zero = round_to_int4(linear.weight.detach().float())
        even, odd = values.to(torch.uint8).unflatten(1, (-1, 2)).unbind(2)
        self.register_buffer("nibbles", even | (odd << 4))
        self.register_buffer("scale", scale)
        self.register_buffer("zero", zero)
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., N)."""
        # under autocast the product is in its dtype, as for a plain layer
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else self.dtype
        out = _Product.apply(x.to(dtype), self.nibbles, self.scale, self.zero)
        return out if self.bias is None else out + self.bias.to(dtype)

    def dense(self) -> Tensor:
        """The weight (N, K) that the stored values stand for."""
        return unpack(self.nibbles, self.scale, self.zero, self.dtype)

    def to_linear(self) -> nn.Linear:
        """A plain layer with the same numbers."""
        return plain_linear(self.dense(), self.bias)


class _Product(torch.autograd.Function):
    """x W^T, which keeps the packed weight for the gradient of x instead of the unpacked one."""

    @staticmethod
    def forward(ctx, x: Tensor, nibbles: Tensor, scale: Tensor, zero: Tensor) -> Tensor:  # noqa: ANN001
        ctx.save_for_backward(nibbles, scale, zero)
        return F.linear(x, unpack(nibbles, scale, zero, x.dtype))

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, None, None, None]:  # noqa: ANN001
        if not ctx.needs_input_grad[0]:
            return None, None, None, None
        nibbles, scale, zero = ctx.saved_tensors
        return gradient @ unpack(nibbles, scale, zero, gradient.dtype), None, None, None


def unpack(nibbles: Tensor, scale: Tensor, zero: Tensor, dtype: torch.dtype) -> Tensor:
    """(N, K / 2) bytes -> the weight (N, K)."""
    values = torch.stack((nibbles & 15, nibbles >> 4), dim=2).to(dtype).sub_(8)  # (N, K / 2, 2)
    grouped = values.view(len(nibbles), -1, GROUP)
    return grouped.mul_(scale.to(dtype)).add_(zero.to(dtype)).flatten(1)


def quantize_linears(decoder: nn.Module) -> None:
    """Put a decoder's linear layers into 4 bits, in place; not its output layer, nor sizes that groups do not fill.

    Raises ConfigError for a mixture of experts, whose weights are no linear layers.
    """
    if getattr(getattr(decoder, "config", None), "moe", None) is not None:
        raise ConfigError("quantize='int4' does not take mixtures of experts; leave it out of LoraConfig")
    for name, module in list(decoder.named_modules()):
        if isinstance(module, nn.Linear) and name != "lm_head" and module.in_features % GROUP == 0:
            decoder.set_submodule(name, Int4Base(module).train(module.training))

"""A linear layer with low-rank adapters: `W x + scale * B A x` (LoRA, arXiv:2106.09685), DoRA's magnitudes on top.

Our q, k and v share one weight, and so do gate and up, while adapters are trained and stored for each by itself.
So a `LoraLinear` has *parts*: each adapts a run of the outputs. Legend: `K` inputs, `N` outputs, `n` outputs of a
part, `r` its rank.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Gives a layer's weight (N, K), in the dtype it computes in; layers that store it packed unpack it.
Dense = Callable[[], Tensor]


class LoraPart(nn.Module):
    """The adapter of outputs [start, stop)."""

    def __init__(
        self,
        lora_a: Tensor,
        lora_b: Tensor,
        magnitude: Tensor | None = None,
        *,
        start: int,
        alpha: float,
        use_rslora: bool = False,
    ) -> None:
        """`lora_a` (r, K), `lora_b` (n, r), `magnitude` (n,) for DoRA; alpha and rsLoRA as PEFT means them."""
        super().__init__()
        self.lora_a = nn.Parameter(lora_a)
        self.lora_b = nn.Parameter(lora_b)
        self.magnitude = None if magnitude is None else nn.Parameter(magnitude)
        self.start, self.stop = start, start + len(lora_b)
        self.alpha = alpha
        self.use_rslora = use_rslora

    @property
    def rank(self) -> int:
        """How many directions it may use."""
        return len(self.lora_a)

    @property
    def scale(self) -> float:
        """What its product is multiplied by: alpha / r, or alpha / sqrt(r) (rsLoRA, arXiv:2312.03732)."""
        return self.alpha / (self.rank**0.5 if self.use_rslora else self.rank)

    def delta(self) -> Tensor:
        """`scale * B A` (n, K), in float32."""
        return (self.lora_b.float() @ self.lora_a.float()) * self.scale

    def gain(self, weight: Tensor) -> Tensor | None:
        """DoRA's factor of each output (n,) over a whole weight (N, K); None for plain LoRA.

        The norm is a constant to the gradient (DoRA, arXiv:2402.09353, section 4.3).
        """
        if self.magnitude is None:
            return None
        with torch.no_grad():
            rows = weight[self.start : self.stop].float() + self.delta()
            norm = torch.linalg.vector_norm(rows, dim=1)
        return self.magnitude / norm

    def extra_repr(self) -> str:
        """Outputs and rank, for `print(model)`."""
        kind = "LoRA" if self.magnitude is None else "DoRA"
        return f"{kind}, outputs {self.start}:{self.stop}, r={self.rank}, alpha={self.alpha:g}"


class LoraLinear(nn.Module):
    """A frozen linear layer, and the adapters of its parts.

    `base` is an `nn.Linear`, or a layer of the same form with a method `dense()` that gives its weight.
    """

    def __init__(self, base: nn.Module, parts: dict[str, LoraPart], *, dropout: float = 0.0) -> None:
        super().__init__()
        self.base = base
        self.dropout = dropout
        self.parts = nn.ModuleDict(
            {name: parts[name] for name in sorted(parts, key=lambda name: parts[name].start)}
        )

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., N)."""
        out = self.base(x)
        parts = self.ordered_parts()
        dropping = self.training and self.dropout > 0
        dropped = F.dropout(x, self.dropout) if dropping else x
        # one product for all parts' A: they read the same inputs
        together = torch.cat([part.lora_a for part in parts]) if len(parts) > 1 else parts[0].lora_a
        inner = F.linear(dropped.to(together.dtype), together)  # (..., sum of r)
        pieces, done = [], 0
        for part, low in zip(parts, inner.split([part.rank for part in parts], dim=-1), strict=True):
            if part.start > done:
                pieces.append(out[..., done : part.start])
            delta = F.linear(low, part.lora_b) * part.scale  # (..., n)
            pieces.append(self._changed(out, part, delta, dropped if dropping else None))
            done = part.stop
        if done < out.shape[-1]:
            pieces.append(out[..., done:])
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=-1)

    def _changed(self, out: Tensor, part: LoraPart, delta: Tensor, dropped: Tensor | None) -> Tensor:
        """A part's outputs (..., n) with its adapter; `dropped` are the inputs where dropout is at work."""
        piece = out[..., part.start : part.stop]
        if part.magnitude is None:
            return piece + delta.to(piece.dtype)
        weight = self.dense()
        gain = part.gain(weight)
        assert gain is not None
        if dropped is None:
            bias = self._bias(part)
            product = piece if bias is None else piece - bias
        else:
            # as PEFT: what passes the frozen layer is whole, what the magnitude scales has dropout
            product = F.linear(dropped, weight[part.start : part.stop])
        return piece + ((gain - 1) * product + gain * delta).to(piece.dtype)

    def _bias(self, part: LoraPart) -> Tensor | None:
        bias = self.base.bias
        return None if bias is None else bias[part.start : part.stop]  # type: ignore[index]

    def ordered_parts(self) -> list[LoraPart]:
        """The parts by their place among the outputs."""
        return list(self.parts.values())  # type: ignore[arg-type]

    def dense(self) -> Tensor:
        """The frozen weight (N, K)."""
        if isinstance(self.base, nn.Linear):
            return self.base.weight.detach()
        return self.base.dense()  # type: ignore[operator]

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """A plain layer that computes the same: the adapters are added to the weight, in float32."""
        dense = self.dense()
        weight = dense.float().clone() if dense.dtype == torch.float32 else dense.float()
        for part in self.ordered_parts():
            gain = part.gain(dense)
            rows = weight[part.start : part.stop]
            rows += part.delta()
            if gain is not None:
                rows *= gain[:, None].float()
        return plain_linear(weight.to(dense.dtype), self.base.bias)  # type: ignore[arg-type]


def plain_linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A frozen `nn.Linear` around these numbers; nothing is drawn or copied."""
    linear = nn.Linear.__new__(nn.Linear)
    nn.Module.__init__(linear)
    linear.out_features, linear.in_features = weight.shape
    linear.weight = nn.Parameter(weight, requires_grad=False)
    linear.register_parameter("bias", None if bias is None else nn.Parameter(bias.detach(), False))
    return linear

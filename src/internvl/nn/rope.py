"""Rotary position embedding and its ways of reaching past the trained length.

Legend: `B` sequences, `T` tokens, `Dh` head dim. Angles are float32; the rotation runs in the dtype of q
and k.

Two kinds depend on how long the sequence *is*: `dynamic` (NTK) raises the base with the length once it
exceeds `max_position`, and `longrope` (Phi-3's "su") switches from short to long factors past the original
length. The references keep the longest length ever seen as hidden state of the module, so that their
answers depend on what was asked before. Here every token has a length of its own, a function of its request
alone: a prompt's tokens all have the prompt's length, the token generated at position p has length p + 1.
From a fresh start that is what the references compute too (logits and answers), and chunked, preempted and
batched runs agree with whole ones. The price is that an uncached pass over prompt *and* answer, which takes
both for a prompt, differs past the limit.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from internvl.config.model import RopeConfig, TextConfig
from internvl.errors import ConfigError


class Rope:
    """Cosines and sines for a decoder; holds no weights and no state."""

    def __init__(self, config: TextConfig) -> None:
        self.head_dim = config.head_dim
        self.max_position = config.max_position
        self.config = config.rope
        self.attention_factor = _attention_factor(config.rope, config.max_position)
        """Scales cosines and sines, and so the attention scores by its square (yarn, longrope)."""
        self._inv_freq: dict[torch.device, Tensor] = {}
        if config.rope.kind == "longrope":
            for name in ("short_factor", "long_factor"):
                found = len(getattr(config.rope, name))
                if found != config.head_dim // 2:
                    raise ConfigError(
                        f"RopeConfig.{name} holds {found} numbers; head_dim {config.head_dim} needs "
                        f"{config.head_dim // 2}. Compare rope_scaling in config.json."
                    )

    @property
    def length_limit(self) -> int | None:
        """Frequencies are the same for all sequences up to this length; None = for any length."""
        if self.config.kind == "dynamic":
            return self.max_position
        if self.config.kind == "longrope":
            return self.config.original_max_position or self.max_position
        return None

    def cos_sin(self, positions: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the cosines and sines, each (B, 1, T, Dh/2) float32, for `positions` (B, T) int64.

        `lengths` (B, T), the sequence length that each token goes by, only matters past `length_limit`.
        """
        limit = self.length_limit
        if limit is None or lengths is None or int(lengths.max()) <= limit:
            inv_freq = self._short(positions.device)  # (Dh/2,)
        else:
            inv_freq = self._stretched(lengths, limit)  # (B, T, Dh/2)
        angles = (positions[:, :, None].float() * inv_freq)[:, None]  # (B, 1, T, Dh/2)
        return angles.cos() * self.attention_factor, angles.sin() * self.attention_factor

    def _short(self, device: torch.device) -> Tensor:
        if device not in self._inv_freq:
            # The first call may run under inference_mode; training must be able to use the result later.
            with torch.inference_mode(False), torch.device("cpu"):
                inv_freq = _inverse_frequencies(self.config, self.head_dim, self.max_position)
                self._inv_freq[device] = inv_freq.to(device)
        return self._inv_freq[device]

    def _stretched(self, lengths: Tensor, limit: int) -> Tensor:
        """Frequencies (B, T, Dh/2) where some of `lengths` (B, T) exceed the limit."""
        rope, dim = self.config, self.head_dim
        if rope.kind == "dynamic":
            reach = lengths.clamp(min=limit).double()
            stretch = rope.factor * reach / self.max_position - (rope.factor - 1)
            theta = (rope.theta * stretch ** (dim / (dim - 2))).float()[..., None]  # (B, T, 1)
            return 1.0 / theta ** (torch.arange(0, dim, 2, device=lengths.device).float() / dim)
        long = _powers(rope.theta, dim) / torch.tensor(rope.long_factor)
        return torch.where(lengths[..., None] > limit, long.to(lengths.device), self._short(lengths.device))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate x (B, H, T, Dh), halves paired, by (B, 1, T, Dh/2) cosines and sines."""
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def _powers(theta: float, dim: int) -> Tensor:
    return 1.0 / theta ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim)


def _inverse_frequencies(rope: RopeConfig, dim: int, max_position: int) -> Tensor:
    """Frequencies (Dh/2,) of a sequence within `Rope.length_limit`."""
    inv_freq = _powers(rope.theta, dim)
    if rope.kind in ("default", "dynamic"):
        return inv_freq
    if rope.kind == "linear":
        return inv_freq / rope.factor
    if rope.kind == "longrope":
        return inv_freq / torch.tensor(rope.short_factor)
    original = rope.original_max_position or max_position
    if rope.kind == "llama3":
        return _llama3(inv_freq, rope, original)
    return _yarn(inv_freq, rope, dim, original)


def _llama3(inv_freq: Tensor, rope: RopeConfig, original: int) -> Tensor:
    """Llama 3.1: keep high frequencies, divide low ones by the factor, blend between."""
    turns = original * inv_freq / (2 * math.pi)  # full turns within the trained length
    blend = (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)
    blend = blend.clamp(0, 1)
    return (1 - blend) * inv_freq / rope.factor + blend * inv_freq


def _yarn(inv_freq: Tensor, rope: RopeConfig, dim: int, original: int) -> Tensor:
    """YaRN (arXiv:2309.00071): blend by how many turns a dimension makes within the trained length."""

    def dimension_of(turns: float) -> float:
        return dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(rope.theta))

    low, high = dimension_of(rope.beta_fast), dimension_of(rope.beta_slow)
    if rope.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    if low == high:
        high += 0.001  # as the reference: avoid a division by zero
    ramp = ((torch.arange(dim // 2, dtype=torch.float32) - low) / (high - low)).clamp(0, 1)
    return inv_freq / rope.factor * ramp + inv_freq * (1 - ramp)


def _attention_factor(rope: RopeConfig, max_position: int) -> float:
    if rope.attention_factor is not None:
        return rope.attention_factor
    if rope.kind == "yarn":
        return 0.1 * math.log(rope.factor) + 1.0 if rope.factor > 1 else 1.0
    if rope.kind == "longrope":
        original = rope.original_max_position or max_position
        stretch = max_position / original
        return math.sqrt(1 + math.log(stretch) / math.log(original)) if stretch > 1 else 1.0
    return 1.0

"""Attention: the product itself in several forms, and the decoder's self-attention with its cache.

Legend: `B` sequences, `T` new tokens, `S` keys (stored and new), `H` query heads, `G` kv heads, `Dh` head
dim.

Masks are built only where causality alone does not say it (padding, windows shorter than the text, a chunk
behind stored tokens), once per call and shared by the layers. With a cache each row is attended by itself
over its own length: no padding is computed, and a sequence's attention does not depend on its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internvl.config.model import TextConfig
from internvl.errors import ConfigError, MissingDependencyError
from internvl.nn.kv_cache import KVCache
from internvl.nn.norm import RMSNorm
from internvl.nn.rope import Rope, rotate

AttentionKind = Literal["sdpa", "flash"]


def attend(q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
    """Grouped-query attention: q (B, H, T, Dh), k and v (B, G, S, Dh) -> (B, H, T, Dh).

    `mask`, True where a query may look, broadcasts to (B, 1, T, S); `is_causal` needs T == S.
    """
    B, H, T, Dh = q.shape
    G, S = k.shape[1], k.shape[2]
    if H == G:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=is_causal and T > 1)
    if T == 1 and mask is None:
        # The queries of one group as rows of one product: reads each key once instead of H / G times.
        out = F.scaled_dot_product_attention(q.reshape(B, G, H // G, Dh), k, v)
        return out.reshape(B, H, T, Dh)
    # Groups as batch and expanded keys: faster on the CPU than enable_gqa, and nothing is copied.
    q = q.reshape(B * G, H // G, T, Dh)
    k = k.reshape(B * G, 1, S, Dh).expand(-1, H // G, -1, -1)
    v = v.reshape(B * G, 1, S, Dh).expand(-1, H // G, -1, -1)
    if mask is not None and mask.dim() == 4 and B > 1:
        mask = mask.expand(B, 1, T, S).repeat_interleave(G, dim=0)  # (B*G, 1, T, S)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=is_causal and T > 1)
    return out.reshape(B, H, T, Dh)


#: Scores held at once by `attend_with_sinks`; a long prompt is worked off in blocks of queries.
SINK_SCORES = 2**24


def attend_with_sinks(q: Tensor, k: Tensor, v: Tensor, sinks: Tensor, *, mask: Tensor | None) -> Tensor:
    """Attention whose softmax has one more learned term per head that carries no value (GPT-OSS).

    Shapes as in `attend`; `sinks` (H,). The mask must hold causality too.
    """
    B, H, T, Dh = q.shape
    G, S = k.shape[1], k.shape[2]
    block = max(1, SINK_SCORES // (B * H * S))
    if block < T:
        masks = [None] * T if mask is None else mask.split(block, dim=-2)
        parts = [
            attend_with_sinks(part, k, v, sinks, mask=part_mask)
            for part, part_mask in zip(q.split(block, dim=2), masks, strict=False)
        ]
        return torch.cat(parts, dim=2)
    q = q.reshape(B, G, H // G, T, Dh)
    scores = (q @ k[:, :, None].transpose(-1, -2)) * Dh**-0.5  # (B, G, H/G, T, S)
    if mask is not None:
        scores = scores.masked_fill(~mask.reshape(-1, 1, 1, *mask.shape[-2:]), float("-inf"))
    column = sinks.to(scores.dtype).view(1, G, H // G, 1, 1).expand(B, -1, -1, T, -1)
    weights = torch.cat((scores, column), dim=-1).float().softmax(dim=-1)[..., :-1]
    return (weights.to(v.dtype) @ v[:, :, None]).reshape(B, H, T, Dh)


def attend_flash(q: Tensor, k: Tensor, v: Tensor, *, window: int | None) -> Tensor:
    """`attend` with causality and window by the flash-attn package (CUDA, half precision); no padding."""
    try:
        from flash_attn import flash_attn_func
    except ImportError as error:
        raise MissingDependencyError(
            'attention="flash" needs the flash-attn package and a CUDA device: pip install flash-attn '
            '--no-build-isolation, or use attention="sdpa"'
        ) from error
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))  # (B, H, T, Dh) -> (B, T, H, Dh)
    reach = (-1, -1) if window is None else (window - 1, 0)
    return flash_attn_func(q, k, v, causal=True, window_size=reach).transpose(1, 2)


def causal_mask(num_new: int, num_keys: int, window: int | None, device: torch.device) -> Tensor:
    """(T, S) True where the last T of S tokens may look: itself and before, at most `window` keys."""
    offset = num_keys - num_new
    query = torch.arange(offset, num_keys, device=device)[:, None]
    key = torch.arange(num_keys, device=device)[None, :]
    mask = key <= query
    if window is not None:
        mask &= key > query - window
    return mask


@dataclass(slots=True)
class AttentionPlan:
    """What all layers of one decoder call share: angles, masks, and where the cache is written."""

    cos: Tensor
    """(B or 1, 1, T, Dh/2) for the new tokens."""
    sin: Tensor
    cache: KVCache | None = None
    rows: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    """Tokens stored per row before this call."""
    padding: Tensor | None = None
    """(B, T) True at real tokens; None when all are."""
    masks: dict[tuple[int, int, int | None], Tensor] = field(default_factory=dict)

    @classmethod
    def uncached(
        cls, rope: Rope, batch: int, length: int, attention_mask: Tensor | None, device: torch.device
    ) -> AttentionPlan:
        """Plan a call without a cache: B sequences of T tokens; `attention_mask` (B, T) or None."""
        positions = torch.arange(length, device=device)[None]  # (1, T)
        # The references go by the longest sequence of a batch, padding included.
        lengths = torch.full_like(positions, length)
        if attention_mask is None or bool(attention_mask.all()):
            return cls(*rope.cos_sin(positions, lengths))
        if attention_mask.shape != (batch, length):
            raise ConfigError(
                f"attention_mask has shape {tuple(attention_mask.shape)}, inputs have ({batch}, {length})"
            )
        padding = attention_mask.to(device=device, dtype=torch.bool)
        positions = (padding.long().cumsum(dim=1) - 1).clamp(min=0)  # (B, T)
        return cls(*rope.cos_sin(positions, lengths), padding=padding)

    @classmethod
    def cached(
        cls, rope: Rope, cache: KVCache, rows: list[int], num_new: int, device: torch.device
    ) -> AttentionPlan:
        """Plan a call that appends `num_new` tokens to each of `rows`."""
        cache.check_room(rows, num_new)
        stored = cache.lengths[rows]  # (B,)
        fresh = (stored == 0) & (cache.prompt_lengths[rows] == 0)
        cache.prompt_lengths[rows] = torch.where(fresh, num_new, cache.prompt_lengths[rows])
        positions = stored[:, None] + torch.arange(num_new)  # (B, T)
        lengths = torch.maximum(positions + 1, cache.prompt_lengths[rows][:, None])
        cos, sin = rope.cos_sin(positions.to(device), lengths.to(device))
        return cls(cos, sin, cache=cache, rows=rows, starts=stored.tolist())

    def mask(self, num_new: int, num_keys: int, window: int | None, *, force: bool = False) -> Tensor | None:
        """The mask for these sizes, or None where plain causality (or nothing) is meant.

        (T, S) or, with padding, (B, 1, T, S). `force` spells out plain causality too.
        """
        if window is not None and window >= num_keys:
            window = None
        plain = window is None and self.padding is None and num_new in (1, num_keys)
        if plain and not force:
            return None
        key = (num_new, num_keys, window)
        if key not in self.masks:
            device = self.cos.device
            mask = causal_mask(num_new, num_keys, window, device)
            if self.padding is not None:
                mask = mask & self.padding[:, None, None, :]  # (B, 1, T, S)
                # A padded query looks at itself: an empty row would give NaN.
                mask = mask | torch.eye(num_new, dtype=torch.bool, device=device)
            self.masks[key] = mask
        return self.masks[key]


class Attention(nn.Module):
    """Causal self-attention with rotary positions; q, k and v share one weight, in this order of rows."""

    def __init__(self, config: TextConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.num_heads, self.num_kv_heads, self.head_dim = (
            config.num_heads,
            config.num_kv_heads,
            config.head_dim,
        )
        self.window = config.window(layer)
        self.kind: AttentionKind = "sdpa"
        width = config.num_heads * config.head_dim
        kv_width = config.num_kv_heads * config.head_dim
        self.splits = (width, kv_width, kv_width)
        self.qkv = nn.Linear(config.hidden_size, width + 2 * kv_width, bias=config.qkv_bias)
        self.out = nn.Linear(width, config.hidden_size, bias=config.o_bias)
        self.q_norm = RMSNorm(config.head_dim, config.norm_eps) if config.qk_norm else None
        self.k_norm = RMSNorm(config.head_dim, config.norm_eps) if config.qk_norm else None
        self.sinks = nn.Parameter(torch.empty(config.num_heads)) if config.attention_sinks else None

    def forward(self, x: Tensor, plan: AttentionPlan) -> Tensor:
        """(B, T, D) -> (B, T, D); writes keys and values into the plan's cache."""
        B, T, _ = x.shape
        q, k, v = self.qkv(x).split(self.splits, dim=-1)
        q = q.view(B, T, self.num_heads, self.head_dim)
        k = k.view(B, T, self.num_kv_heads, self.head_dim)
        v = v.view(B, T, self.num_kv_heads, self.head_dim).transpose(1, 2)  # (B, G, T, Dh)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = q.transpose(1, 2), k.transpose(1, 2)  # (B, H, T, Dh), (B, G, T, Dh)
        q, k = rotate(q, plan.cos, plan.sin), rotate(k, plan.cos, plan.sin)
        if plan.cache is None:
            out = self._attend(q, k, v, plan)
        else:
            out = self._attend_cached(q, k, v, plan, plan.cache)
        return self.out(out.transpose(1, 2).reshape(B, T, -1))

    def _attend_cached(self, q: Tensor, k: Tensor, v: Tensor, plan: AttentionPlan, cache: KVCache) -> Tensor:
        T = q.shape[2]
        outs = []
        for i, (row, start) in enumerate(zip(plan.rows, plan.starts, strict=True)):
            cache.write(self.layer, row, start, k[i], v[i])
            stop = start + T
            # Keys before the window of the first new token are seen by nobody.
            begin = 0 if self.window is None else max(0, start + 1 - self.window)
            keys = cache.keys[self.layer, row, None, :, begin:stop]  # (1, G, S, Dh)
            values = cache.values[self.layer, row, None, :, begin:stop]
            outs.append(self._attend(q[i : i + 1], keys, values, plan))
        return torch.cat(outs) if len(outs) > 1 else outs[0]

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, plan: AttentionPlan) -> Tensor:
        T, S = q.shape[2], k.shape[2]
        if self.sinks is not None:
            return attend_with_sinks(q, k, v, self.sinks, mask=plan.mask(T, S, self.window, force=T > 1))
        if self.kind == "flash" and plan.padding is None:
            return attend_flash(q, k, v, window=self.window)
        mask = plan.mask(T, S, self.window)
        return attend(q, k, v, mask=mask, is_causal=mask is None and T > 1)

"""Attention: the product itself in several forms, and the decoder's self-attention with its cache.

Legend: `B` sequences, `T` new tokens, `S` keys (stored and new), `H` query heads, `G` kv heads, `Dh` head
dim.

Masks are built only where causality alone does not say it (padding, windows shorter than the text, a chunk
behind stored tokens), once per call and shared by the layers. With a cache the new tokens of all sequences
are packed one after the other, (1, S, D); each sequence is attended by itself over its own length, but for
single tokens where that would be many small products (`_attended_together`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import takewhile
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internvl.config.model import TextConfig
from internvl.errors import ConfigError, MissingDependencyError
from internvl.nn.kv_cache import KVCache, Span
from internvl.nn.norm import RMSNorm
from internvl.nn.products import attend_by_products, goes_by_products
from internvl.nn.rope import Rope, rotate

AttentionKind = Literal["sdpa", "flash"]


def attend(q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
    """Grouped-query attention: q (B, H, T, Dh), k and v (B, G, S, Dh) -> (B, H, T, Dh).

    `mask`, True where a query may look, broadcasts to (B, 1, T, S); `is_causal` needs T == S.
    """
    if goes_by_products(q, k):
        return attend_by_products(q, k, v, mask=mask, is_causal=is_causal)
    B, H, T, Dh = q.shape
    G, S = k.shape[1], k.shape[2]
    if H == G:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=is_causal and T > 1)
    if T == 1:
        # The queries of one group as rows of one product: reads each key once instead of H / G times.
        out = F.scaled_dot_product_attention(q.reshape(B, G, H // G, Dh), k, v, attn_mask=mask)
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


def can_attend_varlen(q: Tensor) -> bool:
    """Whether torch's flash attention over packed documents (torch >= 2.10) takes these queries."""
    return q.is_cuda and q.dtype in (torch.float16, torch.bfloat16) and _varlen_attn() is not None


@lru_cache(maxsize=1)
def _varlen_attn() -> Callable[..., Any] | None:
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn


def attend_varlen(q: Tensor, k: Tensor, v: Tensor, documents: Documents, *, window: int | None) -> Tensor:
    """`attend` with causality within each document of one packed row, in one kernel; shapes with B = 1."""
    kernel = _varlen_attn()
    assert kernel is not None
    q, k, v = (x[0].transpose(0, 1) for x in (q, k, v))  # (1, H, T, Dh) -> (T, H, Dh)
    longest = max(documents.lengths)
    out = kernel(
        q,
        k,
        v,
        documents.cu_seqlens,
        documents.cu_seqlens,
        longest,
        longest,
        window_size=(-1 if window is None else window - 1, 0),
        enable_gqa=q.shape[1] != k.shape[1],
    )
    return out.transpose(0, 1)[None]  # (T, H, Dh) -> (1, H, T, Dh)


def causal_mask(num_new: int, num_keys: int, window: int | None, device: torch.device) -> Tensor:
    """(T, S) True where the last T of S tokens may look: itself and before, at most `window` keys."""
    offset = num_keys - num_new
    query = torch.arange(offset, num_keys, device=device)[:, None]
    key = torch.arange(num_keys, device=device)[None, :]
    mask = key <= query
    if window is not None:
        mask &= key > query - window
    return mask


#: Keys of single tokens that are copied into one padded product (elements). On a CPU with few threads reading
#: each sequence where it lies is 20 % faster above this, 1.5 x slower below (measured at 1 thread, 2 to 32
#: sequences of 100 to 4096 tokens).
TOGETHER = 2**19

#: The same on GPUs and where many threads wait for work; bounds the memory of the copies.
TOGETHER_WIDE = 2**26


def most_together(device: torch.device, num_kv_heads: int) -> int:
    """Return the most keys (elements; and as many values) of single tokens that are copied at once."""
    wide = device.type != "cpu" or torch.get_num_threads() > num_kv_heads
    return TOGETHER_WIDE if wide else TOGETHER


@dataclass(frozen=True, slots=True)
class Segment:
    """The new tokens of one sequence in a packed call."""

    row: int
    start: int
    """Tokens stored before this call."""
    num_new: int

    @property
    def stop(self) -> int:
        """Tokens stored after this call."""
        return self.start + self.num_new


@dataclass(frozen=True, slots=True)
class Documents:
    """Where the documents of one packed row lie; a token sees only its own."""

    cu_seqlens: Tensor
    """(documents + 1,) int32, from 0 to T."""
    lengths: tuple[int, ...]
    """Tokens of each."""


@dataclass(slots=True)
class AttentionPlan:
    """What all layers of one decoder call share: angles, masks, and where the cache is written and read."""

    cos: Tensor
    """(B or 1, 1, T, Dh/2) for the new tokens."""
    sin: Tensor
    cache: KVCache | None = None
    segments: list[Segment] = field(default_factory=list)
    """With a cache: the sequences in the order of their packed tokens."""
    slots: Tensor | None = None
    """(S,) where the packed tokens are stored."""
    num_together: int = 0
    """Leading segments, of one token each, that are attended in one padded product."""
    padding: Tensor | None = None
    """(B, T) True at real tokens; None when all are."""
    documents: Documents | None = None
    """Of a packed row without a cache; None: each row is one sequence."""
    masks: dict[tuple[int, int, int | None], Tensor] = field(default_factory=dict)
    _spans: dict[tuple[int, int], Span] = field(default_factory=dict)
    _tables: dict[int | None, tuple[Tensor, Tensor]] = field(default_factory=dict)

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
    def packed(cls, rope: Rope, cu_seqlens: Tensor, length: int, device: torch.device) -> AttentionPlan:
        """Plan a call without a cache over documents packed into one row of `length` tokens.

        Raises:
            ConfigError: `cu_seqlens` do not rise from 0 to `length`.
        """
        edges = cu_seqlens.tolist()
        lengths = tuple(stop - start for start, stop in zip(edges, edges[1:], strict=False))
        if not lengths or edges[0] != 0 or edges[-1] != length or min(lengths) < 1:
            raise ConfigError(
                f"cu_seqlens {edges} must rise from 0 to the {length} tokens of the row, one document at a time"
            )
        counts = torch.tensor(lengths, device=device)
        starts = cu_seqlens[:-1].to(device=device, dtype=torch.int64)
        positions = torch.arange(length, device=device) - starts.repeat_interleave(counts)  # (T,)
        cos, sin = rope.cos_sin(positions[None], counts.repeat_interleave(counts)[None])
        documents = Documents(cu_seqlens.to(device=device, dtype=torch.int32), lengths)
        return cls(cos, sin, documents=documents)

    @classmethod
    def cached(
        cls, rope: Rope, cache: KVCache, rows: Sequence[int], num_new: Sequence[int], device: torch.device
    ) -> AttentionPlan:
        """Plan a call that appends `num_new[i]` tokens to `rows[i]`, packed one after the other."""
        segments: list[Segment] = []
        slots: list[int] = []
        positions: list[int] = []
        lengths: list[int] = []
        begun: list[int] = []
        for row, count in zip(rows, num_new, strict=True):
            cache.check_room(row, count)
        for row, count in zip(rows, num_new, strict=True):
            cache_row = cache.rows[row]
            segment = Segment(row, cache_row.length, count)
            if not (cache_row.length or cache_row.prompt_length):
                cache_row.prompt_length = count
            new = range(segment.start, segment.stop)
            segments.append(segment)
            slots += cache.slots(row, segment.start, segment.stop)
            positions += new
            if rope.length_limit is not None:
                lengths += [max(position + 1, cache_row.prompt_length) for position in new]
            last, filled = divmod(segment.stop, cache.block_size)
            if filled and last * cache.block_size >= segment.start:
                begun.append(cache_row.blocks[last])
        if begun:
            cache.clear(begun)
        position_ids = torch.tensor([positions], device=device)  # (1, S)
        cos, sin = rope.cos_sin(position_ids, torch.tensor([lengths], device=device) if lengths else None)
        return cls(
            cos,
            sin,
            cache=cache,
            segments=segments,
            slots=torch.tensor(slots, device=device),
            num_together=_attended_together(segments, cache),
        )

    def stored(self, layer: int, segment: Segment, window: int | None) -> tuple[Tensor, Tensor]:
        """Keys and values (1, G, S, Dh) that a segment's tokens may look at, their own included."""
        assert self.cache is not None
        # Keys before the window of the first new token are seen by nobody.
        begin = 0 if window is None else max(0, segment.start + 1 - window)
        key = (segment.row, begin)
        if key not in self._spans:
            self._spans[key] = self.cache.span(segment.row, begin, segment.stop)
        return self.cache.read(layer, self._spans[key])

    def stored_together(self, layer: int, window: int | None) -> tuple[Tensor, Tensor, Tensor]:
        """Keys and values (B, G, S, Dh) of the first `num_together` segments, and the mask (B, 1, 1, S)."""
        assert self.cache is not None
        if window not in self._tables:
            self._tables[window] = self._table(self.cache, window)
        blocks, mask = self._tables[window]
        return *self.cache.gather(layer, blocks), mask

    def _table(self, cache: KVCache, window: int | None) -> tuple[Tensor, Tensor]:
        """Blocks (B, n) that hold what the segments look at, and the mask (B, 1, 1, n * block_size)."""
        size, tables, firsts, stops = cache.block_size, [], [], []
        for segment in self.segments[: self.num_together]:
            first = 0 if window is None else max(0, segment.stop - window) // size
            tables.append(cache.rows[segment.row].blocks[first : -(-segment.stop // size)])
            firsts.append(first * size)
            stops.append(segment.stop)
        longest = max(map(len, tables))
        # Filled up with blocks of the row's own: whatever they hold, it can hurt nobody else.
        tables = [table + table[-1:] * (longest - len(table)) for table in tables]
        device = self.cos.device
        stop = torch.tensor(stops, device=device)[:, None]  # (B, 1)
        position = torch.tensor(firsts, device=device)[:, None] + torch.arange(longest * size, device=device)
        mask = position < stop  # (B, S)
        if window is not None:
            mask &= position >= stop - window
        return torch.tensor(tables, device=device), mask[:, None, None]

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


def _attended_together(segments: Sequence[Segment], cache: KVCache) -> int:
    """Return how many leading segments to attend in one padded product; 0 = each by itself.

    One product of copied keys keeps a GPU, and many threads, busy; a few threads read long sequences faster
    where they lie.
    """
    singles = list(takewhile(lambda segment: segment.num_new == 1, segments))
    if len(singles) < 2:
        return 0
    padded = len(singles) * max(segment.stop for segment in singles)
    _, num_kv_heads, _, head_dim = cache.keys.shape
    if padded * num_kv_heads * head_dim > most_together(cache.keys.device, num_kv_heads):
        return 0
    mostly_padding = padded > 2 * sum(segment.stop for segment in singles)
    return 0 if mostly_padding and cache.keys.device.type == "cpu" else len(singles)


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
        qkv = self.qkv(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)  # (B, H + 2G, T, Dh)
        qk, v = qkv.split((self.num_heads + self.num_kv_heads, self.num_kv_heads), dim=1)
        heads = (self.num_heads, self.num_kv_heads)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = qk.split(heads, dim=1)
            q, k = (rotate(each, plan.cos, plan.sin) for each in (self.q_norm(q), self.k_norm(k)))
        else:  # together: with a cache and one token, each operation costs more than its numbers
            q, k = rotate(qk, plan.cos, plan.sin).split(heads, dim=1)
        if plan.cache is None:
            out = self._attend(q, k, v, plan)
        else:
            out = self._attend_cached(q, k, v, plan, plan.cache)
        return self.out(out.transpose(1, 2).reshape(B, T, -1))

    def _attend_cached(self, q: Tensor, k: Tensor, v: Tensor, plan: AttentionPlan, cache: KVCache) -> Tensor:
        """Packed q (1, H, S, Dh), k and v (1, G, S, Dh) -> (1, H, S, Dh)."""
        assert plan.slots is not None
        cache.write(self.layer, plan.slots, k[0], v[0])
        outs, done = [], plan.num_together
        if done:
            single = q[0, :, :done].transpose(0, 1)[:, :, None]  # (1, H, S, Dh) -> (B, H, 1, Dh)
            keys, values, mask = plan.stored_together(self.layer, self.window)
            if self.sinks is not None:
                out = attend_with_sinks(single, keys, values, self.sinks, mask=mask)
            else:
                out = attend(single, keys, values, mask=mask)
            outs.append(out.transpose(0, 2))  # (B, H, 1, Dh) -> (1, H, B, Dh)
        for segment in plan.segments[done:]:
            keys, values = plan.stored(self.layer, segment, self.window)
            new = q[:, :, done : done + segment.num_new]
            outs.append(self._attend(new, keys, values, plan))
            done += segment.num_new
        return torch.cat(outs, dim=2) if len(outs) > 1 else outs[0]

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, plan: AttentionPlan) -> Tensor:
        documents = plan.documents
        if documents is None or len(documents.lengths) == 1:
            return self._attend_one(q, k, v, plan)
        if self.sinks is None and can_attend_varlen(q):
            return attend_varlen(q, k, v, documents, window=self.window)
        narrow = self.window is not None and self.window < max(documents.lengths)
        if self.sinks is None and not narrow and goes_by_products(q, k, documents.lengths):
            return attend_by_products(q, k, v, is_causal=True, lengths=documents.lengths)
        queries, keys, values = (x.split(documents.lengths, dim=2) for x in (q, k, v))
        outs = [self._attend_one(*one, plan) for one in zip(queries, keys, values, strict=True)]
        return torch.cat(outs, dim=2)

    def _attend_one(self, q: Tensor, k: Tensor, v: Tensor, plan: AttentionPlan) -> Tensor:
        T, S = q.shape[2], k.shape[2]
        if self.sinks is not None:
            return attend_with_sinks(q, k, v, self.sinks, mask=plan.mask(T, S, self.window, force=T > 1))
        if self.kind == "flash" and plan.padding is None:
            return attend_flash(q, k, v, window=self.window)
        whole = plan.padding is None and (self.window is None or self.window >= S)
        if whole and goes_by_products(q, k):
            return attend_by_products(q, k, v, is_causal=True)
        mask = plan.mask(T, S, self.window)
        return attend(q, k, v, mask=mask, is_causal=mask is None and T > 1)

"""Keys and values of the tokens seen so far, in blocks that sequences fill and share.

Legend: `G` kv heads, `S` tokens, `Dh` head dim. A block is room for `block_size` tokens in every layer, a slot
the place of one token. A row is one sequence: its blocks in order, and how much of them is filled. Who owns
which block is decided elsewhere (`engine.blocks`); `allocate` gives each row one block of its own for good.
Callers: `nn.attention` writes and reads, `models.decoder` advances, the engine opens rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from internvl.config.model import TextConfig
from internvl.errors import CapacityError


@dataclass(slots=True)
class CacheRow:
    """One sequence in the cache."""

    blocks: list[int] = field(default_factory=list)
    """Its blocks in order; whoever gives them out may append to this list."""
    length: int = 0
    """Tokens stored."""
    prompt_length: int = 0
    """Tokens of the prompt: what was written first, unless `KVCache.expect` said it."""
    _num_seen: int = 0
    _last_break: int = 0

    def last_break(self) -> int:
        """Return the index from which on the blocks lie one after the other."""
        while self._num_seen < len(self.blocks):
            index = self._num_seen
            if index and self.blocks[index] != self.blocks[index - 1] + 1:
                self._last_break = index
            self._num_seen += 1
        return self._last_break


@dataclass(frozen=True, slots=True)
class Span:
    """Where some tokens of a row lie."""

    begin: int
    """Slot of the first token; with `blocks` counted from the first of them."""
    size: int
    """Tokens."""
    blocks: Tensor | None = None
    """(1, n) the blocks that hold them, where these do not lie one after the other."""


class KVCache:
    """Room for `num_blocks` blocks of `block_size` tokens, and the rows that use them."""

    def __init__(self, keys: Tensor, values: Tensor, *, block_size: int, rows: list[CacheRow]) -> None:
        self.keys = keys
        """(layers, G, slots, Dh), rotated."""
        self.values = values
        self.block_size = block_size
        self.rows = rows

    @classmethod
    def allocate(
        cls,
        config: TextConfig,
        *,
        batch_size: int,
        max_length: int,
        dtype: torch.dtype,
        device: torch.device | str = "cpu",
    ) -> KVCache:
        """Reserve `batch_size` rows of `max_length` tokens, each with its own room from the start."""
        cache = cls.paged(
            config,
            num_blocks=batch_size,
            block_size=max_length,
            num_rows=batch_size,
            dtype=dtype,
            device=device,
        )
        for block, row in enumerate(cache.rows):
            row.blocks.append(block)
        return cache

    @classmethod
    def paged(
        cls,
        config: TextConfig,
        *,
        num_blocks: int,
        block_size: int,
        num_rows: int,
        dtype: torch.dtype,
        device: torch.device | str = "cpu",
    ) -> KVCache:
        """Reserve blocks that no row has yet; on the CPU the memory is only touched as tokens arrive."""
        shape = (config.num_layers, config.num_kv_heads, num_blocks * block_size, config.head_dim)
        keys, values = (torch.empty(shape, dtype=dtype, device=device) for _ in range(2))
        return cls(keys, values, block_size=block_size, rows=[CacheRow() for _ in range(num_rows)])

    @property
    def lengths(self) -> Tensor:
        """(rows,) int64 on the CPU: tokens stored per row."""
        return torch.tensor([row.length for row in self.rows])

    @property
    def prompt_lengths(self) -> Tensor:
        """(rows,) int64 on the CPU: tokens of each row's prompt."""
        return torch.tensor([row.prompt_length for row in self.rows])

    @property
    def size_bytes(self) -> int:
        """Bytes reserved."""
        return 2 * self.keys.numel() * self.keys.element_size()

    def open(self, row: int, blocks: list[int], *, length: int, prompt_length: int) -> None:
        """Begin a row whose first `length` tokens are stored already, in the first of `blocks`."""
        self.rows[row] = CacheRow(blocks, length, prompt_length)

    def reset(self, row: int) -> None:
        """Forget the sequence in this row; its blocks stay."""
        self.open(row, self.rows[row].blocks, length=0, prompt_length=0)

    def expect(self, row: int, prompt_length: int) -> None:
        """Say how long the prompt will be, before its first chunk is written in pieces.

        Needed where the rotation depends on the length (`nn.rope`); also when an answer is written again
        together with its prompt, after preemption.
        """
        self.rows[row].prompt_length = prompt_length

    def truncate(self, row: int, length: int) -> None:
        """Keep the first `length` tokens of this row and forget the rest."""
        self.rows[row].length = min(length, self.rows[row].length)

    def check_room(self, row: int, num_tokens: int) -> None:
        """Raise CapacityError unless the row can take `num_tokens` more."""
        stored, room = self.rows[row].length, len(self.rows[row].blocks) * self.block_size
        if stored + num_tokens > room:
            raise CapacityError(
                f"kv cache row {row} holds {stored} tokens and cannot take {num_tokens} more; "
                f"its blocks hold max_length={room}. Allocate a longer cache (session_len)."
            )

    def slots(self, row: int, start: int, stop: int) -> list[int]:
        """Return the slots of a row's tokens [start, stop)."""
        blocks, size = self.rows[row].blocks, self.block_size
        return [blocks[token // size] * size + token % size for token in range(start, stop)]

    def span(self, row: int, start: int, stop: int) -> Span:
        """Return where a row's tokens [start, stop) lie."""
        cache_row, size = self.rows[row], self.block_size
        first = start // size
        offset = start - first * size
        if cache_row.last_break() <= first:
            return Span(cache_row.blocks[first] * size + offset, stop - start)
        blocks = torch.tensor([cache_row.blocks[first : -(-stop // size)]], device=self.keys.device)
        return Span(offset, stop - start, blocks)

    def clear(self, blocks: Sequence[int]) -> None:
        """Fill blocks with zeros, so that reading slots that nothing was written to gives finite numbers."""
        index = torch.tensor(blocks, device=self.keys.device)
        for stored in (self.keys, self.values):
            self._by_block(stored).index_fill_(2, index, 0)

    def write(self, layer: int, slots: Tensor, keys: Tensor, values: Tensor) -> None:
        """Store keys and values (G, S, Dh) of the tokens with these slots (S,)."""
        self.keys[layer].index_copy_(1, slots, keys)
        self.values[layer].index_copy_(1, slots, values)

    def read(self, layer: int, span: Span) -> tuple[Tensor, Tensor]:
        """Return keys and values (1, G, S, Dh) of one row's tokens; without copying if they lie in a row."""
        if span.blocks is None:
            keys, values = self.keys[layer, None], self.values[layer, None]
        else:
            keys, values = self.gather(layer, span.blocks)
        stop = span.begin + span.size
        return keys[:, :, span.begin : stop], values[:, :, span.begin : stop]

    def gather(self, layer: int, blocks: Tensor) -> tuple[Tensor, Tensor]:
        """Return copies of the keys and values (B, G, n * block_size, Dh) in `blocks` (B, n)."""
        return self._gather(self.keys[layer], blocks), self._gather(self.values[layer], blocks)

    def _gather(self, stored: Tensor, blocks: Tensor) -> Tensor:
        picked = self._by_block(stored).index_select(1, blocks.flatten())  # (G, B * n, block_size * Dh)
        G, B = stored.shape[0], len(blocks)
        return picked.view(G, B, -1, stored.shape[-1]).transpose(0, 1)  # (B, G, n * block_size, Dh)

    def advance(self, rows: Sequence[int], num_tokens: Sequence[int]) -> None:
        """Count tokens that all layers have written."""
        for row, count in zip(rows, num_tokens, strict=True):
            self.rows[row].length += count

    def _by_block(self, stored: Tensor) -> Tensor:
        """View (..., slots, Dh) as (..., num_blocks, block_size * Dh)."""
        *shape, slots, head_dim = stored.shape
        return stored.view(*shape, slots // self.block_size, self.block_size * head_dim)

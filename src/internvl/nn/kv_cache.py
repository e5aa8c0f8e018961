"""Keys and values of the tokens seen so far, in preallocated tensors.

Legend: `G` kv heads, `Dh` head dim. A slot ("row") holds one sequence; rows fill and empty independently.
Callers: `nn.attention` writes and reads, `models.decoder` advances, the engine allocates and resets rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from internvl.config.model import TextConfig
from internvl.errors import CapacityError


class KVCache:
    """Fixed room for `batch_size` sequences of `max_length` tokens each."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        self.keys = keys
        """(layers, rows, G, max_length, Dh), rotated."""
        self.values = values
        self.lengths = torch.zeros(keys.shape[1], dtype=torch.int64)
        """(rows,) int64 on the CPU: tokens stored per row."""
        self.prompt_lengths = torch.zeros(keys.shape[1], dtype=torch.int64)
        """(rows,) tokens of each row's prompt: what was written first, unless `expect` said it."""

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
        """Reserve room; on the CPU the memory is only touched as tokens arrive."""
        shape = (config.num_layers, batch_size, config.num_kv_heads, max_length, config.head_dim)
        return cls(
            torch.empty(shape, dtype=dtype, device=device), torch.empty(shape, dtype=dtype, device=device)
        )

    @property
    def max_length(self) -> int:
        """Tokens that fit into one row."""
        return self.keys.shape[3]

    @property
    def batch_size(self) -> int:
        """Rows."""
        return self.keys.shape[1]

    @property
    def size_bytes(self) -> int:
        """Bytes reserved."""
        return 2 * self.keys.numel() * self.keys.element_size()

    def reset(self, row: int) -> None:
        """Forget the sequence in this row."""
        self.lengths[row] = 0
        self.prompt_lengths[row] = 0

    def expect(self, row: int, prompt_length: int) -> None:
        """Say how long the prompt will be, before its first chunk is written in pieces.

        Needed where the rotation depends on the length (`nn.rope`); also when an answer is written again
        together with its prompt, after preemption.
        """
        self.prompt_lengths[row] = prompt_length

    def truncate(self, row: int, length: int) -> None:
        """Keep the first `length` tokens of this row and forget the rest."""
        self.lengths[row] = min(length, int(self.lengths[row]))

    def check_room(self, rows: Sequence[int], num_tokens: int) -> None:
        """Raise CapacityError unless every one of `rows` can take `num_tokens` more."""
        for row in rows:
            stored = int(self.lengths[row])
            if stored + num_tokens > self.max_length:
                raise CapacityError(
                    f"kv cache row {row} holds {stored} tokens and cannot take {num_tokens} more; "
                    f"its room is max_length={self.max_length}. Allocate a longer cache (session_len)."
                )

    def write(self, layer: int, row: int, start: int, keys: Tensor, values: Tensor) -> None:
        """Store keys and values (G, T, Dh) of one row's tokens from position `start` on."""
        stop = start + keys.shape[1]
        self.keys[layer, row, :, start:stop] = keys
        self.values[layer, row, :, start:stop] = values

    def advance(self, rows: Sequence[int], num_tokens: int) -> None:
        """Count tokens that all layers have written."""
        self.lengths[list(rows)] += num_tokens

"""How many conversations fit into the device's memory at once."""

from __future__ import annotations

import logging

import torch

from internvl.config.memory import kv_bytes_per_token
from internvl.config.model import TextConfig
from internvl.engine.config import EngineConfig
from internvl.errors import CapacityError

logger = logging.getLogger(__name__)


def fitting_rows(
    config: EngineConfig, text: TextConfig, *, session_len: int, dtype: torch.dtype, free: int | None
) -> int:
    """Return how many cache rows to reserve: `max_batch_size`, or what the allowed share of `free` bytes
    holds.

    Raises CapacityError when not even one conversation fits.
    """
    if free is None:
        return config.max_batch_size
    row = kv_bytes_per_token(text, str(dtype).removeprefix("torch.")) * session_len  # type: ignore[arg-type]
    allowed = int(free * config.cache_max_entry_count)
    rows = min(config.max_batch_size, allowed // row)
    if rows == 0:
        raise CapacityError(
            f"one conversation of session_len={session_len} needs {row / 1e9:.2f} GB for keys and values, and"
            f" {allowed / 1e9:.2f} GB may be used ({config.cache_max_entry_count:.0%} of the free memory);"
            f" set EngineConfig.session_len to {max(1, allowed * session_len // row)} or less"
        )
    if rows < config.max_batch_size:
        logger.warning(
            "memory holds the keys and values of %d conversations of %d tokens, not of max_batch_size=%d",
            rows,
            session_len,
            config.max_batch_size,
        )
    return rows

"""How many conversations fit into the device's memory at once."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from internvl.config.memory import kv_bytes_per_token
from internvl.config.model import TextConfig
from internvl.engine.config import EngineConfig
from internvl.errors import CapacityError

logger = logging.getLogger(__name__)


def free_bytes(device: torch.device) -> int | None:
    """Return the memory that can still be had on this device; None where nobody says."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    meminfo = Path("/proc/meminfo")
    if device.type != "cpu" or not meminfo.is_file():
        return None
    for line in meminfo.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


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

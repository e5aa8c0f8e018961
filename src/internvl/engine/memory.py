"""How many cache blocks fit into the device's memory."""

from __future__ import annotations

import logging

import torch

from internvl.config.memory import kv_bytes_per_token
from internvl.config.model import TextConfig
from internvl.engine.config import EngineConfig
from internvl.errors import CapacityError, ConfigError

logger = logging.getLogger(__name__)


def fitting_blocks(
    config: EngineConfig, text: TextConfig, *, session_len: int, dtype: torch.dtype, free: int | None
) -> int:
    """Return how many blocks to reserve: for `max_batch_size` whole sessions, or what the allowed share of
    `free` bytes holds.

    Raises CapacityError when not even one session fits.
    """
    per_session = -(-session_len // config.block_size)
    wanted = config.max_batch_size * per_session
    if config.cache_max_tokens is not None:
        wanted = min(wanted, config.cache_max_tokens // config.block_size)
        if wanted < per_session:
            raise ConfigError(
                f"EngineConfig: cache_max_tokens {config.cache_max_tokens} holds no conversation of"
                f" session_len={session_len}; raise the one or lower the other"
            )
    if free is None:
        return wanted
    per_token = kv_bytes_per_token(text, str(dtype).removeprefix("torch."))  # type: ignore[arg-type]
    allowed = int(free * config.cache_max_entry_count)
    fitting = allowed // (per_token * config.block_size)
    if fitting < per_session:
        raise CapacityError(
            f"one conversation of session_len={session_len} needs {per_token * session_len / 1e9:.2f} GB for"
            f" keys and values, and {allowed / 1e9:.2f} GB may be used ({config.cache_max_entry_count:.0%} of the"
            f" free memory); set EngineConfig.session_len to {max(1, fitting * config.block_size)} or less"
        )
    return min(wanted, fitting)

"""What the device's memory is used for, decided once at the start. Afterwards nothing grows past it.

The model is loaded already; of what is then free, the largest pass of the model, the kept pictures and the tiles
of one request are set aside, and cache blocks take their share of it. Who does not fit into the blocks waits.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import cast

from internvl.config.memory import Dtype, kv_bytes_per_token, prefill_bytes, vision_bytes
from internvl.config.model import ModelConfig
from internvl.config.ram import private_bytes, ram
from internvl.engine.config import EngineConfig
from internvl.engine.encoder import tiles_per_call
from internvl.errors import CapacityError, ConfigError
from internvl.models.internvl import InternVLModel
from internvl.models.pack import weight_bytes
from internvl.nn.attention import most_together

logger = logging.getLogger(__name__)

#: Shortest session that an engine shrinks to by itself when memory is scarce: a picture and a short talk.
LEAST_SESSION_LEN = 2048

#: Whole sessions whose tokens a CPU's cache holds, unless `cache_max_tokens` says it: most conversations are far
#: shorter, so that many more run together, and a server does not slowly fill all memory with what it has heard.
CPU_SESSIONS = 8

#: Tiles of waiting requests, at most: about 800 of 448 pixels.
MOST_TILE_BYTES = 2 * 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """Bytes set aside, and what they hold."""

    session_len: int
    block_size: int
    num_blocks: int
    weights: int
    kv_cache: int
    """All blocks. On a CPU they only take memory once they are used."""
    activations: int
    """The largest pass of the model."""
    features: int
    """Embeddings of pictures that may come again."""
    tiles: int
    """Tiles of open requests that wait for the vision tower; always in main memory."""

    def describe(self) -> str:
        """Return one line for people."""
        parts = ("weights", "kv_cache", "activations", "features", "tiles")
        amounts = ", ".join(f"{name.replace('_', ' ')} {getattr(self, name) / 1e9:.2f}" for name in parts)
        return f"{self.num_blocks * self.block_size} tokens, sessions of {self.session_len}; GB: {amounts}"


def plan_memory(
    config: EngineConfig, model: InternVLModel, *, session_len: int, free: int | None
) -> MemoryPlan:
    """Divide the `free` bytes of the model's device (None: nobody says, so all is granted).

    A session length that nobody asked for shrinks to what memory, or `cache_max_tokens`, has room for.
    Raises CapacityError when not even one session fits; ConfigError when `cache_max_tokens` is below one.
    """
    weights = weight_bytes(model)
    on_cpu = model.device.type == "cpu"
    text = model.config.text
    per_block = kv_bytes_per_token(text, _dtype(model)) * config.block_size
    # A running request keeps its pictures' features: at most one row for each token that has a key.
    with_features = per_block + text.hidden_size * model.dtype.itemsize * config.block_size
    bounded = on_cpu and config.cache_max_tokens is None
    most_sessions = min(config.max_batch_size, CPU_SESSIONS) if bounded else config.max_batch_size

    def fitting(length: int) -> int:
        """Blocks that memory holds beside all that sessions of this length need."""
        if free is None:
            return most_sessions * -(-length // config.block_size)
        aside = _activations(config, model, length) + config.vision_cache_bytes
        if on_cpu:
            # Weights used where they lie in a mapped file count as available until they are read.
            aside += max(0, weights - private_bytes()) + _session_tiles(model.config, length)
        return max(0, int(min(free * config.cache_max_entry_count, free - aside))) // with_features

    if config.session_len is None:
        if config.cache_max_tokens is not None:
            session_len = min(session_len, config.cache_max_tokens // config.block_size * config.block_size)
        wanted = session_len
        while session_len > LEAST_SESSION_LEN and fitting(session_len) * config.block_size < session_len:
            session_len = max(LEAST_SESSION_LEN, session_len // 2)
        if session_len < wanted:
            logger.warning("memory holds sessions of %d tokens, not of %d", session_len, wanted)
    per_session = -(-session_len // config.block_size)
    num_blocks = min(fitting(session_len), most_sessions * per_session)
    if num_blocks < per_session:
        raise CapacityError(
            f"one conversation of session_len={session_len} needs {per_block * per_session / 1e9:.2f} GB for"
            f" keys and values, and {per_block * num_blocks / 1e9:.2f} GB may be used: what"
            f" {(free or 0) / 1e9:.2f} GB of free memory leave beside the model's own work"
            f" (cache_max_entry_count={config.cache_max_entry_count}). Set EngineConfig.session_len to"
            f" {max(1, num_blocks * config.block_size)} or less, or prefill_chunk_tokens lower"
        )
    if config.cache_max_tokens is not None:
        num_blocks = min(num_blocks, config.cache_max_tokens // config.block_size)
        if num_blocks < per_session:
            raise ConfigError(
                f"EngineConfig: cache_max_tokens {config.cache_max_tokens} holds no conversation of"
                f" session_len={session_len}; raise the one or lower the other"
            )
    plan = MemoryPlan(
        session_len=session_len,
        block_size=config.block_size,
        num_blocks=num_blocks,
        weights=weights,
        kv_cache=num_blocks * per_block,
        activations=_activations(config, model, session_len),
        features=config.vision_cache_bytes,
        tiles=max(_session_tiles(model.config, session_len), min(MOST_TILE_BYTES, ram().available // 8)),
    )
    logger.info("memory: %s", plan.describe())
    return plan


def _activations(config: EngineConfig, model: InternVLModel, session_len: int) -> int:
    """Return the peak of one step: the larger of the two passes, and what is kept beside it."""
    text, dtype, size = model.config.text, _dtype(model), model.dtype.itemsize
    tiles = tiles_per_call(model, config.vision_batch_size)
    vision = vision_bytes(model.config, tiles_at_once=tiles, dtype=dtype)
    chunk = config.prefill_chunk_tokens + config.max_batch_size
    prefill = prefill_bytes(text, num_tokens=session_len, chunk_tokens=chunk, dtype=dtype)
    # Scattered keys and values of one layer are copied; every answer has a row of logits.
    copies = kv_bytes_per_token(text, dtype) // text.num_layers * session_len
    copies = max(copies, 2 * size * most_together(model.device, text.num_kv_heads))
    logits = config.max_batch_size * text.vocab_size * 2 * size
    return max(vision, prefill) + copies + logits


def _dtype(model: InternVLModel) -> Dtype:
    return cast(Dtype, str(model.dtype).removeprefix("torch."))


def _session_tiles(model: ModelConfig, session_len: int) -> int:
    """Return the bytes of the tiles (float32) that fill a session."""
    return -(-session_len // model.tokens_per_tile) * 3 * model.image_size**2 * 4

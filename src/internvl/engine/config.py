"""How the engine runs: lengths, batch, memory, precision. No torch here.

`EngineConfig` is the one configuration. `TurbomindEngineConfig` and `PytorchEngineConfig` are LMDeploy's
spellings of it: they take LMDeploy's field names, translate those that mean something here, and refuse the
others by name.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from internvl.config.model import TextConfig, TilePolicy
from internvl.engine.lmdeploy_fields import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_BLOCK_SIZE,
    PYTORCH_FIELDS,
    TURBOMIND_FIELDS,
    Refused,
    Renamed,
)
from internvl.errors import ConfigError
from internvl.preprocess.messages import nearest

logger = logging.getLogger(__name__)

#: Session length when none is asked for: room for four pictures of 13 tiles, or a page and a long answer.
DEFAULT_SESSION_LEN = 16384

DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """How one engine runs one model."""

    session_len: int | None = None
    """Tokens of one conversation: prompt, pictures and answer. None: the model's own context, at most
    `DEFAULT_SESSION_LEN`; a longer one has to be asked for, because it costs memory."""
    max_batch_size: int = DEFAULT_BATCH_SIZE
    """Answers decoded together; further requests wait."""
    max_waiting_requests: int = 1024
    """Answers that may wait; one more raises CapacityError."""
    cache_max_entry_count: float = 0.8
    """Largest share of the memory that the loaded model leaves free for keys and values (LMDeploy's meaning);
    less where the model's own work needs more of it. Answers for which no block is left wait, or are computed
    again later."""
    cache_max_tokens: int | None = None
    """Most tokens whose keys and values are kept, at least one session. None: `max_batch_size` sessions on a
    GPU, at most 8 of them on a CPU."""
    prefill_chunk_tokens: int = 1024
    """Prompt tokens computed in one step, before an abort is obeyed; at most 256 on a CPU while answers are running,
    which get their next tokens in the same step."""
    max_prefill_token_num: int | None = None
    """LMDeploy's name for `prefill_chunk_tokens`, and stronger; reads None afterwards."""
    block_size: int = DEFAULT_BLOCK_SIZE
    """Tokens of a cache block, the unit in which memory is given out and equal beginnings are shared."""
    enable_prefix_caching: bool = True
    """Keep the key-value blocks of finished answers until their room is needed, so that the next turn of a
    conversation, and whoever asks about the same pictures, computes only what is new."""
    vision_batch_size: int | None = None
    """Tiles in one call of the vision tower. None: what the CPU's caches hold (1 of 448 pixels), 16 on a
    GPU."""
    vision_cache_bytes: int = 512 * 2**20
    """Image embeddings kept for pictures that may come again; 0 = none."""
    dtype: str = "auto"
    """Precision of the weights: "float32", "bfloat16", "float16", or "auto": the files', but float32 on CPUs that have
    no kernels for half precision, if memory holds it."""
    quantize: Literal["int8", "int4"] | None = None
    """Weights in 8 or 4 bits, made while loading, CPU only: less memory and more tokens a second for a little
    accuracy (docs/performance.md). "int4" quantises the decoder, "int8" the vision tower too."""
    device: str = "auto"
    """"cpu", "cuda", "cuda:1"; "auto" = the first GPU if there is one."""
    tp: int = 1
    """Devices that one model is split over (LMDeploy's name). Only 1; others are refused."""
    quant_policy: int = 0
    """Bits of stored keys and values (LMDeploy's name). Only 0: as the model's dtype; others are refused."""
    attention: str = "sdpa"
    """Attention kernel, as `load_model` names them."""
    revision: str | None = None
    """Branch, tag or commit of the model on the hub."""
    min_tiles: int | None = None
    """Fewest tiles of a picture; None = the model's own."""
    max_tiles: int | None = None
    """Most tiles of a picture without its thumbnail; None = the model's own (12 for most)."""
    tile_policy: TilePolicy | None = None
    """"reference", "auto" (tiles by a picture's resolution and text instead of its shape alone) or "fit", see
    `preprocess.tile_policy`; None = the model's own, "reference" for every released one."""
    adapters: Mapping[str, str | Path] = field(default_factory=dict, hash=False)
    """Name -> LoRA in PEFT's files (a directory or hub id), for requests that ask for it by this name. All are
    held beside one model (LMDeploy's name)."""
    seed: int | None = None
    """Start of the seeds of requests that bring none; None = a fresh one each time."""

    def __post_init__(self) -> None:
        positive = (
            "session_len",
            "max_batch_size",
            "max_waiting_requests",
            "prefill_chunk_tokens",
            "block_size",
            "cache_max_tokens",
            "max_prefill_token_num",
        )
        for name in (*positive, "vision_batch_size", "min_tiles", "max_tiles"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"EngineConfig: {name} is {value}, must be at least 1")
        for name in ("tp", "quant_policy"):
            rule, value = PYTORCH_FIELDS[name], getattr(self, name)
            if isinstance(rule, Refused) and value not in rule.harmless:
                raise ConfigError(f"EngineConfig: {name}={value!r} is refused; {rule.instead}")
        if self.max_prefill_token_num is not None:
            object.__setattr__(self, "prefill_chunk_tokens", self.max_prefill_token_num)
            object.__setattr__(self, "max_prefill_token_num", None)
        if not 0 < self.cache_max_entry_count <= 1:
            raise ConfigError(
                f"EngineConfig: cache_max_entry_count is {self.cache_max_entry_count}, must be in (0, 1]"
            )
        if not all(isinstance(name, str) and name for name in self.adapters):
            raise ConfigError(
                f"EngineConfig: adapters {dict(self.adapters)} has an empty name; expected name: path"
            )
        if self.vision_cache_bytes < 0:
            raise ConfigError("EngineConfig: vision_cache_bytes must not be negative (0 = no cache)")
        if self.tile_policy not in (None, "reference", "auto", "fit"):
            raise ConfigError(f"EngineConfig: tile_policy {self.tile_policy!r} is not reference, auto or fit")
        if self.quantize not in (None, "int8", "int4"):
            raise ConfigError(f"EngineConfig: quantize {self.quantize!r} is not int8, int4 or None")
        if self.dtype not in DTYPES:
            raise ConfigError(f"EngineConfig: dtype {self.dtype!r} is not one of {', '.join(DTYPES)}")
        if self.min_tiles and self.max_tiles and self.min_tiles > self.max_tiles:
            raise ConfigError(f"EngineConfig: min_tiles {self.min_tiles} is above max_tiles {self.max_tiles}")


def session_length(config: EngineConfig, text: TextConfig) -> int:
    """Tokens that one conversation may take with this model.

    A context that stretches itself (dynamic NTK) has no hard end, so only the default bounds it.
    A length beyond what the model was trained for is used as asked, and logged.
    """
    stretches = text.rope.kind == "dynamic"
    if config.session_len is None:
        return DEFAULT_SESSION_LEN if stretches else min(text.max_position, DEFAULT_SESSION_LEN)
    if config.session_len > text.max_position and not stretches:
        logger.warning(
            "session_len %d is beyond the %d positions this model was trained on; late answers may be poor",
            config.session_len,
            text.max_position,
        )
    return config.session_len


def TurbomindEngineConfig(**options: Any) -> EngineConfig:
    """Return the `EngineConfig` that says what LMDeploy's TurbomindEngineConfig of these fields said.

    Raises ConfigError for a field that is unknown, or that cannot be honoured here, with what to use instead.
    """
    return _translate("TurbomindEngineConfig", TURBOMIND_FIELDS, options)


def PytorchEngineConfig(**options: Any) -> EngineConfig:
    """Return the `EngineConfig` that says what LMDeploy's PytorchEngineConfig of these fields said.

    Raises ConfigError for a field that is unknown, or that cannot be honoured here, with what to use instead.
    """
    return _translate("PytorchEngineConfig", PYTORCH_FIELDS, options)


def _translate(spelling: str, table: dict[str, Renamed | Refused], options: dict[str, Any]) -> EngineConfig:
    """Read `options` by LMDeploy's table; our own field names are understood as well."""
    own = {field.name for field in fields(EngineConfig)}
    translated: dict[str, Any] = {}
    for name, value in options.items():
        rule = table.get(name)
        if isinstance(rule, Refused):
            if value not in rule.harmless:
                raise ConfigError(f"{spelling}: {name}={value!r} has no meaning here; {rule.instead}")
        elif isinstance(rule, Renamed):
            translated[rule.name] = rule.convert(value)
        elif name in own:
            translated[name] = value
        else:
            raise ConfigError(f"{spelling}: unknown field {name!r}. {nearest(name, [*table, *own])}")
    return EngineConfig(**translated)

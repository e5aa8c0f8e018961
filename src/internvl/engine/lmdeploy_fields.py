"""LMDeploy's engine options as data: which of ours each one is, and why the others cannot be honoured.

Read from lmdeploy 0.16's TurbomindEngineConfig and PytorchEngineConfig; a refused field still passes with the
values that ask for nothing special (its defaults), so that code which spells the defaults out keeps working.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


def _same(value: Any) -> Any:
    return value


def _default_when_none(default: Any) -> Callable[[Any], Any]:
    return lambda value: default if value is None else value


def _block_size(value: Any) -> Any:
    """LMDeploy's own default asks for nothing special."""
    return DEFAULT_BLOCK_SIZE if value in (None, 64) else value


@dataclass(frozen=True, slots=True)
class Renamed:
    """An option that exists here, under `name`."""

    name: str
    convert: Callable[[Any], Any] = _same


@dataclass(frozen=True, slots=True)
class Refused:
    """An option that means nothing here but for its `harmless` values."""

    instead: str
    harmless: tuple[Any, ...] = (None,)


#: Tokens of a cache block where nobody says: small, as up to a block less one of a known beginning is computed again.
DEFAULT_BLOCK_SIZE = 16

#: Answers decoded together where nobody says.
DEFAULT_BATCH_SIZE = 32

_ONE_DEVICE = "this engine runs on one device; start one process per GPU behind a load balancer"
_CACHE_SIZE = (
    "the cache is planned from session_len, max_batch_size, cache_max_entry_count and cache_max_tokens"
)
_AUTOMATIC = "there is nothing to set here; leave it out"

_SHARED: dict[str, Renamed | Refused] = {
    "max_batch_size": Renamed("max_batch_size", _default_when_none(DEFAULT_BATCH_SIZE)),
    "max_prefill_token_num": Renamed("max_prefill_token_num"),
    "device_type": Renamed("device"),
    "tp": Refused(_ONE_DEVICE, (1, None)),
    "dp": Refused(_ONE_DEVICE, (1, None)),
    "ep": Refused(_ONE_DEVICE, (1, None)),
    "cp": Refused(_ONE_DEVICE, (1, None)),
    "dp_rank": Refused(_ONE_DEVICE, (0, None)),
    "devices": Refused("use device='cuda:N' for the N-th GPU", (None, [0], (0,))),
    "nnodes": Refused(_ONE_DEVICE, (1, None)),
    "node_rank": Refused(_ONE_DEVICE, (0, None)),
    "quant_policy": Refused(
        "keys and values are stored in the model's dtype; use dtype='bfloat16'", (0, None)
    ),
    "model_format": Refused("the format is read from the checkpoint's own config.json", (None, "hf")),
    "download_dir": Refused("set the environment variable HF_HOME to choose where models are kept"),
    "hf_overrides": Refused(
        "edit the checkpoint's config.json (`internvl convert` writes a copy to edit)", (None, {})
    ),
    "empty_init": Refused("models are loaded when the pipeline is made", (False, None)),
    "language_model_only": Refused("leave pictures out of the request instead", (False, None)),
    "enable_metrics": Refused("`Engine.stats()` is always there", (True, False, None)),
    "cache_block_seq_len": Renamed("block_size", _block_size),
    "block_size": Renamed("block_size", _block_size),
    "role": Refused("prefill and decode run in one process", (None,)),
    "migration_backend": Refused("prefill and decode run in one process", (None,)),
}

TURBOMIND_FIELDS: dict[str, Renamed | Refused] = _SHARED | {
    "cache_chunk_size": Refused(_CACHE_SIZE, (-1, None)),
    "cache_prompt": Refused("use enable_prefix_caching", (False, True, None)),
    "cache_generation": Refused("use enable_prefix_caching", (False, True, None)),
    "rope_scaling_factor": Refused("rope scaling is read from the checkpoint's own config.json", (0.0, None)),
    "use_logn_attn": Refused("no InternVL checkpoint uses logn attention", (False, None)),
    "num_tokens_per_iter": Refused("use prefill_chunk_tokens", (0, None)),
    "max_prefill_iters": Refused("use prefill_chunk_tokens", (1, None)),
    "async_": Refused(_AUTOMATIC, (0, 1, None)),
    "outer_dp_size": Refused(_ONE_DEVICE, (1, None)),
    "attn_dp_size": Refused(_ONE_DEVICE, (1, None)),
    "attn_tp_size": Refused(_ONE_DEVICE, (1, None)),
    "attn_cp_size": Refused(_ONE_DEVICE, (1, None)),
    "mlp_tp_size": Refused(_ONE_DEVICE, (1, None)),
    "communicator": Refused(_ONE_DEVICE, ("nccl", None)),
}

PYTORCH_FIELDS: dict[str, Renamed | Refused] = _SHARED | {
    "adapters": Renamed("adapters", lambda adapters: adapters or {}),
    "eager_mode": Refused(_AUTOMATIC, (False, True, None)),
    "num_cpu_blocks": Refused(_CACHE_SIZE, (0, None)),
    "num_gpu_blocks": Refused(_CACHE_SIZE, (0, None)),
    "prefill_interval": Refused("use prefill_chunk_tokens", (16, None)),
    "thread_safe": Refused(_AUTOMATIC, (False, True, None)),
    "custom_module_map": Refused("no code but this package's own is ever run"),
    "distributed_executor_backend": Refused(_ONE_DEVICE),
    "enable_microbatch": Refused(_AUTOMATIC, (False, None)),
    "enable_eplb": Refused(_ONE_DEVICE, (False, None)),
    "enable_mp_engine": Refused(_ONE_DEVICE, (False, None)),
    "mp_engine_backend": Refused(_ONE_DEVICE, ("mp", None)),
    "model_agent": Refused(_AUTOMATIC),
    "disable_vision_encoder": Refused("leave pictures out of the request instead", (False, None)),
    "logprobs_mode": Refused("set GenerationConfig.logprobs"),
}

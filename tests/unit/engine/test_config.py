"""EngineConfig and LMDeploy's spellings of it."""

import ast
import inspect
import logging
import subprocess
import sys
from dataclasses import fields, replace
from itertools import pairwise

import pytest

from internvl.config import RopeConfig, TextConfig
from internvl.engine.config import (
    DEFAULT_SESSION_LEN,
    EngineConfig,
    PytorchEngineConfig,
    TurbomindEngineConfig,
    session_length,
)
from internvl.errors import ConfigError


def text_config(max_position: int, kind: str = "default") -> TextConfig:
    return TextConfig(
        family="qwen2",
        vocab_size=8,
        hidden_size=8,
        intermediate_size=8,
        num_layers=1,
        num_heads=2,
        num_kv_heads=1,
        head_dim=4,
        max_position=max_position,
        rope=RopeConfig(kind=kind),
    )


def test_lmdeploys_defaults_spelled_out_mean_our_defaults():
    assert TurbomindEngineConfig(tp=1, quant_policy=0, model_format=None) == EngineConfig()
    assert PytorchEngineConfig(adapters=None, block_size=64, max_batch_size=None) == EngineConfig()


def test_lmdeploys_names_are_translated():
    config = TurbomindEngineConfig(session_len=8192, max_prefill_token_num=4096, cache_max_entry_count=0.5)
    assert (config.session_len, config.prefill_chunk_tokens) == (8192, 4096)
    assert config.cache_max_entry_count == 0.5
    assert PytorchEngineConfig(device_type="cuda", max_batch_size=3).device == "cuda"
    assert PytorchEngineConfig(block_size=128).block_size == 128
    assert PytorchEngineConfig(adapters={"mine": "path"}).adapters == {"mine": "path"}


@pytest.mark.parametrize(
    ("spelling", "options", "words"),
    [
        (TurbomindEngineConfig, {"tp": 2}, ["tp=2", "one process per GPU"]),
        (TurbomindEngineConfig, {"quant_policy": 4}, ["quant_policy=4", "dtype"]),
        (PytorchEngineConfig, {"sesion_len": 1}, ["sesion_len", "session_len"]),
    ],
)
def test_a_field_without_meaning_is_refused_by_name_with_what_to_use(spelling, options, words):
    with pytest.raises(ConfigError) as caught:
        spelling(**options)
    for word in [spelling.__name__, *words]:
        assert word in str(caught.value)


def test_lmdeploys_names_are_known_to_our_own_configuration_too():
    config = EngineConfig(max_prefill_token_num=4096, tp=1, quant_policy=0)
    assert config == EngineConfig(prefill_chunk_tokens=4096)
    assert replace(config, prefill_chunk_tokens=64).prefill_chunk_tokens == 64
    with pytest.raises(ConfigError, match="tp=2 is refused; this engine runs on one device"):
        EngineConfig(tp=2)
    with pytest.raises(ConfigError, match="quant_policy=8 is refused; keys and values"):
        EngineConfig(quant_policy=8)


def test_every_field_says_what_it_means():
    """A string stands behind each field of the class."""
    body = ast.parse(inspect.getsource(EngineConfig)).body[0].body
    documented = {
        field.target.id
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr)
    }
    assert documented == {field.name for field in fields(EngineConfig)}


@pytest.mark.parametrize(
    "options",
    [
        {"session_len": 0},
        {"max_batch_size": 0},
        {"dtype": "int8"},
        {"min_tiles": 4, "max_tiles": 2},
        {"vision_cache_bytes": -1},
        {"cache_max_entry_count": 0.0},
    ],
)
def test_impossible_values_name_their_field(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        EngineConfig(**options)


def test_the_session_is_the_models_context_up_to_a_sensible_length():
    assert session_length(EngineConfig(), text_config(4096)) == 4096
    assert session_length(EngineConfig(), text_config(131072)) == DEFAULT_SESSION_LEN
    assert session_length(EngineConfig(), text_config(96, "dynamic")) == DEFAULT_SESSION_LEN


def test_a_session_beyond_the_trained_context_is_used_and_logged(caplog):
    with caplog.at_level(logging.WARNING):
        assert session_length(EngineConfig(session_len=8192), text_config(2048)) == 8192
    assert "beyond the 2048 positions" in caplog.text


def test_the_plain_parts_of_the_engine_do_not_load_torch():
    modules = ["config", "request", "scheduler", "stopping", "detokenizer", "answer", "context", "blocks"]
    modules += ["waiting", "stats", "pictures"]
    code = "import sys\n" + "".join(f"import internvl.engine.{name}\n" for name in modules)
    done = subprocess.run(
        [sys.executable, "-c", code + "assert 'torch' not in sys.modules"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr

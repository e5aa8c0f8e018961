"""config.json written and read back, in both layouts."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes import FAMILIES, tiny_model_config
from internvl.checkpoint.hf_config import read_model_config
from internvl.checkpoint.save import write_config_files
from internvl.checkpoint.side_note import NOTE_KEY
from internvl.checkpoint.write_config import TokenIds, config_json, differences_in_transformers
from internvl.config.model import Layout, ModelConfig, ProjectorConfig, RopeConfig
from internvl.errors import CheckpointError

LAYOUTS: tuple[Layout, ...] = ("github", "hf")
IDS = TokenIds(image=5, bos=1, eos=2, pad=None)


def written_and_read(config: ModelConfig, layout: Layout, directory: Path) -> ModelConfig:
    write_config_files(directory, config, layout, ids=IDS, dtype="bfloat16")
    return read_model_config(directory)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_written_reads_back_the_same(family: str, layout: Layout, tmp_path: Path) -> None:
    release = "InternVL3_5" if family in ("qwen3", "qwen3_moe", "gpt_oss") else ""
    # GPT-OSS has one width for all its MLPs, which are all experts.
    text = {"intermediate_size": 16} if family == "gpt_oss" else {}
    config = tiny_model_config(family, release=release, text=text)
    assert written_and_read(config, layout, tmp_path) == replace(config, layout=layout)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "changes",
    [
        {"select_layer": -2},
        {"min_tiles": 2, "max_tiles": 40},
        {"use_thumbnail": False},
        {"dynamic_tiling": False},
        {"tile_policy": "fit"},
        {"template": "Hermes-2", "release": "InternVL-Chat-V1-2"},
        {"template": "internvl_hf"},
        {"image_size": 112},
        {"projector": ProjectorConfig(pixel_shuffle="v1", norm_eps=1e-6)},
        {"vision": {"norm": "rms_norm", "qk_norm": True, "qkv_bias": False, "drop_path_rate": 0.4}},
        {"text": {"tie_embeddings": True}},
        {"text": {"sliding_window": 64, "layer_types": ("full", "sliding")}},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_every_field_survives(changes: dict[str, Any], layout: Layout, tmp_path: Path) -> None:
    config = tiny_model_config("qwen2", **changes)
    assert written_and_read(config, layout, tmp_path) == replace(config, layout=layout)


_NUMBERS = st.floats(0.5, 64.0)
_ROPES = st.one_of(
    st.builds(RopeConfig, theta=st.sampled_from([1e4, 5e5, 1e6])),
    st.builds(RopeConfig, kind=st.sampled_from(["linear", "dynamic"]), factor=_NUMBERS),
    st.builds(
        RopeConfig,
        kind=st.just("longrope"),
        factor=st.sampled_from([1.0, 32.0]),
        original_max_position=st.integers(16, 4096),
        short_factor=st.tuples(*[_NUMBERS] * 4),
        long_factor=st.tuples(*[_NUMBERS] * 4),
        attention_factor=st.none() | _NUMBERS,
    ),
    st.builds(
        RopeConfig,
        kind=st.just("yarn"),
        factor=_NUMBERS,
        original_max_position=st.integers(16, 4096),
        attention_factor=st.none() | _NUMBERS,
        beta_fast=_NUMBERS,
        beta_slow=_NUMBERS,
        truncate=st.booleans(),
    ),
    st.builds(
        RopeConfig,
        kind=st.just("llama3"),
        factor=_NUMBERS,
        original_max_position=st.integers(16, 4096),
        low_freq_factor=_NUMBERS,
        high_freq_factor=_NUMBERS,
    ),
)


@pytest.mark.parametrize("layout", LAYOUTS)
@given(rope=_ROPES)
@settings(max_examples=60, deadline=None)
def test_every_stretching_of_positions_survives(rope: RopeConfig, layout: Layout) -> None:
    config = tiny_model_config("llama", text={"rope": rope})
    with tempfile.TemporaryDirectory() as directory:
        assert written_and_read(config, layout, Path(directory)) == replace(config, layout=layout)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_dense_layers_of_a_mixture_survive(layout: Layout, tmp_path: Path) -> None:
    config = tiny_model_config("qwen3_moe", text={"moe_layers": (1,)}, release="InternVL3_5")
    assert written_and_read(config, layout, tmp_path) == replace(config, layout=layout)


@pytest.mark.parametrize(
    ("family", "biases", "model_type"),
    [
        ("internlm2", {"qkv_bias": False, "o_bias": False}, "llama"),
        ("internlm2", {"qkv_bias": True, "o_bias": True}, "llama"),
        ("internlm3", {"qkv_bias": False}, "llama"),
        ("internlm3", {"qkv_bias": True, "o_bias": True, "mlp_bias": True}, "llama"),
        ("internlm3", {"qkv_bias": True}, "qwen2"),
    ],
)
def test_internlm_is_written_as_the_transformers_model_with_the_same_maths(
    family: str, biases: dict[str, bool], model_type: str, tmp_path: Path
) -> None:
    config = tiny_model_config(family, text=biases)
    assert written_and_read(config, "hf", tmp_path) == replace(config, layout="hf")
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["text_config"]["model_type"] == model_type


def test_what_no_format_can_say_is_refused_by_name() -> None:
    lopsided = tiny_model_config("internlm3", text={"qkv_bias": False, "o_bias": True, "mlp_bias": True})
    with pytest.raises(CheckpointError, match="qkv_bias=False and o_bias=True"):
        config_json(lopsided, "hf", ids=IDS, dtype="float32")
    woven = tiny_model_config("qwen2", text={"sliding_window": 8, "layer_types": ("sliding", "full")})
    with pytest.raises(CheckpointError, match="full layer after a sliding one"):
        config_json(woven, "github", ids=IDS, dtype="float32")


def test_what_transformers_computes_differently_is_said_by_name() -> None:
    assert differences_in_transformers(tiny_model_config()) == []
    v1 = tiny_model_config(projector=ProjectorConfig(pixel_shuffle="v1"))
    assert "pixel shuffle v1" in differences_in_transformers(v1)[0]
    plain = tiny_model_config(use_thumbnail=False, dynamic_tiling=False)
    assert ["thumbnail" in line for line in differences_in_transformers(plain)] == [True, False]


def test_no_written_config_points_to_code() -> None:
    for layout in LAYOUTS:
        assert "auto_map" not in json.dumps(
            config_json(tiny_model_config(), layout, ids=IDS, dtype="float32")
        )


@pytest.mark.parametrize(
    ("note", "message"),
    [
        ([], "expected an object"),
        ({"text.hidden_size": 1}, "unknown entry 'text.hidden_size'"),
        ({"layout": "github"}, "unknown entry"),
        ({"use_thumbnail": "no"}, "use_thumbnail = 'no'; expected bool"),
        ({"projector.pixel_shuffle": "v3"}, "expected v1 or v2"),
        ({"text.family": "gpt_oss"}, "expected .*llama"),
    ],
)
def test_a_note_that_no_convert_wrote_is_refused(note: Any, message: str, tmp_path: Path) -> None:
    content = config_json(tiny_model_config(), "hf", ids=IDS, dtype="float32")
    (tmp_path / "config.json").write_text(json.dumps({**content, NOTE_KEY: note}))
    with pytest.raises(CheckpointError, match=message):
        read_model_config(tmp_path)

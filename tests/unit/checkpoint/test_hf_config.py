"""config.json of every layout -> what the model is."""

import copy
import json
import math

import pytest

from internvl.checkpoint.hf_config import read_image_token_id, read_model_config, read_vision_config
from internvl.errors import CheckpointError

VISION = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 448,
    "patch_size": 14,
}
TEXT = {
    "vocab_size": 100,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "rope_theta": 1e6,
}
GITHUB = {
    "architectures": ["InternVLChatModel"],
    "auto_map": {"AutoModel": "modeling_internvl_chat.InternVLChatModel"},
    "template": "internvl2_5",
    "ps_version": "v2",
    "vision_config": VISION | {"norm_type": "layer_norm", "qkv_bias": True, "qk_normalization": False},
    "llm_config": TEXT | {"architectures": ["Qwen2ForCausalLM"]},
}
HF = {
    "architectures": ["InternVLForConditionalGeneration"],
    "model_type": "internvl",
    "image_token_id": 93,
    "image_seq_length": 256,
    "vision_config": VISION
    | {
        "model_type": "internvl_vision",
        "image_size": [448, 448],
        "patch_size": [14, 14],
        "attention_bias": True,
    },
    "text_config": TEXT | {"model_type": "qwen2"},
}


def read(directory, config, **files):
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    for name, content in files.items():
        (directory / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return read_model_config(directory)


def text_of(directory, base=GITHUB, **fields):
    config = copy.deepcopy(base)
    config["llm_config" if base is GITHUB else "text_config"] |= fields
    return read(directory, config).text


def test_both_layouts_describe_the_same_model(tmp_path):
    github = read(
        tmp_path, GITHUB | {"max_dynamic_patch": 12, "use_thumbnail": True, "dynamic_image_size": True}
    )
    hf = read(tmp_path, HF)
    assert github.text == hf.text
    assert github.vision == hf.vision
    assert (github.layout, hf.layout) == ("github", "hf")
    assert github.tokens_per_tile == hf.tokens_per_tile == 256
    assert github.max_tiles == hf.max_tiles == 12


def test_absent_fields_have_the_reference_s_defaults(tmp_path):
    config = read(tmp_path, {key: value for key, value in GITHUB.items() if key != "ps_version"})
    assert config.projector.pixel_shuffle == "v1"
    assert (config.min_tiles, config.max_tiles) == (1, 6)
    assert not config.use_thumbnail
    assert not config.dynamic_tiling
    assert config.select_layer == -1


@pytest.mark.parametrize("name", ["processor_config", "preprocessor_config"])
def test_tiling_settings_come_from_either_processor_file(tmp_path, name):
    settings = {"max_patches": 7, "min_patches": 2, "size": {"height": 448, "width": 448}}
    content = {"image_processor": settings} if name == "processor_config" else settings
    config = read(tmp_path, HF, **{name: content})
    assert (config.min_tiles, config.max_tiles) == (2, 7)


def test_token_counts_that_disagree_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="image_seq_length is 64.*256"):
        read(tmp_path, HF | {"image_seq_length": 64})


def test_rope_parameters_say_the_same_as_rope_scaling(tmp_path):
    old = {"rope_theta": 5e5, "rope_scaling": {"type": "dynamic", "factor": 2.0}}
    new = {"rope_theta": None, "rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 5e5}}
    assert text_of(tmp_path, HF, **old).rope == text_of(tmp_path, HF, **new).rope


@pytest.mark.parametrize(
    ("scaling", "kind"),
    [
        (None, "default"),
        ({"type": "linear", "factor": 2.0}, "linear"),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}, "yarn"),
        ({"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 1024}, "llama3"),
        ({"type": "su", "short_factor": [1.0] * 6, "long_factor": [2.0] * 6}, "longrope"),
    ],
)
def test_rope_kinds_are_known_by_all_their_names(tmp_path, scaling, kind):
    rope = text_of(tmp_path, rope_scaling=scaling).rope
    assert rope.kind == kind
    assert rope.theta == 1e6
    if kind in ("yarn", "llama3"):
        assert rope.original_max_position == 1024


def test_phi3_s_own_yarn_is_longrope_with_another_scale(tmp_path):
    scaling = {"type": "yarn", "short_factor": [1.0] * 6, "long_factor": [2.0] * 6}
    fields = {"architectures": ["Phi3ForCausalLM"], "original_max_position_embeddings": 1024}
    rope = text_of(tmp_path, rope_scaling=scaling, **fields).rope
    assert rope.kind == "longrope"
    assert rope.attention_factor == pytest.approx(0.1 * math.log(4) + 1)


def test_an_unknown_rope_kind_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="'spiral'"):
        text_of(tmp_path, rope_scaling={"type": "spiral"})


@pytest.mark.parametrize(
    ("architecture", "fields", "expected"),
    [
        ("LlamaForCausalLM", {}, {"qkv_bias": False, "o_bias": False, "qk_norm": False}),
        ("LlamaForCausalLM", {"attention_bias": True}, {"qkv_bias": True, "o_bias": True}),
        ("InternLM2ForCausalLM", {"bias": False}, {"qkv_bias": False, "o_bias": False}),
        ("InternLM2ForCausalLM", {}, {"qkv_bias": True, "o_bias": True, "mlp_bias": False}),
        ("InternLM3ForCausalLM", {"qkv_bias": True}, {"qkv_bias": True, "o_bias": False}),
        ("InternLM3ForCausalLM", {"bias": True}, {"qkv_bias": False, "o_bias": True, "mlp_bias": True}),
        ("Qwen2ForCausalLM", {}, {"qkv_bias": True, "o_bias": False, "sliding_window": None}),
        ("Qwen3ForCausalLM", {"head_dim": 24}, {"qk_norm": True, "qkv_bias": False, "head_dim": 24}),
        (
            "Phi3ForCausalLM",
            {"sliding_window": 64, "attention_bias": True},
            {"qkv_bias": False, "sliding_window": 64},
        ),
    ],
)
def test_families_differ_by_biases_norms_and_windows(tmp_path, architecture, fields, expected):
    text = text_of(tmp_path, architectures=[architecture], **fields)
    assert {name: getattr(text, name) for name in expected} == expected


def test_qwen_slides_only_when_told_and_only_its_upper_layers(tmp_path):
    fields = {"sliding_window": 64, "max_window_layers": 3}
    assert text_of(tmp_path, **fields).window(3) is None
    text = text_of(tmp_path, use_sliding_window=True, **fields)
    assert [text.window(layer) for layer in range(4)] == [None, None, None, 64]


def test_gpt_oss_alternates_windows_and_has_sinks(tmp_path):
    fields = {"num_local_experts": 8, "num_experts_per_tok": 2, "sliding_window": 16}
    text = text_of(tmp_path, architectures=["GptOssForCausalLM"], **fields)
    assert [text.window(layer) for layer in range(4)] == [16, None, 16, None]
    assert text.attention_sinks
    assert text.moe.num_experts == 8
    assert text.qkv_bias
    assert text.o_bias


def test_dense_layers_of_a_mixture_are_kept_apart(tmp_path):
    fields = {"num_experts": 8, "moe_intermediate_size": 16, "mlp_only_layers": [0], "decoder_sparse_step": 2}
    text = text_of(tmp_path, architectures=["Qwen3MoeForCausalLM"], **fields)
    assert [text.is_moe(layer) for layer in range(4)] == [False, True, False, True]


def test_an_unknown_language_model_is_refused_without_running_its_code(tmp_path):
    fields = {"architectures": ["ParrotForCausalLM"], "auto_map": {"AutoModel": "modeling_parrot.Parrot"}}
    with pytest.raises(CheckpointError, match="ParrotForCausalLM.*never run"):
        text_of(tmp_path, **fields)


def test_an_unknown_chat_model_is_refused_without_running_its_code(tmp_path):
    with pytest.raises(CheckpointError, match="LlavaForConditionalGeneration.*never run"):
        read(tmp_path, GITHUB | {"architectures": ["LlavaForConditionalGeneration"]})


def test_a_vision_tower_is_told_from_a_chat_model(tmp_path):
    tower = VISION | {"architectures": ["InternVisionModel"], "model_type": "intern_vit_6b"}
    with pytest.raises(CheckpointError, match="load_vision_tower"):
        read(tmp_path, tower)
    config = read_vision_config(tmp_path)
    # The reference's class defaults are the 6B tower's.
    assert (config.norm, config.qk_norm, config.qkv_bias) == ("rms_norm", True, False)


@pytest.mark.parametrize("key", ["template", "vision_config"])
def test_a_missing_key_is_named(tmp_path, key):
    with pytest.raises(CheckpointError, match=f"config.json: the key '{key}' is missing"):
        read(tmp_path, {name: value for name, value in GITHUB.items() if name != key})


def test_a_missing_or_broken_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="config.json is missing"):
        read_model_config(tmp_path)
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(CheckpointError, match="config.json is not valid JSON"):
        read_model_config(tmp_path)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", {"image_token_id": 7}),
        (
            "tokenizer.json",
            {"added_tokens": [{"id": 3, "content": "<img>"}, {"id": 7, "content": "<IMG_CONTEXT>"}]},
        ),
        ("added_tokens.json", {"<img>": 3, "<IMG_CONTEXT>": 7}),
        ("tokenizer_config.json", {"added_tokens_decoder": {"7": {"content": "<IMG_CONTEXT>"}}}),
    ],
)
def test_the_image_token_is_looked_up_wherever_it_is(tmp_path, file, content):
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / file).write_text(json.dumps(content), encoding="utf-8")
    assert read_image_token_id(tmp_path) == 7


def test_an_image_token_that_nowhere_is_says_where_it_was_sought(tmp_path):
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(CheckpointError, match="tokenizer.json"):
        read_image_token_id(tmp_path)

"""config.json of every layout -> `ModelConfig`. Foreign spellings stay in this file.

Layouts: upstream's ("GitHub": vision_config, llm_config) and transformers' (vision_config, text_config;
before 5.0 with rope_theta + rope_scaling, since then with rope_parameters; tiling settings in
preprocessor_config.json or processor_config.json).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

from internvl.checkpoint.registry import CHAT_MODELS, architecture_names, text_family, unknown_model
from internvl.checkpoint.side_note import apply_note
from internvl.config.files import read_json_object
from internvl.config.model import (
    HF_TEMPLATE,
    ModelConfig,
    MoEConfig,
    ProjectorConfig,
    RopeConfig,
    RopeKind,
    TextConfig,
    TextFamily,
    VisionConfig,
)
from internvl.errors import CheckpointError

IMAGE_TOKEN = "<IMG_CONTEXT>"

#: Families that only V3.5 uses; that release's code keeps special tokens in the answers.
V3_5_FAMILIES = ("qwen3", "qwen3_moe", "gpt_oss")

#: rope_scaling's "type" / "rope_type" -> ours.
ROPE_KINDS: dict[str, RopeKind] = {
    "default": "default",
    "linear": "linear",
    "dynamic": "dynamic",
    "su": "longrope",
    "longrope": "longrope",
    "yarn": "yarn",
    "llama3": "llama3",
}

#: What transformers' config classes fill in where config.json leaves a field out.
DEFAULT_NORM_EPS = {"gpt_oss": 1e-5, "phi3": 1e-5}
DEFAULT_THETA = {"gpt_oss": 150000.0}


class Section:
    """A part of a config file that knows its place, so that errors can name it."""

    def __init__(self, values: dict[str, Any], where: str) -> None:
        self.values = values
        self.where = where

    def need(self, key: str) -> Any:
        """The value of a key that must be there."""
        if self.values.get(key) is None:
            raise CheckpointError(f"{self.where}: the key '{key}' is missing")
        return self.values[key]

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, or the default where it is absent or null."""
        value = self.values.get(key)
        return default if value is None else value

    def section(self, key: str) -> Section:
        """A nested object that must be there."""
        value = self.need(key)
        if not isinstance(value, dict):
            raise CheckpointError(f"{self.where}: '{key}' should be an object, found {type(value).__name__}")
        return Section(value, f"{self.where}, {key}")


def read_model_config(directory: Path) -> ModelConfig:
    """Read what a checkpoint directory is; CheckpointError says what is missing or unknown."""
    top = Section(read_json_object(directory / "config.json"), str(directory / "config.json"))
    config = _github_config(top) if model_layout(top) == "github" else _hf_config(top, directory)
    return apply_note(config, top.values, top.where)


def read_vision_config(directory: Path) -> VisionConfig:
    """Read a vision tower's config, from its own directory or from a chat model's."""
    top = Section(read_json_object(directory / "config.json"), str(directory / "config.json"))
    if "vision_config" in top.values:
        top = top.section("vision_config")
    return parse_vision(top)


def read_image_token_id(directory: Path) -> int:
    """Look up the id of `<IMG_CONTEXT>` in config.json or the tokenizer's files."""
    config = read_json_object(directory / "config.json")
    if isinstance(config.get("image_token_id"), int):
        return config["image_token_id"]
    if (directory / "tokenizer.json").is_file():
        for token in read_json_object(directory / "tokenizer.json").get("added_tokens", []):
            if token.get("content") == IMAGE_TOKEN:
                return token["id"]
    if (directory / "added_tokens.json").is_file():
        added = read_json_object(directory / "added_tokens.json")
        if IMAGE_TOKEN in added:
            return added[IMAGE_TOKEN]
    if (directory / "tokenizer_config.json").is_file():
        decoder = read_json_object(directory / "tokenizer_config.json").get("added_tokens_decoder", {})
        for token_id, token in decoder.items():
            if token.get("content") == IMAGE_TOKEN:
                return int(token_id)
    raise CheckpointError(
        f"{directory}: no file gives the id of {IMAGE_TOKEN} (looked into config.json, tokenizer.json, "
        "added_tokens.json and tokenizer_config.json). Copy the tokenizer files beside the weights."
    )


def model_layout(top: Section) -> Literal["github", "hf"]:
    """Whose layout a config.json is in; CheckpointError when it is no chat model's."""
    if any(name in CHAT_MODELS for name in architecture_names(top.values)):
        if isinstance(top.values.get("llm_config"), dict):
            return "github"
        if isinstance(top.values.get("text_config"), dict):
            return "hf"
    raise unknown_model(top.values, top.where)


def _github_config(top: Section) -> ModelConfig:
    vision, text = parse_vision(top.section("vision_config")), _text(top.section("llm_config"), top)
    ps_version = top.get("ps_version", "v1")
    if ps_version not in ("v1", "v2"):
        raise CheckpointError(f"{top.where}: ps_version {ps_version!r} is unknown; expected v1 or v2")
    return ModelConfig(
        vision=vision,
        projector=ProjectorConfig(
            downsample_ratio=top.get("downsample_ratio", 0.5), pixel_shuffle=ps_version
        ),
        text=text,
        image_size=top.get("force_image_size", vision.image_size),
        min_tiles=top.get("min_dynamic_patch", 1),
        max_tiles=top.get("max_dynamic_patch", 6),
        use_thumbnail=top.get("use_thumbnail", False),
        dynamic_tiling=top.get("dynamic_image_size", False),
        select_layer=top.get("select_layer", -1),
        template=top.need("template"),
        layout="github",
        release="InternVL3_5" if text.family in V3_5_FAMILIES else "",
    )


def _hf_config(top: Section, directory: Path) -> ModelConfig:
    vision, text = parse_vision(top.section("vision_config")), _text(top.section("text_config"), top)
    if top.get("vision_feature_select_strategy", "default") != "default":
        raise CheckpointError(
            f"{top.where}: vision_feature_select_strategy "
            f"{top.get('vision_feature_select_strategy')!r} is unknown; expected 'default' (no class token)"
        )
    pictures = _picture_settings(directory)
    config = ModelConfig(
        vision=vision,
        projector=ProjectorConfig(downsample_ratio=top.get("downsample_ratio", 0.5)),
        text=text,
        image_size=pictures.get("size", {}).get("height") or vision.image_size,
        min_tiles=pictures.get("min_patches") or 1,
        max_tiles=pictures.get("max_patches") or 12,
        # The processor's own default cuts tiles whatever crop_to_patches in the file says.
        dynamic_tiling=True,
        use_thumbnail=True,
        select_layer=top.get("vision_feature_layer", -1),
        template=HF_TEMPLATE,
        layout="hf",
    )
    stated = top.get("image_seq_length")
    if stated is not None and stated != config.tokens_per_tile:
        raise CheckpointError(
            f"{top.where}: image_seq_length is {stated}, but tiles of {config.image_size} pixels, patches of "
            f"{vision.patch_size} and downsample_ratio {config.projector.downsample_ratio} give "
            f"{config.tokens_per_tile} tokens"
        )
    return config


def _picture_settings(directory: Path) -> dict[str, Any]:
    """The image processor's settings: their own file before 5.0, a section of processor_config.json since."""
    processor = directory / "processor_config.json"
    if processor.is_file():
        settings = read_json_object(processor).get("image_processor")
        if isinstance(settings, dict):
            return settings
    own = directory / "preprocessor_config.json"
    return read_json_object(own) if own.is_file() else {}


def parse_vision(section: Section) -> VisionConfig:
    """The vision tower of any layout."""
    hf = "use_qk_norm" in section.values or "internvl_vision" in architecture_names(section.values)
    activation = section.get("hidden_act", "gelu")
    if activation != "gelu":
        raise CheckpointError(f"{section.where}: hidden_act {activation!r} is unknown; expected gelu")
    if hf and not section.get("use_absolute_position_embeddings", True):
        raise CheckpointError(f"{section.where}: a tower without absolute position embeddings is unknown")
    norm = section.get("norm_type", "layer_norm" if hf else "rms_norm")
    if norm not in ("layer_norm", "rms_norm"):
        raise CheckpointError(
            f"{section.where}: norm_type {norm!r} is unknown; expected layer_norm or rms_norm"
        )
    return VisionConfig(
        hidden_size=section.need("hidden_size"),
        intermediate_size=section.need("intermediate_size"),
        num_layers=section.need("num_hidden_layers"),
        num_heads=section.need("num_attention_heads"),
        image_size=_side(section.get("image_size", 448 if hf else 224), section),
        patch_size=_side(section.get("patch_size", 14), section),
        norm=norm,
        norm_eps=section.get("layer_norm_eps", 1e-6),
        qkv_bias=section.get("attention_bias" if hf else "qkv_bias", False),
        qk_norm=section.get("use_qk_norm" if hf else "qk_normalization", not hf),
        layer_scale_init=section.get("layer_scale_init_value" if hf else "initializer_factor", 0.1),
        drop_path_rate=section.get("drop_path_rate", 0.0),
    )


def _side(value: Any, section: Section) -> int:
    """A square's side from a number or a pair."""
    if isinstance(value, list):
        if len(set(value)) != 1:
            raise CheckpointError(f"{section.where}: expected a square, found {value}")
        return int(value[0])
    return int(value)


def _text(section: Section, top: Section) -> TextConfig:
    family = text_family(section.values, section.where)
    activation = section.get("hidden_act", "silu")
    if activation != "silu":
        raise CheckpointError(f"{section.where}: hidden_act {activation!r} is unknown; expected silu")
    if section.get("quantization_config") and family != "gpt_oss":
        method = section.get("quantization_config").get("quant_method", "an unknown method")
        raise CheckpointError(f"{section.where}: the weights are quantised ({method}), which is not read yet")
    num_heads = section.need("num_attention_heads")
    num_layers = section.need("num_hidden_layers")
    hidden_size = section.need("hidden_size")
    max_position = section.get("max_position_embeddings", 32768)
    window, layer_types = _windows(section, family, num_layers)
    biases: dict[str, Any] = _biases(section, family)
    mixture: dict[str, Any] = _mixture(section, family, num_layers)
    return TextConfig(
        family=family,
        vocab_size=section.need("vocab_size"),
        hidden_size=hidden_size,
        intermediate_size=section.need("intermediate_size"),
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=section.get("num_key_value_heads", num_heads),
        head_dim=section.get("head_dim", hidden_size // num_heads),
        norm_eps=section.get("rms_norm_eps", DEFAULT_NORM_EPS.get(family, 1e-6)),
        max_position=max_position,
        rope=_rope(section, family, max_position),
        qk_norm=family in ("qwen3", "qwen3_moe"),
        # A stored lm_head overrules this while loading: small originals tie, the released chat models do not.
        tie_embeddings=bool(section.get("tie_word_embeddings", top.get("tie_word_embeddings", False))),
        sliding_window=window,
        layer_types=layer_types,
        attention_sinks=family == "gpt_oss",
        swiglu_limit=section.get("swiglu_limit", 7.0) if family == "gpt_oss" else None,
        **biases,
        **mixture,
    )


def _biases(section: Section, family: TextFamily) -> dict[str, bool]:
    """Which linear layers have a bias; every family spells it differently."""
    if family == "internlm2":
        bias = section.get("bias", True)
        return {"qkv_bias": bias, "o_bias": bias}
    if family == "internlm3":
        bias = section.get("bias", False)
        return {"qkv_bias": section.get("qkv_bias", False), "o_bias": bias, "mlp_bias": bias}
    if family == "qwen2":
        return {"qkv_bias": True}
    if family == "phi3":
        return {}  # has attention_bias in its config, and no bias in its code
    bias = section.get("attention_bias", family == "gpt_oss")
    return {
        "qkv_bias": bias,
        "o_bias": bias,
        "mlp_bias": family == "llama" and section.get("mlp_bias", False),
    }


def _mixture(section: Section, family: TextFamily, num_layers: int) -> dict[str, Any]:
    if family == "gpt_oss":
        moe = MoEConfig(
            num_experts=section.get("num_local_experts", 128),
            num_experts_per_token=section.get("num_experts_per_tok", section.get("experts_per_token", 4)),
            intermediate_size=section.need("intermediate_size"),
        )
        return {"moe": moe}
    if family != "qwen3_moe":
        return {}
    moe = MoEConfig(
        num_experts=section.get("num_experts", section.get("num_local_experts", 128)),
        num_experts_per_token=section.get("num_experts_per_tok", 8),
        intermediate_size=section.need("moe_intermediate_size"),
        norm_topk_prob=section.get("norm_topk_prob", False),
    )
    dense, step = section.get("mlp_only_layers", []), section.get("decoder_sparse_step", 1)
    layers = tuple(i for i in range(num_layers) if i not in dense and (i + 1) % step == 0)
    return {"moe": moe, "moe_layers": None if len(layers) == num_layers else layers}


def _windows(
    section: Section, family: TextFamily, num_layers: int
) -> tuple[int | None, tuple[Literal["full", "sliding"], ...]]:
    """The sliding window and which layers have it."""
    window = section.get("sliding_window")
    if family not in ("qwen2", "qwen3", "qwen3_moe", "phi3", "gpt_oss") or window is None:
        return None, ()
    if family.startswith("qwen") and not section.get("use_sliding_window", False):
        return None, ()
    names: list[str] | None = section.get("layer_types")
    if names is None:
        if family == "phi3":
            return window, ()
        if family == "gpt_oss":
            names = ["full_attention" if i % 2 else "sliding_attention" for i in range(num_layers)]
        else:
            first = section.get("max_window_layers", 28)
            names = ["sliding_attention" if i >= first else "full_attention" for i in range(num_layers)]
    unknown = set(names) - {"full_attention", "sliding_attention"}
    if unknown:
        raise CheckpointError(f"{section.where}: layer_types holds unknown kinds {sorted(unknown)}")
    return window, tuple("sliding" if name == "sliding_attention" else "full" for name in names)


def _rope(section: Section, family: TextFamily, max_position: int) -> RopeConfig:
    """Rotary settings: rope_parameters (transformers 5), or rope_theta and rope_scaling."""
    scaling = dict(section.get("rope_parameters") or section.get("rope_scaling") or {})
    theta = scaling.get("rope_theta") or section.get("rope_theta", DEFAULT_THETA.get(family, 10000.0))
    name = scaling.get("rope_type") or scaling.get("type") or "default"
    if name not in ROPE_KINDS:
        raise CheckpointError(
            f"{section.where}: rope type {name!r} is unknown; known: {', '.join(ROPE_KINDS)}"
        )
    kind = ROPE_KINDS[name]
    partial = scaling.get("partial_rotary_factor") or section.get("partial_rotary_factor", 1.0)
    if partial != 1.0:
        raise CheckpointError(f"{section.where}: partial_rotary_factor {partial} is unknown; expected 1.0")
    original = scaling.get("original_max_position_embeddings") or section.get(
        "original_max_position_embeddings"
    )
    attention_factor = scaling.get("attention_factor")
    if family == "phi3" and kind == "yarn":
        # Phi-3's own "yarn" is longrope but for how it scales the scores.
        kind = "longrope"
        attention_factor = 0.1 * math.log(max(max_position / (original or max_position), 1.0)) + 1.0
    needs_original = kind in ("longrope", "yarn", "llama3")
    return RopeConfig(
        theta=float(theta),
        kind=kind,
        factor=float(scaling.get("factor") or 1.0),
        original_max_position=(original or max_position) if needs_original else None,
        short_factor=tuple(scaling.get("short_factor") or ()),
        long_factor=tuple(scaling.get("long_factor") or ()),
        attention_factor=attention_factor,
        beta_fast=float(scaling.get("beta_fast") or 32.0),
        beta_slow=float(scaling.get("beta_slow") or 1.0),
        truncate=bool(scaling.get("truncate", True)),
        low_freq_factor=float(scaling.get("low_freq_factor") or 1.0),
        high_freq_factor=float(scaling.get("high_freq_factor") or 4.0),
    )

"""`ModelConfig` -> the config.json of either layout: the counterpart of `hf_config.py`.

Law: `read_model_config` of what is written here gives the `ModelConfig` back. What transformers' own format
has no field for (template, thumbnail, LLM family, ...) stands in a side note of its config.json under the
key `internvl`, which transformers ignores. Called by `save.py` and `convert.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from internvl.checkpoint.side_note import NOTE_KEY, note_of
from internvl.config.model import HF_TEMPLATE, Layout, ModelConfig, RopeConfig, TextConfig, VisionConfig
from internvl.errors import CheckpointError

#: LLM family -> (class name, model_type) in GitHub-layout files.
_GITHUB_NAMES = {
    "llama": ("LlamaForCausalLM", "llama"),
    "internlm2": ("InternLM2ForCausalLM", "internlm2"),
    "internlm3": ("InternLM3ForCausalLM", "internlm3"),
    "qwen2": ("Qwen2ForCausalLM", "qwen2"),
    "qwen3": ("Qwen3ForCausalLM", "qwen3"),
    "qwen3_moe": ("Qwen3MoeForCausalLM", "qwen3_moe"),
    "phi3": ("Phi3ForCausalLM", "phi3"),
    "gpt_oss": ("GptOssForCausalLM", "gpt_oss"),
}
_LAYER_TYPES = {"full": "full_attention", "sliding": "sliding_attention"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenIds:
    """Ids that a config.json repeats from the tokenizer."""

    image: int
    """The image token (`<IMG_CONTEXT>`)."""
    bos: int | None = None
    eos: int | None = None
    """The token that ends an answer."""
    pad: int | None = None


def config_json(config: ModelConfig, layout: Layout, *, ids: TokenIds, dtype: str) -> dict[str, Any]:
    """The content of config.json.

    Args:
        config: what the model is; its own `layout` field is not looked at.
        layout: which form to write.
        ids: special tokens.
        dtype: of the stored weights, e.g. "bfloat16".

    Raises:
        CheckpointError: the layout has no way to say it.
    """
    return _github(config, ids, dtype) if layout == "github" else _transformers(config, ids, dtype)


def differences_in_transformers(config: ModelConfig) -> list[str]:
    """What transformers would compute differently from a directory in its layout; each entry is a sentence.

    This package reads the side note and computes the same either way.
    """
    found = []
    if config.projector.pixel_shuffle == "v1":
        found.append(
            "pixel shuffle v1: transformers always uses v2, so its answers about pictures will be wrong "
            "(text is right); use this package or the GitHub layout for this checkpoint"
        )
    if not config.use_thumbnail:
        found.append(
            "no thumbnail: transformers' processor adds an overview tile to every picture that it cuts, "
            "which this model was not trained with"
        )
    if not config.dynamic_tiling:
        found.append(
            "one tile per picture: transformers' processor cuts pictures into tiles unless it is given "
            "crop_to_patches=False"
        )
    if config.vision.qk_norm and config.vision.norm_eps != 1e-6:
        found.append(
            f"vision norm_eps {config.vision.norm_eps}: transformers uses 1e-6 for the norms of q and k, "
            "so its vision features differ slightly"
        )
    if config.projector.norm_eps != 1e-5:
        found.append(
            f"projector norm_eps {config.projector.norm_eps}: transformers uses 1e-5, so image embeddings "
            "differ slightly"
        )
    return found


def _github(config: ModelConfig, ids: TokenIds, dtype: str) -> dict[str, Any]:
    text = config.text
    class_name, model_type = _GITHUB_NAMES[text.family]
    llm = {
        "architectures": [class_name],
        "model_type": model_type,
        **_text_sizes(text),
        **_rope_fields(text, transformers=False),
        **_family_fields(text, text.family),
        "bos_token_id": ids.bos,
        "eos_token_id": ids.eos,
        "pad_token_id": ids.pad,
        "torch_dtype": dtype,
    }
    return {
        "architectures": ["InternVLChatModel"],
        "model_type": "internvl_chat",
        "template": _upstream_template(config),
        "force_image_size": config.image_size,
        "dynamic_image_size": config.dynamic_tiling,
        "min_dynamic_patch": config.min_tiles,
        "max_dynamic_patch": config.max_tiles,
        "use_thumbnail": config.use_thumbnail,
        "downsample_ratio": config.projector.downsample_ratio,
        "ps_version": config.projector.pixel_shuffle,
        "select_layer": config.select_layer,
        "pad2square": False,
        "hidden_size": text.hidden_size,
        "tie_word_embeddings": text.tie_embeddings,
        "image_token_id": ids.image,
        "torch_dtype": dtype,
        "use_backbone_lora": 0,
        "use_llm_lora": 0,
        "vision_config": {
            "architectures": ["InternVisionModel"],
            "model_type": "intern_vit_6b",
            **_vision_sizes(config.vision),
            "image_size": config.vision.image_size,
            "patch_size": config.vision.patch_size,
            "qkv_bias": config.vision.qkv_bias,
            "qk_normalization": config.vision.qk_norm,
            "initializer_factor": config.vision.layer_scale_init,
            "drop_path_rate": config.vision.drop_path_rate,
            "dropout": 0.0,
            "torch_dtype": dtype,
        },
        "llm_config": llm,
        NOTE_KEY: note_of(config, "github"),
    }


def _upstream_template(config: ModelConfig) -> str:
    """Upstream's code knows only its own templates: the nearest one, which adds a default system message."""
    if config.template != HF_TEMPLATE:
        return config.template
    return "internvl3_5_gpt_oss" if config.text.family == "gpt_oss" else "internvl2_5"


def _transformers(config: ModelConfig, ids: TokenIds, dtype: str) -> dict[str, Any]:
    text, vision = config.text, config.vision
    model_type = _transformers_type(text)
    return {
        "architectures": ["InternVLForConditionalGeneration"],
        "model_type": "internvl",
        "downsample_ratio": config.projector.downsample_ratio,
        "dtype": dtype,
        "image_seq_length": config.tokens_per_tile,
        "image_token_id": ids.image,
        "projector_hidden_act": "gelu",
        "vision_feature_layer": config.select_layer,
        "vision_feature_select_strategy": "default",
        "tie_word_embeddings": text.tie_embeddings,
        "text_config": {
            "model_type": model_type,
            **_text_sizes(text),
            **_rope_fields(text, transformers=True),
            **_family_fields(text, model_type),
            "bos_token_id": ids.bos,
            "eos_token_id": ids.eos,
            "pad_token_id": ids.pad,
            "dtype": dtype,
        },
        "vision_config": {
            "model_type": "internvl_vision",
            **_vision_sizes(vision),
            "image_size": [vision.image_size, vision.image_size],
            "patch_size": [vision.patch_size, vision.patch_size],
            "attention_bias": vision.qkv_bias,
            "use_qk_norm": vision.qk_norm,
            "layer_scale_init_value": vision.layer_scale_init,
            "hidden_dropout_prob": 0.0,
            "projection_dropout": 0.0,
            "use_absolute_position_embeddings": True,
            "use_mask_token": False,
            "use_mean_pooling": True,
        },
        NOTE_KEY: note_of(config, "hf"),
    }


def _transformers_type(text: TextConfig) -> str:
    """The model_type whose maths this decoder has in transformers.

    There is no InternLM: transformers' own conversion writes both generations as Llama. Llama has one switch
    for the biases of q, k, v and o; with bias on q, k and v alone the same decoder is called Qwen2.
    """
    if text.family not in ("llama", "internlm2", "internlm3"):
        return _GITHUB_NAMES[text.family][1]
    return "qwen2" if text.qkv_bias and not (text.o_bias or text.mlp_bias) else "llama"


def _vision_sizes(vision: VisionConfig) -> dict[str, Any]:
    return {
        "hidden_size": vision.hidden_size,
        "intermediate_size": vision.intermediate_size,
        "num_hidden_layers": vision.num_layers,
        "num_attention_heads": vision.num_heads,
        "num_channels": 3,
        "norm_type": vision.norm,
        "layer_norm_eps": vision.norm_eps,
        "hidden_act": "gelu",
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
    }


def _text_sizes(text: TextConfig) -> dict[str, Any]:
    return {
        "vocab_size": text.vocab_size,
        "hidden_size": text.hidden_size,
        "intermediate_size": text.intermediate_size,
        "num_hidden_layers": text.num_layers,
        "num_attention_heads": text.num_heads,
        "num_key_value_heads": text.num_kv_heads,
        "max_position_embeddings": text.max_position,
        "rms_norm_eps": text.norm_eps,
        "tie_word_embeddings": text.tie_embeddings,
        "hidden_act": "silu",
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "use_cache": True,
    }


def _family_fields(text: TextConfig, model_type: str) -> dict[str, Any]:
    """What only some families have, in the spelling of `model_type`."""
    match model_type:
        case "llama":
            _require_equal_biases(text, ("o_bias",))
            return {
                "head_dim": text.head_dim,
                "attention_bias": text.qkv_bias,
                "mlp_bias": text.mlp_bias,
                "pretraining_tp": 1,
            }
        case "internlm2":
            _require_equal_biases(text, ("o_bias",))
            return {"bias": text.qkv_bias}
        case "internlm3":
            if text.o_bias != text.mlp_bias:
                raise CheckpointError(
                    f"InternLM3 has one `bias` for o_proj and MLP; this model has o_bias={text.o_bias}, "
                    f"mlp_bias={text.mlp_bias}"
                )
            return {"head_dim": text.head_dim, "qkv_bias": text.qkv_bias, "bias": text.o_bias}
        case "qwen2":
            usual = text.head_dim * text.num_heads == text.hidden_size
            return _window_fields(text) | ({} if usual else {"head_dim": text.head_dim})
        case "qwen3":
            _require_equal_biases(text, ("o_bias",))
            return {"head_dim": text.head_dim, "attention_bias": text.qkv_bias, **_window_fields(text)}
        case "qwen3_moe":
            _require_equal_biases(text, ("o_bias",))
            assert text.moe is not None
            dense = [layer for layer in range(text.num_layers) if not text.is_moe(layer)]
            return {
                "head_dim": text.head_dim,
                "attention_bias": text.qkv_bias,
                **_window_fields(text),
                "num_experts": text.moe.num_experts,
                "num_experts_per_tok": text.moe.num_experts_per_token,
                "moe_intermediate_size": text.moe.intermediate_size,
                "norm_topk_prob": text.moe.norm_topk_prob,
                "decoder_sparse_step": 1,
                "mlp_only_layers": dense,
            }
        case "phi3":
            return {
                "attention_bias": False,
                "sliding_window": text.sliding_window,
                "embd_pdrop": 0.0,
                "resid_pdrop": 0.0,
            }
        case "gpt_oss":
            assert text.moe is not None
            return {
                "intermediate_size": text.moe.intermediate_size,
                "head_dim": text.head_dim,
                "attention_bias": text.qkv_bias,
                "sliding_window": text.sliding_window,
                "layer_types": [_LAYER_TYPES[kind] for kind in text.layer_types],
                "num_local_experts": text.moe.num_experts,
                "num_experts_per_tok": text.moe.num_experts_per_token,
                "experts_per_token": text.moe.num_experts_per_token,
                "swiglu_limit": text.swiglu_limit,
            }
    raise AssertionError(f"no rule for {model_type}")


def _require_equal_biases(text: TextConfig, others: tuple[str, ...]) -> None:
    for name in others:
        if getattr(text, name) != text.qkv_bias:
            raise CheckpointError(
                f"{text.family} with qkv_bias={text.qkv_bias} and {name}={getattr(text, name)} cannot be "
                "written: the format has one field for both. Keep this checkpoint in its present layout"
            )


def _window_fields(text: TextConfig) -> dict[str, Any]:
    """Qwen's way to say which layers slide: all, none, or those from `max_window_layers` on."""
    kinds = text.layer_types or ("sliding" if text.sliding_window else "full",) * text.num_layers
    sliding = "sliding" in kinds
    first = kinds.index("sliding") if sliding else text.num_layers
    if "full" in kinds[first:]:
        raise CheckpointError(
            f"{text.family} with a full layer after a sliding one cannot be written: Qwen files name only "
            f"the first sliding layer (layer_types {list(kinds)})"
        )
    return {
        "use_sliding_window": sliding,
        "sliding_window": text.sliding_window,
        "max_window_layers": first,
        "layer_types": [_LAYER_TYPES[kind] for kind in kinds],
    }


def _rope_fields(text: TextConfig, *, transformers: bool) -> dict[str, Any]:
    """`rope_theta` and `rope_scaling`: the spelling that every version of transformers reads."""
    rope = text.rope
    # Upstream's InternLM2, Phi-3 and old Llama code accept exactly `type` plus the numbers; newer code wants
    # `rope_type`.
    key = "rope_type" if transformers or rope.kind in {"yarn", "llama3"} else "type"
    fields: dict[str, Any] = {"rope_theta": rope.theta}
    if rope.kind == "longrope" and rope.original_max_position is not None:
        fields["original_max_position_embeddings"] = rope.original_max_position
    fields["rope_scaling"] = None if rope.kind == "default" else _rope_scaling(rope, key, text)
    return fields


def _rope_scaling(rope: RopeConfig, key: str, text: TextConfig) -> dict[str, Any]:
    original = (
        {}
        if rope.original_max_position is None
        else {"original_max_position_embeddings": rope.original_max_position}
    )
    attention = {} if rope.attention_factor is None else {"attention_factor": rope.attention_factor}
    match rope.kind:
        case "linear" | "dynamic":
            return {key: rope.kind, "factor": rope.factor}
        case "longrope":
            # Upstream's Phi-3 takes exactly type and factors, so what has its default value is left out.
            stretch = {} if rope.factor == 1.0 else {"factor": rope.factor}
            factors = {"short_factor": list(rope.short_factor), "long_factor": list(rope.long_factor)}
            if key == "type":
                return {"type": "su", **factors, **stretch, **attention}
            return {"rope_type": "longrope", **factors, **stretch, **original, **attention}
        case "yarn":
            return {
                "rope_type": "yarn",
                "factor": rope.factor,
                **original,
                **attention,
                "beta_fast": rope.beta_fast,
                "beta_slow": rope.beta_slow,
                "truncate": rope.truncate,
            }
        case "llama3":
            return {
                "rope_type": "llama3",
                "factor": rope.factor,
                **original,
                "low_freq_factor": rope.low_freq_factor,
                "high_freq_factor": rope.high_freq_factor,
            }
    raise AssertionError(f"no rule for rope {rope.kind} of {text.family}")

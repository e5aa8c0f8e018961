"""Which architectures are known: the names in config.json -> our families.

A checkpoint whose architecture is not here would need its own Python files (`auto_map`) to run. Those are
never executed; adding a family is a line here, a parser in `hf_config`, rows in `key_maps`.
"""

from __future__ import annotations

from typing import Any

from internvl.config.model import TextFamily
from internvl.errors import CheckpointError

#: `architectures[0]` or `model_type` of the language model -> family.
TEXT_FAMILIES: dict[str, TextFamily] = {
    "LlamaForCausalLM": "llama",
    "llama": "llama",
    "InternLM2ForCausalLM": "internlm2",
    "internlm2": "internlm2",
    "InternLM3ForCausalLM": "internlm3",
    "internlm3": "internlm3",
    "Qwen2ForCausalLM": "qwen2",
    "qwen2": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "qwen3": "qwen3",
    "Qwen3MoeForCausalLM": "qwen3_moe",
    "qwen3_moe": "qwen3_moe",
    "Phi3ForCausalLM": "phi3",
    "phi3": "phi3",
    "GptOssForCausalLM": "gpt_oss",
    "gpt_oss": "gpt_oss",
}

#: `architectures` and `model_type` of whole chat models, with the layout each stands for.
CHAT_MODELS = {
    "InternVLChatModel": "github",
    "internvl_chat": "github",
    "InternVLForConditionalGeneration": "hf",
    "InternVLModel": "hf",
    "internvl": "hf",
}

VISION_TOWERS = ("InternVisionModel", "intern_vit_6b", "InternVLVisionModel", "internvl_vision")


def text_family(config: dict[str, Any], where: str) -> TextFamily:
    """The family of a language model's config; `where` names the file and section for errors."""
    names = architecture_names(config)
    for name in names:
        if name in TEXT_FAMILIES:
            return TEXT_FAMILIES[name]
    known = ", ".join(name for name in TEXT_FAMILIES if name[0].isupper())
    raise CheckpointError(
        f"{where}: the language model {' / '.join(names) or '(no architectures, no model_type)'} is "
        f"not one of ours ({known}).{_auto_map_note(config)}"
    )


def architecture_names(config: dict[str, Any]) -> list[str]:
    """What a config calls its model: architectures first, then model_type."""
    architectures = config.get("architectures") or []
    return [str(name) for name in (*architectures, config.get("model_type")) if name]


def unknown_model(config: dict[str, Any], where: str) -> CheckpointError:
    """The error for a config.json that is no InternVL chat model."""
    names = architecture_names(config)
    if any(name in VISION_TOWERS for name in names):
        return CheckpointError(
            f"{where} describes a vision tower on its own, not a chat model; load it with "
            "internvl.checkpoint.load.load_vision_tower"
        )
    if "qllama_config" in config:
        return CheckpointError(
            f"{where} describes InternVL-C/G, which compares pictures with texts and cannot chat"
        )
    return CheckpointError(
        f"{where}: {' / '.join(names) or 'a model without architectures and model_type'} is not an "
        "InternVL chat model; expected architectures InternVLChatModel or InternVLForConditionalGeneration."
        + _auto_map_note(config)
    )


def _auto_map_note(config: dict[str, Any]) -> str:
    if not config.get("auto_map"):
        return ""
    return (
        " Its auto_map points to Python files in the checkpoint; code that comes with weights is never run."
    )

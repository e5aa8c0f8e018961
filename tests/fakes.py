"""Tiny random models and configs of every family, for tests that need a model but no checkpoint."""

import dataclasses

import torch

from internvl.config.model import (
    ModelConfig,
    MoEConfig,
    ProjectorConfig,
    RopeConfig,
    TextConfig,
    VisionConfig,
)
from internvl.models.internvl import InternVLModel

IMAGE_TOKEN_ID = 5

_TEXT = {
    "llama": {},
    "yi": {"rope": RopeConfig(theta=5e6)},
    "llama3": {
        "rope": RopeConfig(
            theta=5e5, kind="llama3", factor=8.0, original_max_position=16, high_freq_factor=4.0
        )
    },
    "internlm2": {"rope": RopeConfig(theta=1e6, kind="dynamic", factor=2.0), "max_position": 24},
    "internlm2_linear": {"rope": RopeConfig(theta=1e6, kind="linear", factor=2.0)},
    "internlm3": {"rope": RopeConfig(kind="dynamic", factor=6.0), "max_position": 24, "qkv_bias": True},
    "qwen2": {"qkv_bias": True},
    "qwen3": {"qk_norm": True, "head_dim": 24},
    "qwen3_moe": {
        "qk_norm": True,
        "moe": MoEConfig(num_experts=4, num_experts_per_token=2, intermediate_size=16),
    },
    "phi3": {
        "num_kv_heads": 4,
        "sliding_window": 12,
        "rope": RopeConfig(
            kind="longrope",
            short_factor=(1.0, 1.1, 1.2, 1.3),
            long_factor=(1.5, 2.0, 3.0, 4.0),
            original_max_position=20,
        ),
        "max_position": 64,
        "head_dim": 8,
    },
    "gpt_oss": {
        "qkv_bias": True,
        "o_bias": True,
        "attention_sinks": True,
        "sliding_window": 6,
        "layer_types": ("sliding", "full"),
        "swiglu_limit": 7.0,
        "rope": RopeConfig(kind="yarn", factor=4.0, original_max_position=16, truncate=False),
        "moe": MoEConfig(num_experts=4, num_experts_per_token=2, intermediate_size=16),
    },
}

#: Every decoder shape worth a law, by name.
FAMILIES = tuple(_TEXT)


def tiny_text_config(family: str = "qwen2", **changes) -> TextConfig:
    fields = {
        "family": {"yi": "llama", "llama3": "llama", "internlm2_linear": "internlm2"}.get(family, family),
        "vocab_size": 80,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_layers": 2,
        "num_heads": 4,
        "num_kv_heads": 2,
        "head_dim": 8,
        "max_position": 512,
    }
    return TextConfig(**(fields | _TEXT[family] | changes))


def tiny_model_config(
    family: str = "qwen2", *, text: dict | None = None, vision: dict | None = None, **changes
) -> ModelConfig:
    """56-pixel tiles, 4 image tokens each; `text` and `vision` override fields of those configs."""
    vision_fields = {
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_layers": 2,
        "num_heads": 2,
        "image_size": 56,
    }
    config = ModelConfig(
        vision=VisionConfig(**(vision_fields | (vision or {}))),
        projector=ProjectorConfig(),
        text=tiny_text_config(family, **(text or {})),
        image_size=56,
        max_tiles=6,
    )
    return dataclasses.replace(config, **changes)


def tiny_model(family: str = "qwen2", *, seed: int = 0, scale: float = 4.0, **changes) -> InternVLModel:
    """A random float32 model in eval mode; matrices `scale` x larger than initial, so that answers vary."""
    generator = torch.Generator().manual_seed(seed)
    model = InternVLModel(
        tiny_model_config(family, **changes), image_token_id=IMAGE_TOKEN_ID, generator=generator
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(scale)
            else:
                parameter.add_(torch.empty_like(parameter).normal_(0.0, 0.1, generator=generator))
    return model.eval()

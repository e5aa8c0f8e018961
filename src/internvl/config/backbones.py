"""The language models inside the released checkpoints: shapes, vocabulary and licence, one row each.

Vocabulary sizes are those of the InternVL checkpoints (the original's plus the nine picture tokens, where the
embedding was resized). The rows serve estimates and tables; when a checkpoint is loaded, its own config.json
decides. Shapes are confirmed by the published parameter totals (a test compares them); [mem] marks what was
written from memory and no total confirms, e.g. rope factors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from internvl.config.model import MoEConfig, RopeConfig, TextConfig, TextFamily


@dataclass(frozen=True, slots=True, kw_only=True)
class Backbone:
    """One language model that checkpoints were built on."""

    name: str
    licence: str
    text: TextConfig


def _row(
    name: str,
    licence: str,
    family: TextFamily,
    shape: tuple[int, int, int, int, int],
    vocab_size: int,
    **more: Any,
) -> Backbone:
    """A backbone from (hidden size, layers, heads, key-value heads, MLP width) and what is not usual."""
    hidden, layers, heads, kv_heads, mlp = shape
    more.setdefault("head_dim", hidden // heads)
    text = TextConfig(
        family=family,
        vocab_size=vocab_size,
        hidden_size=hidden,
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=kv_heads,
        intermediate_size=mlp,
        **more,
    )
    return Backbone(name=name, licence=licence, text=text)


_APACHE = "Apache-2.0"

_INTERNLM2 = {
    "norm_eps": 1e-5,
    "rope": RopeConfig(theta=1e6, kind="dynamic", factor=2.0),  # factor [mem]
}
_QWEN2 = {"qkv_bias": True, "rope": RopeConfig(theta=1e6)}
_QWEN3 = {"qk_norm": True, "head_dim": 128, "max_position": 40960, "rope": RopeConfig(theta=1e6)}
_LLAMA = {"norm_eps": 1e-5}

_ROWS = (
    # V1.1 and V1.2. LLaMA-2's vocabulary as extended for V1.1: [mem]
    _row("LLaMA2-13B", "Llama 2", "llama", (5120, 40, 40, 40, 13824), 32000, max_position=4096, **_LLAMA),
    _row(
        "Nous-Hermes-2-Yi-34B",
        _APACHE,
        "llama",
        (7168, 60, 56, 8, 20480),
        64009,  # [mem]
        max_position=4096,
        rope=RopeConfig(theta=5e6),
        **_LLAMA,
    ),
    # V1.5 and V2
    _row("internlm2-chat-1_8b", _APACHE, "internlm2", (2048, 24, 16, 8, 8192), 92553, **_INTERNLM2),
    _row("internlm2-chat-20b", _APACHE, "internlm2", (6144, 48, 48, 8, 16384), 92553, **_INTERNLM2),
    _row("internlm2_5-7b-chat", _APACHE, "internlm2", (4096, 32, 32, 8, 14336), 92553, **_INTERNLM2),
    _row(
        "Phi-3-mini-128k-instruct",
        "MIT",
        "phi3",
        (3072, 32, 32, 32, 8192),
        32020,
        norm_eps=1e-5,
        max_position=131072,
        sliding_window=262144,
        # The 48 short and 48 long factors are in the checkpoint's config.json.
        rope=RopeConfig(kind="longrope", factor=32.0, original_max_position=4096),
    ),
    _row("Qwen2-0.5B-Instruct", _APACHE, "qwen2", (896, 24, 14, 2, 4864), 151655, **_QWEN2),
    _row(
        "Hermes-2-Theta-Llama-3-70B",
        "Llama 3",
        "llama",
        (8192, 80, 64, 8, 28672),
        128265,  # [mem]
        max_position=8192,
        rope=RopeConfig(theta=5e5),
        **_LLAMA,
    ),
    # V2.5 and V3
    _row("internlm2_5-1_8b-chat", _APACHE, "internlm2", (2048, 24, 16, 8, 8192), 92553, **_INTERNLM2),
    _row("internlm2_5-20b-chat", _APACHE, "internlm2", (6144, 48, 48, 8, 16384), 92553, **_INTERNLM2),
    _row(
        "internlm3-8b-instruct",
        _APACHE,
        "internlm3",
        (4096, 48, 32, 2, 10240),
        128512,
        norm_eps=1e-5,
        rope=RopeConfig(theta=5e7, kind="dynamic", factor=6.0),  # factor [mem]
    ),
    _row("Qwen2.5-0.5B", _APACHE, "qwen2", (896, 24, 14, 2, 4864), 151674, **_QWEN2),
    _row("Qwen2.5-1.5B", _APACHE, "qwen2", (1536, 28, 12, 2, 8960), 151674, **_QWEN2),
    _row("Qwen2.5-3B", "Qwen Research", "qwen2", (2048, 36, 16, 2, 11008), 151674, **_QWEN2),
    _row("Qwen2.5-7B", _APACHE, "qwen2", (3584, 28, 28, 4, 18944), 151674, **_QWEN2),
    _row("Qwen2.5-14B", _APACHE, "qwen2", (5120, 48, 40, 8, 13824), 151674, **_QWEN2),
    _row("Qwen2.5-32B", _APACHE, "qwen2", (5120, 64, 40, 8, 27648), 151674, **_QWEN2),
    _row("Qwen2.5-72B", "Qwen", "qwen2", (8192, 80, 64, 8, 29568), 151674, **_QWEN2),
    # V3.5
    _row("Qwen3-0.6B", _APACHE, "qwen3", (1024, 28, 16, 8, 3072), 151936, **_QWEN3),
    _row("Qwen3-1.7B", _APACHE, "qwen3", (2048, 28, 16, 8, 6144), 151936, **_QWEN3),
    _row("Qwen3-4B", _APACHE, "qwen3", (2560, 36, 32, 8, 9728), 151936, **_QWEN3),
    _row("Qwen3-8B", _APACHE, "qwen3", (4096, 36, 32, 8, 12288), 151936, **_QWEN3),
    _row("Qwen3-14B", _APACHE, "qwen3", (5120, 40, 40, 8, 17408), 151936, **_QWEN3),
    _row("Qwen3-32B", _APACHE, "qwen3", (5120, 64, 64, 8, 25600), 151936, **_QWEN3),
    _row(
        "Qwen3-30B-A3B",
        _APACHE,
        "qwen3_moe",
        (2048, 48, 32, 4, 6144),
        151936,
        moe=MoEConfig(num_experts=128, num_experts_per_token=8, intermediate_size=768),
        **_QWEN3,
    ),
    _row(
        "Qwen3-235B-A22B",
        _APACHE,
        "qwen3_moe",
        (4096, 94, 64, 4, 12288),
        151936,
        moe=MoEConfig(num_experts=128, num_experts_per_token=8, intermediate_size=1536),
        **_QWEN3,
    ),
    _row(
        "gpt-oss-20b",
        _APACHE,
        "gpt_oss",
        (2880, 24, 64, 8, 2880),
        201088,
        head_dim=64,
        norm_eps=1e-5,
        max_position=131072,
        rope=RopeConfig(theta=1.5e5, kind="yarn", factor=32.0, original_max_position=4096, truncate=False),
        qkv_bias=True,
        o_bias=True,
        mlp_bias=True,
        sliding_window=128,
        layer_types=("sliding", "full") * 12,
        moe=MoEConfig(num_experts=32, num_experts_per_token=4, intermediate_size=2880),
        attention_sinks=True,
        swiglu_limit=7.0,
    ),
    # The text side of InternVL-C and -G: LLaMA-7B with Chinese-Alpaca's vocabulary (arXiv:2312.14238)
    _row("QLLaMA-8B", "LLaMA", "llama", (4096, 32, 32, 32, 11008), 49954, max_position=2048),
)

BACKBONES = {backbone.name: backbone for backbone in _ROWS}

"""What a model and a request cost in memory, from shapes alone: no torch, no files.

Every number is bytes; 1 GB = 10^9 bytes, as model cards and GPU data sheets count. Weights and cache are
exact for the shapes; activations are the peak of the largest layer, good to a third. Called by the commands
`models` and `plan`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from internvl.config.model import ContrastiveConfig, ModelConfig, TextConfig, VisionConfig

Dtype = Literal["float32", "bfloat16", "float16", "int8", "int4"]

_FLOAT_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

#: Weight-only formats: bytes per weight of the decoder's matrices, with a 2-byte scale (int4: and a zero
#: point) per group of 128. All else stays bfloat16, as in AWQ and GPTQ checkpoints.
_INT_BYTES = {"int8": 1 + 2 / 128, "int4": 0.5 + 2.5 / 128}

#: Python, torch and its libraries, before a weight is read (measured on a CPU: 0.3 to 0.5 GB).
RUNTIME_BYTES = 500_000_000

#: Scores held at once where attention has sinks (`nn.attention.SINK_SCORES`; config may not import nn).
SINK_SCORES = 2**24

#: Freed blocks and the kernels' own buffers on top of a pass's live tensors: measured on a CPU in float32 and
#: bfloat16, the peak is 0.8 to 1.4 times the tensors counted here.
_SLACK = 1.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """How many numbers a model holds, by where they are."""

    vision: int = 0
    projector: int = 0
    """What joins the two sides: the MLP of a chat model, pools and heads of a contrastive one."""
    embeddings: int = 0
    """Token embeddings and output head."""
    matrices: int = 0
    """The decoder's matrices, which weight-only formats shrink."""
    small: int = 0
    """The decoder's norms, biases and sinks."""
    inactive: int = 0
    """Part of `matrices` that one token does not touch: the experts it is not sent to."""

    @property
    def text(self) -> int:
        """The whole language model."""
        return self.embeddings + self.matrices + self.small

    @property
    def total(self) -> int:
        """The whole model."""
        return self.vision + self.projector + self.text

    @property
    def active(self) -> int:
        """Parameters that take part in one token; the total, but for mixtures of experts."""
        return self.total - self.inactive


def count_vision(vision: VisionConfig) -> int:
    """Return the number of parameters of a vision tower."""
    width, inner = vision.hidden_size, vision.intermediate_size
    norm = width if vision.norm == "rms_norm" else 2 * width
    attention = 3 * width * width + width * width + width
    attention += 3 * width if vision.qkv_bias else 0
    attention += 2 * width if vision.qk_norm else 0
    mlp = 2 * width * inner + inner + width
    layer = 2 * norm + attention + mlp + 2 * width  # the last term: the two layer scales
    patches = 3 * vision.patch_size**2 * width + width
    positions = (1 + vision.grid_size**2) * width
    return width + patches + positions + vision.num_layers * layer


def count_text(text: TextConfig) -> Parameters:
    """Return the parameters of a decoder with its embeddings and output head."""
    width, q_width, kv_width = (
        text.hidden_size,
        text.num_heads * text.head_dim,
        text.num_kv_heads * text.head_dim,
    )
    attention = width * (q_width + 2 * kv_width) + q_width * width
    small = 2 * width
    small += q_width + 2 * kv_width if text.qkv_bias else 0
    small += width if text.o_bias else 0
    small += 2 * text.head_dim if text.qk_norm else 0
    small += text.num_heads if text.attention_sinks else 0
    matrices, inactive, smalls = 0, 0, width  # the final norm
    for layer in range(text.num_layers):
        matrices += attention
        smalls += small
        if text.moe is not None and text.is_moe(layer):
            moe = text.moe
            expert = 3 * width * moe.intermediate_size
            matrices += width * moe.num_experts + moe.num_experts * expert
            inactive += (moe.num_experts - moe.num_experts_per_token) * expert
            if text.mlp_bias:
                smalls += moe.num_experts * (1 + 2 * moe.intermediate_size + width)
        else:
            matrices += 3 * width * text.intermediate_size
            smalls += 2 * text.intermediate_size + width if text.mlp_bias else 0
    embeddings = text.vocab_size * width * (1 if text.tie_embeddings else 2)
    return Parameters(embeddings=embeddings, matrices=matrices, small=smalls, inactive=inactive)


def count_parameters(config: ModelConfig) -> Parameters:
    """Return the parameters of a chat model."""
    text = count_text(config.text)
    shuffled, width = config.vision.hidden_size * config.projector.factor**2, config.text.hidden_size
    return Parameters(
        vision=count_vision(config.vision),
        projector=2 * shuffled + shuffled * width + width + width * width + width,
        embeddings=text.embeddings,
        matrices=text.matrices,
        small=text.small,
        inactive=text.inactive,
    )


def count_contrastive(config: ContrastiveConfig) -> Parameters:
    """Return the parameters of an InternVL-C/G model: two towers, cross-attention, pools and heads."""
    text, width, vision_width = count_text(config.text), config.text.hidden_size, config.vision.hidden_size
    num_cross = len(range(0, config.text.num_layers, config.cross_attention_frequency))
    cross = 2 * width * width + 2 * width * vision_width
    pools = sum(6 * c + 3 * (c * c + c) + (c + 1) * config.embed_dim for c in (vision_width, width))
    heads = config.num_query_tokens * width + width * config.embed_dim + 2 * (width + 1) + 1
    return Parameters(
        vision=count_vision(config.vision),
        projector=pools + heads,
        embeddings=text.embeddings,
        matrices=text.matrices + num_cross * cross,
        small=text.small + num_cross * (width + vision_width),
    )


def weight_bytes(parameters: Parameters, dtype: Dtype) -> int:
    """Return the bytes of the weights in this format."""
    if dtype in _FLOAT_BYTES:
        return parameters.total * _FLOAT_BYTES[dtype]
    rest = parameters.total - parameters.matrices
    return round(parameters.matrices * _INT_BYTES[dtype]) + 2 * rest


def compute_bytes(dtype: Dtype) -> int:
    """Return the bytes of one activation or cache entry; weight-only formats compute in bfloat16."""
    return _FLOAT_BYTES.get(dtype, 2)


def kv_bytes_per_token(text: TextConfig, dtype: Dtype) -> int:
    """Return the bytes that one token keeps in the cache: a key and a value per layer and key-value head."""
    return 2 * text.num_layers * text.num_kv_heads * text.head_dim * compute_bytes(dtype)


def kv_cache_bytes(text: TextConfig, *, session_len: int, batch_size: int, dtype: Dtype) -> int:
    """Return the bytes of a cache with `batch_size` rows of `session_len` tokens, allocated at once."""
    return kv_bytes_per_token(text, dtype) * session_len * batch_size


def vision_bytes(config: ModelConfig, *, tiles_at_once: int, dtype: Dtype) -> int:
    """Return the peak of one call of the vision tower with `tiles_at_once` tiles.

    The residual, its norm, and the wider of MLP and attention of one layer.
    """
    vision, size = config.vision, compute_bytes(dtype)
    patches = (config.image_size // vision.patch_size) ** 2 + 1
    width = vision.hidden_size
    layer = max(2 * vision.intermediate_size, 7 * width)  # fc1 and its GELU; or qkv, q and k normed, outputs
    return round(tiles_at_once * (3 * config.image_size**2 + patches * (2 * width + layer)) * size * _SLACK)


def prefill_bytes(text: TextConfig, *, num_tokens: int, chunk_tokens: int, dtype: Dtype) -> int:
    """Return the peak while a prompt of `num_tokens` passes through the decoder in chunks."""
    size, width, chunk = compute_bytes(dtype), text.hidden_size, min(num_tokens, chunk_tokens)
    q_width, kv_width = text.num_heads * text.head_dim, text.num_kv_heads * text.head_dim
    # q, k, v as projected, rotated and transposed; or gate and up, the activated gate, their product
    attention = 4 * q_width + 4 * kv_width
    if text.moe is None:
        mlp = 4 * text.intermediate_size
    else:  # experts run one after the other; router scores are float32
        mlp = 4 * text.moe.intermediate_size + 2 * width + 4 * text.moe.num_experts
    peak = chunk * (3 * width + max(attention, mlp)) * size
    peak += chunk * num_tokens * (3 + size)  # the mask: booleans, and in the dtype of the scores
    if text.attention_sinks:  # scores of a block of queries: twice in float32, once in the dtype
        peak += min(text.num_heads * chunk * num_tokens, SINK_SCORES) * (8 + size)
    return round(peak * _SLACK) + text.vocab_size * 4  # logits of the last token, float32


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryEstimate:
    """Bytes that a model and its requests need."""

    weights: int
    kv_cache: int
    activations: int
    runtime: int = RUNTIME_BYTES

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.kv_cache + self.activations + self.runtime


def estimate(
    config: ModelConfig,
    *,
    dtype: Dtype,
    session_len: int,
    batch_size: int = 1,
    num_tiles: int = 0,
    prompt_tokens: int = 0,
    tiles_at_once: int = 1,
    chunk_tokens: int = 2048,
) -> MemoryEstimate:
    """Return what serving takes: weights, a cache of `batch_size` sessions, and the larger of the two passes.

    Pixels (float32) and embeddings of the whole prompt are held; `tiles_at_once` tiles share a call of the
    vision tower and `chunk_tokens` prompt tokens a call of the decoder, as in `EngineConfig`.
    """
    size = compute_bytes(dtype)
    held = num_tiles * 3 * config.image_size**2 * 4 + prompt_tokens * config.text.hidden_size * size
    vision = vision_bytes(config, tiles_at_once=min(tiles_at_once, num_tiles), dtype=dtype)
    prefill = prefill_bytes(config.text, num_tokens=prompt_tokens, chunk_tokens=chunk_tokens, dtype=dtype)
    return MemoryEstimate(
        weights=weight_bytes(count_parameters(config), dtype),
        kv_cache=kv_cache_bytes(config.text, session_len=session_len, batch_size=batch_size, dtype=dtype),
        activations=held + max(vision, prefill),
    )

"""What a model *is*: vision tower, projector, decoder and how pictures are cut, as frozen data.

`checkpoint/hf_config.py` makes these from a config.json of either layout; `presets.py` holds the published sizes.
Foreign spellings stay in `hf_config.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from internvl.errors import ConfigError

TextFamily = Literal["llama", "internlm2", "internlm3", "qwen2", "qwen3", "qwen3_moe", "phi3", "gpt_oss"]
RopeKind = Literal["default", "linear", "dynamic", "longrope", "yarn", "llama3"]
Layout = Literal["github", "hf"]
TilePolicy = Literal["reference", "auto", "fit"]

#: Template of a checkpoint in transformers' layout that names none: its own form, without default system message.
HF_TEMPLATE = "internvl_hf"


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionConfig:
    """InternViT (InternVL, arXiv:2312.14238; 300M: Mini-InternVL, arXiv:2410.16261)."""

    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    image_size: int = 448
    """Side of the grid that the position embeddings were trained on, pixels."""
    patch_size: int = 14
    norm: Literal["layer_norm", "rms_norm"] = "layer_norm"
    norm_eps: float = 1e-6
    qkv_bias: bool = True
    qk_norm: bool = False
    """RMSNorm over the full width of q and k, before the split into heads (6B)."""
    layer_scale_init: float = 0.1
    drop_path_rate: float = 0.0

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_heads:
            raise ConfigError(
                f"VisionConfig: hidden_size {self.hidden_size} is not a multiple of num_heads {self.num_heads}"
            )
        if self.image_size % self.patch_size:
            raise ConfigError(
                f"VisionConfig: image_size {self.image_size} is not a multiple of patch_size {self.patch_size}"
            )

    @property
    def head_dim(self) -> int:
        """Channels per attention head."""
        return self.hidden_size // self.num_heads

    @property
    def grid_size(self) -> int:
        """Patches along one side of a trained tile."""
        return self.image_size // self.patch_size


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectorConfig:
    """Pixel shuffle and the two-layer MLP between vision tower and decoder."""

    downsample_ratio: float = 0.5
    pixel_shuffle: Literal["v1", "v2"] = "v2"
    """v1 (chat models V1.1 and V1.2) leaves the tokens in transposed order."""
    norm_eps: float = 1e-5

    @property
    def factor(self) -> int:
        """Patches along one side that become one token."""
        return round(1 / self.downsample_ratio)


@dataclass(frozen=True, slots=True, kw_only=True)
class RopeConfig:
    """Rotary position embedding and how it is stretched past its trained length."""

    theta: float = 10000.0
    kind: RopeKind = "default"
    factor: float = 1.0
    original_max_position: int | None = None
    short_factor: tuple[float, ...] = ()
    long_factor: tuple[float, ...] = ()
    attention_factor: float | None = None
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    """yarn: round the correction range to whole dimensions (GPT-OSS does not)."""
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MoEConfig:
    """Mixture of experts in the decoder's MLP."""

    num_experts: int
    num_experts_per_token: int
    intermediate_size: int
    norm_topk_prob: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TextConfig:
    """A Llama-shaped decoder; the families differ by these fields (GPT-OSS has a forward of its own)."""

    family: TextFamily
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    norm_eps: float = 1e-6
    max_position: int = 32768
    rope: RopeConfig = field(default_factory=RopeConfig)
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    """RMSNorm over each head of q and k (Qwen3)."""
    tie_embeddings: bool = False
    sliding_window: int | None = None
    layer_types: tuple[Literal["full", "sliding"], ...] = ()
    """One per layer; empty = all full (or all sliding when sliding_window is set)."""
    moe: MoEConfig | None = None
    moe_layers: tuple[int, ...] | None = None
    """Layers whose MLP is a mixture; None = all when `moe` is set."""
    attention_sinks: bool = False
    swiglu_limit: float | None = None

    def __post_init__(self) -> None:
        if self.num_heads % self.num_kv_heads:
            raise ConfigError(
                f"TextConfig: num_heads {self.num_heads} is not a multiple of num_kv_heads {self.num_kv_heads}"
            )
        if self.layer_types and len(self.layer_types) != self.num_layers:
            raise ConfigError(
                f"TextConfig: {len(self.layer_types)} layer_types for num_layers {self.num_layers}"
            )

    def window(self, layer: int) -> int | None:
        """Keys that a query of this layer may see, itself included; None = all."""
        if self.layer_types:
            return self.sliding_window if self.layer_types[layer] == "sliding" else None
        return self.sliding_window

    def is_moe(self, layer: int) -> bool:
        """Whether this layer's MLP is a mixture of experts."""
        return self.moe is not None and (self.moe_layers is None or layer in self.moe_layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """A whole chat model, and how its pictures are cut and its prompts written."""

    vision: VisionConfig
    projector: ProjectorConfig
    text: TextConfig
    image_size: int = 448
    """Side of a tile, pixels."""
    min_tiles: int = 1
    max_tiles: int = 12
    tile_policy: TilePolicy = "reference"
    """How pictures are cut where nobody says it, see `preprocess.tile_policy`; every released model: reference."""
    use_thumbnail: bool = True
    dynamic_tiling: bool = True
    """False: every picture is one tile unless the caller asks for more."""
    select_layer: int = -1
    """Index into the vision tower's hidden states (0 = embeddings, -1 = after the last layer)."""
    template: str = "internvl2_5"
    """Key into `preprocess.chat_template`."""
    layout: Layout = "github"
    """The layout of the files this was read from."""
    release: str = ""
    """e.g. "InternVL2_5"; empty when unknown."""

    @property
    def tokens_per_tile(self) -> int:
        """Image tokens that stand for one tile in the prompt."""
        return (self.image_size // self.vision.patch_size // self.projector.factor) ** 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ContrastiveConfig:
    """InternVL-C and InternVL-G: a vision tower beside a text tower (QLLaMA) with cross-attention."""

    vision: VisionConfig
    text: TextConfig
    embed_dim: int = 768
    """Size of the space that pictures and texts share."""
    pool_heads: int = 16
    num_query_tokens: int = 96
    cross_attention_frequency: int = 2
    """Every n-th layer of the text tower, from layer 0, attends to the picture."""
    image_size: int = 224

    def __post_init__(self) -> None:
        for name, size in (("vision", self.vision.hidden_size), ("text", self.text.hidden_size)):
            if size % self.pool_heads:
                raise ConfigError(
                    f"ContrastiveConfig: {name}.hidden_size {size} is not a multiple of pool_heads {self.pool_heads}"
                )

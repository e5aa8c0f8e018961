"""Every released InternVL checkpoint as data, and tiny models of each family for tests.

Adding a size is a row here. `cli/models.py` prints the table, `cli/plan.py` estimates from it; loading
never reads it: a checkpoint's own config.json decides. Sources: the model cards and OpenGVLab's README; [mem]
marks what was written from memory. Licences are what the card states for the checkpoint, next to that of the
language model inside, which binds its users too.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from internvl.config.backbones import BACKBONES
from internvl.config.model import (
    HF_TEMPLATE,
    ContrastiveConfig,
    ModelConfig,
    MoEConfig,
    ProjectorConfig,
    RopeConfig,
    TextConfig,
    TextFamily,
    VisionConfig,
)
from internvl.errors import ConfigError

Kind = Literal["chat", "vision", "contrastive"]

_VIT_300M = VisionConfig(hidden_size=1024, intermediate_size=4096, num_layers=24, num_heads=16)
_VIT_6B = VisionConfig(
    hidden_size=3200,
    intermediate_size=12800,
    num_layers=45,
    num_heads=25,
    norm="rms_norm",
    qkv_bias=False,
    qk_norm=True,
)
_VIT_6B_48 = replace(_VIT_6B, num_layers=48)

VISION_TOWERS = {
    "InternViT-6B-224px": replace(_VIT_6B_48, image_size=224),
    "InternViT-6B-448px-V1-0": _VIT_6B_48,
    # From V1.2 on the last three layers are dropped: the chat models read the fourth last.
    "InternViT-6B-448px-V1-2": _VIT_6B,
    "InternViT-6B-448px-V1-5": _VIT_6B,
    "InternViT-6B-448px-V2_5": _VIT_6B,
    "InternViT-300M-448px": _VIT_300M,
    "InternViT-300M-448px-V2_5": _VIT_300M,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One released checkpoint."""

    name: str
    """The hub id without its organisation."""
    kind: Kind
    base: str
    """The checkpoint of the same shape that this one is a variant of (its own name when it is none)."""
    release: str
    vision_name: str
    vision: VisionConfig
    backbone: str = ""
    """Name in `BACKBONES`; empty for a bare vision tower."""
    config: ModelConfig | None = None
    """The whole model; only for kind "chat"."""
    contrastive: ContrastiveConfig | None = None
    """The whole model; only for kind "contrastive"."""
    context_length: int = 0
    """Tokens that the model was trained to handle; its positions may reach further (`text.max_position`)."""
    licence: str = "MIT"
    unsupported: str = ""
    """Why this package cannot run it; empty when it can."""

    @property
    def hub_id(self) -> str:
        """Where it is published."""
        return f"OpenGVLab/{self.name}"

    @property
    def text(self) -> TextConfig | None:
        """The language model's shape; None for a bare vision tower."""
        return BACKBONES[self.backbone].text if self.backbone else None

    @property
    def backbone_licence(self) -> str:
        """Licence of the language model that the checkpoint contains."""
        return BACKBONES[self.backbone].licence if self.backbone else ""

    @property
    def variant(self) -> str:
        """What the name adds to its base, e.g. "-MPO"; empty for the base itself."""
        return self.name.removeprefix(self.base)


_FLASH = "Flash checkpoints need the resolution router (ViR), which is not written yet"


@dataclass(frozen=True, slots=True)
class _Release:
    """What the sizes of one release share."""

    name: str
    context_length: int
    small_vit: str
    large_vit: str
    licence: str = "MIT"
    template: str = "internvl2_5"
    pixel_shuffle: Literal["v1", "v2"] = "v2"
    select_layer: int = -1
    tiles: bool = True
    """Whether pictures are cut into up to 12 tiles; before V1.5 a picture is one tile."""
    rope: RopeConfig | None = None
    """How the release stretches its Qwen2.5 backbones."""


_V1_1 = _Release(
    "InternVL-Chat-V1-1",
    4096,
    "",
    "InternViT-6B-448px-V1-0",
    template="internvl_zh",
    pixel_shuffle="v1",
    select_layer=-4,
    tiles=False,
)
_V1_2 = _Release(
    "InternVL-Chat-V1-2",
    4096,
    "",
    "InternViT-6B-448px-V1-2",
    template="Hermes-2",
    pixel_shuffle="v1",
    tiles=False,
)
_V1_5 = _Release(
    "InternVL-Chat-V1-5", 4096, "InternViT-300M-448px", "InternViT-6B-448px-V1-5", template="internlm2-chat"
)
_V2 = _Release(
    "InternVL2", 8192, "InternViT-300M-448px", "InternViT-6B-448px-V1-5", template="internlm2-chat"
)
_V2_5 = _Release("InternVL2_5", 8192, "InternViT-300M-448px-V2_5", "InternViT-6B-448px-V2_5")
_V3 = _Release(
    "InternVL3",
    32768,
    "InternViT-300M-448px-V2_5",
    "InternViT-6B-448px-V2_5",
    licence="Apache-2.0",  # the cards' metadata; their text says MIT and names the Qwen licence for Qwen2.5
    rope=RopeConfig(theta=1e6, kind="dynamic", factor=2.0),  # [mem]
)
_V3_5 = _Release(
    "InternVL3_5", 32768, "InternViT-300M-448px-V2_5", "InternViT-6B-448px-V2_5", licence="Apache-2.0"
)

_NO_VARIANTS: tuple[str, ...] = ()
_MPO = ("-MPO",)
_V3_VARIANTS = ("-Instruct", "-Pretrained", "-hf")
_V3_5_VARIANTS = ("-MPO", "-Instruct", "-Pretrained", "-HF", "-Flash")

#: release, name, vision tower, backbone, variants, template when it is not the release's
_CHAT_ROWS: tuple[tuple[_Release, str, Literal["small", "large"], str, tuple[str, ...], str], ...] = (
    (_V1_1, "InternVL-Chat-V1-1", "large", "LLaMA2-13B", _NO_VARIANTS, ""),
    (_V1_2, "InternVL-Chat-V1-2", "large", "Nous-Hermes-2-Yi-34B", ("-Plus",), ""),
    (_V1_5, "Mini-InternVL-Chat-2B-V1-5", "small", "internlm2-chat-1_8b", _NO_VARIANTS, ""),
    (_V1_5, "Mini-InternVL-Chat-4B-V1-5", "small", "Phi-3-mini-128k-instruct", _NO_VARIANTS, "phi3-chat"),
    (_V1_5, "InternVL-Chat-V1-5", "large", "internlm2-chat-20b", _NO_VARIANTS, ""),
    (_V2, "InternVL2-1B", "small", "Qwen2-0.5B-Instruct", _NO_VARIANTS, "Hermes-2"),
    (_V2, "InternVL2-2B", "small", "internlm2-chat-1_8b", _NO_VARIANTS, ""),
    (_V2, "InternVL2-4B", "small", "Phi-3-mini-128k-instruct", _NO_VARIANTS, "phi3-chat"),
    (_V2, "InternVL2-8B", "small", "internlm2_5-7b-chat", _MPO, ""),
    (_V2, "InternVL2-26B", "large", "internlm2-chat-20b", _NO_VARIANTS, ""),
    (_V2, "InternVL2-40B", "large", "Nous-Hermes-2-Yi-34B", _NO_VARIANTS, "Hermes-2"),
    (_V2, "InternVL2-Llama3-76B", "large", "Hermes-2-Theta-Llama-3-70B", _NO_VARIANTS, "Hermes-2"),
    (_V2_5, "InternVL2_5-1B", "small", "Qwen2.5-0.5B", _MPO, ""),
    (_V2_5, "InternVL2_5-2B", "small", "internlm2_5-1_8b-chat", _MPO, ""),
    (_V2_5, "InternVL2_5-4B", "small", "Qwen2.5-3B", _MPO, ""),
    (_V2_5, "InternVL2_5-8B", "small", "internlm2_5-7b-chat", _MPO, ""),
    (_V2_5, "InternVL2_5-26B", "large", "internlm2_5-20b-chat", _MPO, ""),
    (_V2_5, "InternVL2_5-38B", "large", "Qwen2.5-32B", _MPO, ""),
    (_V2_5, "InternVL2_5-78B", "large", "Qwen2.5-72B", _MPO, ""),
    (_V3, "InternVL3-1B", "small", "Qwen2.5-0.5B", _V3_VARIANTS, ""),
    (_V3, "InternVL3-2B", "small", "Qwen2.5-1.5B", _V3_VARIANTS, ""),
    (_V3, "InternVL3-8B", "small", "Qwen2.5-7B", _V3_VARIANTS, ""),
    (_V3, "InternVL3-9B", "small", "internlm3-8b-instruct", _V3_VARIANTS, ""),
    (_V3, "InternVL3-14B", "small", "Qwen2.5-14B", _V3_VARIANTS, ""),
    (_V3, "InternVL3-38B", "large", "Qwen2.5-32B", _V3_VARIANTS, ""),
    (_V3, "InternVL3-78B", "large", "Qwen2.5-72B", _V3_VARIANTS, ""),
    (_V3_5, "InternVL3_5-1B", "small", "Qwen3-0.6B", _V3_5_VARIANTS, ""),
    (_V3_5, "InternVL3_5-2B", "small", "Qwen3-1.7B", _V3_5_VARIANTS, ""),
    (_V3_5, "InternVL3_5-4B", "small", "Qwen3-4B", _V3_5_VARIANTS, ""),
    (_V3_5, "InternVL3_5-8B", "small", "Qwen3-8B", _V3_5_VARIANTS, ""),
    (_V3_5, "InternVL3_5-14B", "small", "Qwen3-14B", _V3_5_VARIANTS, ""),
    (
        _V3_5,
        "InternVL3_5-GPT-OSS-20B-A4B-Preview",
        "small",
        "gpt-oss-20b",
        ("-HF",),
        "internvl3_5_gpt_oss",
    ),
    (_V3_5, "InternVL3_5-30B-A3B", "small", "Qwen3-30B-A3B", _V3_5_VARIANTS, ""),
    (_V3_5, "InternVL3_5-38B", "large", "Qwen3-32B", _V3_5_VARIANTS, ""),
    (_V3_5, "InternVL3_5-241B-A28B", "large", "Qwen3-235B-A22B", _V3_5_VARIANTS, ""),
)

#: Cards that state another licence than their release's. [mem] but for the 78B's
_OTHER_LICENCES = {"InternVL2-Llama3-76B": "Llama 3", "InternVL2_5-78B": "Qwen", "InternVL3-78B": "Qwen"}


def _chat_presets() -> list[Preset]:
    presets = []
    for release, base, vit, backbone, variants, template in _CHAT_ROWS:
        vision_name = release.small_vit if vit == "small" else release.large_vit
        text = BACKBONES[backbone].text
        if release.rope is not None and text.family == "qwen2":
            text = replace(text, rope=release.rope)
        config = ModelConfig(
            vision=VISION_TOWERS[vision_name],
            projector=ProjectorConfig(pixel_shuffle=release.pixel_shuffle),
            text=text,
            max_tiles=12 if release.tiles else 1,
            use_thumbnail=release.tiles,
            dynamic_tiling=release.tiles,
            select_layer=release.select_layer,
            template=template or release.template,
            release=release.name,
        )
        presets += [
            Preset(
                name=base + variant,
                kind="chat",
                base=base,
                release=release.name,
                vision_name=vision_name,
                vision=config.vision,
                backbone=backbone,
                config=replace(config, layout="hf", template=HF_TEMPLATE)
                if variant.lower() == "-hf"
                else config,
                context_length=release.context_length,
                licence=_OTHER_LICENCES.get(base, release.licence),
                unsupported=_FLASH if variant == "-Flash" else "",
            )
            for variant in ("", *variants)
        ]
    return presets


def _foundation_presets() -> list[Preset]:
    towers = [
        Preset(name=name, kind="vision", base=name, release="InternViT", vision_name=name, vision=vision)
        for name, vision in VISION_TOWERS.items()
    ]
    contrastive = [
        Preset(
            name=name,
            kind="contrastive",
            base=name,
            release="InternVL-C/G",
            vision_name="InternViT-6B-224px",
            vision=replace(_VIT_6B_48, image_size=side),
            backbone="QLLaMA-8B",
            contrastive=ContrastiveConfig(
                vision=replace(_VIT_6B_48, image_size=side), text=BACKBONES["QLLaMA-8B"].text, image_size=side
            ),
            context_length=80,
            unsupported="no command uses it yet (retrieval and zero-shot classification)",
        )
        for name, side in (
            ("InternVL-14B-224px", 224),
            ("InternVL-14B-Flickr30K-FT-364px", 364),
            ("InternVL-14B-FlickrCN-FT-364px", 364),
        )
    ]
    return towers + contrastive


@cache
def all_presets() -> dict[str, Preset]:
    """Every released checkpoint by name, oldest release first."""
    return {preset.name: preset for preset in [*_chat_presets(), *_foundation_presets()]}


def find(name: str) -> Preset:
    """Return the preset of this hub id or name, in any case; a ConfigError offers the nearest spellings."""
    by_lower = {known.lower(): preset for known, preset in all_presets().items()}
    wanted = name.lower().removeprefix("opengvlab/")
    if wanted in by_lower:
        return by_lower[wanted]
    # People write "InternVL2.5-8B" as the papers do; the hub writes "InternVL2_5-8B".
    if (dotless := wanted.replace(".", "_")) in by_lower:
        return by_lower[dotless]
    near = [by_lower[match].name for match in difflib.get_close_matches(dotless, by_lower, n=3, cutoff=0.6)]
    hint = f"did you mean {' or '.join(near)}?" if near else "`internvl models` lists them."
    raise ConfigError(f"unknown model {name!r}: {hint}")


def tiny(
    family: TextFamily = "qwen2", *, vision: Literal["300M", "6B"] = "300M", vocab_size: int = 512
) -> ModelConfig:
    """Return a toy model of this family: 56-pixel tiles of 4 tokens, two layers, every trait of the family.

    `vision` picks the tower's traits: LayerNorm and biases (300M), or RMSNorm and full-width q/k norm (6B).
    """
    if family not in _TINY_TRAITS:
        raise ConfigError(f"unknown text family {family!r}; one of {', '.join(_TINY_TRAITS)}")
    traits = dict(_TINY_TRAITS[family])
    text = TextConfig(
        family=family,
        vocab_size=vocab_size,
        hidden_size=64,
        intermediate_size=96,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        head_dim=16,
        max_position=1024,
        **traits,  # type: ignore[arg-type]
    )
    tower = _VIT_6B if vision == "6B" else _VIT_300M
    return ModelConfig(
        vision=replace(
            tower,
            hidden_size=32,
            intermediate_size=64,
            num_layers=2,
            num_heads=4,
            image_size=56,
            patch_size=14,
        ),
        projector=ProjectorConfig(),
        text=text,
        image_size=56,
        template=_TINY_TEMPLATES.get(family, "internvl2_5"),
        release="tiny",
    )


_TINY_MOE = MoEConfig(num_experts=4, num_experts_per_token=2, intermediate_size=32)
_TINY_TRAITS: dict[TextFamily, dict[str, object]] = {
    "llama": {"norm_eps": 1e-5},
    "internlm2": {"norm_eps": 1e-5, "rope": RopeConfig(theta=1e6, kind="dynamic", factor=2.0)},
    "internlm3": {"norm_eps": 1e-5, "rope": RopeConfig(theta=5e7, kind="dynamic", factor=6.0)},
    "qwen2": {"qkv_bias": True, "rope": RopeConfig(theta=1e6)},
    "qwen3": {"qk_norm": True, "rope": RopeConfig(theta=1e6)},
    "qwen3_moe": {"qk_norm": True, "rope": RopeConfig(theta=1e6), "moe": _TINY_MOE},
    "phi3": {
        "norm_eps": 1e-5,
        "sliding_window": 512,
        "rope": RopeConfig(
            kind="longrope",
            factor=8.0,
            original_max_position=128,
            short_factor=tuple(1.0 + 0.01 * i for i in range(8)),
            long_factor=tuple(1.0 + 0.5 * i for i in range(8)),
        ),
    },
    "gpt_oss": {
        "norm_eps": 1e-5,
        "rope": RopeConfig(theta=1.5e5, kind="yarn", factor=8.0, original_max_position=128, truncate=False),
        "qkv_bias": True,
        "o_bias": True,
        "mlp_bias": True,
        "sliding_window": 16,
        "layer_types": ("sliding", "full"),
        "moe": _TINY_MOE,
        "attention_sinks": True,
        "swiglu_limit": 7.0,
    },
}
TINY_FAMILIES = tuple(_TINY_TRAITS)

_TINY_TEMPLATES: dict[TextFamily, str] = {
    "llama": "Hermes-2",
    "internlm2": "internlm2-chat",
    "phi3": "phi3-chat",
    "gpt_oss": "internvl3_5_gpt_oss",
}

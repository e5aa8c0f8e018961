"""Their tensor names <-> ours: one table per part and layout, read both ways.

A row is (ours, stored, cut). `{}` stands for the layer number; a second `{}` in the stored name alone for
the expert. Names of modules stand for their `.weight` and `.bias`. A *cut* says which view of our parameter
the stored tensor fills (q, k and v are one parameter here, gate and up another). Loading copies stored
tensors into these views and saving copies them out, so both directions are the same table and a round trip
cannot lose a bit.

`links(parameters, config, style)` turns the tables into one `Link` per pair of tensor and view.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Size, Tensor

from internvl.config.model import TextConfig, VisionConfig
from internvl.errors import CheckpointError

#: github: upstream's own names. hf: transformers >= 4.52 in memory (`model.` in front). hf_legacy: before
#: 4.52, and what transformers 5 writes.
KeyStyle = Literal["github", "hf", "hf_legacy"]

Cut = Literal[
    "whole", "q", "k", "v", "third_q", "third_k", "third_v", "gate", "up", "grouped_qkv",
    "expert", "expert_gate", "expert_up",
]  # fmt: skip

Row = tuple[str, str, Cut]

GITHUB_VISION: tuple[Row, ...] = (
    ("vision.class_embedding", "vision_model.embeddings.class_embedding", "whole"),
    ("vision.position_embedding", "vision_model.embeddings.position_embedding", "whole"),
    ("vision.patch_embedding", "vision_model.embeddings.patch_embedding", "whole"),
    ("vision.layers.{}.norm1", "vision_model.encoder.layers.{}.norm1", "whole"),
    ("vision.layers.{}.norm2", "vision_model.encoder.layers.{}.norm2", "whole"),
    ("vision.layers.{}.attention.qkv", "vision_model.encoder.layers.{}.attn.qkv", "whole"),
    ("vision.layers.{}.attention.out", "vision_model.encoder.layers.{}.attn.proj", "whole"),
    ("vision.layers.{}.attention.q_norm", "vision_model.encoder.layers.{}.attn.q_norm", "whole"),
    ("vision.layers.{}.attention.k_norm", "vision_model.encoder.layers.{}.attn.k_norm", "whole"),
    ("vision.layers.{}.scale1", "vision_model.encoder.layers.{}.ls1", "whole"),
    ("vision.layers.{}.scale2", "vision_model.encoder.layers.{}.ls2", "whole"),
    ("vision.layers.{}.mlp.fc1", "vision_model.encoder.layers.{}.mlp.fc1", "whole"),
    ("vision.layers.{}.mlp.fc2", "vision_model.encoder.layers.{}.mlp.fc2", "whole"),
    ("projector.norm", "mlp1.0", "whole"),
    ("projector.fc1", "mlp1.1", "whole"),
    ("projector.fc2", "mlp1.3", "whole"),
)

HF_VISION: tuple[Row, ...] = (
    ("vision.class_embedding", "vision_tower.embeddings.cls_token", "whole"),
    ("vision.position_embedding", "vision_tower.embeddings.position_embeddings", "whole"),
    ("vision.patch_embedding", "vision_tower.embeddings.patch_embeddings.projection", "whole"),
    ("vision.layers.{}.norm1", "vision_tower.encoder.layer.{}.layernorm_before", "whole"),
    ("vision.layers.{}.norm2", "vision_tower.encoder.layer.{}.layernorm_after", "whole"),
    ("vision.layers.{}.attention.qkv", "vision_tower.encoder.layer.{}.attention.q_proj", "third_q"),
    ("vision.layers.{}.attention.qkv", "vision_tower.encoder.layer.{}.attention.k_proj", "third_k"),
    ("vision.layers.{}.attention.qkv", "vision_tower.encoder.layer.{}.attention.v_proj", "third_v"),
    ("vision.layers.{}.attention.out", "vision_tower.encoder.layer.{}.attention.projection_layer", "whole"),
    ("vision.layers.{}.attention.q_norm", "vision_tower.encoder.layer.{}.attention.q_norm", "whole"),
    ("vision.layers.{}.attention.k_norm", "vision_tower.encoder.layer.{}.attention.k_norm", "whole"),
    ("vision.layers.{}.scale1", "vision_tower.encoder.layer.{}.lambda_1", "whole"),
    ("vision.layers.{}.scale2", "vision_tower.encoder.layer.{}.lambda_2", "whole"),
    ("vision.layers.{}.mlp.fc1", "vision_tower.encoder.layer.{}.mlp.fc1", "whole"),
    ("vision.layers.{}.mlp.fc2", "vision_tower.encoder.layer.{}.mlp.fc2", "whole"),
    ("projector.norm", "multi_modal_projector.layer_norm", "whole"),
    ("projector.fc1", "multi_modal_projector.linear_1", "whole"),
    ("projector.fc2", "multi_modal_projector.linear_2", "whole"),
)

#: Llama, Yi, InternLM3, Qwen2/2.5, Qwen3, and the parts that the families below leave unchanged. In the HF
#: layout InternLM2 has these names too.
LLAMA_TEXT: tuple[Row, ...] = (
    ("decoder.embed", "language_model.model.embed_tokens", "whole"),
    ("decoder.norm", "language_model.model.norm", "whole"),
    ("decoder.lm_head", "language_model.lm_head", "whole"),
    ("decoder.layers.{}.attention_norm", "language_model.model.layers.{}.input_layernorm", "whole"),
    ("decoder.layers.{}.mlp_norm", "language_model.model.layers.{}.post_attention_layernorm", "whole"),
    ("decoder.layers.{}.attention.qkv", "language_model.model.layers.{}.self_attn.q_proj", "q"),
    ("decoder.layers.{}.attention.qkv", "language_model.model.layers.{}.self_attn.k_proj", "k"),
    ("decoder.layers.{}.attention.qkv", "language_model.model.layers.{}.self_attn.v_proj", "v"),
    ("decoder.layers.{}.attention.out", "language_model.model.layers.{}.self_attn.o_proj", "whole"),
    ("decoder.layers.{}.attention.q_norm", "language_model.model.layers.{}.self_attn.q_norm", "whole"),
    ("decoder.layers.{}.attention.k_norm", "language_model.model.layers.{}.self_attn.k_norm", "whole"),
    ("decoder.layers.{}.attention.sinks", "language_model.model.layers.{}.self_attn.sinks", "whole"),
    ("decoder.layers.{}.mlp.gate_up", "language_model.model.layers.{}.mlp.gate_proj", "gate"),
    ("decoder.layers.{}.mlp.gate_up", "language_model.model.layers.{}.mlp.up_proj", "up"),
    ("decoder.layers.{}.mlp.down", "language_model.model.layers.{}.mlp.down_proj", "whole"),
)

PHI3_ROWS: tuple[Row, ...] = (
    ("decoder.layers.{}.attention.qkv", "language_model.model.layers.{}.self_attn.qkv_proj", "whole"),
    ("decoder.layers.{}.mlp.gate_up", "language_model.model.layers.{}.mlp.gate_up_proj", "whole"),
)

#: Qwen3-MoE's experts; its dense layers, if any, have Llama's names.
EXPERT_ROWS: tuple[Row, ...] = (
    ("decoder.layers.{}.mlp.router", "language_model.model.layers.{}.mlp.gate", "whole"),
    (
        "decoder.layers.{}.mlp.gate_up",
        "language_model.model.layers.{}.mlp.experts.{}.gate_proj.weight",
        "expert_gate",
    ),
    (
        "decoder.layers.{}.mlp.gate_up",
        "language_model.model.layers.{}.mlp.experts.{}.up_proj.weight",
        "expert_up",
    ),
    (
        "decoder.layers.{}.mlp.down",
        "language_model.model.layers.{}.mlp.experts.{}.down_proj.weight",
        "expert",
    ),
)

#: The same with all experts in one tensor, as transformers 5 holds them in memory.
FUSED_EXPERT_ROWS: tuple[Row, ...] = (
    ("decoder.layers.{}.mlp.router", "language_model.model.layers.{}.mlp.gate", "whole"),
    ("decoder.layers.{}.mlp.gate_up", "language_model.model.layers.{}.mlp.experts.gate_up_proj", "whole"),
    ("decoder.layers.{}.mlp.down", "language_model.model.layers.{}.mlp.experts.down_proj", "whole"),
)

GPT_OSS_ROWS: tuple[Row, ...] = (
    ("decoder.layers.{}.mlp.router", "language_model.model.layers.{}.mlp.router", "whole"),
    ("decoder.layers.{}.mlp.gate_up", "language_model.model.layers.{}.mlp.experts.gate_up_proj", "whole"),
    (
        "decoder.layers.{}.mlp.gate_up_bias",
        "language_model.model.layers.{}.mlp.experts.gate_up_proj_bias",
        "whole",
    ),
    ("decoder.layers.{}.mlp.down", "language_model.model.layers.{}.mlp.experts.down_proj", "whole"),
    ("decoder.layers.{}.mlp.down_bias", "language_model.model.layers.{}.mlp.experts.down_proj_bias", "whole"),
)

#: InternLM2 and 2.5 in the GitHub layout: q, k and v of each kv head lie together.
INTERNLM2_TEXT: tuple[Row, ...] = (
    ("decoder.embed", "language_model.model.tok_embeddings", "whole"),
    ("decoder.norm", "language_model.model.norm", "whole"),
    ("decoder.lm_head", "language_model.output", "whole"),
    ("decoder.layers.{}.attention_norm", "language_model.model.layers.{}.attention_norm", "whole"),
    ("decoder.layers.{}.mlp_norm", "language_model.model.layers.{}.ffn_norm", "whole"),
    ("decoder.layers.{}.attention.qkv", "language_model.model.layers.{}.attention.wqkv", "grouped_qkv"),
    ("decoder.layers.{}.attention.out", "language_model.model.layers.{}.attention.wo", "whole"),
    ("decoder.layers.{}.mlp.gate_up", "language_model.model.layers.{}.feed_forward.w1", "gate"),
    ("decoder.layers.{}.mlp.gate_up", "language_model.model.layers.{}.feed_forward.w3", "up"),
    ("decoder.layers.{}.mlp.down", "language_model.model.layers.{}.feed_forward.w2", "whole"),
)


def _each(letters: str, ours: str, stored: str) -> list[Row]:
    """One row per letter, which stands for `*` in both names."""
    return [(ours.replace("*", letter), stored.replace("*", letter), "whole") for letter in letters]


def _pool(ours: str, stored: str) -> list[Row]:
    return [
        *_each("qkv", f"{ours}.*_norm", f"{stored}.norm1_*"),
        *_each("qkv", f"{ours}.*.weight", f"{stored}.cross_attn.*.weight"),
        *_each("qkv", f"{ours}.*.bias", f"{stored}.cross_attn.*_bias"),
        (f"{ours}.proj", f"{stored}.cross_attn.proj", "whole"),
    ]


#: InternVL-C/G; the vision tower has the rows above.
CONTRASTIVE: tuple[Row, ...] = (
    ("query_tokens", "query_tokens", "whole"),
    ("text_projection", "text_projection", "whole"),
    ("logit_scale", "logit_scale", "whole"),
    ("itm_head", "itm_head", "whole"),
    ("qllama.embed", "qllama.model.embed_tokens", "whole"),
    ("qllama.norm", "qllama.model.norm", "whole"),
    ("qllama.lm_head", "qllama.lm_head", "whole"),
    ("qllama.layers.{}.attn_norm", "qllama.model.layers.{}.input_layernorm", "whole"),
    ("qllama.layers.{}.mlp_norm", "qllama.model.layers.{}.post_attention_layernorm", "whole"),
    *_each("qkvo", "qllama.layers.{}.*", "qllama.model.layers.{}.self_attn.*_proj"),
    *_each("qkvo", "qllama.layers.{}.cross.*", "qllama.model.layers.{}.cross_attn.*_proj"),
    ("qllama.layers.{}.cross.query_norm", "qllama.model.layers.{}.cross_attn.norm1", "whole"),
    ("qllama.layers.{}.cross.vision_norm", "qllama.model.layers.{}.cross_attn.norm2", "whole"),
    ("qllama.layers.{}.mlp.gate_up", "qllama.model.layers.{}.mlp.gate_proj", "gate"),
    ("qllama.layers.{}.mlp.gate_up", "qllama.model.layers.{}.mlp.up_proj", "up"),
    ("qllama.layers.{}.mlp.down", "qllama.model.layers.{}.mlp.down_proj", "whole"),
    *_pool("vision_pool", "clip_projector"),
    *_pool("query_pool", "clip_projector2"),
)

View = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Link:
    """One stored tensor, or a part of it, and the view of our parameter that holds the same numbers."""

    ours: str
    stored: str
    view: View
    """Our parameter -> the part that this link fills."""
    stored_view: View
    """The stored tensor -> its matching part, of the same shape."""
    shape: tuple[int, ...]
    """Of the stored tensor."""


def detect_key_style(names: Iterable[str]) -> KeyStyle:
    """Tell the layout by the names of the tensors."""
    for name in names:
        if name.startswith(("vision_model.", "mlp1.")):
            return "github"
        if name.startswith(("vision_tower.", "multi_modal_projector.")):
            return "hf_legacy"
        if name.startswith(("model.vision_tower.", "model.multi_modal_projector.")):
            return "hf"
    raise CheckpointError(
        "no tensor of a vision tower was found (names beginning with vision_model., vision_tower. or "
        "model.vision_tower.): these are not the weights of an InternVL chat model"
    )


def text_rows(config: TextConfig, style: KeyStyle, *, fused_experts: bool = False) -> tuple[Row, ...]:
    """The decoder's rows; later rows replace earlier ones of the same parameter."""
    if config.family == "internlm2" and style == "github":
        return INTERNLM2_TEXT
    special: tuple[Row, ...] = ()
    if config.family == "phi3":
        special = PHI3_ROWS
    elif config.family == "gpt_oss":
        special = GPT_OSS_ROWS
    replaced = {ours for ours, _, _ in special}
    return tuple(row for row in LLAMA_TEXT if row[0] not in replaced) + special


def links(
    shapes: Mapping[str, Size | tuple[int, ...]],
    config: TextConfig,
    style: KeyStyle,
    *,
    fused_experts: bool = False,
) -> list[Link]:
    """Every tensor that a checkpoint of this style stores for `shapes` (our names -> shapes)."""
    vision = GITHUB_VISION if style == "github" else HF_VISION
    table = _by_ours(vision + text_rows(config, style))
    experts = _by_ours(FUSED_EXPERT_ROWS if fused_experts else EXPERT_ROWS)
    result = []
    for ours, shape in shapes.items():
        layer = re.search(r"\.layers\.(\d+)\.", ours)
        is_mixture = layer is not None and config.family != "gpt_oss" and ours.startswith("decoder.")
        rows = {**table, **experts} if is_mixture and config.is_moe(int(layer[1])) else table  # type: ignore[index]
        for link in _links_of(ours, tuple(shape), rows, config):
            result.append(_renamed(link, style))
    return result


def vision_links(shapes: Mapping[str, Size | tuple[int, ...]], config: VisionConfig) -> list[Link]:
    """The same for a vision tower stored on its own (upstream's InternViT repositories: no prefix)."""
    table = _by_ours(GITHUB_VISION)
    result = []
    for ours, shape in shapes.items():
        for link in _links_of(f"vision.{ours}", tuple(shape), table, None):
            result.append(
                Link(ours, link.stored.removeprefix("vision_model."), link.view, link.stored_view, link.shape)
            )
    return result


def contrastive_links(shapes: Mapping[str, Size | tuple[int, ...]]) -> list[Link]:
    """The same for InternVL-C/G."""
    table = _by_ours(GITHUB_VISION + CONTRASTIVE)
    return [link for ours, shape in shapes.items() for link in _links_of(ours, tuple(shape), table, None)]


def _by_ours(rows: Iterable[Row]) -> dict[str, list[Row]]:
    table: dict[str, list[Row]] = {}
    for row in rows:
        table.setdefault(row[0], []).append(row)
    return table


def _links_of(
    ours: str, shape: tuple[int, ...], table: dict[str, list[Row]], config: TextConfig | None
) -> list[Link]:
    layer = re.search(r"\.layers\.(\d+)\.", ours)
    pattern = re.sub(r"\.layers\.\d+\.", ".layers.{}.", ours)
    suffix = ""
    if pattern not in table:
        pattern, _, last = pattern.rpartition(".")
        suffix = f".{last}"
    assert pattern in table, f"no table names the parameter {ours}"
    result = []
    for _, stored, cut in table[pattern]:
        numbers = [] if layer is None else [layer[1]]
        if stored.count("{}") > len(numbers):
            for expert in range(shape[0]):
                name = stored.format(*numbers, expert) + suffix
                result += _cut(ours, name, shape, cut, config, expert)
        else:
            result += _cut(ours, stored.format(*numbers) + suffix, shape, cut, config, 0)
    return result


def _cut(
    ours: str, stored: str, shape: tuple[int, ...], cut: Cut, config: TextConfig | None, expert: int
) -> list[Link]:
    """The links of one stored tensor: a cut of our parameter, or for grouped q, k, v three of them."""
    rest = shape[1:]

    def part(begin: int, end: int) -> list[Link]:
        return [Link(ours, stored, lambda t: t[begin:end], _whole, (end - begin, *rest))]

    if cut == "whole":
        return [Link(ours, stored, _whole, _whole, shape)]
    if cut in ("third_q", "third_k", "third_v"):
        third = shape[0] // 3
        index = ("third_q", "third_k", "third_v").index(cut)
        return part(index * third, (index + 1) * third)
    if cut in ("gate", "up"):
        half = shape[0] // 2
        return part(0, half) if cut == "gate" else part(half, shape[0])
    if cut == "expert":
        return [Link(ours, stored, lambda t: t[expert], _whole, rest)]
    if cut in ("expert_gate", "expert_up"):
        half = shape[1] // 2
        begin = 0 if cut == "expert_gate" else half
        return [Link(ours, stored, lambda t: t[expert, begin : begin + half], _whole, (half, *shape[2:]))]
    assert config is not None
    width, kv_width = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    if cut == "q":
        return part(0, width)
    if cut == "k":
        return part(width, width + kv_width)
    if cut == "v":
        return part(width + kv_width, width + 2 * kv_width)
    return _grouped_qkv(ours, stored, shape, config)


def _grouped_qkv(ours: str, stored: str, shape: tuple[int, ...], config: TextConfig) -> list[Link]:
    """InternLM2's wqkv: per kv head its queries, then its key, then its value; ours: all q, all k, all v."""
    heads, kv_heads, dim = config.num_heads, config.num_kv_heads, config.head_dim
    per_group = heads // kv_heads
    bounds = {0: (0, heads * dim), 1: (heads * dim, (heads + kv_heads) * dim)}
    bounds[2] = (bounds[1][1], shape[0])
    slots = {0: (0, per_group), 1: (per_group, per_group + 1), 2: (per_group + 1, per_group + 2)}

    def link(which: int) -> Link:
        (begin, end), (first, last) = bounds[which], slots[which]
        return Link(
            ours,
            stored,
            # (rows, ...) -> (kv_heads, heads in the group, dim, ...)
            lambda t: t[begin:end].unflatten(0, (kv_heads, last - first, dim)),
            lambda t: t.unflatten(0, (kv_heads, per_group + 2, dim))[:, first:last],
            shape,
        )

    return [link(0), link(1), link(2)]


def _renamed(link: Link, style: KeyStyle) -> Link:
    """Give a link of the legacy names the names of transformers >= 4.52."""
    if style != "hf":
        return link
    stored = link.stored
    if stored.startswith("language_model.lm_head"):
        stored = stored.removeprefix("language_model.")
    elif stored.startswith("language_model.model."):
        stored = "model.language_model." + stored.removeprefix("language_model.model.")
    else:
        stored = "model." + stored
    return Link(link.ours, stored, link.view, link.stored_view, link.shape)


def _whole(tensor: Tensor) -> Tensor:
    return tensor

"""A checkpoint directory or hub id -> model and processor.

The model is built without memory (meta device). A stored tensor that is a parameter as it stands (same shape
and dtype, on the CPU) is used where it lies in the mapped file; any other parameter is allocated once, in its
final dtype, on its final device, and filled block by block, the files' pages being given back at once.
Loading is strict: every missing, unexpected and misshapen tensor is named, all in one error.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from internvl.checkpoint.adapters import StoredNames, merge_delta, unwrap_names
from internvl.checkpoint.adapters_peft import load_adapter
from internvl.checkpoint.hf_config import read_image_token_id, read_model_config, read_vision_config
from internvl.checkpoint.hub import resolve
from internvl.checkpoint.key_maps import Link, detect_key_style, links, vision_links
from internvl.checkpoint.mxfp4 import packed_shape, unpack_expert
from internvl.checkpoint.shards import Shards, open_shards
from internvl.config.model import ModelConfig
from internvl.errors import CheckpointError, ConfigError
from internvl.models.decoder import set_attention
from internvl.models.internvl import InternVLModel
from internvl.models.pack import Packing, pack_linears
from internvl.models.vit import InternViT
from internvl.nn.attention import AttentionKind
from internvl.nn.device import free_bytes, has_fast_kernels

if TYPE_CHECKING:
    from internvl.preprocess.processor import Processor

DTypeName = Literal["auto", "fast", "float32", "bfloat16", "float16"]

#: Bytes copied before their pages are given back; small beside any model, large beside a copy's overhead.
BLOCK_BYTES = 16 * 2**20

#: Buffers that old files carry though they follow from the config.
DERIVED = re.compile(r"(^|\.)(rotary_emb\.inv_freq|position_ids)$")


def load_model(
    path_or_id: str | Path,
    *,
    dtype: DTypeName | torch.dtype = "auto",
    device: str | torch.device = "cpu",
    revision: str | None = None,
    attention: AttentionKind = "sdpa",
    adapter: str | Path | None = None,
    packing: Packing | None = None,
) -> InternVLModel:
    """Load a chat model for inference: eval mode, no gradients (`model.requires_grad_()` for training).

    `path_or_id`: a directory in any layout, a hub id, or "nano". `dtype` "auto" keeps the files' dtype, "fast" does
    so where the device has kernels for it and takes float32 where it has none (CPUs without AVX-512: bfloat16 is 8 x
    slower there) and memory holds it. `attention` "flash" uses the flash-attn package. `adapter`: a directory or hub
    id with a LoRA in PEFT's files, which is merged into the weights. `packing`: lay out (and quantise) the layers for
    inference on a CPU as they are read; such a model cannot be trained or saved. Raises CheckpointError when the files
    do not make up the model, ConfigError when it cannot be had this way.
    """
    directory = resolve_directory(path_or_id, revision)
    config = read_model_config(directory)
    image_token_id = read_image_token_id(directory)
    if attention not in ("sdpa", "flash"):
        raise ConfigError(f"attention={attention!r} is unknown; expected 'sdpa' or 'flash'")
    target = torch.device(device)
    if packing is not None:
        packing.refuse(config, target)
    with open_shards(directory) as shards:
        names = unwrap_names(shards)
        config = with_stored_head(config, names)
        with torch.device("meta"):
            model = InternVLModel(config, image_token_id=image_token_id)
        fused_experts = any(name.endswith(".mlp.experts.gate_up_proj") for name in names)
        style = detect_key_style(names)
        wanted = links(parameter_shapes(model), config.text, style, fused_experts=fused_experts)
        # an adapter is merged into plain weights
        as_read = packing if target.type == "cpu" and adapter is None else None
        fill(model, wanted, shards, names, dtype=dtype, device=target, where=str(directory), packing=as_read)
    model.decoder.tie_weights()
    set_attention(model, attention)
    if adapter is not None:
        load_adapter(model.eval(), adapter, merge=True)
    if packing is not None:
        pack_linears(model, packing.quantize)  # what is shared between layers, and what waited for an adapter
    return model.requires_grad_(False).eval()


def load_vision_tower(
    path_or_id: str | Path,
    *,
    dtype: DTypeName | torch.dtype = "auto",
    device: str | torch.device = "cpu",
    revision: str | None = None,
) -> InternViT:
    """Load an InternViT stored on its own, for inference (e.g. OpenGVLab/InternViT-300M-448px-V2_5)."""
    directory = resolve_directory(path_or_id, revision)
    config = read_vision_config(directory)
    with open_shards(directory) as shards:
        with torch.device("meta"):
            model = InternViT(config)
        wanted = vision_links(parameter_shapes(model), config)
        names = unwrap_names(shards)
        fill(model, wanted, shards, names, dtype=dtype, device=torch.device(device), where=str(directory))
    return model.requires_grad_(False).eval()


def load_processor(
    path_or_id: str | Path, *, revision: str | None = None, template: str | None = None
) -> Processor:
    """Load what turns messages into model inputs: tokenizer, template and tiling of a checkpoint."""
    from internvl.preprocess.processor import Processor
    from internvl.preprocess.tokenizer import load_tokenizer

    directory = resolve_directory(path_or_id, revision)
    return Processor(read_model_config(directory), load_tokenizer(directory), template=template)


def resolve_directory(path_or_id: str | Path, revision: str | None) -> Path:
    """A local directory as it is; anything else through the hub."""
    return path_or_id if isinstance(path_or_id, Path) else resolve(path_or_id, revision=revision)


def with_stored_head(config: ModelConfig, names: StoredNames) -> ModelConfig:
    """Untie the output embeddings where the files store their own.

    The config alone cannot be trusted: upstream forced untied weights up to V3 whatever llm_config said.
    """
    stored = any(re.search(r"(^|\.)(lm_head|output)\.weight$", name) for name in names)
    if stored and config.text.tie_embeddings:
        return dataclasses.replace(config, text=dataclasses.replace(config.text, tie_embeddings=False))
    return config


def parameter_shapes(model: nn.Module) -> dict[str, torch.Size]:
    """Our parameters' names and shapes, each once: a tied output is not listed."""
    return {name: parameter.shape for name, parameter in model.named_parameters()}


def fill(
    model: nn.Module,
    wanted: Sequence[Link],
    shards: Shards,
    names: StoredNames,
    *,
    dtype: DTypeName | torch.dtype,
    device: torch.device,
    where: str,
    packing: Packing | None = None,
) -> None:
    """Give every parameter of a meta-device `model` its memory and its numbers; pack layers once they are full."""
    check(wanted, shards, names, where)
    target = resolve_dtype(dtype, wanted, shards, names, device)
    by_parameter: dict[str, list[Link]] = {}
    for link in wanted:
        by_parameter.setdefault(link.ours, []).append(link)
    for ours, parts in by_parameter.items():
        name, _, leaf = ours.rpartition(".")
        module = model.get_submodule(name)
        shape = getattr(module, leaf).shape
        as_stored = packing is not None and packing.reads_as_stored(name, module)
        held = _stored_dtype(parts, shards, names, target) if as_stored else target
        parameter = _as_it_lies(parts, shape, held, shards, names) if device.type == "cpu" else None
        if parameter is None:
            parameter = torch.empty(shape, dtype=held, device=device)
            for link in parts:
                copy_part(link, parameter, shards, names)
        setattr(module, leaf, nn.Parameter(parameter, requires_grad=False))
        full = isinstance(module, nn.Linear) and not any(tensor.is_meta for tensor in module.parameters())
        if packing is not None and full:
            read = [by_parameter[f"{name}.{own}"] for own, _ in module.named_parameters()]
            model.set_submodule(name, packing.packed(name, module, target))
            for stored in {link.stored for parts in read for link in parts} & names.stored.keys():
                shards.release(names.stored[stored])


def _stored_dtype(
    parts: Sequence[Link], shards: Shards, names: StoredNames, target: torch.dtype
) -> torch.dtype:
    """The dtype in which a parameter's numbers lie in the files; `target` where they are computed first."""
    if any(link.stored in names.packed or link.stored in names.pairs for link in parts):
        return target
    found = {shards.infos[names.stored[link.stored]].dtype for link in parts}
    return found.pop() if len(found) == 1 else target


def check(wanted: Sequence[Link], shards: Shards, names: StoredNames, where: str) -> None:
    """Raise one CheckpointError that names every missing, unexpected or misshapen tensor."""
    expected = {link.stored: link.shape for link in wanted}
    missing = [name for name in expected if name not in names]
    unexpected = [name for name in names if name not in expected and not DERIVED.search(name)]
    misshapen, quantised = [], []
    for name, shape in expected.items():
        if name not in names:
            continue
        if name in names.packed:
            found = packed_shape(shards.infos[names.packed[name][0]].shape)
        else:
            found = shards.infos[names.stored[name]].shape
            dtype = shards.infos[names.stored[name]].dtype
            if not dtype.is_floating_point or dtype.itemsize == 1:
                quantised.append(f"{name} is {dtype}")
        if found != shape:
            misshapen.append(f"{name} is {list(found)}, config.json makes it {list(shape)}")
    problems = [
        f"{len(found)} {title}:\n    " + "\n    ".join(found)
        for title, found in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("misshapen", misshapen),
            ("not stored as float16, bfloat16, float32 or float64", quantised),
        )
        if found
    ]
    if problems:
        raise CheckpointError(
            f"the tensors in {where} do not make up the model that its config.json describes; "
            "is it complete, and config.json its own?\n  " + "\n  ".join(problems)
        )


def resolve_dtype(
    dtype: DTypeName | torch.dtype,
    wanted: Sequence[Link],
    shards: Shards,
    names: StoredNames,
    device: torch.device = torch.device("cpu"),  # noqa: B008
) -> torch.dtype:
    """The dtype to load in; "auto" is the one that holds most of the stored numbers; "fast" as in `load_model`."""
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype not in ("auto", "fast"):
        found = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}.get(dtype)
        if found is None:
            raise ConfigError(f"dtype={dtype!r} is unknown; expected auto, fast, float32, bfloat16, float16")
        return found
    sizes: dict[torch.dtype, int] = {}
    for name in {link.stored for link in wanted} - names.packed.keys():
        info = shards.infos[names.stored[name]]
        sizes[info.dtype] = sizes.get(info.dtype, 0) + info.size_bytes
    stored = max(sizes, key=lambda key: sizes[key])
    if dtype == "auto" or has_fast_kernels(stored, device):
        return stored
    # float32 doubles a half-precision file: only where that leaves room for the work itself
    free = free_bytes(device)
    fits = free is None or 2 * sum(sizes.values()) < 0.7 * free
    return torch.float32 if fits else stored


def _as_it_lies(
    parts: Sequence[Link], shape: torch.Size, dtype: torch.dtype, shards: Shards, names: StoredNames
) -> Tensor | None:
    """The mapped bytes of the one tensor that is the whole parameter, or None where there is work to do.

    Writing to such a parameter (training) gives the process its own copy of the page; the file never changes.
    """
    name = parts[0].stored
    if len(parts) > 1 or name in names.packed or name in names.pairs:
        return None
    info = shards.infos[names.stored[name]]
    return shards.tensor(names.stored[name]) if (info.shape, info.dtype) == (tuple(shape), dtype) else None


def copy_part(link: Link, parameter: Tensor, shards: Shards, names: StoredNames) -> None:
    """Copy a stored tensor (or part) into its view of our parameter, giving the pages back."""
    if link.stored in names.packed:
        _unpack(link, parameter, shards, names.packed[link.stored])
        return
    name = names.stored[link.stored]
    stored = shards.tensor(name)
    if link.stored in names.pairs:
        a, b = (shards.tensor(half) for half in names.pairs[link.stored])
        stored = merge_delta(stored, a, b)
    source, target = link.stored_view(stored), link.view(parameter)
    rows = len(source) if source.dim() else 1
    step = max(1, rows * BLOCK_BYTES // max(1, shards.infos[name].size_bytes))
    if source.dim() == 0 or step >= rows:
        target.copy_(source)
        shards.release(name)
        return
    row_bytes = shards.infos[name].size_bytes // rows
    for begin in range(0, rows, step):
        target[begin : begin + step].copy_(source[begin : begin + step])
        shards.release(name, begin=begin * row_bytes, end=min(begin + step, rows) * row_bytes)


def _unpack(link: Link, parameter: Tensor, shards: Shards, packed: tuple[str, str]) -> None:
    """Fill a weight of all experts from its blocks and scales, one expert at a time."""
    blocks, scales = (shards.tensor(name) for name in packed)
    for expert, target in enumerate(link.view(parameter)):
        target.copy_(unpack_expert(blocks[expert], scales[expert]))
    for name in packed:
        shards.release(name)

"""Adapters in PEFT's files: `adapter_config.json` beside `adapter_model.safetensors`, read and written.

>>> save_adapter(model, "receipts-lora")                                  # doctest: +SKIP
>>> load_adapter(internvl.load_model("nano"), "receipts-lora")            # doctest: +SKIP

Written are the names that PEFT gives in transformers' class, so that `PeftModel.from_pretrained` takes the directory;
read are those of every way to load these models (`adapters_names`). Legend: `K` inputs, `n` outputs, `r` rank.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from internvl.checkpoint.adapters_config import (
    CONFIG_NAME,
    AdapterConfig,
    adapter_config_json,
    most_common,
    read_adapter_config,
    shortest_targets,
)
from internvl.checkpoint.adapters_names import Slot, find_naming, slots
from internvl.checkpoint.hub import resolve
from internvl.checkpoint.key_maps import Link, links
from internvl.checkpoint.output import complete_directory, write_json
from internvl.checkpoint.shards import PICKLE_SUFFIXES, Shards
from internvl.errors import CheckpointError, ConfigError
from internvl.models.internvl import InternVLModel
from internvl.nn.lora import has_lora, lora_layers, merge_lora, parts_of, set_layer
from internvl.nn.lora_linear import LoraLinear, LoraPart, plain_linear

WEIGHTS_NAME = "adapter_model.safetensors"
PREFIX = "base_model.model."

_KEY = re.compile(
    r"^(?P<module>.+)\.(?P<kind>lora_A|lora_B|lora_magnitude_vector)(\.(?!weight$)[^.]+)?(\.weight)?$"
)


@dataclass(slots=True)
class Adapter:
    """An adapter that was read for one model: our layers -> the parts that it adapts."""

    config: AdapterConfig
    layers: dict[str, dict[str, LoraPart]] = field(default_factory=dict)
    whole: dict[str, list[tuple[Link, Tensor]]] = field(default_factory=dict)
    """Our parameters that it brings whole, or whose stored parts (PEFT's `modules_to_save`)."""

    @torch.no_grad()
    def with_whole(self, name: str, parameter: Tensor) -> Tensor:
        """A parameter of ours with what the adapter brings of it; the same tensor where that is nothing."""
        if name not in self.whole:
            return parameter
        result = parameter.detach().clone()
        for link, stored in self.whole[name]:
            link.view(result).copy_(link.stored_view(stored))
        return result

    def merged(self, name: str, parameter: Tensor) -> Tensor:
        """A parameter of ours with the adapter added; the same tensor where it adds nothing."""
        layer, _, leaf = name.rpartition(".")
        if leaf != "weight" or layer not in self.layers:
            return self.with_whole(name, parameter)
        return LoraLinear(plain_linear(parameter, None), self.layers[layer]).merged().weight.detach()


def load_adapter(
    model: InternVLModel,
    directory_or_id: str | Path,
    *,
    trainable: bool = False,
    merge: bool = False,
    revision: str | None = None,
) -> None:
    """Put an adapter from PEFT's files on a model, in place; everything else is frozen.

    Args:
        model: As loaded, without adapters.
        directory_or_id: A directory, or a hub id.
        trainable: Let the adapter require gradients, and its dropout work in training mode.
        merge: Add it to the weights, which leaves a plain model.
        revision: Of a hub id.

    Raises:
        CheckpointError: The files are unsafe, incomplete, or do not fit the model; every tensor is named.
    """
    if has_lora(model):
        raise ConfigError("this model has adapters already: merge them first (merge_lora), or load it anew")
    adapter = read_adapter(model, directory_or_id, revision=revision)
    model.requires_grad_(False)
    for name, parts in adapter.layers.items():
        layer = LoraLinear(model.get_submodule(name), dict(parts), dropout=adapter.config.dropout)
        layer.parts.requires_grad_(trainable).to(model.device)
        set_layer(model, name, layer)
    for name in adapter.whole:
        parent, _, leaf = name.rpartition(".")
        value = adapter.with_whole(name, model.get_parameter(name))
        setattr(model.get_submodule(parent), leaf, nn.Parameter(value, requires_grad=trainable))
    if merge:
        merge_lora(model)


def read_adapter(
    model: InternVLModel, directory_or_id: str | Path, *, revision: str | None = None
) -> Adapter:
    """Read an adapter for a model, which stays as it is (and may be on the meta device); see `load_adapter`."""
    directory = adapter_directory(directory_or_id, revision)
    adapter = Adapter(read_adapter_config(directory))
    file = directory / WEIGHTS_NAME
    if not file.is_file():
        pickles = [each.name for each in directory.iterdir() if each.suffix in PICKLE_SUFFIXES]
        hint = f"; {pickles[0]} is a pickle, which can run code and is refused" if pickles else ""
        raise CheckpointError(f"{directory} holds no {WEIGHTS_NAME}{hint}")
    with Shards([file]) as shards:
        halves, rest = _sorted_keys(shards, str(file))
        naming, known = find_naming(model, halves or [], str(file))
        for module, names in halves.items():
            slot = known[module]
            part = _part(module, slot, names, shards, adapter.config, str(file))
            # modules of one layer differ in their outputs, so each has a name of its own
            adapter.layers.setdefault(slot.layer, {})[_part_name(model, slot)] = part
        _read_whole(adapter, model, rest, shards, str(file))
    return adapter


def adapter_directory(directory_or_id: str | Path, revision: str | None = None) -> Path:
    """The local directory of an adapter, fetched first when it is a hub id."""
    return resolve(directory_or_id, revision=revision, config_name=CONFIG_NAME)


def save_adapter(
    model: InternVLModel, directory: str | Path, *, base: str | None = None, overwrite: bool = False
) -> Path:
    """Write a model's adapters as PEFT does; return the directory.

    Other parameters that require gradients (a projector trained whole, for one) are stored beside them, as PEFT's
    `modules_to_save`.

    Args:
        model: With adapters.
        directory: Where to; it appears when it is complete.
        base: What the base model is called, for `base_model_name_or_path`.
        overwrite: Replace an adapter that is there already.

    Raises:
        ConfigError: The model has no adapters.
        CheckpointError: The directory is there already, or something was trained that PEFT has no way to store.
    """
    layers = lora_layers(model)
    if not layers:
        raise ConfigError("this model has no adapters to save; put some on with add_lora, or use save_model")
    known = slots(model, ("hf", ""))
    tensors: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    alphas: dict[str, float] = {}
    for module, slot in known.items():
        layer = layers.get(slot.layer)
        inside = [] if layer is None else [part for part in layer.ordered_parts() if _overlap(part, slot)]
        if layer is None or not inside:
            continue
        a, b, magnitude, alphas[module] = _stored(layer, inside, slot)
        ranks[module] = len(a)
        tensors[f"{PREFIX}{module}.lora_A.weight"] = a
        tensors[f"{PREFIX}{module}.lora_B.weight"] = b
        if magnitude is not None:
            tensors[f"{PREFIX}{module}.lora_magnitude_vector"] = magnitude
    r, alpha = most_common(list(ranks.values())), most_common(list(alphas.values()))
    whole = _whole_tensors(model)
    first = next(iter(layers.values()))
    config = AdapterConfig(
        r=r,
        alpha=alpha,
        dropout=first.dropout,
        use_rslora=first.ordered_parts()[0].use_rslora,
        use_dora=first.ordered_parts()[0].magnitude is not None,
        rank_pattern={module: rank for module, rank in ranks.items() if rank != r},
        alpha_pattern={module: each for module, each in alphas.items() if each != alpha},
        modules_to_save=tuple(sorted({name.rpartition(".")[0] for name in whole})),
        base=base,
    )
    tensors |= {PREFIX + name: value for name, value in whole.items()}
    with complete_directory(Path(directory), overwrite=overwrite, config_name=CONFIG_NAME) as target:
        stored = {name: value.detach().to("cpu").contiguous().clone() for name, value in tensors.items()}
        save_file(stored, target / WEIGHTS_NAME, metadata={"format": "pt"})
        write_json(
            target / CONFIG_NAME, adapter_config_json(config, shortest_targets(set(ranks), set(known)))
        )
    return Path(directory)


# -- reading


def _sorted_keys(shards: Shards, where: str) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Modules -> {lora_A, lora_B, ...: name in the file}, and the names of whole parameters."""
    halves: dict[str, dict[str, str]] = {}
    rest = []
    for name in shards:
        info = shards.infos[name]
        if not info.dtype.is_floating_point or info.dtype.itemsize == 1:
            raise CheckpointError(f"{where}: {name} is {info.dtype}; expected float16, bfloat16 or float32")
        plain = name.removeprefix(PREFIX)
        match = _KEY.match(plain)
        if match is None:
            rest.append(name)
        elif match["kind"] in halves.setdefault(match["module"], {}):
            raise CheckpointError(
                f"{where} holds {match['kind']} of {match['module']} twice: one adapter a file"
            )
        else:
            halves[match["module"]][match["kind"]] = name
    return halves, rest


def _part(
    module: str, slot: Slot, names: dict[str, str], shards: Shards, config: AdapterConfig, where: str
) -> LoraPart:
    """The part that a module's tensors make up, in our order of its outputs, in float32."""
    wanted = {"lora_A", "lora_B"} | ({"lora_magnitude_vector"} if config.use_dora else set())
    if set(names) != wanted:
        raise CheckpointError(
            f"{where}: {module} has {', '.join(sorted(names))}; expected {', '.join(sorted(wanted))} "
            f"(use_dora is {config.use_dora})"
        )
    (n, K), r = slot.shape, config.rank_of(module)
    for kind, shape in (("lora_A", (r, K)), ("lora_B", (n, r)), ("lora_magnitude_vector", (n,))):
        found = shards.infos[names[kind]].shape if kind in names else shape
        if found != shape:
            raise CheckpointError(
                f"{where}: {names[kind]} is {list(found)}; this model and rank {r} make it {list(shape)}"
            )
    a, b = (shards.tensor(names[kind]).to(torch.float32, copy=True) for kind in ("lora_A", "lora_B"))
    order = slot.stored[slot.ours.argsort()]  # (n,) our order -> the module's
    magnitude = None
    if config.use_dora:
        magnitude = shards.tensor(names["lora_magnitude_vector"]).to(torch.float32)[order]
    start = int(slot.ours.min())
    alpha = config.alpha_of(module)
    part = LoraPart(a, b[order], magnitude, start=start, alpha=alpha, use_rslora=config.use_rslora)
    return part.requires_grad_(False)


def _part_name(model: nn.Module, slot: Slot) -> str:
    """Our name of the part that a slot is: q, k, v, gate, up, or the layer's own."""
    start, stop = int(slot.ours.min()), int(slot.ours.max()) + 1
    for unit in parts_of(model, slot.layer):
        if (unit.start, unit.stop) == (start, stop):
            return unit.part
    return slot.layer.rpartition(".")[2]


def _read_whole(
    adapter: Adapter, model: InternVLModel, names: Sequence[str], shards: Shards, where: str
) -> None:
    """Read the parameters that are stored whole. Raises CheckpointError for those that this model has not."""
    if not names:
        return
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    table = {link.stored: link for link in links(shapes, model.config.text, "hf")}
    for name in names:
        plain = name.removeprefix(PREFIX)
        link = table.get(plain)
        if link is None or not adapter.config.modules_to_save:
            raise CheckpointError(
                f"{where}: {name} is neither LoRA (lora_A, lora_B, lora_magnitude_vector) nor a parameter of a "
                "module that its modules_to_save names"
            )
        stored = shards.tensor(name)
        if stored.shape != link.shape:
            raise CheckpointError(
                f"{where}: {name} is {list(stored.shape)}; this model has {list(link.shape)}"
            )
        adapter.whole.setdefault(link.ours, []).append((link, stored.clone()))


# -- writing


def _overlap(part: LoraPart, slot: Slot) -> bool:
    return bool(((slot.ours >= part.start) & (slot.ours < part.stop)).any())


def _stored(
    layer: LoraLinear, parts: Sequence[LoraPart], slot: Slot
) -> tuple[Tensor, Tensor, Tensor | None, float]:
    """A module's A (r, K), B (n, r), magnitude (n,) and alpha, made of the parts that lie in it.

    Usually one; several (our q, k and v in a file that has them fused) are stacked, each with ranks of its own.
    """
    n, ranks = slot.shape[0], [part.rank for part in parts]
    total, scale = sum(ranks), parts[0].scale
    first = parts[0]
    b = torch.zeros(n, total, dtype=first.lora_b.dtype, device=first.lora_b.device)
    magnitude: Tensor | None = None
    if first.magnitude is not None:
        lengths = torch.linalg.vector_norm(layer.dense().float(), dim=1)  # of outputs without an adapter
        magnitude = torch.empty_like(lengths[:n])
        magnitude[slot.stored] = lengths[slot.ours]
    done = 0
    for part in parts:
        inside = (slot.ours >= part.start) & (slot.ours < part.stop)
        rows, own = slot.stored[inside], slot.ours[inside] - part.start
        b[rows, done : done + part.rank] = part.lora_b.detach()[own] * (part.scale / scale)
        if magnitude is not None and part.magnitude is not None:
            magnitude[rows] = part.magnitude.detach()[own].float()
        done += part.rank
    a = torch.cat([part.lora_a.detach() for part in parts])
    alpha = first.alpha if len(parts) == 1 else scale * (total**0.5 if first.use_rslora else total)
    return a, b, magnitude, alpha


def _whole_tensors(model: InternVLModel) -> dict[str, Tensor]:
    """Stored name -> tensor, of all modules with a trained parameter that is no adapter's."""
    adapted = tuple(f"{name}." for name in lora_layers(model))
    parameters = {
        name: value for name, value in model.named_parameters() if not (adapted and name.startswith(adapted))
    }
    trained = {name for name, value in parameters.items() if value.requires_grad}
    table = links({name: value.shape for name, value in parameters.items()}, model.config.text, "hf")
    modules = {link.stored.rpartition(".")[0] for link in table if link.ours in trained}
    for link in table:
        if link.ours in trained and link.stored.rpartition(".")[2] not in ("weight", "bias"):
            raise CheckpointError(
                f"{link.ours} was trained whole, which PEFT has no name for; freeze it, or merge and save_model"
            )
    return {
        link.stored: link.view(parameters[link.ours]).reshape(link.shape)
        for link in table
        if link.stored.rpartition(".")[0] in modules
    }

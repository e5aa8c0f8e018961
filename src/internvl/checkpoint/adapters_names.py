"""Names of modules in an adapter's file -> our layers, and which of their outputs they adapt.

Adapters exist for every way that people load these models: transformers' class (`hf`, and `hf_legacy` before 4.52),
upstream's class (`github`), or a part of it by itself, as upstream's `wrap_llm_lora` and `wrap_backbone_lora` make
them. The tables of `key_maps` know all these names.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from internvl.checkpoint.key_maps import KeyStyle, Link, links
from internvl.errors import CheckpointError
from internvl.models.internvl import InternVLModel
from internvl.nn.lora_linear import LoraLinear

#: Style of the names, and what is left out in front: adapters of a part of the model alone.
Naming = tuple[KeyStyle, str]
NAMINGS: tuple[Naming, ...] = (
    ("hf", ""),
    ("github", ""),
    ("hf_legacy", ""),
    ("github", "language_model."),
    ("hf_legacy", "language_model."),
    ("github", "vision_model."),
)


@dataclass(frozen=True, slots=True)
class Slot:
    """A module that an adapter may name."""

    layer: str
    """Our name of the linear layer that holds it."""
    ours: Tensor
    """(n,) outputs of that layer."""
    stored: Tensor
    """(n,) the same outputs, by the module's own count."""
    shape: tuple[int, int]
    """Of the module's weight: (n, K)."""


def linear_shapes(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Our linear layers, packed and adapted ones too, and the shapes (N, K) of their weights."""
    shapes: dict[str, tuple[int, int]] = {}
    inside: tuple[str, ...] = ()
    for name, module in model.named_modules():
        base = module.base if isinstance(module, LoraLinear) else module
        if inside and name.startswith(inside) or name.endswith(".router"):
            continue
        if hasattr(base, "out_features") and hasattr(base, "in_features"):
            shapes[name] = (int(base.out_features), int(base.in_features))  # type: ignore[arg-type]
            inside = (f"{name}.",)
    return shapes


def slots(model: InternVLModel, naming: Naming) -> dict[str, Slot]:
    """Every module of a linear layer by its stored name, without `.weight`."""
    style, prefix = naming
    shapes = {f"{name}.weight": shape for name, shape in linear_shapes(model).items()}
    pieces: dict[str, list[Link]] = {}
    for link in links(shapes, model.config.text, style):
        if link.stored.startswith(prefix):
            name = link.stored.removeprefix(prefix).removesuffix(".weight")
            pieces.setdefault(name, []).append(link)
    return {name: _slot(parts, shapes[parts[0].ours]) for name, parts in pieces.items()}


def _slot(parts: list[Link], shape: tuple[int, int]) -> Slot:
    rows = parts[0].shape[0]
    ours, stored = torch.arange(shape[0]), torch.arange(rows)
    return Slot(
        layer=parts[0].ours.removesuffix(".weight"),
        ours=torch.cat([part.view(ours).flatten() for part in parts]),
        stored=torch.cat([part.stored_view(stored).flatten() for part in parts]),
        shape=(rows, shape[1]),
    )


def find_naming(model: InternVLModel, modules: Iterable[str], where: str) -> tuple[Naming, dict[str, Slot]]:
    """The naming that knows all these modules. Raises CheckpointError with what none of them knows."""
    wanted = set(modules)
    best: tuple[int, Naming, dict[str, Slot]] | None = None
    for naming in NAMINGS:
        known = slots(model, naming)
        count = len(wanted & known.keys())
        if best is None or count > best[0]:
            best = (count, naming, known)
        if count == len(wanted):
            return naming, known
    assert best is not None
    unknown = sorted(wanted - best[2].keys())
    raise CheckpointError(
        f"{where} adapts {len(unknown)} of its {len(wanted)} modules that this model does not have:\n    "
        + "\n    ".join(_described(name, best[2]) for name in unknown[:10])
        + ("\n    ..." if len(unknown) > 10 else "")
        + "\n  Was it trained on another model?"
    )


def _described(name: str, known: dict[str, Slot]) -> str:
    if re.search(r"\.experts\b", name):
        return f"{name} (experts cannot be adapted here; merge it with peft)"
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"{name} (nearest: {near[0]})" if near else name

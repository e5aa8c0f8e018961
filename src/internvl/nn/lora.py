"""Low-rank adapters on a whole model: which layers get one, putting them on, merging them.

>>> add_lora(model, LoraConfig(r=16, alpha=32), torch.Generator().manual_seed(0))   # doctest: +SKIP
>>> optimizer = torch.optim.AdamW(lora_parameters(model), lr=1e-4)                  # doctest: +SKIP

Called by training; files of adapters are `checkpoint.adapters_peft`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

import torch
from torch import Tensor, nn

from internvl.errors import ConfigError
from internvl.nn.lora_linear import LoraLinear, LoraPart

#: What may be adapted, by the names of a model's children.
SECTIONS = ("decoder", "vision", "projector")

#: Which layers: "all-linear"; a list of endings ("q", "attention.out", "layers.1?.mlp.*"); or a regular expression for
#: whole names. As PEFT's `target_modules`, by our names or by those of transformers and of upstream.
Targets = str | tuple[str, ...]

#: Our names of layers -> what others call them.
ALIASES = {
    "q": ("q_proj",),
    "k": ("k_proj",),
    "v": ("v_proj",),
    "qkv": ("qkv_proj", "wqkv"),
    "out": ("o_proj", "wo", "proj", "projection_layer"),
    "gate": ("gate_proj", "w1"),
    "up": ("up_proj", "w3"),
    "gate_up": ("gate_up_proj",),
    "down": ("down_proj", "w2"),
    "fc1": ("linear_1",),
    "fc2": ("linear_2",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraConfig:
    """Which layers are adapted, and how. The defaults are upstream's fine-tuning scripts'."""

    r: int = 16
    """Rank."""
    alpha: float = 32.0
    """The adapters count alpha / r, or alpha / sqrt(r) with `use_rslora`."""
    dropout: float = 0.05
    """Of the adapters' inputs, in training mode only."""
    decoder: Targets = "all-linear"
    """Layers of the language model; the output layer only by its name, "lm_head"."""
    vision: Targets = ()
    """Layers of the vision tower."""
    projector: Targets = ()
    """Layers of the projector."""
    ranks: Mapping[str, int] = field(default_factory=dict)
    """Ranks of parts of the model other than `r`, e.g. {"vision": 8}; alpha / r is the same for all."""
    use_rslora: bool = False
    use_dora: bool = False
    """Learn the length of each output's weights apart from their direction (arXiv:2402.09353)."""
    quantize: Literal["int4"] | None = None
    """Keep the decoder's frozen weights in 4 bits (QLoRA, arXiv:2305.14314)."""

    def __post_init__(self) -> None:
        if self.r < 1 or any(rank < 1 for rank in self.ranks.values()):
            raise ConfigError(f"LoraConfig: r is {self.r}, ranks {dict(self.ranks)}; must be at least 1")
        if unknown := [section for section in self.ranks if section not in SECTIONS]:
            raise ConfigError(f"LoraConfig: ranks names {unknown[0]!r}; expected {', '.join(SECTIONS)}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"LoraConfig: dropout is {self.dropout}, must be in [0, 1)")
        if self.alpha <= 0:
            raise ConfigError(f"LoraConfig: alpha is {self.alpha}, must be positive")
        if self.quantize not in (None, "int4"):
            raise ConfigError(f"LoraConfig: quantize {self.quantize!r} is not int4 or None")
        for section in SECTIONS:
            targets = getattr(self, section)
            if not isinstance(targets, str):
                object.__setattr__(self, section, tuple(targets))

    def rank_of(self, layer: str) -> int:
        """The rank of a layer, by our name."""
        return self.ranks.get(layer.split(".")[0], self.r)


@dataclass(frozen=True, slots=True)
class Unit:
    """A layer, or a part of a fused one, that can be adapted by itself."""

    layer: str
    """Our name of the linear layer in the model."""
    part: str
    start: int
    stop: int

    def names(self) -> list[str]:
        """All names that it can be called by; also those of the fused layer that it is a part of."""
        parent, _, leaf = self.layer.rpartition(".")
        words = dict.fromkeys(
            (self.part, *ALIASES.get(self.part, ()), leaf, *ALIASES.get(leaf, ()))
        )  # in order, each once
        return [f"{parent}.{word}" for word in words]


def add_lora(
    model: nn.Module,
    config: LoraConfig,
    generator: torch.Generator | None = None,
    *,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Put fresh adapters on a model, in place: it computes what it did, and only they require gradients.

    `generator` draws the A matrices (default: seed 0); `dtype` is the adapters', whatever the model's (PEFT's choice).

    Raises:
        ConfigError: A target names no layer, or the model has adapters already.
    """
    if has_lora(model):
        raise ConfigError("this model has adapters already: merge them first (merge_lora), or load it anew")
    chosen = choose(model, config)
    model.requires_grad_(False)
    if config.quantize == "int4":
        from internvl.nn.int4_base import quantize_linears

        quantize_linears(model.get_submodule("decoder"))
    generator = generator or torch.Generator().manual_seed(0)
    by_layer: dict[str, list[Unit]] = {}
    for unit in chosen:
        by_layer.setdefault(unit.layer, []).append(unit)
    for name, units in by_layer.items():
        base = model.get_submodule(name)
        parts = {unit.part: fresh_part(base, unit, config, generator, dtype) for unit in units}
        set_layer(model, name, LoraLinear(base, parts, dropout=config.dropout))


def fresh_part(
    base: nn.Module, unit: Unit, config: LoraConfig, generator: torch.Generator, dtype: torch.dtype
) -> LoraPart:
    """An adapter that changes nothing yet: A uniform as PEFT draws it, B zero, DoRA's magnitudes the norms."""
    weight = base.weight if isinstance(base, nn.Linear) else base.dense()  # type: ignore[operator]
    assert isinstance(weight, Tensor)
    rows, rank, bound = unit.stop - unit.start, config.rank_of(unit.layer), weight.shape[1] ** -0.5
    a = torch.empty(rank, weight.shape[1]).uniform_(-bound, bound, generator=generator)
    magnitude = None
    if config.use_dora:
        norms = torch.linalg.vector_norm(weight[unit.start : unit.stop].detach().float(), dim=1)
        magnitude = norms.to(dtype=dtype)
    return LoraPart(
        a.to(device=weight.device, dtype=dtype),
        torch.zeros(rows, rank, device=weight.device, dtype=dtype),
        magnitude,
        start=unit.start,
        alpha=config.alpha * rank / config.r,
        use_rslora=config.use_rslora,
    )


def choose(model: nn.Module, config: LoraConfig) -> list[Unit]:
    """The units that a configuration names. Raises ConfigError for a target that names none."""
    everything = list(units(model))
    chosen: list[Unit] = []
    for section in SECTIONS:
        targets: Targets = getattr(config, section)
        offered = [unit for unit in everything if unit.layer.startswith(f"{section}.")]
        if targets == "all-linear":
            chosen += [unit for unit in offered if unit.part != "lm_head"]
            continue
        found: set[Unit] = set()
        for target in (targets,) if isinstance(targets, str) else targets:
            whole = isinstance(targets, str)
            named = {unit for unit in offered if _matches(unit, target, section, regex=whole)}
            if not named:
                raise ConfigError(_no_such_target(target, section, offered))
            found |= named
        chosen += [unit for unit in offered if unit in found]
    if not chosen:
        raise ConfigError(
            f"LoraConfig names no layer: set one of {', '.join(SECTIONS)}, e.g. to 'all-linear'"
        )
    head = any(unit.part == "lm_head" for unit in chosen)
    if head and model.get_submodule("decoder").config.tie_embeddings:  # type: ignore[union-attr]
        raise ConfigError(
            "LoraConfig.decoder names lm_head, which this model shares with its input embeddings: leave it out"
        )
    return chosen


def units(model: nn.Module) -> Iterator[Unit]:
    """Everything in a model that can be adapted.

    Not: experts and their routers (weights of their own kind), and layers of the vision tower behind the selected one.
    """
    used = getattr(model, "num_vision_layers", None)
    for name, module in model.named_modules():
        if not (isinstance(module, nn.Linear | LoraLinear) or hasattr(module, "dense")):
            continue
        if isinstance(model.get_submodule(name.rpartition(".")[0]), LoraLinear) or name.endswith(".router"):
            continue
        layer = re.match(r"vision\.layers\.(\d+)\.", name)
        if name.split(".")[0] in SECTIONS and not (layer and used is not None and int(layer[1]) >= used):
            yield from parts_of(model, name)


def parts_of(model: nn.Module, name: str) -> list[Unit]:
    """The units of a linear layer: q, k and v, or gate and up, where its files keep these apart."""
    layer = model.get_submodule(name)
    base = layer.base if isinstance(layer, LoraLinear) else layer
    rows, leaf = int(base.out_features), name.rpartition(".")[2]  # type: ignore[arg-type]
    section = model.get_submodule(name.split(".")[0])
    # Phi-3's own files have them fused, and so have its adapters.
    fused = getattr(getattr(section, "config", None), "family", None) == "phi3"
    splits: dict[str, int] = {leaf: rows}
    if leaf == "qkv" and not fused:
        parent = model.get_submodule(name.rpartition(".")[0])
        splits = dict(zip("qkv", getattr(parent, "splits", (rows // 3,) * 3), strict=True))
    elif leaf == "gate_up" and not fused:
        splits = {"gate": rows // 2, "up": rows // 2}
    found, start = [], 0
    for part, size in splits.items():
        found.append(Unit(name, part, start, start + size))
        start += size
    return found


def lora_layers(model: nn.Module) -> dict[str, LoraLinear]:
    """The adapted layers by our names."""
    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLinear)}


def has_lora(model: nn.Module) -> bool:
    """Whether any layer is adapted."""
    return any(isinstance(module, LoraLinear) for module in model.modules())


def lora_parameters(model: nn.Module) -> list[nn.Parameter]:
    """All parameters of all adapters: what LoRA trains."""
    return [parameter for layer in lora_layers(model).values() for parameter in layer.parts.parameters()]


def merge_lora(model: nn.Module) -> None:
    """Add the adapters to the weights, in place and for good: a plain model, which can be saved as such.

    Weights that were kept in 4 bits become full again.
    """
    for name, layer in lora_layers(model).items():
        set_layer(model, name, layer.merged())
    for name, module in list(model.named_modules()):
        if hasattr(module, "to_linear"):
            set_layer(model, name, module.to_linear())


@contextmanager
def merged_lora(model: nn.Module) -> Iterator[None]:
    """Merge for as long as the block runs, e.g. to save or to measure; afterwards all is as before, to the bit."""
    layers = lora_layers(model)
    try:
        for name, layer in layers.items():
            set_layer(model, name, layer.merged())
        yield
    finally:
        for name, layer in layers.items():
            set_layer(model, name, layer)


def set_layer(model: nn.Module, name: str, layer: nn.Module) -> None:
    """Put `layer` where `name` is, in the mode (training or not) of what stood there."""
    model.set_submodule(name, layer.train(model.get_submodule(name).training))


def _matches(unit: Unit, target: str, section: str, *, regex: bool) -> bool:
    for name in unit.names():
        if regex:
            # whole names, with or without the section in front
            if re.fullmatch(target, name) or re.fullmatch(target, name.removeprefix(f"{section}.")):
                return True
        elif fnmatchcase(name, target) or fnmatchcase(name, f"*.{target}"):
            return True
    return False


def _no_such_target(target: str, section: str, offered: list[Unit]) -> str:
    words = sorted({name.rpartition(".")[2] for unit in offered for name in unit.names()})
    near = difflib.get_close_matches(target.rpartition(".")[2], words, n=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return (
        f"LoraConfig.{section}: {target!r} names no layer. {hint}Its layers end in {', '.join(words)}; "
        "'all-linear' takes them all"
    )

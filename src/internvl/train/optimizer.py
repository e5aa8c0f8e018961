"""AdamW or Muon with its groups of parameters, and the moving average of the weights."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from internvl.errors import ConfigError
from internvl.train.config import OptimizerSection
from internvl.train.muon import Muon

_VISION_LAYER = re.compile(r"(?:^|\.)vision\.layers\.(\d+)\.")
_EMBEDDINGS = ("embed.weight", "class_embedding", "position_embedding")


def make_optimizer(model: nn.Module, config: OptimizerSection) -> torch.optim.AdamW:
    """AdamW, or Muon beside it, over what is trained.

    Each group carries `full_rate`, its learning rate at the top of the schedule, and a `label` for logs.

    Raises:
        ConfigError: Nothing is trained.
    """
    groups = parameter_groups(model, config)
    if not groups:
        raise ConfigError("every parameter is frozen; free a part in [freeze], or add a section [lora]")
    kind = Muon if config.kind == "muon" else torch.optim.AdamW
    return kind(groups, lr=config.learning_rate, betas=config.betas, eps=config.eps)


def parameter_groups(model: nn.Module, config: OptimizerSection) -> list[dict[str, Any]]:
    """Parameters by learning rate and weight decay, in the order of the model."""
    depth = 1 + max((_vision_layer(name) for name, _ in model.named_parameters()), default=0)
    groups: dict[tuple[float, float, int], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        rate = part_rate(name, config)
        if "vision." in name:
            # the layer on top learns at the full rate, the embeddings below all layers slowest
            rate *= config.vision_layer_decay ** (depth - 1 - _vision_layer(name))
        decays = config.decay_vectors or (parameter.ndim >= 2 and not name.endswith(_EMBEDDINGS))
        decay = config.weight_decay if decays else 0.0
        matrices = _matrices(name, parameter) if config.kind == "muon" else 0
        group = groups.setdefault(
            (rate, decay, matrices),
            {"params": [], "names": [], "lr": rate, "full_rate": rate, "weight_decay": decay},
        )
        if config.kind == "muon":
            group["matrices"] = matrices
        group["params"].append(parameter)
        group["names"].append(name)
    return list(groups.values())


def _matrices(name: str, parameter: nn.Parameter) -> int:
    """How many matrices Muon sees in a parameter: those of the layers; 0: AdamW's."""
    if parameter.ndim != 2 or ".layers." not in name or "lora" in name:
        return 0
    return 3 if "vision." in name and name.endswith("qkv.weight") else 1


def part_rate(name: str, config: OptimizerSection) -> float:
    """The learning rate of the part that a parameter belongs to."""
    own = None
    if "vision." in name:
        own = config.vision_learning_rate
    elif "projector." in name:
        own = config.projector_learning_rate
    elif "decoder." in name:
        own = config.decoder_learning_rate
    return config.learning_rate if own is None else own


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> float:
    """Set every group to `factor` of its full rate; return the largest."""
    for group in optimizer.param_groups:
        group["lr"] = group["full_rate"] * factor
    return max(group["lr"] for group in optimizer.param_groups)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Tensor]]:
    """The optimizer's state by parameter name, of Muon's matrices only the momentum; zeros before the first update."""
    state: dict[str, dict[str, Tensor]] = {}
    for group in optimizer.param_groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            mine = optimizer.state[parameter]
            if not mine:
                if not group.get("matrices"):
                    mine["step"] = torch.zeros((), dtype=torch.float32)
                    mine["exp_avg_sq"] = torch.zeros_like(parameter)
                mine["exp_avg"] = torch.zeros_like(parameter)
            state[name] = dict(mine)
    return state


@torch.no_grad()
def load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Continue from `optimizer_tensors`; rates are the schedule's, not the state's."""
    for name, mine in optimizer_tensors(optimizer).items():
        for key, tensor in mine.items():
            if tensor is not state[name][key]:
                tensor.copy_(state[name][key])


class WeightAverage:
    """Exponential moving average of the trained parameters, in float32.

    The first updates count more (`min(decay, (1 + step) / (10 + step))`), or the start would linger.
    """

    def __init__(self, parameters: Iterable[tuple[str, nn.Parameter]], decay: float) -> None:
        self.decay = decay
        self.step = 0
        self.parameters = {name: p for name, p in parameters if p.requires_grad}
        self.averages = {name: p.detach().float().clone() for name, p in self.parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after an update."""
        self.step += 1
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        for name, parameter in self.parameters.items():
            self.averages[name].lerp_(parameter.detach().float(), 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the model use the averages inside the block."""
        kept = {name: p.detach().clone() for name, p in self.parameters.items()}
        self._copy(self.averages)
        try:
            yield
        finally:
            self._copy(kept)

    @torch.no_grad()
    def _copy(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(values[name])

    def state_dict(self) -> dict[str, Any]:
        """What resuming needs."""
        return {"step": self.step, "averages": dict(self.averages)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict()`."""
        self.step = int(state["step"])
        for name, average in self.averages.items():
            average.copy_(state["averages"][name])


def _vision_layer(name: str) -> int:
    """1 + the layer that a parameter of the vision tower belongs to; 0 for what lies below the layers."""
    found = _VISION_LAYER.search(name)
    return 0 if found is None else 1 + int(found[1])

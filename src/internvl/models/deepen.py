"""A model that goes on with more layers than it had: the new ones change nothing until they are trained.

Growing late is cheaper than training the deep model from its first day (stacking: Gong et al., ICML 2019; zero ends of
new branches: LLaMA Pro, arXiv:2401.02415, section 3.2).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import torch
from torch import nn

from internvl.config.model import ModelConfig, TextConfig, VisionConfig
from internvl.errors import ConfigError
from internvl.models.init import branch_ends
from internvl.models.internvl import InternVLModel

Config = TypeVar("Config", VisionConfig, TextConfig)


@torch.no_grad()
def deepen(model: InternVLModel, *, vision_layers: int = 0, decoder_layers: int = 0) -> InternVLModel:
    """Return a model with more layers that answers exactly as `model` does.

    The new layers are spread evenly; each is a copy of the one before it with zeros where its branches end.

    Args:
        model: Left as it is.
        vision_layers: Layers of the vision tower; 0: as many as now.
        decoder_layers: Layers of the decoder; likewise.

    Raises:
        ConfigError: Fewer layers than there are, or a tower that is not read behind its last layer.
    """
    config = model.config
    if vision_layers and model.num_vision_layers != config.vision.num_layers:
        raise ConfigError(
            f"a tower can be deepened where its last layer is read; this model reads layer {model.num_vision_layers} "
            f"of {config.vision.num_layers}"
        )
    deeper = deeper_config(config, vision_layers=vision_layers, decoder_layers=decoder_layers)
    deep = InternVLModel(deeper, image_token_id=model.image_token_id).to(model.dtype)
    weights = model.state_dict()
    for part, old, new in (
        ("vision", config.vision.num_layers, deeper.vision.num_layers),
        ("decoder", config.text.num_layers, deeper.text.num_layers),
    ):
        of_layers = f"{part}.layers."
        old_weights = {name: weights.pop(name) for name in list(weights) if name.startswith(of_layers)}
        for layer in range(new):
            head = f"{of_layers}{source_layer(layer, old, new)}."
            for name, weight in old_weights.items():
                if name.startswith(head):
                    weights[f"{of_layers}{layer}.{name.removeprefix(head)}"] = weight
    deep.load_state_dict(weights)
    for part, old in (("vision", config.vision.num_layers), ("decoder", config.text.num_layers)):
        layers = deep.get_submodule(f"{part}.layers")
        assert isinstance(layers, nn.ModuleList)
        for layer in range(1, len(layers)):
            if source_layer(layer, old, len(layers)) == source_layer(layer - 1, old, len(layers)):
                for parameter in (*branch_ends(layers[layer]), *_biases_of_ends(layers[layer])):
                    parameter.zero_()
    return deep


def deeper_config(config: ModelConfig, *, vision_layers: int = 0, decoder_layers: int = 0) -> ModelConfig:
    """Return a config with more layers, see `deepen`."""
    return replace(
        config,
        vision=_deeper(config.vision, vision_layers, "vision"),
        text=_deeper(config.text, decoder_layers, "decoder"),
    )


def source_layer(layer: int, old: int, new: int) -> int:
    """The layer of `old` ones that layer number `layer` of `new` ones begins as.

    >>> [source_layer(layer, 4, 6) for layer in range(6)]
    [0, 0, 1, 2, 2, 3]
    """
    return layer * old // new


def _biases_of_ends(layer: nn.Module) -> list[nn.Parameter]:
    ends = ("attention.out.bias", "mlp.fc2.bias", "mlp.down.bias", "mlp.down_bias")
    return [parameter for name, parameter in layer.named_parameters() if name in ends]


def _deeper(config: Config, layers: int, part: str) -> Config:
    if not layers or layers == config.num_layers:
        return config
    if layers < config.num_layers:
        raise ConfigError(
            f"model.{part}_layers is {layers}; the model has {config.num_layers}, expected more"
        )
    if isinstance(config, TextConfig) and config.layer_types:
        types = tuple(config.layer_types[source_layer(n, config.num_layers, layers)] for n in range(layers))
        return replace(config, num_layers=layers, layer_types=types)
    return replace(config, num_layers=layers)

"""What is trained: the stages of the family as flags on parameters, and the vision tower's drop path."""

from __future__ import annotations

from internvl.errors import ConfigError
from internvl.models.internvl import InternVLModel
from internvl.models.vit import Block
from internvl.nn.lora import lora_parameters
from internvl.train.config import FreezeSection


def apply_freezing(model: InternVLModel, config: FreezeSection) -> None:
    """Set `requires_grad` of every parameter; what the decoder's `lm_head` is tied to follows the decoder.

    A model with adapters keeps them trained, and the rest of it frozen where the config does not say false.
    Layers of the vision tower behind the selected one are never run, and never trained.

    Raises:
        ConfigError: More vision layers are to be trained than there are.
    """
    adapted = {id(parameter) for parameter in lora_parameters(model)}
    for part, frozen in (
        (model.vision, config.vision),
        (model.projector, config.projector),
        (model.decoder, config.decoder),
    ):
        trained = not frozen if frozen is not None else not adapted
        for parameter in part.parameters():
            if id(parameter) not in adapted and parameter.is_floating_point():
                parameter.requires_grad_(trained)
    used = list(model.vision.layers)[: model.num_vision_layers]
    for layer in list(model.vision.layers)[model.num_vision_layers :]:
        layer.requires_grad_(False)
    if config.train_vision_layers > len(used):
        raise ConfigError(
            f"freeze.train_vision_layers is {config.train_vision_layers}; the vision tower runs {len(used)} layers"
        )
    if config.train_vision_layers:
        for layer in used[-config.train_vision_layers :]:
            layer.requires_grad_(True)


def set_drop_path(model: InternVLModel, rate: float) -> None:
    """Let the vision tower drop whole branches while training: 0 at its first layer, rising to `rate`."""
    blocks = [layer for layer in model.vision.layers if isinstance(layer, Block)]
    for number, block in enumerate(blocks):
        block.drop_path = rate * number / max(len(blocks) - 1, 1)


def train_mode(model: InternVLModel) -> None:
    """Training mode where something is trained; a frozen part stays as it answers (no drop path)."""
    for part in (model.vision, model.projector, model.decoder):
        part.train(any(parameter.requires_grad for parameter in part.parameters()))


def count_parameters(model: InternVLModel) -> tuple[int, int]:
    """(trained, all) parameters."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(size for size, trained in sizes if trained), sum(size for size, _ in sizes)

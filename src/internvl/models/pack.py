"""A loaded model -> the same model with its linear layers packed for inference on a CPU, quantised if asked for."""

from __future__ import annotations

from typing import Literal

from torch import nn

from internvl.errors import ConfigError
from internvl.models.internvl import InternVLModel
from internvl.nn.packed import Int4Linear, Int8Linear, Packed, PackedEmbedding, PackedLinear, can_pack

Quantize = Literal["int8", "int4"]


def pack_linears(model: InternVLModel, quantize: Quantize | None = None) -> None:
    """Replace the linear layers of a model on the CPU in place; one matrix at a time is held twice.

    `quantize` "int8": vision tower, projector and decoder; "int4": the decoder (layers whose sizes the kernel does
    not take become int8), the vision tower stays as it is. None: the weights keep their numbers. Not for models that
    will be trained or saved.

    Raises:
        ConfigError: The model cannot be quantised here: it is on a GPU, or a mixture of experts.
    """
    if model.device.type != "cpu":
        if quantize is None:
            return
        raise ConfigError(
            f"quantize={quantize!r} has kernels for the CPU only; the model is on {model.device}"
        )
    if quantize is not None and model.config.text.moe is not None:
        raise ConfigError(
            f"quantize={quantize!r} does not pack mixtures of experts yet; leave it out, or take a dense checkpoint"
        )
    _replace(model.vision, "int8" if quantize == "int8" else None)
    _replace(model.projector, "int8" if quantize == "int8" else None)
    _replace(model.decoder, quantize)


def weight_bytes(model: nn.Module) -> int:
    """Return the memory that a model's weights take as they are held, packed or not."""
    plain = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
    return plain + sum(module.weight_bytes for module in model.modules() if isinstance(module, Packed))


def _replace(module: nn.Module, quantize: Quantize | None) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.Embedding) and PackedEmbedding.fits(child):
            setattr(module, name, PackedEmbedding(child))
        elif not isinstance(child, nn.Linear):
            _replace(child, quantize)
        elif quantize == "int4" and Int4Linear.fits(child):
            setattr(module, name, Int4Linear(child))
        elif quantize is not None:
            setattr(module, name, Int8Linear(child))
        elif can_pack(child.weight.dtype):
            setattr(module, name, PackedLinear(child))

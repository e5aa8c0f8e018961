"""A model -> the same model with its layers packed for inference on a CPU, quantised if asked for.

Packed either when it is whole (`pack_linears`), or layer by layer while it is read (`checkpoint.load` with a
`Packing`): then no more than one layer is held twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from internvl.config.model import ModelConfig
from internvl.errors import ConfigError
from internvl.models.internvl import InternVLModel
from internvl.nn.packed import Int4Linear, Int8Linear, Packed, PackedEmbedding, PackedLinear, can_pack

Quantize = Literal["int8", "int4"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """What takes the place of which layer.

    `quantize` "int8": vision tower, projector and decoder; "int4": the decoder (layers whose sizes the kernel does
    not take become int8), the vision tower stays as it is. None: the weights keep their numbers.
    """

    quantize: Quantize | None = None

    def refuse(self, config: ModelConfig, device: torch.device) -> None:
        """Raise ConfigError where the model cannot be quantised: on a GPU, or a mixture of experts."""
        if self.quantize is None:
            return
        if device.type != "cpu":
            raise ConfigError(
                f"quantize={self.quantize!r} has kernels for the CPU only; the model is on {device}"
            )
        if config.text.moe is not None:
            raise ConfigError(
                f"quantize={self.quantize!r} does not pack mixtures of experts yet; leave it out, or take a dense"
                " checkpoint"
            )

    def reads_as_stored(self, name: str, layer: nn.Module) -> bool:
        """Whether packing this layer starts best from the numbers as they lie in the file, in half precision."""
        return isinstance(layer, nn.Embedding) or (
            isinstance(layer, nn.Linear) and self._quantize_of(name) is not None
        )

    def packed(self, name: str, layer: nn.Module, dtype: torch.dtype) -> nn.Module:
        """Return what takes the place of a layer whose activations are `dtype`; the layer itself if nothing does."""
        if isinstance(layer, nn.Embedding):
            return PackedEmbedding(layer, dtype) if PackedEmbedding.fits(layer, dtype) else layer
        if not isinstance(layer, nn.Linear):
            return layer
        quantize = self._quantize_of(name)
        if quantize == "int4" and Int4Linear.fits(layer):
            return Int4Linear(layer)
        if quantize is not None:
            return Int8Linear(layer)
        return PackedLinear(layer, dtype) if can_pack(dtype) else layer

    def _quantize_of(self, name: str) -> Quantize | None:
        return self.quantize if self.quantize == "int8" or name.startswith("decoder.") else None


def pack_linears(model: InternVLModel, quantize: Quantize | None = None) -> None:
    """Replace the layers of a model on the CPU in place. Not for models that will be trained or saved.

    Raises:
        ConfigError: The model cannot be quantised here.
    """
    packing = Packing(quantize=quantize)
    packing.refuse(model.config, model.device)
    if model.device.type != "cpu":
        return
    dtype = model.dtype
    for name, layer in list(model.named_modules()):
        if isinstance(layer, nn.Linear | nn.Embedding):
            model.set_submodule(name, packing.packed(name, layer, dtype))


def weight_bytes(model: nn.Module) -> int:
    """Return the memory that a model's weights take as they are held, packed or not."""
    plain = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
    return plain + sum(module.weight_bytes for module in model.modules() if isinstance(module, Packed))

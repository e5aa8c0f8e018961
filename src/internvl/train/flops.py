"""Work of a training step, for seconds and for the share of the machine's peak that is used (MFU).

A multiplication and its addition count as 2 operations. Activation checkpointing repeats the forward pass; the
repetition is time but not useful work, and MFU leaves it out. Attention counts only what causality lets see.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from internvl.config.model import ModelConfig
from internvl.models.internvl import InternVLModel
from internvl.nn.int4_base import Int4Base
from internvl.train.batch import TrainBatch
from internvl.train.dense import HEADS

#: Dense bfloat16 products per second, from the makers' data sheets, by a piece of the device's name.
PEAKS = {
    "B200": 2250e12,
    "H200": 989e12,
    "H100": 989e12,
    "GH200": 989e12,
    "A100": 312e12,
    "A800": 312e12,
    "L40S": 362e12,
    "L40": 181e12,
    "A10": 125e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
    "V100": 125e12,
    "T4": 65e12,
}


class Products(NamedTuple):
    """Entries of matrices that one place (a patch, a token, a label) is multiplied with."""

    forward: int
    backward: int
    """For the gradient of the input, where it is wanted, and of the entries that learn."""

    def operations(self, places: int) -> int:
        """Multiplications and additions for so many places."""
        return 2 * places * (self.forward + self.backward)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What each place costs in the parts that run, as they are frozen or trained."""

    config: ModelConfig
    tile_size: int
    """Side of a tile in pixels."""
    patch_embedding: Products
    """Per patch."""
    vision: Products
    """Per patch and class token, in the layers that run."""
    vision_attention: Products
    """Layers that run, and those of them that gradients reach."""
    projector: Products
    """Per image token."""
    decoder: Products
    """Per token, without embedding and output; of a mixture only the experts that are chosen; 0 where it does not
    run."""
    decoder_attention: Products
    """Layers, likewise."""
    head: Products
    """Per label."""
    places: Mapping[str, Products]
    """Dense heads by name (`train.dense`), per place that is asked."""

    def step(
        self,
        *,
        tokens: int,
        labels: int,
        tiles: int,
        lengths: Sequence[int] = (),
        places: Mapping[str, int] | None = None,
    ) -> float:
        """Operations of forward and backward over so many tokens, labels and tiles.

        `lengths` are those of the documents, for attention; without them it is left out. `places`: how many each
        dense head is asked about.
        """
        config = self.config
        patches = (self.tile_size // config.vision.patch_size) ** 2
        image_tokens = patches // config.projector.factor**2
        total = self.patch_embedding.operations(patches * tiles)
        total += self.vision.operations((patches + 1) * tiles)
        total += self.vision_attention.operations((patches + 1) ** 2 * tiles) * 2 * config.vision.hidden_size
        total += self.projector.operations(image_tokens * tiles)
        total += self.decoder.operations(tokens) + self.head.operations(labels)
        seen = sum(length**2 for length in lengths)  # of which causality lets half see
        total += self.decoder_attention.operations(seen) * config.text.num_heads * config.text.head_dim
        for name, asked in (places or {}).items():
            total += self.places[name].operations(asked)
        return float(total)

    def batch(self, batch: TrainBatch, *, padding: bool = False, lengths: Sequence[int] = ()) -> float:
        """Operations of one forward and backward pass; `padding`: with the tokens that only fill up."""
        asked = {}
        if batch.dense is not None and self.places:
            for name, labels in batch.dense.items():
                wanted = labels >= 0
                asked[name] = int((wanted.any(-1) if wanted.ndim > 2 else wanted).sum())
        tokens = batch.input_ids.numel() if padding else batch.num_tokens
        return self.step(
            tokens=tokens,
            labels=batch.num_valid_tokens,
            tiles=batch.num_tiles,
            lengths=lengths,
            places=asked,
        )


def work_of(
    model: InternVLModel,
    *,
    tile_size: int | None = None,
    answers: bool = True,
    dense: bool = False,
) -> Work:
    """Count the weights of a model (which may be on the meta device).

    Args:
        model: With `requires_grad` as it will be trained.
        tile_size: Side of the tiles in pixels; None: the model's.
        answers: Whether the decoder runs.
        dense: Whether the dense heads are asked; they always learn.
    """
    config, vision = model.config, model.vision
    reached = _learns(vision.class_embedding, vision.position_embedding, vision.patch_embedding.weight)
    kernel = vision.patch_embedding.weight
    # pixels need no gradient
    embedding = Products(kernel.numel(), kernel.numel() if kernel.requires_grad else 0)
    layers, reached, attended = _layers(list(vision.layers)[: model.num_vision_layers], reached)
    features_reached = reached
    projector, reached, _ = _layers([model.projector], reached)
    places = {}
    if dense:
        for name, (where, num_answers, classes) in HEADS.items():
            width = config.vision.hidden_size if where == "patch" else config.text.hidden_size
            size, learns = width * num_answers * classes, features_reached if where == "patch" else reached
            places[name] = Products(size, size + learns * size)
    decoder = decoder_attention = head = Products(0, 0)
    if answers:
        reached = reached or _learns(model.decoder.embed.weight)
        moe = config.text.moe
        share = (1, 1) if moe is None else (moe.num_experts_per_token, moe.num_experts)
        decoder, reached, decoder_attention = _layers(model.decoder.layers, reached, share)
        size = config.text.vocab_size * config.text.hidden_size
        reached = reached or _learns(model.decoder.norm.weight)
        head = Products(size, size * reached + size * _learns(*model.decoder.lm_head.parameters()))
    return Work(
        config=config,
        tile_size=tile_size or config.image_size,
        patch_embedding=embedding,
        vision=layers,
        vision_attention=attended,
        projector=projector,
        decoder=decoder,
        decoder_attention=decoder_attention,
        head=head,
        places=places,
    )


def _layers(
    layers: Iterable[nn.Module], reached: bool, experts: tuple[int, int] = (1, 1)
) -> tuple[Products, bool, Products]:
    """Count layers that follow each other; `reached`: gradients are wanted before the first of them.

    Returns the products with their matrices, whether gradients are wanted behind the last, and how many layers run and
    are reached: attention costs two products forward and four backward.
    """
    forward = backward = run = passed = 0
    for layer in layers:
        parameters = list(layer.parameters())
        reached = reached or _learns(*parameters)
        run, passed = run + 1, passed + reached
        for parameter in parameters:
            size = parameter.numel() if parameter.ndim == 2 else 0
            if parameter.ndim == 3:  # experts, of which each token meets some
                size = parameter.numel() * experts[0] // experts[1]
            forward += size
            backward += size * (reached + parameter.requires_grad)
        for module in layer.modules():
            if isinstance(module, Int4Base):  # frozen weights that are no parameters
                forward += module.in_features * module.out_features
                backward += module.in_features * module.out_features * reached
    return Products(forward, backward), reached, Products(run, 2 * passed)


def _learns(*parameters: Tensor) -> bool:
    return any(parameter.requires_grad for parameter in parameters)


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second that this device can do at most: by name, or measured with one large product."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        for piece, peak in PEAKS.items():
            if piece in name:
                return peak if dtype != torch.float32 else peak / 2
    return measured_flops(device, dtype)


def measured_flops(device: torch.device, dtype: torch.dtype, size: int = 1024) -> float:
    """Operations per second of square products (best of three), about 0.1 s on a laptop."""
    a = torch.randn(size, size, device=device, dtype=dtype)
    best = 0.0
    for _ in range(3):
        _synchronize(device)
        began = time.perf_counter()
        a @ a
        _synchronize(device)
        best = max(best, 2 * size**3 / (time.perf_counter() - began))
    return best


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

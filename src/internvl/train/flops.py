"""Work of a training step, for seconds and for the share of the machine's peak that is used (MFU).

A multiplication and its addition count as 2 operations. Activation checkpointing repeats the forward pass; the
repetition is time but not useful work, and MFU leaves it out. Attention counts only what causality lets see.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from internvl.config.model import ModelConfig
from internvl.models.internvl import InternVLModel

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


@dataclass(frozen=True, slots=True)
class Work:
    """Weights that a token (or patch) is multiplied with, by part, and which parts learn."""

    config: ModelConfig
    vision: int
    """Weights per patch in the layers that are run."""
    projector: int
    """Weights per image token."""
    decoder: int
    """Weights per token, without embedding and output; of a mixture only the experts that are chosen."""
    head: int
    """Weights per label."""
    trains: tuple[bool, bool, bool]
    """Whether vision tower, projector, decoder hold trained weights."""

    def step(self, *, tokens: int, labels: int, tiles: int, lengths: Sequence[int] = ()) -> float:
        """Operations of forward and backward over so many tokens, labels and tiles.

        `lengths` are those of the documents, for attention; without them it is left out.
        """
        config = self.config
        patches = (config.image_size // config.vision.patch_size) ** 2 + 1
        vision = 2 * self.vision * patches * tiles
        vision += 4 * config.vision.num_layers * config.vision.hidden_size * patches**2 * tiles
        projector = 2 * self.projector * config.tokens_per_tile * tiles
        width = config.text.num_heads * config.text.head_dim
        decoder = 2 * self.decoder * tokens + 2 * self.head * labels
        decoder += 2 * config.text.num_layers * width * sum(length**2 for length in lengths)
        trains_vision, trains_projector, trains_decoder = self.trains
        # gradients reach a part if it, or one before it, is trained; weights' gradients only where they are
        total = vision * (3 if trains_vision else 1)
        total += projector * (1 + (trains_vision or trains_projector) + trains_projector)
        return float(total + decoder * (1 + any(self.trains) + trains_decoder))


def work_of(model: InternVLModel) -> Work:
    """Count the weights of a model (which may be on the meta device)."""
    config = model.config
    layers = list(model.vision.layers)[: model.num_vision_layers]
    vision = sum(p.numel() for layer in layers for p in layer.parameters() if p.ndim == 2)
    vision += model.vision.patch_embedding.weight.numel()
    projector = sum(p.numel() for p in model.projector.parameters() if p.ndim == 2)
    decoder = 0
    for layer in model.decoder.layers:
        decoder += sum(p.numel() for p in layer.parameters() if p.ndim == 2)
        moe = config.text.moe
        if moe is not None:
            experts = sum(p.numel() for p in layer.parameters() if p.ndim == 3)
            decoder += experts * moe.num_experts_per_token // moe.num_experts
    trains = tuple(
        any(p.requires_grad for p in part.parameters())
        for part in (model.vision, model.projector, model.decoder)
    )
    head = config.text.vocab_size * config.text.hidden_size
    return Work(config, vision, projector, decoder, head, trains)  # type: ignore[arg-type]


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

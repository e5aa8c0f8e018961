"""uint8 tiles -> the floats that the vision tower was trained on.

In: uint8 (N, S, S, 3). Out: float32 (N, 3, S, S). torch is imported when a function is called, not before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class PixelStats:
    """Per-channel mean and standard deviation of pixels scaled to [0, 1], in RGB order."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET = PixelStats((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Every InternViT."""
CLIP = PixelStats((0.4814546, 0.4578275, 0.40821073), (0.2686295, 0.2613025, 0.2757711))
SIGLIP = PixelStats((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def normalize(tiles: npt.NDArray[np.uint8], *, stats: PixelStats = IMAGENET) -> torch.Tensor:
    """Return (tiles / 255 - mean) / std as float32 with the channels first.

    Args:
        tiles: uint8 (N, S, S, 3), RGB.
        stats: What to subtract and to divide by.

    Returns:
        float32 (N, 3, S, S), contiguous.
    """
    import torch

    if tiles.dtype != np.uint8 or tiles.ndim != 4 or tiles.shape[-1] != 3:
        raise ValueError(f"normalize got {tiles.dtype} {tiles.shape}: expected uint8 (N, S, S, 3)")
    mean = torch.tensor(stats.mean).view(3, 1, 1)
    std = torch.tensor(stats.std).view(3, 1, 1)
    # (N, S, S, 3) -> (N, 3, S, S); the copy also detaches from an array that may be read-only
    pixels = torch.from_numpy(np.ascontiguousarray(tiles.transpose(0, 3, 1, 2))).to(torch.float32)
    return pixels.div_(255).sub_(mean).div_(std)


def pad_to_square(image: Image.Image, *, fill: Sequence[float] = IMAGENET.mean) -> Image.Image:
    """Centre a picture on a square of its longer side.

    Args:
        image: RGB picture.
        fill: Colour of the margin, three values in [0, 1]; the mean colour becomes 0 after `normalize`.
    """
    side = max(image.size)
    if image.size == (side, side):
        return image
    canvas = Image.new(image.mode, (side, side), tuple(int(value * 255) for value in fill))
    canvas.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return canvas

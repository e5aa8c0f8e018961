"""Pixel shuffle and MLP: vision features -> image embeddings in the decoder's width.

Legend: `N` tiles, `C` vision width, `K` image tokens per tile, `D` decoder width, `f` patches per token side.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from internvl.config.model import ProjectorConfig
from internvl.errors import RequestError


def pixel_shuffle(x: Tensor, factor: int, *, transpose: bool) -> Tensor:
    """Merge f x f neighbouring patches into channels: (N, rows, columns, C) -> (N, rows/f, columns/f, f*f*C).

    A merged cell holds its patches row by row: (r0,c0), (r0,c1), (r1,c0), (r1,c1), each C wide. `transpose`
    leaves the result as (N, columns/f, rows/f, ...), which is "v1": the reference of V1.1 and V1.2 forgot
    to turn the grid back, and their weights were trained that way.
    """
    N, rows, columns, C = x.shape
    if rows % factor or columns % factor:
        raise RequestError(
            f"a grid of {rows}x{columns} patches cannot be merged {factor}x{factor}; "
            "use tiles whose sides are multiples of patch_size * factor pixels"
        )
    x = x.reshape(N, rows // factor, factor, columns // factor, factor, C)
    # (N, r, f, c, f, C) -> (N, r, c, f, f, C) or, transposed, (N, c, r, f, f, C)
    x = x.permute(0, 3, 1, 2, 4, 5) if transpose else x.permute(0, 1, 3, 2, 4, 5)
    return x.reshape(N, x.shape[1], x.shape[2], factor * factor * C)


class Projector(nn.Module):
    """Pixel shuffle, LayerNorm, Linear, GELU, Linear."""

    def __init__(self, config: ProjectorConfig, vision_size: int, text_size: int) -> None:
        super().__init__()
        self.factor = config.factor
        self.transpose = config.pixel_shuffle == "v1"
        width = vision_size * config.factor**2
        self.norm = nn.LayerNorm(width, eps=config.norm_eps)
        self.fc1 = nn.Linear(width, text_size)
        self.fc2 = nn.Linear(text_size, text_size)

    def forward(self, vision_features: Tensor, rows: int, columns: int) -> Tensor:
        """(N, rows * columns, C) -> (N, K, D)."""
        grid = vision_features.unflatten(1, (rows, columns))  # (N, P, C) -> (N, rows, columns, C)
        shuffled = pixel_shuffle(grid, self.factor, transpose=self.transpose).flatten(1, 2)  # (N, K, f*f*C)
        return self.fc2(F.gelu(self.fc1(self.norm(shuffled))))

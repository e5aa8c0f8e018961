"""InternViT: tiles -> vision features. One class for the 300M and the 6B towers (arXiv:2312.14238).

Legend: `N` tiles, `P` patches per tile, `C` width, `H` heads, `Dh` head dim; pixels are lowercase `h, w`.
Called by `models.internvl`; there is no final norm, and the class token is dropped there.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internvl.config.model import VisionConfig
from internvl.errors import RequestError
from internvl.nn.attention import attend
from internvl.nn.mlp import GeluMLP
from internvl.nn.norm import RMSNorm
from internvl.nn.recompute import Recompute, run_layer


class InternViT(nn.Module):
    """Vision transformer with layer scale and interpolated position embeddings."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.recompute: Recompute = False
        C = config.hidden_size
        self.class_embedding = nn.Parameter(torch.empty(1, 1, C))
        self.position_embedding = nn.Parameter(torch.empty(1, 1 + config.grid_size**2, C))
        self.patch_embedding = nn.Conv2d(3, C, kernel_size=config.patch_size, stride=config.patch_size)
        last = max(config.num_layers - 1, 1)
        self.layers = nn.ModuleList(
            Block(config, drop_path=config.drop_path_rate * i / last) for i in range(config.num_layers)
        )

    def forward(
        self, pixel_values: Tensor, *, num_layers: int | None = None, origin: tuple[int, int] | None = None
    ) -> Tensor:
        """Run `num_layers` layers (default all): (N, 3, h, w) -> (N, 1 + P, C), class token first.

        `origin` (row, column): the tiles are windows of a trained one and have its positions from there on; None:
        tiles of another size have the trained positions scaled to them.
        """
        x = self.embed(pixel_values, origin)
        for layer in self.layers[:num_layers]:
            x = run_layer(layer, x, recompute=self.recompute)
        return x

    def hidden_states(self, pixel_values: Tensor) -> list[Tensor]:
        """The embeddings and each layer's output, num_layers + 1 tensors (N, 1 + P, C)."""
        states = [self.embed(pixel_values)]
        for layer in self.layers:
            states.append(layer(states[-1]))
        return states

    def embed(self, pixel_values: Tensor, origin: tuple[int, int] | None = None) -> Tensor:
        """Patches, class token and positions: (N, 3, h, w) -> (N, 1 + P, C)."""
        h, w = pixel_values.shape[-2:]
        size = self.config.patch_size
        if h % size or w % size:
            raise RequestError(
                f"pixel_values are {h}x{w} pixels; both sides must be multiples of the patch size {size}"
            )
        # The references run the pixels in the dtype of the patch weights.
        patches = self.patch_embedding(pixel_values.to(self.patch_embedding.weight.dtype))  # (N, C, h/p, w/p)
        rows, columns = patches.shape[-2:]
        patches = patches.flatten(2).transpose(1, 2)  # (N, C, rows, columns) -> (N, P, C)
        tokens = torch.cat((self.class_embedding.expand(len(patches), -1, -1), patches), dim=1)
        if origin is not None:
            return tokens + self.window(rows, columns, origin)
        return tokens + self.positions(rows, columns)

    def window(self, rows: int, columns: int, origin: tuple[int, int]) -> Tensor:
        """Positions of a part of the trained grid, (1, 1 + rows * columns, C)."""
        first, rest = self.position_embedding[:, :1], self.position_embedding[:, 1:]
        grid = rest.unflatten(1, (self.config.grid_size, -1))  # (1, P, C) -> (1, rows, columns, C)
        top, left = origin
        part = grid[:, top : top + rows, left : left + columns]
        return torch.cat((first, part.flatten(1, 2)), dim=1)

    def positions(self, rows: int, columns: int) -> Tensor:
        """Positions of a grid of patches, (1, 1 + rows * columns, C); bicubic off the trained grid."""
        grid = self.config.grid_size
        if (rows, columns) == (grid, grid):
            return self.position_embedding
        first, rest = self.position_embedding[:, :1], self.position_embedding[:, 1:]
        rest = rest.float().reshape(1, grid, grid, -1).permute(0, 3, 1, 2)  # (1, P, C) -> (1, C, grid, grid)
        rest = F.interpolate(rest, size=(rows, columns), mode="bicubic", align_corners=False)
        rest = rest.flatten(2).transpose(1, 2).to(first.dtype)  # (1, C, rows, columns) -> (1, P, C)
        return torch.cat((first, rest), dim=1)


class Block(nn.Module):
    """x += scale1 * attention(norm1(x)); x += scale2 * mlp(norm2(x))."""

    def __init__(self, config: VisionConfig, *, drop_path: float = 0.0) -> None:
        super().__init__()
        self.drop_path = drop_path
        self.norm1 = make_norm(config)
        self.attention = VisionAttention(config)
        self.scale1 = nn.Parameter(torch.empty(config.hidden_size))
        self.norm2 = make_norm(config)
        self.mlp = GeluMLP(config.hidden_size, config.intermediate_size)
        self.scale2 = nn.Parameter(torch.empty(config.hidden_size))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1 + P, C) -> (N, 1 + P, C)."""
        x = x + self._drop(self.attention(self.norm1(x)) * self.scale1)
        return x + self._drop(self.mlp(self.norm2(x)) * self.scale2)

    def _drop(self, branch: Tensor) -> Tensor:
        """Stochastic depth (arXiv:1603.09382): drop the branch of whole tiles while training."""
        if not self.training or self.drop_path == 0.0:
            return branch
        keep = 1.0 - self.drop_path
        kept = torch.rand(len(branch), 1, 1, dtype=branch.dtype, device=branch.device) < keep
        return branch * kept / keep


class VisionAttention(nn.Module):
    """Full attention among a tile's patches."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        C = config.hidden_size
        self.num_heads = config.num_heads
        self.qkv = nn.Linear(C, 3 * C, bias=config.qkv_bias)
        self.out = nn.Linear(C, C)
        # Over the full width, before the split into heads: all heads share one variance (6B).
        self.q_norm = RMSNorm(C, config.norm_eps) if config.qk_norm else None
        self.k_norm = RMSNorm(C, config.norm_eps) if config.qk_norm else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1 + P, C) -> (N, 1 + P, C)."""
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = (
            t.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for t in (q, k, v)
        )  # (N, H, 1 + P, Dh)
        out = attend(q, k, v)
        return self.out(out.transpose(1, 2).flatten(2))  # (N, H, 1 + P, Dh) -> (N, 1 + P, C)


def make_norm(config: VisionConfig) -> nn.Module:
    """The tower's norm: LayerNorm (300M) or RMSNorm (6B)."""
    if config.norm == "rms_norm":
        return RMSNorm(config.hidden_size, config.norm_eps)
    return nn.LayerNorm(config.hidden_size, eps=config.norm_eps)

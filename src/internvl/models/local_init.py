"""Initial weights of a vision tower that begins as a convolutional network would: it sees edges, and looks next door.

A tower drawn at random has to learn first that neighbouring patches belong together, from pictures alone; on little
data most of its training goes into that. Here the patches begin as the cosine transform of their pixels, about
white (as the first layer of a convolutional network is whitened, arXiv:2404.00498, section 3.2), the positions as
waves, and most heads look at the neighbour in one direction (arXiv:2404.01139 does so without positions). All of it
is only where the weights start: the architecture is InternViT's, and everything is trained.

Legend: `C` width, `H` heads, `Dh` head dim, `F` waves per axis.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from internvl.errors import ConfigError
from internvl.models.init import branch_ends
from internvl.models.vit import Block, InternViT

#: Where the heads of a layer look, (rows, columns); layers take the lists in turn. The heads left over start at random.
STEPS = (
    ((0, -1), (0, 1), (-1, 0), (1, 0)),
    ((-1, -1), (-1, 1), (1, -1), (1, 1)),
    ((0, -2), (0, 2), (0, -1), (0, 1)),
)
SHARPNESS = 12.0
"""Logit of the neighbour a head looks at; those in its row or column have half of it, all others 0."""
POSITION_SHARE = 0.25
"""Of the energy of a token."""
CHROMA_SHARE = 0.15
"""Channels of the patch embedding that see colour; the others see brightness."""


@torch.no_grad()
def init_local_tower(vision: InternViT, generator: torch.Generator) -> None:
    """Set the weights of a tower whose other parameters have been set by `init_weights`.

    Raises:
        ConfigError: Heads are too narrow for the waves of the grid, or there is no room beside them.
    """
    config = vision.config
    C, H, Dh, grid = config.hidden_size, config.num_heads, config.head_dim, config.grid_size
    F = grid // 4
    if Dh < 4 * F or C < 8 * F or grid % 4:
        raise ConfigError(
            f"a tower can begin locally with heads of at least {4 * F} channels and a width of {8 * F} on a grid of "
            f"{grid} patches (a multiple of 4); it has {H} heads of {Dh} and is {C} wide"
        )
    content = C - 4 * F
    amplitude = math.sqrt(2 * POSITION_SHARE / (1 - POSITION_SHARE) * content / (4 * F))
    frequencies = (torch.arange(F) + 0.5) * math.pi / F  # waves that cancel at every distance but 0
    vision.class_embedding[..., content:] = 0.0
    vision.position_embedding.zero_()
    vision.position_embedding[0, 1:, content:] = amplitude * _waves(grid, frequencies)
    vision.patch_embedding.weight.zero_()
    vision.patch_embedding.weight[:content] = cosine_filters(content, config.patch_size)
    for module in vision.layers.modules():
        if isinstance(module, nn.Linear):
            module.weight.normal_(0.0, module.in_features**-0.5, generator=generator)
    # a normalised token holds POSITION_SHARE * C of energy in its waves; matching ones multiply to it
    scale = math.sqrt(SHARPNESS * math.sqrt(Dh) / (POSITION_SHARE * C))
    for number, layer in enumerate(vision.layers):
        assert isinstance(layer, Block)
        attention = layer.attention
        query, key, _ = attention.qkv.weight.view(3, H, Dh, C).unbind(0)
        query.mul_(0.5)
        key.mul_(0.5)
        for head, step in zip(range(H), STEPS[number % len(STEPS)], strict=False):
            query[head].zero_()
            key[head].zero_()
            query[head, : 4 * F, content:] = scale * _shift(step, frequencies)
            key[head, : 4 * F, content:] = scale * torch.eye(4 * F)
        for weight in branch_ends(layer):
            weight.mul_((2 * len(vision.layers)) ** -0.5)


def cosine_filters(count: int, size: int) -> Tensor:
    """The first `count` filters (count, 3, size, size) of brightness and colour, low frequencies first.

    A filter's response to print has a variance of about 1: high frequencies, which are rare, are amplified.
    """
    place = (torch.arange(size) + 0.5) * math.pi / size
    number = torch.arange(size)
    waves = torch.cos(number[:, None] * place) * math.sqrt(2 / size)
    waves[0] /= math.sqrt(2)
    planes = torch.einsum("uy,vx->uvyx", waves, waves).flatten(0, 1)  # (size^2, size, size), orthonormal
    frequency = (number[:, None] ** 2 + number**2).flatten().float().sqrt()
    order = frequency.argsort(stable=True)
    planes[0] /= 3  # brightness varies more than all else
    planes = (planes * (_WHITENING * (1 + frequency))[:, None, None])[order]
    mixes = torch.tensor([[0.299, 0.587, 0.114], [1.0, -0.5, -0.5], [0.0, 1.0, -1.0]])
    num_chroma = min(int(count * CHROMA_SHARE / 2), len(planes))
    num_grey = min(count - 2 * num_chroma, len(planes))
    parts = [
        mix[None, :, None, None] * planes[:n, None]
        for mix, n in zip(mixes, (num_grey, num_chroma, num_chroma), strict=True)
    ]
    filters = torch.cat(parts)
    return torch.cat((filters, filters.new_zeros(count - len(filters), 3, size, size)))


_WHITENING = 0.22


def _waves(grid: int, frequencies: Tensor) -> Tensor:
    """(grid * grid, 4F): cosines and sines of the row, then of the column, of each patch."""
    angles = torch.arange(grid)[:, None] * frequencies
    line = torch.cat((angles.cos(), angles.sin()), dim=1)  # (grid, 2F)
    rows = line[:, None].expand(grid, grid, -1)
    return torch.cat((rows, rows.transpose(0, 1)), dim=-1).flatten(0, 1)


def _shift(step: tuple[int, int], frequencies: Tensor) -> Tensor:
    """(4F, 4F): the matrix that turns the waves of a patch into those of the patch `step` away."""
    blocks = []
    for distance in step:
        cos, sin = torch.diag((frequencies * distance).cos()), torch.diag((frequencies * distance).sin())
        blocks.append(torch.cat((torch.cat((cos, -sin), dim=1), torch.cat((sin, cos), dim=1))))
    return torch.block_diag(*blocks)

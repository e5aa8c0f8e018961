"""The pictures of a prompt: which tiles are whose, and where their tokens stand. No torch.

A `Picture` is what passes through the vision tower, once, for everybody who shows it; a `PlacedPicture` is its
place in one prompt. Legend: `N` tiles of a request, `n` of one picture, `K` image tokens per tile, `D` width.
"""

from __future__ import annotations

import secrets
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from internvl.config.model import ModelConfig
from internvl.errors import RequestError
from internvl.types import ModelInputs

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(slots=True, eq=False, weakref_slot=True)
class Picture:
    """One picture on its way through the vision tower."""

    content_hash: str
    """Of its tiles; empty for a picture like no other."""
    num_tiles: int
    tiles: Tensor | None
    """(n, 3, h, w), until all are encoded."""
    features: Tensor | None = None
    """(n * K, D), once all are encoded."""
    parts: list[Tensor] = field(default_factory=list)
    """(k, K, D) of the tiles encoded so far."""
    num_encoded: int = 0

    @property
    def num_missing(self) -> int:
        """Tiles that the tower has not seen."""
        return 0 if self.features is not None else self.num_tiles - self.num_encoded


@dataclass(slots=True)
class PlacedPicture:
    """Where a picture stands in a prompt."""

    picture: Picture
    rank: int
    """Of its first token among the prompt's image tokens."""
    num_tokens: int
    stop: int
    """Place in the prompt behind its last token."""


def place_pictures(
    inputs: ModelInputs, config: ModelConfig, image_token_id: int
) -> tuple[list[PlacedPicture], list[int]]:
    """Return a prompt's pictures, and the places of all its image tokens.

    Tiles without descriptions (hand-made ModelInputs) count as one unknown picture.
    Raises RequestError when tokens, tiles and descriptions do not fit together.
    """
    tiles = inputs.pixel_values
    num_tiles = 0 if tiles is None else len(tiles)
    positions = (inputs.input_ids == image_token_id).nonzero().flatten().tolist()
    per_tile = 0 if tiles is None else _tokens_per_tile(tiles, config)
    if len(positions) != num_tiles * per_tile:
        raise RequestError(
            f"input_ids hold {len(positions)} image tokens (id {image_token_id}), pixel_values give "
            f"{num_tiles * per_tile} ({num_tiles} tiles x {per_tile}). Build both with one processor call, and "
            "leave no picture out."
        )
    described = [(media.content_hash, media.num_tiles) for media in inputs.media] or [("", num_tiles)]
    found = sum(count for _, count in described)
    if found != num_tiles or any(media.num_tokens != media.num_tiles * per_tile for media in inputs.media):
        raise RequestError(
            f"ModelInputs.media describe {found} tiles, pixel_values hold {num_tiles} of {per_tile} tokens;"
            " build both with one processor call"
        )
    placed, first_tile = [], 0
    for content_hash, count in described:
        if tiles is None or not count:
            continue
        picture = Picture(content_hash, count, tiles[first_tile : first_tile + count])
        rank, size = first_tile * per_tile, count * per_tile
        placed.append(PlacedPicture(picture, rank, size, stop=positions[rank + size - 1] + 1))
        first_tile += count
    return placed, positions


def content_keys(
    prompt_ids: Sequence[int], positions: Sequence[int], pictures: Sequence[PlacedPicture]
) -> list[Hashable]:
    """Return one key per prompt token, equal exactly where the token's meaning is.

    Image tokens (at `positions`) all have the same id; what tells pictures apart is the hash of their tiles.
    Tiles without a hash are like no others.
    """
    keys: list[Hashable] = list(prompt_ids)
    for placed in pictures:
        name = placed.picture.content_hash or secrets.token_hex(16)
        for place, position in enumerate(positions[placed.rank : placed.rank + placed.num_tokens]):
            keys[position] = (name, place)
    return keys


def _tokens_per_tile(tiles: Tensor, config: ModelConfig) -> int:
    """Return K for tiles (N, 3, h, w) of this size."""
    if tiles.dim() != 4 or tiles.shape[1] != 3:
        raise RequestError(f"pixel_values have shape {tuple(tiles.shape)}; expected (N, 3, h, w)")
    side = config.vision.patch_size * config.projector.factor
    h, w = tiles.shape[-2:]
    if h % side or w % side:
        raise RequestError(f"pixel_values are {h}x{w} pixels; both sides must be multiples of {side}")
    return (h // side) * (w // side)

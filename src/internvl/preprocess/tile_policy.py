"""How many tiles a picture is worth: the reference's rule, or one that looks at the picture itself.

In: a picture or its size. Out: a `TileGrid` for `tiling.cut_tiles`.

The reference spends tiles by aspect ratio alone: a 640x480 photo is blown up to 12 tiles, while an A4 scan at
300 dpi gets 6, because 2x3 happens to be nearer to its shape than 3x4. `policy="auto"` keeps a picture's own
resolution with as few tiles as possible, and lets a page full of text have more. It is an option, never the
default of a released model: answers then differ from the reference's. `policy="fit"` chooses the same grid and keeps
the picture's shape, too: it is enlarged until it touches the grid's sides, by half at most, and the rest stays grey, so
that a printed line is two tiles instead of twelve with letters as high as a tile. nano is trained with it.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from PIL import Image

from internvl.config.model import TilePolicy
from internvl.errors import ConfigError
from internvl.preprocess.tiling import candidate_grids, check_size, tile_grid
from internvl.types import TileGrid

Detail = Literal["low", "medium", "high"]

#: Most tiles by level of detail, as in LMDeploy.
DETAIL_TILES: dict[str, int] = {"low": 6, "medium": 12, "high": 24}

#: Under "auto", tiles suffice when they hold this share of the wanted resolution in both directions.
_ENOUGH = 0.8
#: Wanted resolution relative to the picture's own; small print gains from being enlarged.
_SCALE_SPARSE, _SCALE_DENSE = 1.0, 1.5


def choose_grid(
    picture: Image.Image | tuple[int, int],
    *,
    policy: TilePolicy = "reference",
    min_tiles: int = 1,
    max_tiles: int | None = None,
    detail: Detail | None = None,
    dense: bool | None = None,
    default_max_tiles: int = 12,
    image_size: int = 448,
) -> TileGrid:
    """Return the grid for a picture.

    Args:
        picture: The picture, or its (width, height) in pixels.
        policy: "reference", "auto" or "fit" (the grid of "auto"; `tiling.cut_tiles` keeps the shape).
        min_tiles: Fewest tiles, the thumbnail not counted.
        max_tiles: Most tiles; a hard limit under both policies.
        detail: "low", "medium" or "high": 6, 12 or 24 tiles at most, instead of max_tiles.
        dense: For "auto" and "fit": whether the picture is full of small print. None: `is_dense` looks at the picture;
            a mere size counts as not dense.
        default_max_tiles: The model's own limit, used when neither max_tiles nor detail is given. Under
            "auto" a dense page may then have twice as many.
        image_size: Side of a tile, pixels.

    Raises:
        ConfigError: An unknown policy or detail, max_tiles and detail together, or contradicting limits.
        MediaError: The picture has no pixels.

    >>> choose_grid((640, 480)), choose_grid((640, 480), policy="auto")
    (TileGrid(columns=4, rows=3), TileGrid(columns=2, rows=1))
    >>> choose_grid((2480, 3508)), choose_grid((2480, 3508), policy="auto", dense=True)
    (TileGrid(columns=2, rows=3), TileGrid(columns=4, rows=6))
    """
    if policy not in get_args(TilePolicy):
        raise ConfigError(f"tile_policy={policy!r}: expected one of {', '.join(get_args(TilePolicy))}")
    if detail is not None and max_tiles is not None:
        raise ConfigError(
            f"detail={detail!r} and max_tiles={max_tiles} both limit the tiles: give one of them"
        )
    if detail is not None and detail not in DETAIL_TILES:
        raise ConfigError(f"detail={detail!r}: expected one of {', '.join(DETAIL_TILES)}")
    limit = DETAIL_TILES[detail] if detail is not None else max_tiles
    width, height = picture.size if isinstance(picture, Image.Image) else picture
    if policy == "reference":
        limit = default_max_tiles if limit is None else limit
        return tile_grid(width, height, min_tiles=min_tiles, max_tiles=limit, image_size=image_size)
    if dense is None:
        dense = isinstance(picture, Image.Image) and is_dense(picture)
    if limit is None:
        limit = 2 * default_max_tiles if dense else default_max_tiles
    return auto_grid(width, height, dense=dense, min_tiles=min_tiles, max_tiles=limit, image_size=image_size)


def auto_grid(
    width: int, height: int, *, dense: bool, min_tiles: int = 1, max_tiles: int = 12, image_size: int = 448
) -> TileGrid:
    """Return the smallest grid that keeps a picture's resolution, or the one that keeps most of it.

    A grid keeps min(S * columns / width, S * rows / height) of the resolution; 0.8 is enough, for a dense
    picture 1.2. Among equally small grids the one that keeps more wins, then the wider one.

    Args:
        width: Pixels of the picture.
        height: Pixels of the picture.
        dense: Whether it is full of small print.
        min_tiles: Fewest tiles.
        max_tiles: Most tiles.
        image_size: S, side of a tile in pixels.
    """
    check_size(width, height)
    wanted = _SCALE_DENSE if dense else _SCALE_SPARSE

    def kept(grid: TileGrid) -> float:
        return min(image_size * grid.columns / width, image_size * grid.rows / height) / wanted

    grids = candidate_grids(min_tiles, max_tiles)
    enough = [grid for grid in grids if kept(grid) >= _ENOUGH]
    if enough:
        return min(enough, key=lambda grid: (grid.num_tiles, -kept(grid), -grid.columns))
    return min(grids, key=lambda grid: (-kept(grid), grid.num_tiles, -grid.columns))


def is_dense(image: Image.Image) -> bool:
    """Whether a picture is full of small print: a page, a table, a form, a chart with labels.

    Looks at a grey version of at most about 1,000 pixels a side (some milliseconds). Print shows as many
    neighbours that differ strongly, few that differ a little, on an even ground; photos have soft edges and
    texture. On the pictures this was tuned with (not a test set) it finds 94 % of pages, tables, forms and
    charts, and takes 9 % of photos for print; an error costs tiles or detail, never a wrong picture.
    """
    if image.width < 16 or image.height < 16:
        return False
    grey = image.convert("L").reduce(max(1, round(max(image.size) / 1024)))
    pixels = np.asarray(grey).astype(np.int16)
    across = np.abs(np.diff(pixels, axis=1))  # (h, w - 1)
    down = np.abs(np.diff(pixels, axis=0))  # (h - 1, w)
    edges = float(((across[:-1] > 40) | (down[:, :-1] > 40)).mean())
    even = float((across <= 6).mean())
    sharp = float((across > 40).sum()) / max(1.0, float((across > 12).sum()))
    return edges >= 0.02 and even >= 0.6 and sharp >= 0.35

"""A picture of any size -> square tiles for the vision tower; the only implementation of the cut.

In: an RGB picture. Out: uint8 (N, S, S, 3); `S` = side of a tile, usually 448 pixels, `N` = columns x rows
(+ 1 overview). Called by `preprocess.processor`; nothing here imports torch.

Source: dynamic high resolution, InternVL 1.5, arXiv:2404.16821, section 3.3.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from internvl.errors import ConfigError, MediaError
from internvl.types import TileGrid

#: Around a fitted picture: the mean of the family's normalisation, which the vision tower sees as zeros.
PADDING = (124, 116, 104)
#: What "fit" enlarges a picture by at most: letters as high as a tile are harder to read than small ones.
MOST_ENLARGED = 1.5


@lru_cache(maxsize=64)
def candidate_grids(min_tiles: int, max_tiles: int) -> tuple[TileGrid, ...]:
    """Every (columns, rows) with min_tiles <= columns * rows <= max_tiles, fewest tiles first.

    Grids with equally many tiles keep the order of a CPython set that was filled in the reference's order.
    With min_tiles = 1 that order never matters; with min_tiles > 1 it decides exact ties (FACTS: min = max =
    4), so the set is built here just as the reference builds it. Hashes of int tuples do not vary from run to
    run, and a test pins the result for all limits up to 40.
    """
    if not 1 <= min_tiles <= max_tiles:
        raise ConfigError(
            f"min_tiles={min_tiles}, max_tiles={max_tiles}: expected 1 <= min_tiles <= max_tiles. "
            "Raise max_tiles or lower min_tiles."
        )
    shapes = {
        (columns, rows)
        for side in range(min_tiles, max_tiles + 1)
        for columns in range(1, side + 1)
        for rows in range(1, side + 1)
        if min_tiles <= columns * rows <= max_tiles
    }
    return tuple(TileGrid(*shape) for shape in sorted(shapes, key=lambda shape: shape[0] * shape[1]))


def tile_grid(
    width: int, height: int, *, min_tiles: int = 1, max_tiles: int = 12, image_size: int = 448
) -> TileGrid:
    """Return the grid whose aspect ratio is nearest to the picture's, exactly as the reference does.

    The difference |width/height - columns/rows| is taken in double precision. On an exact tie the larger grid
    wins if the picture has more than half of the pixels that the grid would have. The picture's own
    resolution plays no other part: see `choose_grid` for a policy that looks at it.

    Args:
        width: Pixels of the picture.
        height: Pixels of the picture.
        min_tiles: Fewest tiles, the thumbnail not counted.
        max_tiles: Most tiles, the thumbnail not counted.
        image_size: Side of a tile, pixels.

    Raises:
        ConfigError: The limits contradict each other.
        MediaError: The picture has no pixels.

    >>> tile_grid(640, 480)
    TileGrid(columns=4, rows=3)
    """
    check_size(width, height)
    aspect = width / height
    # width * height > 0.5 * S * S * tiles, multiplied out so that it stays in exact integers
    doubled_pixels = 2 * width * height
    tile_pixels = image_size * image_size
    best = TileGrid(1, 1)
    smallest = float("inf")
    for grid in candidate_grids(min_tiles, max_tiles):
        difference = abs(aspect - grid.columns / grid.rows)
        tie_won = difference == smallest and doubled_pixels > tile_pixels * grid.num_tiles
        if difference < smallest or tie_won:
            best, smallest = grid, difference
    return best


def check_size(width: int, height: int) -> None:
    """Raise MediaError unless both sides have at least one pixel."""
    if width < 1 or height < 1:
        raise MediaError(f"picture of {width}x{height} pixels: expected at least 1x1. Pass another picture.")


def has_thumbnail(grid: TileGrid, use_thumbnail: bool) -> bool:
    """Whether an overview tile follows the grid: only if it was asked for and the grid has several tiles."""
    return use_thumbnail and grid.num_tiles > 1


def cut_tiles(
    image: Image.Image, *, grid: TileGrid, image_size: int = 448, thumbnail: bool = True, fit: bool = False
) -> npt.NDArray[np.uint8]:
    """Resize a picture to the grid and cut it into tiles, row by row, left to right.

    The whole picture is stretched to (columns * S, rows * S) with Pillow's bicubic filter *before* it is cut
    (parity: tiles share the filter's support across their borders; its aspect ratio is not kept). The
    overview, the whole picture resized to one tile, comes last.

    Args:
        image: RGB picture.
        grid: From `tile_grid` or `choose_grid`.
        image_size: S, side of a tile in pixels.
        thumbnail: Append the overview if the grid has more than one tile.
        fit: Keep the picture's shape: it lies in the upper left, the rest is grey (no family does this; the policy
            "fit" does).

    Returns:
        uint8 (N, S, S, 3), RGB; N = columns * rows, plus 1 for the overview. Bit-equal to the reference.
    """
    if image.mode != "RGB":
        raise MediaError(f"cut_tiles got a picture of mode {image.mode}: expected RGB. Convert it first.")
    columns, rows = grid
    overview = has_thumbnail(grid, thumbnail)
    tiles = np.empty((grid.num_tiles + overview, image_size, image_size, 3), dtype=np.uint8)
    if fit:
        resized = _fitted(image, (columns * image_size, rows * image_size))
    else:
        resized = np.asarray(
            image.resize((columns * image_size, rows * image_size), Image.Resampling.BICUBIC)
        )
    cut = tiles[: grid.num_tiles].reshape(rows, columns, image_size, image_size, 3)
    # (rows * S, columns * S, 3) -> (rows, S, columns, S, 3) -> (rows, columns, S, S, 3), one copy
    cut[:] = resized.reshape(rows, image_size, columns, image_size, 3).transpose(0, 2, 1, 3, 4)
    if overview:
        tiles[-1] = np.asarray(image.resize((image_size, image_size), Image.Resampling.BICUBIC))
    return tiles


def fit_scale(size: tuple[float, float], canvas: tuple[float, float]) -> float:
    """How much a picture is enlarged or shrunk until it just fits into a canvas; at most by `MOST_ENLARGED`."""
    return min(canvas[0] / size[0], canvas[1] / size[1], MOST_ENLARGED)


def fitted_size(size: tuple[int, int], canvas: tuple[int, int]) -> tuple[int, int]:
    """Return the (width, height) that a picture has on a canvas.

    >>> fitted_size((800, 60), (896, 448)), fitted_size((80, 60), (448, 448))
    ((896, 67), (120, 90))
    """
    scale = fit_scale(size, canvas)
    return max(1, min(canvas[0], round(size[0] * scale))), max(1, min(canvas[1], round(size[1] * scale)))


def _fitted(image: Image.Image, canvas: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Return (height, width, 3): the picture in the upper left of a grey canvas."""
    resized = image.resize(fitted_size(image.size, canvas), Image.Resampling.BICUBIC)
    filled = np.empty((canvas[1], canvas[0], 3), dtype=np.uint8)
    filled[:] = PADDING
    filled[: resized.height, : resized.width] = np.asarray(resized)
    return filled

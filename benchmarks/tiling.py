"""How long does cutting a picture into tiles take, against the plain Pillow way?

Peer: resize the whole picture, crop tile by tile, resize again for the overview, stack; what the reference
and LMDeploy do. Both sides run the same two bicubic resizes of the same Pillow, so that the pixels agree bit
for bit (checked), and those take nine tenths of the time: what differs is copies. Tried and left out, because
it showed no gain on this project's two-core machine: the overview, or bands of the picture, resized in other
threads. Rounds are interleaved, so that other load on the machine hits both sides alike.

    ./run bench tiling [--rounds N] [PICTURE ...]

Without pictures: a photo of 1344x896, 4K and 12 Mpx made of smooth noise. Prints a table and ends with one
JSON line.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np
import PIL
from PIL import Image

from internvl.media.image import open_image
from internvl.preprocess.tiling import cut_tiles, tile_grid
from internvl.types import TileGrid

SIZES = ((1344, 896), (3840, 2160), (4000, 3000))
LIMITS = (12, 40)
TILE = 448


def plain_pillow(image: Image.Image, grid: TileGrid) -> np.ndarray:
    """The peer."""
    whole = image.resize((TILE * grid.columns, TILE * grid.rows), Image.Resampling.BICUBIC)
    tiles = []
    for index in range(grid.num_tiles):
        left, top = index % grid.columns * TILE, index // grid.columns * TILE
        tiles.append(whole.crop((left, top, left + TILE, top + TILE)))
    if len(tiles) > 1:
        tiles.append(image.resize((TILE, TILE), Image.Resampling.BICUBIC))
    return np.stack([np.asarray(tile) for tile in tiles])


def ours(image: Image.Image, grid: TileGrid) -> np.ndarray:
    return cut_tiles(image, grid=grid, image_size=TILE)


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def measure(sides: dict[str, Callable], image: Image.Image, grid: TileGrid, rounds: int) -> dict[str, float]:
    """Median seconds of each side; a round runs every side once."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        order = list(sides) if number % 2 else list(reversed(sides))
        for name in order:
            start = time.perf_counter()
            sides[name](image, grid)
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", nargs="*", help="files to measure instead of noise")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    sides = {"pillow": plain_pillow, "internvl": ours}
    images = [open_image(path) for path in arguments.pictures] or [noise(*size) for size in SIZES]
    records = []
    print(f"{'picture':>10} {'grid':>5} {'tiles':>5} {'Pillow ms':>10} {'ours ms':>8} {'ratio':>6}")
    for image in images:
        for limit in LIMITS:
            grid = tile_grid(*image.size, max_tiles=limit)
            reference, tiles = plain_pillow(image, grid), ours(image, grid)
            if not np.array_equal(reference, tiles):
                raise SystemExit(f"{image.size} {grid}: the pixels differ")
            medians = measure(sides, image, grid, arguments.rounds)
            ratio = medians["pillow"] / medians["internvl"]
            size = f"{image.width}x{image.height}"
            print(
                f"{size:>10} {grid.columns:>2}x{grid.rows:<2} {len(tiles):>5} "
                f"{medians['pillow'] * 1e3:>10.1f} {medians['internvl'] * 1e3:>8.1f} {ratio:>5.2f}x"
            )
            records.append(
                {"size": image.size, "max_tiles": limit, "grid": list(grid), "tiles": len(tiles)}
                | {f"{name}_ms": round(value * 1e3, 2) for name, value in medians.items()}
                | {"ratio": round(ratio, 3)}
            )
    machine = {"python": platform.python_version(), "pillow": PIL.__version__, "cores": os.cpu_count()}
    machine |= {"machine": platform.machine(), "load": round(os.getloadavg()[0], 1)}
    print(json.dumps({"benchmark": "tiling", "rounds": arguments.rounds, "results": records, **machine}))


if __name__ == "__main__":
    main()

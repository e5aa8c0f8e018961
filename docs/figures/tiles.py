"""Draws docs/figures/tiles.png and writes the cost table of docs/images.md, both with the package's own code.

    python docs/figures/tiles.py PAGE.jpg          # tiles.png beside this script
    python docs/figures/tiles.py --table           # the Markdown table

The page in the repository's figure is us-001_p1.jpg of the ICDAR 2013 table competition: a report of the US
Census Bureau, in the public domain.
"""

import argparse
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from internvl.media.image import open_image
from internvl.preprocess.tile_policy import choose_grid
from internvl.preprocess.tiling import cut_tiles, has_thumbnail, tile_grid
from internvl.types import TileGrid

TOKENS_PER_TILE = 256
LIMITS = (6, 12, 24, 40)
SIZES = (
    ("one tile", 448, 448),
    ("photo, web", 640, 480),
    ("photo", 1024, 768),
    ("square", 1000, 1000),
    ("full HD", 1920, 1080),
    ("4K", 3840, 2160),
    ("A4, 150 dpi", 1240, 1754),
    ("A4, 300 dpi", 2480, 3508),
    ("phone screen", 1242, 2688),
    ("panorama", 5000, 300),
)

SHOWN = 120  # side of a tile in the figure, pixels
GAP = 8
INK, ACCENT = (40, 40, 40), (200, 60, 30)


def cell(grid: TileGrid) -> str:
    tiles = grid.num_tiles + has_thumbnail(grid, True)
    return f"{grid.columns}x{grid.rows} = {tiles} / {tiles * TOKENS_PER_TILE}"


def table() -> str:
    """Markdown: size x limit -> grid = tiles with thumbnail / tokens."""
    heads = [f"max {limit}" for limit in LIMITS] + ["auto", "auto, dense page"]
    lines = ["| picture | pixels | " + " | ".join(heads) + " |", "|---" * (len(heads) + 2) + "|"]
    for name, width, height in SIZES:
        grids = [tile_grid(width, height, max_tiles=limit) for limit in LIMITS]
        grids += [choose_grid((width, height), policy="auto", dense=dense) for dense in (False, True)]
        lines.append(f"| {name} | {width} x {height} | " + " | ".join(map(cell, grids)) + " |")
    return "\n".join(lines)


def figure(page: Image.Image, max_tiles: int = 12) -> Image.Image:
    """The page with its grid | the tiles, apart and numbered | the overview."""
    grid = tile_grid(*page.size, max_tiles=max_tiles)
    tiles = [Image.fromarray(tile).resize((SHOWN, SHOWN)) for tile in cut_tiles(page, grid=grid)]
    font = ImageFont.load_default(15)
    width, height = grid.columns * SHOWN, grid.rows * SHOWN
    shown_page = page.resize((height * page.width // page.height, height))
    top, tiles_left = 40, 20 + shown_page.width + 50
    overview_left = tiles_left + width + (grid.columns - 1) * GAP + 50
    canvas = Image.new(
        "RGB", (overview_left + SHOWN + 30, top + height + (grid.rows - 1) * GAP + 20), "white"
    )
    draw = ImageDraw.Draw(canvas)

    draw.text((20, 12), f"the page, {page.width} x {page.height}", INK, font)
    canvas.paste(shown_page, (20, top))
    for column in range(grid.columns + 1):
        x = 20 + shown_page.width * column // grid.columns
        draw.line((x, top, x, top + height), ACCENT, 2)
    for row in range(grid.rows + 1):
        y = top + height * row // grid.rows
        draw.line((20, y, 20 + shown_page.width, y), ACCENT, 2)

    side = 448
    draw.text(
        (tiles_left, 12), f"{grid.columns} x {grid.rows} tiles of {side} x {side}, in this order", INK, font
    )
    for index, tile in enumerate(tiles[: grid.num_tiles]):
        x = tiles_left + index % grid.columns * (SHOWN + GAP)
        numbered(canvas, tile, (x, top + index // grid.columns * (SHOWN + GAP)), index + 1, font)
    draw.text((overview_left, 12), "then the overview", INK, font)
    numbered(canvas, tiles[-1], (overview_left, top), len(tiles), font)
    note = f"{len(tiles)} x {TOKENS_PER_TILE}\n= {len(tiles) * TOKENS_PER_TILE} tokens"
    draw.multiline_text((overview_left, top + SHOWN + 16), note, INK, font, spacing=6)
    return canvas


def numbered(canvas, tile, corner, number, font) -> None:
    x, y = corner
    canvas.paste(tile, corner)
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((x, y, x + SHOWN - 1, y + SHOWN - 1), outline=INK)
    draw.rectangle((x, y, x + 22, y + 19), fill=ACCENT)
    draw.text((x + 11, y + 10), str(number), "white", font, anchor="mm")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", nargs="?", help="picture to cut")
    parser.add_argument("--table", action="store_true", help="print the table of docs/images.md")
    parser.add_argument("-o", "--output", default=Path(__file__).with_suffix(".png"), type=Path)
    arguments = parser.parse_args()
    if arguments.table:
        print(table())
    elif arguments.page:
        figure(open_image(arguments.page)).quantize(24).save(arguments.output, optimize=True)
        print(f"{arguments.output}: {arguments.output.stat().st_size} bytes")
    else:
        parser.error("name a picture, or --table")


if __name__ == "__main__":
    main()

"""Draw README's pictures: `python -m internvl.data.examples examples`.

None of them is in a training set: the sign is set in a held-out font on a made-up board, the shapes and the drawn
object are composed by hand.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from PIL import Image, ImageDraw

from internvl.data.colours import Rgb
from internvl.data.fonts import find_fonts, load_font
from internvl.data.objects import draw_shape

SHAPES: tuple[tuple[str, Rgb, int, tuple[int, int]], ...] = (
    ("star", (250, 205, 20), 110, (40, 50)),
    ("circle", (30, 90, 220), 100, (250, 40)),
    ("circle", (30, 90, 220), 100, (60, 230)),
    ("triangle", (215, 40, 40), 110, (240, 220)),
)
"""Name, colour, size and top left corner, pixels."""


def sign(text: str = "OPEN", size: tuple[int, int] = (360, 240)) -> Image.Image:
    """A board with a frame and one word."""
    image = Image.new("RGB", size, (255, 255, 255))
    draw = ImageDraw.Draw(image)
    face = load_font(next(path for path in find_fonts().held_out if "Cabin-Bold" in path), 88)
    draw.text((size[0] / 2, size[1] / 2), text, fill=(15, 15, 15), font=face, anchor="mm")
    return image


def shapes(size: tuple[int, int] = (400, 400)) -> Image.Image:
    """Four shapes on a pale ground."""
    image = Image.new("RGB", size, (244, 246, 240))
    rng = random.Random("examples")
    for name, colour, side, place in SHAPES:
        picture = draw_shape(rng, name, colour, side)
        image.paste(picture, place, picture)
    return image


def heart(size: tuple[int, int] = (320, 320)) -> Image.Image:
    """One red heart."""
    image = Image.new("RGB", size, (250, 240, 225))
    picture = draw_shape(random.Random("heart"), "heart", (214, 30, 50), 190)
    image.paste(picture, (62, 70), picture)
    return image


def main() -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    directory = parser.parse_args().directory
    for name, image in (("sign", sign()), ("shapes", shapes()), ("object", heart())):
        image.save(directory / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()

"""Backgrounds: what stands behind the things, and its colour where it is one colour."""

from __future__ import annotations

import random
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFilter

from internvl.data.colours import COLOURS, Rgb, draw_colour
from internvl.data.sample import Split

TRAINED = ("gradient", "blotches", "landscape", "dots", "paper", "bokeh", "wall")
HELD_OUT = ("stripes", "checks", "grid", "hills")
PLAIN_SHARE = 0.45


@dataclass(frozen=True, slots=True)
class Ground:
    """A background."""

    image: Image.Image
    kind: str
    colour: str | None
    """Name of its colour if it is plain."""
    colours: tuple[Rgb, ...]
    """What things must stand out from."""


def draw_ground(rng: random.Random, size: tuple[int, int], *, split: Split) -> Ground:
    """Draw a background; the patterned kinds of the two splits differ, plain ones are in both."""
    name = (
        rng.choice(COLOURS)
        if rng.random() < 0.6
        else rng.choice(("white", "white", "white", "black", "gray"))
    )
    colour = _softened(rng, draw_colour(rng, name)) if rng.random() < 0.3 else draw_colour(rng, name)
    if rng.random() < PLAIN_SHARE:
        plain = draw_colour(rng, name)
        return Ground(Image.new("RGB", size, plain), "plain", name, (plain,))
    kind = rng.choice(TRAINED if split == "train" else HELD_OUT)
    spread = rng.choice((15, 30, 45))
    other = _shifted(rng, colour, spread)
    image = _KINDS[kind](rng, size, colour, other)
    small = image.resize((2, 2), Image.Resampling.BOX).get_flattened_data()
    return Ground(image, kind, None, tuple(small))  # type: ignore[arg-type]


def _softened(rng: random.Random, colour: Rgb) -> Rgb:
    share = rng.uniform(0.3, 0.7)
    r, g, b = (round(c + (255 - c) * share) for c in colour)
    return r, g, b


def _shifted(rng: random.Random, colour: Rgb, by: int) -> Rgb:
    r, g, b = (min(255, max(0, c + rng.choice((-1, 1)) * rng.randint(by // 2, by))) for c in colour)
    return r, g, b


def _gradient(rng: random.Random, size: tuple[int, int], a: Rgb, b: Rgb) -> Image.Image:
    ramp = Image.linear_gradient("L") if rng.random() < 0.7 else Image.radial_gradient("L")
    if rng.random() < 0.5:
        ramp = ramp.transpose(Image.Transpose.ROTATE_90)
    return Image.composite(Image.new("RGB", size, a), Image.new("RGB", size, b), ramp.resize(size))


def _blotches(rng: random.Random, size: tuple[int, int], a: Rgb, b: Rgb) -> Image.Image:
    side = rng.choice((3, 4, 8, 16, 32))
    mask = Image.frombytes("L", (side, side), rng.randbytes(side * side)).resize(
        size, Image.Resampling.BICUBIC
    )
    return Image.composite(Image.new("RGB", size, a), Image.new("RGB", size, b), mask)


def _landscape(rng: random.Random, size: tuple[int, int], a: Rgb, b: Rgb) -> Image.Image:
    """Sky over land."""
    w, h = size
    sky = _softened(rng, draw_colour(rng, rng.choice(("blue", "blue", "blue", "orange", "gray"))))
    land = draw_colour(rng, rng.choice(("green", "green", "yellow", "brown", "white")))
    image = _gradient_down(size, sky, _softened(rng, sky))
    horizon = int(h * rng.uniform(0.4, 0.75))
    image.paste(_gradient_down((w, h - horizon), _softened(rng, land), land), (0, horizon))
    return image


def _gradient_down(size: tuple[int, int], a: Rgb, b: Rgb) -> Image.Image:
    ramp = Image.linear_gradient("L").resize(size)
    return Image.composite(Image.new("RGB", size, b), Image.new("RGB", size, a), ramp)


def _hills(rng: random.Random, size: tuple[int, int], a: Rgb, b: Rgb) -> Image.Image:
    w, h = size
    image = _gradient_down(size, _softened(rng, a), (245, 245, 250))
    draw = ImageDraw.Draw(image)
    for _ in range(3):
        x, r = rng.randint(0, w), rng.randint(w // 3, w)
        y = rng.randint(h // 2, h) + r
        draw.ellipse((x - r, y - r, x + r, y + r), fill=_shifted(rng, b, 25))
    return image


def _dots(rng: random.Random, size: tuple[int, int], a: Rgb, b: Rgb) -> Image.Image:
    image = Image.new("RGB", size, a)
    draw = ImageDraw.Draw(image)
    step = rng.randint(16, 60)
    r = step * rng.uniform(0.1, 0.3)
    for row, y in enumerate(range(0, size[1] + step, step)):
        for x in range(step // 2 * (row % 2), size[0] + step, step):
            draw.ellipse((x - r, y - r, x + r, y + r), fill=b)
    return image


def _paper(rng: random.Random, size: tuple[int, int], a: Rgb, b: Rgb) -> Image.Image:
    image = Image.new("RGB", size, rng.choice(((250, 248, 240), (255, 255, 255), (244, 236, 220))))
    draw = ImageDraw.Draw(image)
    step, line = rng.randint(14, 40), rng.choice(((190, 210, 235), (215, 215, 215)))
    for y in range(step, size[1], step):
        draw.line((0, y, size[0], y), fill=line)
    if rng.random() < 0.4:
        for x in range(step, size[0], step):
            draw.line((x, 0, x, size[1]), fill=line)
    return image


def _bokeh(rng: random.Random, size: tuple[int, int], a: Rgb, b: Rgb) -> Image.Image:
    small = Image.new("RGB", (size[0] // 4, size[1] // 4), a)
    draw = ImageDraw.Draw(small)
    for _ in range(rng.randint(4, 14)):
        x, y, r = rng.randint(0, small.width), rng.randint(0, small.height), rng.randint(4, small.width // 5)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=_shifted(rng, b, 35))
    return small.filter(ImageFilter.GaussianBlur(rng.uniform(2, 6))).resize(size, Image.Resampling.BILINEAR)


def _wall(rng: random.Random, size: tuple[int, int], a: Rgb, b: Rgb) -> Image.Image:
    """A wall over a floor, as in a room."""
    w, h = size
    wall, floor = _softened(rng, a), draw_colour(rng, "brown") if rng.random() < 0.5 else b
    image = Image.new("RGB", size, wall)
    edge = int(h * rng.uniform(0.6, 0.85))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, edge, w, h), fill=floor)
    draw.rectangle((0, edge, w, edge + max(2, h // 60)), fill=_softened(rng, floor))
    return image


def _stripes(rng: random.Random, size: tuple[int, int], a: Rgb, b: Rgb) -> Image.Image:
    image = Image.new("RGB", size, a)
    draw = ImageDraw.Draw(image)
    step, vertical = rng.randint(8, 50), rng.random() < 0.5
    for start in range(0, size[0] if vertical else size[1], 2 * step):
        end = start + step - 1
        draw.rectangle((start, 0, end, size[1]) if vertical else (0, start, size[0], end), fill=b)
    return image


def _checks(rng: random.Random, size: tuple[int, int], a: Rgb, b: Rgb) -> Image.Image:
    step = rng.randint(16, 64)
    small = Image.new("RGB", (size[0] // step + 1, size[1] // step + 1), a)
    for y in range(small.height):
        for x in range(y % 2, small.width, 2):
            small.putpixel((x, y), b)
    big = small.resize((small.width * step, small.height * step), Image.Resampling.NEAREST)
    return big.crop((0, 0, *size))


def _grid(rng: random.Random, size: tuple[int, int], a: Rgb, b: Rgb) -> Image.Image:
    image = Image.new("RGB", size, a)
    draw = ImageDraw.Draw(image)
    step, width = rng.randint(20, 70), rng.randint(1, 3)
    for x in range(step // 2, size[0], step):
        draw.line((x, 0, x, size[1]), fill=b, width=width)
    for y in range(step // 2, size[1], step):
        draw.line((0, y, size[0], y), fill=b, width=width)
    return image


_KINDS = {
    "gradient": _gradient, "blotches": _blotches, "landscape": _landscape, "dots": _dots, "paper": _paper,
    "bokeh": _bokeh, "wall": _wall, "stripes": _stripes, "checks": _checks, "grid": _grid, "hills": _hills,
}  # fmt: skip

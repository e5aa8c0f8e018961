"""The ground of a generated picture, and what cameras and screens do to it."""

from __future__ import annotations

import random
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from internvl.data.colours import COLOURS, Rgb, draw_colour


def make_ground(
    rng: random.Random, size: tuple[int, int], *, held_out: bool = False
) -> tuple[Image.Image, str | None, Rgb]:
    """Draw a background: (picture, name of its colour if it has one, its mean colour).

    Trained on: plain, gradients, noise. Held out: stripes and checks, besides plain.
    """
    name = rng.choice(COLOURS) if rng.random() < 0.6 else rng.choice(("white", "white", "black", "gray"))
    colour = draw_colour(rng, name)
    kind = rng.random()
    image = Image.new("RGB", size, colour)
    if kind < 0.55:
        return image, name, colour
    other = tuple(min(255, max(0, c + rng.randint(-45, 45))) for c in colour)
    assert len(other) == 3
    if held_out:
        _stripes(rng, image, other)
    elif kind < 0.85:
        image = _gradient(rng, size, colour, other)
    else:
        image = _blotches(rng, size, colour, other)
    mean = tuple((a + b) // 2 for a, b in zip(colour, other, strict=True))
    assert len(mean) == 3
    return image, None, mean


def _gradient(rng: random.Random, size: tuple[int, int], a: Rgb, b: Rgb) -> Image.Image:
    ramp = Image.linear_gradient("L")
    if rng.random() < 0.5:
        ramp = ramp.transpose(Image.Transpose.ROTATE_90)
    return Image.composite(Image.new("RGB", size, a), Image.new("RGB", size, b), ramp.resize(size))


def _blotches(rng: random.Random, size: tuple[int, int], a: Rgb, b: Rgb) -> Image.Image:
    side = rng.choice((4, 8, 16, 32))
    mask = Image.frombytes("L", (side, side), rng.randbytes(side * side)).resize(
        size, Image.Resampling.BICUBIC
    )
    return Image.composite(Image.new("RGB", size, a), Image.new("RGB", size, b), mask)


def _stripes(rng: random.Random, image: Image.Image, colour: Rgb) -> None:
    draw = ImageDraw.Draw(image)
    step, (w, h) = rng.randint(8, 40), image.size
    vertical = rng.random() < 0.5
    for start in range(0, w if vertical else h, 2 * step):
        box = (start, 0, start + step - 1, h) if vertical else (0, start, w, start + step - 1)
        draw.rectangle(box, fill=colour)


@lru_cache(maxsize=1)
def _noise_bank() -> np.ndarray:
    # one bank, cut at random places: drawing normal numbers per picture costs more than drawing the picture
    return np.random.default_rng(0).standard_normal((640, 640, 3)).astype(np.float32)


def wear(rng: random.Random, image: Image.Image, strength: float = 1.0) -> Image.Image:
    """Blur a little, add noise, change brightness: what cameras and screens do to a picture."""
    if rng.random() < 0.2 * strength:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.8)))
    if rng.random() < 0.5 * strength:
        w, h = image.size
        x, y = rng.randrange(640 - min(w, 639)), rng.randrange(640 - min(h, 639))
        noise = _noise_bank()[y : y + h, x : x + w] * (rng.random() ** 2 * 14)
        pixels = np.asarray(image, dtype=np.float32)
        if noise.shape == pixels.shape:
            image = Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))
    return image

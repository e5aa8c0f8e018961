"""Named colours, how far a drawn colour may lie from its name, and what can be read on what."""

from __future__ import annotations

import colorsys
import random

Rgb = tuple[int, int, int]

#: name -> (hue range in degrees, saturation range, value range)
_RANGES: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "red": ((-8, 6), (0.8, 1.0), (0.7, 1.0)),
    "orange": ((23, 34), (0.85, 1.0), (0.9, 1.0)),
    "yellow": ((50, 60), (0.75, 1.0), (0.9, 1.0)),
    "green": ((95, 145), (0.6, 1.0), (0.4, 0.85)),
    "blue": ((205, 238), (0.7, 1.0), (0.55, 1.0)),
    "purple": ((265, 288), (0.55, 1.0), (0.45, 0.85)),
    "pink": ((318, 345), (0.3, 0.6), (0.92, 1.0)),
    "brown": ((18, 30), (0.6, 0.85), (0.35, 0.55)),
    "black": ((0, 360), (0.0, 0.2), (0.0, 0.12)),
    "white": ((0, 360), (0.0, 0.03), (0.96, 1.0)),
    "gray": ((0, 360), (0.0, 0.06), (0.42, 0.65)),
}
COLOURS = tuple(_RANGES)


def draw_colour(rng: random.Random, name: str) -> Rgb:
    """Some colour of this name."""
    (h0, h1), (s0, s1), (v0, v1) = _RANGES[name]
    r, g, b = colorsys.hsv_to_rgb(rng.uniform(h0, h1) % 360 / 360, rng.uniform(s0, s1), rng.uniform(v0, v1))
    return round(r * 255), round(g * 255), round(b * 255)


def luminance(colour: Rgb) -> float:
    """Perceived brightness in [0, 1] (Rec. 709 weights on the stored values: only for choosing contrast)."""
    return (0.2126 * colour[0] + 0.7152 * colour[1] + 0.0722 * colour[2]) / 255


def distance(a: Rgb, b: Rgb) -> float:
    """Euclidean distance in RGB scaled to [0, 1] per channel."""
    return sum(((x - y) / 255) ** 2 for x, y in zip(a, b, strict=True)) ** 0.5


def ink_for(rng: random.Random, ground: Rgb) -> tuple[str, Rgb]:
    """A colour that can be read on `ground`."""
    for _ in range(20):
        name = rng.choice(COLOURS) if rng.random() < 0.6 else rng.choice(("black", "white"))
        colour = draw_colour(rng, name)
        if abs(luminance(colour) - luminance(ground)) > 0.3 and distance(colour, ground) > 0.45:
            return name, colour
    return ("black", (0, 0, 0)) if luminance(ground) > 0.5 else ("white", (255, 255, 255))

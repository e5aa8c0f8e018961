"""The colour of text on a ground."""

from __future__ import annotations

import random

from internvl.data.colours import COLOURS, Rgb, distance, draw_colour, luminance


def ink_for(rng: random.Random, ground: Rgb) -> tuple[str, Rgb]:
    """A colour that can be read on `ground`."""
    for _ in range(20):
        name = rng.choice(COLOURS) if rng.random() < 0.6 else rng.choice(("black", "white"))
        colour = draw_colour(rng, name)
        if abs(luminance(colour) - luminance(ground)) > 0.3 and distance(colour, ground) > 0.45:
            return name, colour
    return ("black", (0, 0, 0)) if luminance(ground) > 0.5 else ("white", (255, 255, 255))

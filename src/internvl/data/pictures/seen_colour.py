"""What colour people would call a drawing, if one name fits."""

from __future__ import annotations

import numpy as np
from PIL import Image

from internvl.data.colours import COLOURS, Rgb

CLEAR_SHARE = 0.62
"""Share of the visible pixels that must have a colour for the drawing to have it."""
_GREYS = ("black", "gray", "white")


def seen_colour(picture: Image.Image) -> tuple[str | None, Rgb]:
    """Return the name of the drawing's colour or None, and its mean colour.

    Args:
        picture: RGBA.
    """
    small = picture.resize((40, 40), Image.Resampling.BOX)
    pixels = np.asarray(small, np.uint8).reshape(-1, 4)
    pixels = pixels[pixels[:, 3] > 128]
    if not len(pixels):
        return None, (128, 128, 128)
    names = colour_names(pixels[:, :3])
    shares = np.bincount(names[names >= 0], minlength=len(COLOURS)) / len(names)
    best = int(shares.argmax())
    # greys are shadow and outline in most drawings: they must fill nearly all of it to be its colour
    wanted = 0.85 if COLOURS[best] in _GREYS else CLEAR_SHARE
    others = sum(share for i, share in enumerate(shares) if i != best and COLOURS[i] not in _GREYS)
    clear = shares[best] >= wanted and others < 0.2
    mean = pixels[:, :3].mean(axis=0)
    return (COLOURS[best] if clear else None), (int(mean[0]), int(mean[1]), int(mean[2]))


def colour_names(rgb: np.ndarray) -> np.ndarray:
    """Return indices into COLOURS, -1 where a colour lies between names.

    Args:
        rgb: (n, 3) uint8.
    """
    values = rgb.astype(np.float32) / 255
    high, low = values.max(axis=1), values.min(axis=1)
    spread = high - low
    safe = np.where(spread > 0, spread, 1)
    r, g, b = values.T
    hue = (
        np.where(high == r, (g - b) / safe % 6, np.where(high == g, (b - r) / safe + 2, (r - g) / safe + 4))
        * 60
    )
    saturation = spread / np.where(high > 0, high, 1)
    names = np.full(len(values), -1, np.int64)

    def mark(name: str, where: np.ndarray) -> None:
        names[where & (names < 0)] = COLOURS.index(name)

    mark("black", high < 0.22)
    mark("white", (saturation < 0.1) & (high > 0.88))
    mark("gray", (saturation < 0.16) & (high > 0.3) & (high < 0.8))
    vivid = saturation > 0.35
    mark("brown", (hue > 8) & (hue < 42) & vivid & (high < 0.68))
    mark("red", ((hue < 10) | (hue > 348)) & (saturation > 0.6))
    mark("orange", (hue >= 18) & (hue < 38) & (saturation > 0.6) & (high > 0.8))
    mark("yellow", (hue >= 43) & (hue < 64) & (saturation > 0.4) & (high > 0.75))
    mark("green", (hue >= 75) & (hue < 165) & vivid)
    mark("blue", (hue >= 190) & (hue < 245) & vivid)
    mark("purple", (hue >= 255) & (hue < 300) & (saturation > 0.3))
    mark("pink", ((hue >= 305) | (hue < 8)) & (saturation > 0.15) & (saturation <= 0.6) & (high > 0.8))
    return names

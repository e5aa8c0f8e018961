"""Draw lines of text and say where each glyph lies."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from internvl.data.colours import COLOURS, Rgb, distance, draw_colour, luminance
from internvl.data.fonts import load_font
from internvl.data.scene import Box, Glyph

MEASURE = 40
"""Font size at which widths are measured before the real size is known."""


@dataclass(frozen=True, slots=True)
class DrawnText:
    """What `draw_lines` put down."""

    glyphs: list[Glyph]
    box: Box


def ink_for(rng: random.Random, ground: Rgb) -> tuple[str, Rgb]:
    """A colour that can be read on `ground`."""
    for _ in range(20):
        name = rng.choice(COLOURS) if rng.random() < 0.6 else rng.choice(("black", "white"))
        colour = draw_colour(rng, name)
        if abs(luminance(colour) - luminance(ground)) > 0.3 and distance(colour, ground) > 0.45:
            return name, colour
    return ("black", (0, 0, 0)) if luminance(ground) > 0.5 else ("white", (255, 255, 255))


def draw_lines(
    rng: random.Random,
    image: Image.Image,
    lines: Sequence[str],
    *,
    font: str,
    ink: Rgb,
    area: Box,
    min_size: float,
    max_tilt: float = 0.0,
) -> DrawnText:
    """Set `lines` somewhere inside `area`, as large as fits or smaller.

    Args:
        rng: Decides size, place and tilt.
        image: Drawn on.
        lines: Top to bottom.
        font: Path of the font file.
        ink: Colour of the text.
        area: Where the text may lie.
        min_size: Fraction of the largest size that fits below which the size does not go.
        max_tilt: Degrees.
    """
    w, h = image.size
    area_w, area_h = (area[2] - area[0]) * w, (area[3] - area[1]) * h
    measure = load_font(font, MEASURE)
    widest = max(measure.getlength(line) for line in lines) / MEASURE
    spacing = rng.uniform(1.15, 1.5)
    fit = min(area_w / max(widest, 0.1), area_h / (spacing * len(lines)))
    size = max(7, int(fit * rng.uniform(min_size, 1.0)))
    face = load_font(font, size)
    widths = [face.getlength(line) for line in lines]
    block_w, block_h = math.ceil(max(widths)) + 2, math.ceil(size * spacing * len(lines)) + 2
    align = rng.choice((0.0, 0.5, 0.5, 1.0))
    mask = Image.new("L", (block_w, block_h), 0)
    draw = ImageDraw.Draw(mask)
    places: list[tuple[str, float, float, float, float]] = []
    for n, (line, width) in enumerate(zip(lines, widths, strict=True)):
        x, y = 1 + align * (block_w - 2 - width), (n + 0.5) * size * spacing
        draw.text((x, y), line, fill=255, font=face, anchor="lm")
        before = 0.0
        for i, character in enumerate(line):
            after = face.getlength(line[: i + 1])
            if character != " ":
                places.append((character, x + before, y - 0.4 * size, x + after, y + 0.4 * size))
            before = after
    tilt = rng.uniform(-max_tilt, max_tilt) if max_tilt and rng.random() < 0.5 else 0.0
    left = area[0] * w + rng.random() * max(0.0, area_w - block_w)
    top = area[1] * h + rng.random() * max(0.0, area_h - block_h)
    cos, sin = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
    if tilt:
        mask = mask.rotate(tilt, Image.Resampling.BICUBIC, expand=True)
    # a rotated block keeps its middle
    offset_x, offset_y = left + block_w / 2 - mask.width / 2, top + block_h / 2 - mask.height / 2
    image.paste(ink, (round(offset_x), round(offset_y)), mask)
    glyphs = []
    for character, x0, y0, x1, y1 in places:
        dx, dy = (x0 + x1) / 2 - block_w / 2, (y0 + y1) / 2 - block_h / 2
        centre_x = left + block_w / 2 + dx * cos + dy * sin
        centre_y = top + block_h / 2 - dx * sin + dy * cos
        half_w, half_h = (x1 - x0) / 2, (y1 - y0) / 2
        box = (
            (centre_x - half_w) / w,
            (centre_y - half_h) / h,
            (centre_x + half_w) / w,
            (centre_y + half_h) / h,
        )
        glyphs.append(Glyph(character, box))
    return DrawnText(glyphs, (left / w, top / h, (left + block_w) / w, (top + block_h) / h))

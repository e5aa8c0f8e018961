"""Emoji out of colour fonts: bitmaps (CBDT, Noto) through FreeType, layers (COLR v0, Twemoji) by our own filling.

FreeType's layers are out of reach: Pillow measures the uncoloured glyph, which is empty, and draws nothing. So the
outlines are read with fontTools and filled here.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from internvl.errors import ConfigError, MissingDependencyError

NOTO_SIZE = 109
"""The only size of Noto's bitmaps: 136 x 128 pixels a glyph."""
LAYER_SIDE = 160
"""Pixels of a drawing made of layers."""
_OVERSAMPLING = 3
_CURVE_STEPS = 6
"""Lines per curve."""


def draw_bitmap_emoji(font: Path, emoji: str) -> Image.Image | None:
    """Return an emoji's bitmap as RGBA; None where the font lacks it."""
    opened = _bitmap_font(font)
    box = opened.getbbox(emoji)
    width, height = round(box[2] - box[0]), round(box[3] - box[1])
    if not (0 < width < 200 and height > 0):  # wider: a sequence that the font does not join
        return None
    image = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    ImageDraw.Draw(image).text((-box[0], -box[1]), emoji, font=opened, embedded_color=True)
    return image


@lru_cache(maxsize=4)
def _bitmap_font(font: Path) -> ImageFont.FreeTypeFont:
    try:
        return ImageFont.truetype(str(font), NOTO_SIZE)
    except OSError as error:
        raise ConfigError(
            f"{font} cannot be opened as a font with bitmaps of {NOTO_SIZE} px: {error}"
        ) from error


def draw_layered_emoji(font: Path, emoji: str) -> Image.Image | None:
    """Return an emoji of one character, drawn from its coloured layers, as RGBA; None where the font lacks it."""
    opened = _layered_font(font)
    glyph = opened["cmap"].getBestCmap().get(ord(emoji)) if len(emoji) == 1 else None
    layers = opened["COLR"].ColorLayers.get(glyph)
    if not layers:
        return None
    palette = opened["CPAL"].palettes[0]
    side = LAYER_SIDE * 5 // 4  # room for what reaches over the em square
    colour = np.zeros((side, side, 3), np.float32)
    alpha = np.zeros((side, side, 1), np.float32)
    for layer in layers:
        paint = palette[layer.colorID] if layer.colorID != 0xFFFF else None
        rgb = (paint.red, paint.green, paint.blue) if paint else (0, 0, 0)
        for place, cells in _fill(opened, layer.name, side):
            cover = cells * ((paint.alpha if paint else 255) / 255)
            colour[place] = np.array(rgb, np.float32) * cover + colour[place] * (1 - cover)  # premultiplied
            alpha[place] = cover + alpha[place] * (1 - cover)
    straight = np.where(alpha > 0, colour / np.maximum(alpha, 1e-6), 0)
    pixels = np.concatenate([straight, alpha * 255], axis=2)
    return Image.fromarray(np.clip(pixels + 0.5, 0, 255).astype(np.uint8))


@lru_cache(maxsize=2)
def _layered_font(font: Path) -> Any:
    try:
        from fontTools.ttLib import TTFont, TTLibError
    except ImportError as error:
        raise MissingDependencyError(
            f"reading the layers of {font.name} needs fontTools; pip install 'internvl[data]'"
        ) from error
    try:
        opened = TTFont(font, lazy=True)
    except (OSError, TTLibError) as error:
        raise ConfigError(f"{font} cannot be opened as a font with coloured layers: {error}") from error
    if "COLR" not in opened or opened["COLR"].version != 0:
        raise ConfigError(f"{font} has no COLR version 0 layers; expected Twemoji's font as Firefox ships it")
    return opened


def _fill(opened: Any, glyph: str, side: int) -> list[tuple[tuple[slice, slice], np.ndarray]]:
    """Return where a glyph lies in the picture and how much of each pixel there it covers, (h, w, 1) in 0-1.

    Contours add up by the non-zero winding rule. Nothing comes back for an empty glyph.
    """
    from fontTools.pens.recordingPen import DecomposingRecordingPen

    glyphs = opened.getGlyphSet()
    pen = DecomposingRecordingPen(glyphs)
    glyphs[glyph].draw(pen)
    k = _OVERSAMPLING
    scale = LAYER_SIDE * k / opened["head"].unitsPerEm
    contours = [
        [(x * scale + 0.1 * side * k, 0.86 * side * k - y * scale) for x, y in contour]
        for contour in _contours(pen.value)
    ]
    if not contours:
        return []
    xs, ys = zip(*(point for contour in contours for point in contour), strict=True)
    x0, y0 = max(0, int(min(xs)) // k), max(0, int(min(ys)) // k)
    x1, y1 = min(side, int(max(xs)) // k + 1), min(side, int(max(ys)) // k + 1)
    if x1 <= x0 or y1 <= y0:
        return []
    w, h = x1 - x0, y1 - y0
    winding = np.zeros((h * k, w * k), np.int8)
    for contour in contours:
        points = [(x - x0 * k, y - y0 * k) for x, y in contour]
        mask = Image.new("L", (w * k, h * k))
        ImageDraw.Draw(mask).polygon(points, fill=1)
        winding += np.asarray(mask).view(np.int8) * np.int8(1 if _area(points) > 0 else -1)
    cells = (winding != 0).reshape(h, k, w, k).mean(axis=(1, 3), dtype=np.float32)[..., None]
    return [((slice(y0, y1), slice(x0, x1)), cells)]


def _contours(drawn: list[tuple[str, tuple[Any, ...]]]) -> list[list[tuple[float, float]]]:
    """Turn pen commands into closed polygons."""
    contours: list[list[tuple[float, float]]] = []
    for command, points in drawn:
        if command == "moveTo":
            contours.append([points[0]])
        elif command == "lineTo":
            contours[-1].append(points[0])
        elif command == "qCurveTo":
            # TrueType: between two control points in a row lies an implied point half way
            *controls, end = points
            if end is None:  # a contour of control points only
                start = _middle(controls[-1], controls[0])
                contours.append([start])
                end = start
            for i, control in enumerate(controls):
                last = i == len(controls) - 1
                target = end if last else _middle(control, controls[i + 1])
                contours[-1] += _quadratic(contours[-1][-1], control, target)
        elif command not in ("closePath", "endPath"):
            raise ConfigError(
                f"outlines with {command} are not TrueType's; expected Twemoji's font as Firefox ships it"
            )
    return [contour for contour in contours if len(contour) > 2]


def _middle(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    return (a[0] + b[0]) / 2, (a[1] + b[1]) / 2


def _quadratic(
    a: tuple[float, float], control: tuple[float, float], b: tuple[float, float]
) -> list[tuple[float, float]]:
    steps = [(i / _CURVE_STEPS, 1 - i / _CURVE_STEPS) for i in range(1, _CURVE_STEPS + 1)]
    return [
        (
            s * s * a[0] + 2 * s * t * control[0] + t * t * b[0],
            s * s * a[1] + 2 * s * t * control[1] + t * t * b[1],
        )
        for t, s in steps
    ]


def _area(points: list[tuple[float, float]]) -> float:
    pairs = zip(points, points[1:] + points[:1], strict=True)
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairs)

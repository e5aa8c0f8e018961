"""A sheet of paper that remembers what is written on it: text runs with measured widths and their boxes.

Everything is placed by its baseline, in pixels. A `Flow` is a column with a cursor; skills write lines, rows and
paragraphs into flows, and the sheet is cut to what was used at the end.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from internvl.data.colours import Rgb
from internvl.data.documents.language import drawable
from internvl.data.documents.typefaces import Typeface, open_face
from internvl.data.sample import Json, Marks

Align = Literal["left", "center", "right"]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Style:
    """How a run of text looks."""

    path: str
    size: int
    """Pixels of the em."""
    ink: Rgb = (20, 20, 20)
    shaped: bool = False
    hand: bool = False
    """Written by hand: words jump a little."""

    @property
    def face(self) -> ImageFont.FreeTypeFont:
        """The font at this size."""
        return open_face(self.path, self.size, self.shaped)

    def width(self, text: str) -> float:
        """Pixels from the first pen position to the last."""
        return self.face.getlength(text)

    def inked(self, ink: Rgb) -> Style:
        """The same in another colour."""
        return replace(self, ink=ink)

    def sized(self, factor: float) -> Style:
        """The same, larger or smaller."""
        return replace(self, size=max(6, round(self.size * factor)))


@dataclass(frozen=True, slots=True)
class Styles:
    """The styles of one document."""

    text: Style
    bold: Style
    italic: Style

    @classmethod
    def of(cls, typeface: Typeface, size: int, ink: Rgb = (20, 20, 20)) -> Styles:
        """Return the styles of a typeface at one size."""
        return cls(
            *(
                Style(path, size, ink, typeface.shaped)
                for path in (typeface.regular, typeface.bold, typeface.italic)
            )
        )


class Sheet:
    """Paper, what was drawn on it, and where.

    Args:
        size: Width and height in pixels; `finish` cuts the height.
        paper: Its colour.
        rng: Moves handwriting.
        image: Paper that is there already.
    """

    def __init__(
        self, size: tuple[int, int], *, paper: Rgb, rng: random.Random, image: Image.Image | None = None
    ) -> None:
        self.image = image or Image.new("RGB", size, paper)
        self.draw = ImageDraw.Draw(self.image)
        self.paper = paper
        self.rng = rng
        self.runs: list[dict[str, Json]] = []
        """Every text run in the order of writing: text, role, box, size."""
        self._glyphs: list[tuple[str, np.ndarray]] = []
        self._knows_glyphs = True

    @property
    def width(self) -> int:
        """Pixels."""
        return self.image.width

    def text(
        self, x: float, y: float, text: str, style: Style, *, role: str, align: Align = "left"
    ) -> dict[str, Json]:
        """Write one run with its baseline at `y`; `x` is its left end, middle or right end.

        Returns:
            The run. Its text lacks the characters that the font lacks.
        """
        text = drawable(text, style.path)
        face = style.face
        if align != "left":
            x -= face.getlength(text) * (0.5 if align == "center" else 1.0)
        if style.hand:
            box = self._by_hand(x, y, text, style)
        else:
            self.draw.text((x, y), text, fill=style.ink, font=face, anchor="ls")
            self._note(text, style, x, y)
            x0, y0, x1, y1 = face.getbbox(text, anchor="ls")
            box = (x + x0, y + y0, x + x1, y + y1)
        run: dict[str, Json] = {
            "text": text,
            "role": role,
            "box": [round(v, 1) for v in box],
            "size": style.size,
        }
        self.runs.append(run)
        return run

    def _by_hand(self, x: float, y: float, text: str, style: Style) -> Box:
        """Write word by word, each a little off the line and a little larger or smaller."""
        boxes = []
        for word in text.split(" "):
            face = replace(style, size=max(6, round(style.size * self.rng.uniform(0.94, 1.06)))).face
            at = (x, y + self.rng.uniform(-0.07, 0.07) * style.size)
            self.draw.text(at, word, fill=style.ink, font=face, anchor="ls")
            self._note(word, style, *at)
            x0, y0, x1, y1 = face.getbbox(word, anchor="ls")
            boxes.append((at[0] + x0, at[1] + y0, at[0] + x1, at[1] + y1))
            x += face.getlength(word + " ")
        return enclose(boxes)

    def rule(self, x0: float, y: float, x1: float, *, ink: Rgb, width: int = 1, dash: int = 0) -> None:
        """Draw a horizontal line, dashed with pieces of `dash` pixels if that is not 0."""
        if dash:
            for start in range(round(x0), round(x1), 2 * dash):
                self.draw.line((start, y, min(start + dash, x1), y), fill=ink, width=width)
        else:
            self.draw.line((x0, y, x1, y), fill=ink, width=width)

    def frame(
        self, box: Box, *, ink: Rgb | None, width: int = 1, fill: Rgb | None = None, radius: int = 0
    ) -> None:
        """Draw a rectangle."""
        self.draw.rounded_rectangle(box, radius=radius, outline=ink, width=width if ink else 0, fill=fill)

    def finish(self, height: float) -> Image.Image:
        """Return the picture, cut below `height`."""
        if height < self.image.height:
            self.image = self.image.crop((0, 0, self.image.width, max(1, round(height))))
        return self.image

    def _note(self, text: str, style: Style, x: float, y: float) -> None:
        """Remember where the glyphs of a run are; of shaped text nobody can say it letter by letter."""
        if style.shaped:
            self._knows_glyphs = False
        elif self._knows_glyphs:
            names = text.replace(" ", "")
            self._glyphs.append((names, glyph_boxes(style.face, text, x, y, style.size)))

    @property
    def glyphs(self) -> Marks | None:
        """The printed characters in the order of writing; None where some of them have no place of their own."""
        if not self._knows_glyphs:
            return None
        boxes = [places for _, places in self._glyphs]
        names = "".join(text for text, _ in self._glyphs)
        return Marks(tuple(names), np.concatenate(boxes) if boxes else np.zeros((0, 4), np.float32))

    @property
    def min_size(self) -> int:
        """Pixels of the em of the smallest text."""
        return min((run["size"] for run in self.runs), default=0)


@lru_cache(maxsize=1024)
def _advances_of(face: ImageFont.FreeTypeFont) -> dict[str, float]:
    return {}


def advances(face: ImageFont.FreeTypeFont, text: str) -> list[float]:
    """Return how far each character moves the pen by itself; fast, because each is measured once."""
    known = _advances_of(face)
    for character in text:
        if character not in known:
            known[character] = face.getlength(character)
    return [known[character] for character in text]


def glyph_boxes(face: ImageFont.FreeTypeFont, text: str, x: float, y: float, size: float) -> np.ndarray:
    """Return (n, 4) float32: the boxes of the characters but spaces of a run from `x` on the baseline `y`.

    Each is as wide as the pen moves, and as high as a capital with a little below.
    """
    widths = advances(face, text)
    # letters that are kerned or joined share what the run is wider or narrower than its letters
    factor = face.getlength(text) / max(sum(widths), 1e-6)
    ends = [0.0, *accumulate(width * factor for width in widths)]
    return np.array(
        [
            (x + ends[n], y - 0.74 * size, x + ends[n + 1], y + 0.14 * size)
            for n, character in enumerate(text)
            if character != " "
        ],
        dtype=np.float32,
    ).reshape(-1, 4)


def enclose(boxes: Sequence[Sequence[float]]) -> Box:
    """Return the smallest box around all `boxes`."""
    return (
        min(box[0] for box in boxes), min(box[1] for box in boxes),
        max(box[2] for box in boxes), max(box[3] for box in boxes),
    )  # fmt: skip


def wrap(text: str, style: Style, width: float, space: str = " ") -> list[str]:
    """Break a text into lines of at most `width` pixels; a word wider than that has a line of its own."""
    words = text.split(" ") if space else list(text)
    face = style.face
    gap = face.getlength(" ") if space else 0.0
    lines: list[str] = []
    line: list[str] = []
    used = 0.0
    for word in words:
        needed = face.getlength(word)
        if line and used + gap + needed > width:
            lines.append(space.join(line))
            line, used = [], 0.0
        used += needed + (gap if line else 0.0)
        line.append(word)
    if line:
        lines.append(space.join(line))
    return lines


@dataclass(slots=True)
class Flow:
    """A column of a sheet, filled from the top."""

    sheet: Sheet
    left: float
    right: float
    y: float
    """Where the next line's top stands."""
    leading: float = 1.35
    """Distance of baselines in ems."""
    rtl: bool = False

    @property
    def width(self) -> float:
        """Pixels."""
        return self.right - self.left

    def gap(self, pixels: float) -> None:
        """Leave room."""
        self.y += pixels

    def _baseline(self, size: int) -> float:
        step = size * self.leading
        self.y += step
        return self.y - step + 0.5 * (step - size) + 0.8 * size

    def line(
        self, text: str, style: Style, *, role: str, align: Align = "left", indent: float = 0.0
    ) -> dict[str, Json]:
        """Write one line."""
        if self.rtl and align != "center":
            align = "right" if align == "left" else "left"
        if align == "left":
            x = self.left + indent
        else:
            x = (self.left + self.right) / 2 if align == "center" else self.right - indent
        return self.sheet.text(x, self._baseline(style.size), text, style, role=role, align=align)

    def row(
        self, cells: Sequence[tuple[str, float, Align]], style: Style, *, roles: Sequence[str]
    ) -> list[dict[str, Json]]:
        """Write cells on one baseline: (text, place as a fraction of the width, what of the text stands there)."""
        y = self._baseline(style.size)
        return [
            self.sheet.text(self.left + place * self.width, y, text, style, role=role, align=align)
            for (text, place, align), role in zip(cells, roles, strict=True)
            if text
        ]

    def paragraph(
        self,
        text: str,
        style: Style,
        *,
        role: str,
        align: Align = "left",
        indent: float = 0.0,
        space: str = " ",
    ) -> list[dict[str, Json]]:
        """Write a text over as many lines as it needs; the first is indented."""
        lines = wrap(text, style, self.width - indent, space)
        return [
            self.line(line, style, role=role, align=align, indent=indent if n == 0 else 0.0)
            for n, line in enumerate(lines)
        ]

    def rule(self, ink: Rgb, *, width: int = 1, dash: int = 0, space: float = 6) -> None:
        """Draw a line across, with room above and below."""
        self.y += space
        self.sheet.rule(self.left, round(self.y), self.right, ink=ink, width=width, dash=dash)
        self.y += space

"""Regions that an answer names: read from its text, told apart by numbers, drawn over the picture.

The family writes `<ref>the dog</ref><box>[[x1, y1, x2, y2], ...]</box>`, each coordinate from 0 to 1000 of the
picture's width or height (InternVL 1.5 and later, "grounding" in the model cards). Answers come from a model: any of
it may be missing, out of range or the wrong way round.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

#: More boxes than this in one answer are a model going in circles.
MAX_BOXES = 200
#: Told apart on light and dark pictures, for people who see colours differently too (Okabe and Ito, 2008).
COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")

_NUMBER = r"\s*(\d{1,4})(?:\.\d{1,6})?\s*"
_COORDINATES = re.compile(rf"\[{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}\]")
#: The tags' contents exclude "<": then no text, however long, takes more than one look at each letter.
_REGION = re.compile(r"(?:<ref>([^<]*)</ref>\s*)?<box>([^<]*)</box>")
#: Coordinates or a tag on their way, at the end of a stream.
_UNFINISHED = re.compile(r"<box>[^<]{0,400}(?:</?[a-z]{0,3})?\Z|</?(?:r|re|ref|b|bo|box)?\Z")
_STRAY = re.compile(r"</?(?:ref|box|quad)>")
#: "Image-2", as prompts number pictures, or "image 2".
_PICTURE = re.compile(r"\bimage[- ]?(\d{1,3})\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Region:
    """One box of an answer."""

    number: int
    """From 1, in the order of the answer."""
    label: str
    box_xyxy_norm1000: tuple[int, int, int, int]
    picture: int
    """Which picture of the question, from 0."""


@dataclass(frozen=True, slots=True)
class Grounded:
    """An answer whose regions were read."""

    text: str
    """For people: labels with their boxes' numbers, "the dog [1] [2]", instead of tags and coordinates."""
    regions: tuple[Region, ...]


def read_regions(answer: str, num_pictures: int = 1) -> Grounded:
    """Read the boxes of an answer about `num_pictures` pictures.

    A box belongs to the picture that the text named last ("Image-2"), at first to the first one. A box without area and
    what is no box are left out; an unfinished tag at the end (a stream) is held back.

    >>> read_regions("<ref>a cat</ref><box>[[10, 20, 300, 400]]</box> sleeps").text
    'a cat [1] sleeps'
    """
    regions: list[Region] = []
    pieces: list[str] = []
    place, picture = 0, 0
    for match in _REGION.finditer(answer):
        before = answer[place : match.start()]
        named = [int(number) for number in _PICTURE.findall(before) if 1 <= int(number) <= num_pictures]
        picture = named[-1] - 1 if named else picture
        label = (match[1] or "").strip()
        numbers = []
        for box in _read_boxes(match[2])[: MAX_BOXES - len(regions)]:
            numbers.append(len(regions) + 1)
            regions.append(Region(numbers[-1], label, box, picture))
        pieces += [before, " ".join([label, *(f"[{number}]" for number in numbers)]).strip()]
        place = match.end()
    pieces.append(_UNFINISHED.sub("", answer[place:]))
    return Grounded(_STRAY.sub("", "".join(pieces)), tuple(regions))


def draw_regions(image: Image.Image, regions: Sequence[Region]) -> Image.Image:
    """Return a copy of an RGB picture with numbered frames around the regions."""
    drawn = image.copy()
    draw = ImageDraw.Draw(drawn)
    width, height = drawn.size
    line = max(2, round(min(width, height) / 160))
    font = ImageFont.load_default(size=max(11, round(min(width, height) / 32)))
    for region in regions:
        colour = COLOURS[(region.number - 1) % len(COLOURS)]
        left, top, right, bottom = pixel_box(region.box_xyxy_norm1000, width, height)
        draw.rectangle((left, top, right, bottom), outline=colour, width=line)
        name = f"{region.number}"
        text = draw.textbbox((0, 0), name, font=font)
        size = (text[2] - text[0] + 4 * line, text[3] - text[1] + 3 * line)
        # the number stands on the frame's upper left corner, inside the picture
        at = (min(left, max(0, width - size[0])), max(0, min(top, height - size[1])))
        draw.rectangle((at[0], at[1], at[0] + size[0], at[1] + size[1]), fill=colour)
        middle = (at[0] + size[0] / 2, at[1] + size[1] / 2)
        draw.text(middle, name, fill="#000000", font=font, anchor="mm")
    return drawn


def pixel_box(box: tuple[int, int, int, int], width: int, height: int) -> tuple[int, int, int, int]:
    """Return a box in pixels, inside a picture of width x height."""
    left, top, right, bottom = box
    return (
        round(left * (width - 1) / 1000),
        round(top * (height - 1) / 1000),
        round(right * (width - 1) / 1000),
        round(bottom * (height - 1) / 1000),
    )


def _read_boxes(text: str) -> list[tuple[int, int, int, int]]:
    boxes = []
    for match in _COORDINATES.finditer(text):
        x1, y1, x2, y2 = (min(1000, int(number)) for number in match.groups())
        box = (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))
        if box[0] < box[2] and box[1] < box[3]:
            boxes.append(box)
    return boxes

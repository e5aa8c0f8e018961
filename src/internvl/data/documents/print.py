"""Skills `print`, `letters`, `words`, `note`, `block`: small squares of print; every glyph's place is known.

Nothing teaches a vision tower letters faster than `print`: hundreds of them a picture, each with its box. Read as a
page it is not: its blocks have nothing to do with each other, so only single lines of it are asked for. A `block` is
one of them alone, to be read from its first letter to its last: where a decoder learns to follow lines. A `note` is
a small block, `words` are a few large ones.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from internvl.data.colours import Rgb, ink_for
from internvl.data.documents.asking import ask_read, choose
from internvl.data.documents.language import (
    EUROPEAN,
    Language,
    drawable,
    files_of,
    pick_language,
    write_paragraph,
    write_sentence,
    write_words,
)
from internvl.data.documents.sheet import advances, glyph_boxes
from internvl.data.documents.typefaces import find_hands, open_face
from internvl.data.documents.values import Values
from internvl.data.fonts import find_fonts
from internvl.data.pictures.english import with_article
from internvl.data.pictures.scene_phrases import DESCRIBE, GROUND
from internvl.data.realism import photograph
from internvl.data.sample import Assets, DataSample, Marks, Split, Turn
from internvl.data.scene import make_ground

SIDE = 448
Area = tuple[int, int, int, int]
_INK_QUESTIONS = (
    "What color is the text?", "What colour is the text?", "Which color does the text have?",
    "What color are the letters?", "Tell me the color of the text.", "In what colour is the text written?",
    "Name the color of the writing.", "What is the text color?",
)  # fmt: skip
_QUESTIONS = (
    'Read the line that begins with "{start}".',
    'Which line begins with "{start}"?',
    'Write out the line that starts with "{start}".',
    'How does the line that begins with "{start}" go on?',
)


def make_print(rng: random.Random, *, split: Split, assets: Assets) -> DataSample:
    """Fill a square with blocks of text."""
    return _make(rng, split, assets, plain=False)


def make_letters(rng: random.Random, *, split: Split, assets: Assets) -> DataSample:
    """The same in black on white, large, in plain fonts, unworn: where a tower that knows nothing begins."""
    return _make(rng, split, assets, plain=True)


def make_block(rng: random.Random, *, split: Split, assets: Assets) -> DataSample:
    """Write one block of lines, or one paragraph, somewhere in a square, and ask for all of it."""
    return _read_whole(rng, split, assets, skill="block", side=SIDE, sizes=(15, 44), most_lines=40)


def make_words(rng: random.Random, *, split: Split, assets: Assets) -> DataSample:
    """Write a few large words in a quarter of the square: where a decoder that knows nothing begins."""
    return _read_whole(rng, split, assets, skill="words", side=SIDE // 2, sizes=(18, 80), most_lines=3)


def make_note(rng: random.Random, *, split: Split, assets: Assets) -> DataSample:
    """Write a block in a quarter of the square."""
    return _read_whole(rng, split, assets, skill="note", side=SIDE // 2, sizes=(14, 32), most_lines=40)


def _read_whole(
    rng: random.Random,
    split: Split,
    assets: Assets,
    *,
    skill: str,
    side: int,
    sizes: tuple[int, int],
    most_lines: int,
) -> DataSample:
    image = Image.new("RGB", (side, side))
    ink, colours = _ground(rng, image, (0, 0, side, side), split)
    language = pick_language(rng, assets, split, english=0.6, other=0.0, choices=EUROPEAN)
    path = rng.choice(find_hands(split) if rng.random() < 0.04 else files_of(language, split))
    size = round(sizes[0] * (sizes[1] / sizes[0]) ** (rng.random() ** 1.5))
    face, draw = open_face(path, size), ImageDraw.Draw(image)
    width = (side - 0.8 * size) * rng.choice((1, 1, rng.uniform(0.4, 1)))
    step = size * rng.uniform(1.12, 1.7)
    most = min(most_lines, int((side - 0.7 * size) / step))
    count = rng.randint(1, rng.choice((min(2, most), most, most)))
    flowing = rng.random() < 0.5
    pen = _Pen(language, Values(rng, split, language), path, face, width)
    lines = (_paragraph if flowing else _lines)(rng, pen, count)
    x = rng.uniform(0.3 * size, max(0.3 * size, side - width - 0.4 * size))
    y = size * 0.9 + rng.random() * max(0.0, side - size * 1.2 - step * (len(lines) - 1))
    boxes = [np.zeros((0, 4), np.float32)]
    for n, line in enumerate(lines):
        draw.text((x, y + n * step), line, fill=ink, font=face, anchor="ls")
        boxes.append(glyph_boxes(face, line, x, y + n * step, size))
    photo = photograph(rng, image, text_px=size, split=split, weights=(0.5, 0.35, 0.15))
    names = [c for line in lines for c in line if c != " "]
    turns = [ask_read(rng, (" " if flowing else "\n").join(lines), split)]
    if skill == "words" and lines:
        turns += _about(rng, " ".join(lines), colours, split)
    return DataSample(
        images=[photo.image],
        turns=turns,
        truth={"lines": lines, "flowing": flowing, "look": photo.look},
        skill=skill,
        language=language.code,
        glyphs=[Marks(tuple(names), photo.boxes(np.concatenate(boxes)))],
    )


def _about(rng: random.Random, text: str, colours: _Colours, split: Split) -> list[Turn]:
    """Ask for some of what else there is to say of a sign."""
    ground = f" on {with_article(colours.ground + ' background')}" if colours.ground else ""
    answer = f'The picture shows the text "{text}"{ground}.'
    turns = [Turn(question=choose(rng, DESCRIBE, split), answer=answer, metric="anls", task="describe")]
    for forms, name, task in (
        (_INK_QUESTIONS, colours.ink, "text_colour"),
        (GROUND, colours.ground, "ground_colour"),
    ):
        if name:
            question = choose(rng, forms, split).format(n="text")
            turns.append(Turn(question=question, answer=name, metric="exact_ci", task=task))
    return [turn for turn in rng.sample(turns, len(turns)) if rng.random() < 0.4]


class _Colours(NamedTuple):
    """Names of colours, "" where none fits well."""

    ground: str
    ink: str


class _Pen(NamedTuple):
    """What a block is written with."""

    language: Language
    values: Values
    path: str
    face: ImageFont.FreeTypeFont
    width: float
    """Pixels of the longest line."""


def _paragraph(rng: random.Random, pen: _Pen, count: int) -> list[str]:
    """Return the lines of a paragraph, broken between words."""
    rest = drawable(
        write_paragraph(rng, pen.language, 20 + round(2.2 * count * pen.width / pen.face.size)), pen.path
    )
    rest = " ".join(rest.split())
    lines: list[str] = []
    while rest and len(lines) < count:
        line = _fitting(pen.face, rest, pen.width)
        if len(line) < len(rest) and rest[len(line)] != " " and " " in line:
            line = line[: line.rindex(" ")]
        if not line:
            break
        lines.append(line)
        rest = rest[len(line) :].strip()
    return lines


def _lines(rng: random.Random, pen: _Pen, count: int) -> list[str]:
    """Return lines that have nothing to do with each other."""
    lines = []
    for _ in range(count):
        text = _text(rng, pen.language, pen.values)
        if rng.random() < 0.6:
            text = text[: rng.randint(3, 40)]
        lines.append(_fitting(pen.face, drawable(text, pen.path).strip(), pen.width))
    return [line for line in lines if line]


def _fitting(face: ImageFont.FreeTypeFont, text: str, width: float) -> str:
    """Return as much of the beginning of a text as fits into a width."""
    return text[: sum(end < width for end in accumulate(advances(face, text)))].rstrip()


def _make(rng: random.Random, split: Split, assets: Assets, *, plain: bool) -> DataSample:
    image = Image.new("RGB", (SIDE, SIDE), (255, 255, 255))
    names: list[str] = []
    boxes: list[np.ndarray] = []
    lines: list[str] = []
    smallest = float(SIDE)
    for area in _areas(rng, (0, 0, SIDE, SIDE), depth=rng.choice((0, 1) if plain else (0, 1, 1, 2, 2, 3))):
        size = rng.randint(22, 44) if plain else _size(rng, area)
        smallest = min(smallest, size)
        for text, places in _fill(rng, image, area, size, split, assets, plain=plain):
            lines.append(text)
            names += [c for c in text if c != " "]
            boxes.append(places)
    weights = (1, 0, 0) if plain else (0.45, 0.35, 0.2)
    photo = photograph(rng, image, text_px=smallest, split=split, weights=weights)
    found = np.concatenate(boxes) if boxes else np.zeros((0, 4), np.float32)
    start, whole = _asked(rng, lines)
    return DataSample(
        images=[photo.image],
        turns=[Turn(question=choose(rng, _QUESTIONS, split).format(start=start), answer=whole, metric="cer")],
        truth={"lines": lines, "look": photo.look},
        skill="letters" if plain else "print",
        glyphs=[Marks(tuple(names), photo.boxes(found))],
    )


def _areas(rng: random.Random, area: Area, depth: int) -> Iterator[Area]:
    """Cut an area in two, again and again."""
    x0, y0, x1, y1 = area
    wide = x1 - x0 > 1.3 * (y1 - y0) or (x1 - x0 > 0.75 * (y1 - y0) and rng.random() < 0.3)
    if depth == 0 or max(x1 - x0, y1 - y0) < 100:
        yield area
    elif wide:
        cut = round(x0 + (x1 - x0) * rng.uniform(0.35, 0.65))
        yield from _areas(rng, (x0, y0, cut, y1), depth - 1)
        yield from _areas(rng, (cut, y0, x1, y1), depth - 1)
    else:
        cut = round(y0 + (y1 - y0) * rng.uniform(0.3, 0.7))
        yield from _areas(rng, (x0, y0, x1, cut), depth - 1)
        yield from _areas(rng, (x0, cut, x1, y1), depth - 1)


def _size(rng: random.Random, area: Area) -> int:
    """Pixels of the em: mostly as on pages that were cut into tiles, now and then large."""
    low, high = rng.choice(((14, 24), (18, 34), (18, 34), (20, 40), (26, 60), (50, 120)))
    size = round(low * (high / low) ** rng.random())
    return max(14, min(size, (area[3] - area[1]) // 2, (area[2] - area[0]) // 3))


def _fill(
    rng: random.Random,
    image: Image.Image,
    area: Area,
    size: int,
    split: Split,
    assets: Assets,
    *,
    plain: bool,
) -> Iterator[tuple[str, np.ndarray]]:
    """Write lines over an area; yield each with the boxes of its glyphs."""
    language = pick_language(rng, assets, split, english=1.0 if plain else 0.5, other=0.0, choices=EUROPEAN)
    values = Values(rng, split, language)
    if plain:
        fonts = find_fonts()
        path, ink = rng.choice(fonts.plain if split == "train" else fonts.held_out), (0, 0, 0)
    else:
        path = rng.choice(find_hands(split) if rng.random() < 0.06 else files_of(language, split))
        ink, _ = _ground(rng, image, area, split)
    face = open_face(path, size)
    draw = ImageDraw.Draw(image)
    step = size * rng.uniform(1.08, 1.6)
    left, right = area[0] + rng.uniform(0.1, 0.8) * size, area[2] - 0.1 * size
    y = area[1] + size * rng.uniform(0.95, 1.2)
    while y < area[3] - 0.2 * size:
        text = drawable(_text(rng, language, values), path)
        x = left if rng.random() < 0.85 else left + rng.random() * 0.3 * (right - left)
        if text := _fitting(face, text, right - x):
            draw.text((x, y), text, fill=ink, font=face, anchor="ls")
            yield text, glyph_boxes(face, text, x, y, size)
        y += step * rng.choice((1, 1, 1, 1, 1, 1.5))


def _ground(rng: random.Random, image: Image.Image, area: Area, split: Split) -> tuple[Rgb, _Colours]:
    """Colour an area; return an ink that can be read on it, and what the two are called."""
    chance = rng.random()
    if chance < 0.7:
        tone = rng.randint(225, 255)
        image.paste((tone, tone - rng.randint(0, 8), tone - rng.randint(0, 22)), area)
        dark = rng.randint(0, 90)
        blue = rng.random() >= 0.8
        ink = (dark // 4, dark // 3, 60 + dark) if blue else (dark, dark, dark)
        name = "blue" if blue and dark > 40 else "black" if not blue and dark < 60 else ""
        return ink, _Colours("white" if tone > 240 else "", name)
    if chance < 0.78:
        tone, light = rng.randint(0, 50), rng.randint(190, 255)
        image.paste((tone,) * 3, area)
        return (light,) * 3, _Colours("black" if tone < 40 else "", "white" if light > 225 else "")
    ground, colour, mean = make_ground(
        rng, (area[2] - area[0], area[3] - area[1]), held_out=split == "held_out"
    )
    image.paste(ground, area[:2])
    ink_name, ink = ink_for(rng, mean)
    return ink, _Colours(colour or "", ink_name)


def _text(rng: random.Random, language: Language, values: Values) -> str:
    chance = rng.random()
    if chance < 0.35:
        text = write_sentence(rng, language)
    elif chance < 0.65:
        text = write_words(rng, language, rng.randint(2, 14))
    elif chance < 0.75:
        text = "".join(
            rng.choices("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,-:/", k=60)
        )
    elif chance < 0.9:
        money = values.money()
        parts = (
            lambda: money.full(rng.randint(5, 500000)), lambda: values.digits(rng.randint(1, 9)), values.code,
            values.phone, values.time, lambda: values.date(values.day()), values.email, values.word,
            lambda: f"{values.word()}:", lambda: f"({values.word()})", lambda: f"{rng.randint(1, 100)}%",
        )  # fmt: skip
        text = " ".join(rng.choice(parts)() for _ in range(rng.randint(2, 8)))
    else:
        text = " ".join(values.digits(rng.randint(1, 6)) for _ in range(12))
    if language.script in ("Latn", "Cyrl", "Grek") and rng.random() < 0.15:
        text = text.upper()
    return " ".join(text.split())


def _asked(rng: random.Random, lines: list[str]) -> tuple[str, str]:
    """Return the first word of a line that no other line begins with, and the line."""
    starts = [line.split(" ", 1)[0] for line in lines]
    single = [n for n, start in enumerate(starts) if starts.count(start) == 1]
    n = rng.choice(single) if single else 0
    return (starts[n], lines[n]) if lines else ("", "")

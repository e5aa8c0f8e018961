"""Skill `lines`: one to three lines of text, printed or in handwriting fonts, on paper or on coloured grounds."""

from __future__ import annotations

import random
import string

from PIL import Image

from internvl.data.colours import Rgb, ink_for
from internvl.data.documents.asking import ask_read, choose
from internvl.data.documents.finish import finish
from internvl.data.documents.language import (
    EUROPEAN,
    Language,
    drawable,
    files_of,
    pick_language,
    write_sentence,
    write_words,
)
from internvl.data.documents.sheet import Align, Sheet, Style
from internvl.data.documents.typefaces import find_hands
from internvl.data.documents.values import Values
from internvl.data.sample import Assets, DataSample, Json, Split, Turn
from internvl.data.scene import make_ground

MAX_CHARACTERS = 60
_ORDINALS = ("first", "second", "third")
_ORDINAL_QUESTIONS = (
    "What does the {n} line say?",
    "Read the {n} line.",
    "Read only the {n} line.",
    "What is written in the {n} line?",
    "Transcribe line {i}.",
    "What is in line {i}?",
    "Which words are in the {n} line?",
    "Please read line {i}.",
)


def make_lines(rng: random.Random, *, split: Split, assets: Assets) -> DataSample:
    """Make a picture of lines, and ask for what they say."""
    language = pick_language(rng, assets, split, english=0.5, other=0.1, choices=EUROPEAN)
    values = Values(rng, split, language)
    hand = language.code == "en" and rng.random() < 0.12
    path = rng.choice(find_hands(split) if hand else files_of(language, split))
    shaped = language.rtl or language.script not in ("Latn", "Grek", "Cyrl", "Hans", "Jpan", "Kore")
    count = rng.choice((1, 1, 1, 2, 3))
    size = round(rng.choice((rng.uniform(16, 30), rng.uniform(22, 56))))
    style = Style(path, size, shaped=shaped, hand=hand and rng.random() < 0.5)
    lines = [line for line in (_content(rng, language, values, path) for _ in range(count)) if line] or ["0"]
    width = max(style.width(line) for line in lines)
    image, ink = _ground(rng, _canvas(rng, width, len(lines), style), split)
    sheet = Sheet(image.size, paper=(255, 255, 255), rng=rng, image=image)
    runs = _write(rng, sheet, lines, style.inked(ink), width, rtl=language.rtl)
    lines = [run["text"] for run in runs]
    truth: dict[str, Json] = {"text": "\n".join(lines), "lines": runs, "font": path.rsplit("/", 1)[-1]}
    turns = [ask_read(rng, truth["text"], split)]
    if len(lines) > 1 and rng.random() < 0.4:
        n = rng.randrange(len(lines))
        question = choose(rng, _ORDINAL_QUESTIONS, split).format(n=_ORDINALS[n], i=n + 1)
        turns.append(Turn(question=question, answer=lines[n], metric="cer"))
        rng.shuffle(turns)
    return finish(
        rng, sheet, skill="lines", language=language.code, turns=turns, truth=truth, split=split,
        looks=(0.5, 0.3, 0.2),
    )  # fmt: skip


def _content(rng: random.Random, language: Language, values: Values, path: str) -> str:
    """Return the text of a line that the font can write."""
    kind = rng.random()
    latin = language.script in ("Latn", "Cyrl", "Grek")
    if kind < 0.4:
        text = _stretch(rng, write_sentence(rng, language), language.space)
    elif kind < 0.6 or not latin:
        text = write_words(rng, language, rng.randint(1, 8))
    elif kind < 0.68:
        alphabet = rng.choice(
            (string.ascii_lowercase, string.ascii_uppercase, string.ascii_letters + string.digits)
        )
        text = " ".join("".join(rng.choices(alphabet, k=rng.randint(1, 9))) for _ in range(rng.randint(1, 4)))
    else:
        text = " ".join(_token(rng, values) for _ in range(rng.randint(1, 4)))
    if latin and rng.random() < 0.15:
        text = text.upper()
    elif latin and rng.random() < 0.15:
        text = text.title()
    return drawable(_cut(text, rng.randint(12, MAX_CHARACTERS), language.space), path)


def _stretch(rng: random.Random, sentence: str, space: str) -> str:
    """Return a sentence from one of its words on."""
    if not space:
        return sentence
    words = sentence.split()
    return " ".join(words[rng.randrange(max(1, len(words) - 3)) :])


def _cut(text: str, most: int, space: str) -> str:
    """Return the words that fit into so many characters; at least the beginning of the first."""
    if len(text) <= most:
        return text
    kept = text[:most]
    if space and text[most] != " " and " " in kept:
        kept = kept[: kept.rindex(" ")]
    return kept.strip()


def _token(rng: random.Random, values: Values) -> str:
    money = values.money()
    return rng.choice(
        (
            values.person, values.company, values.street, values.phone, values.email, values.code, values.time,
            lambda: values.date(values.day()), lambda: money.full(rng.randint(5, 500000)),
            lambda: f"{values.postcode()} {values.city()}", lambda: f"{rng.randint(1, 100)}%",
            lambda: f"{values.word()}: {values.digits(rng.randint(1, 7))}", lambda: f"({values.word()})",
            lambda: f"{values.word().capitalize()} {rng.choice('+=@#&/')} {values.word()}",
            lambda: values.pick("product"), lambda: f'"{values.word()}"', values.word, values.word,
        )
    )()  # fmt: skip


def _canvas(rng: random.Random, width: float, count: int, style: Style) -> tuple[int, int]:
    """Return the size of a picture: often tight as a cut-out line, else with room around."""
    height = style.size * 1.35 * count
    if rng.random() < 0.5:
        return round(width + style.size * rng.uniform(0.5, 1.6)), round(
            height + style.size * rng.uniform(0.3, 1.0)
        )
    wide = width + style.size * rng.uniform(1, 4)
    return round(wide), round(max(height * 1.2, wide / rng.uniform(1.0, 6.0)))


def _ground(rng: random.Random, size: tuple[int, int], split: Split) -> tuple[Image.Image, Rgb]:
    """Return paper, or a coloured ground, and an ink that can be read on it."""
    if rng.random() < 0.6:
        tone = rng.randint(225, 255)
        paper = (tone, tone - rng.randint(0, 8), tone - rng.randint(0, 22))
        ink = rng.choice(((0, 0, 0), (20, 20, 20), (40, 40, 44), (70, 70, 72), (22, 34, 110), (110, 18, 22)))
        return Image.new("RGB", size, paper), ink
    image, _, mean = make_ground(rng, size, held_out=split == "held_out")
    return image, ink_for(rng, mean)[1]


def _write(
    rng: random.Random, sheet: Sheet, lines: list[str], style: Style, width: float, *, rtl: bool
) -> list[dict[str, Json]]:
    step = style.size * rng.uniform(1.2, 1.4)
    w, h = sheet.image.size
    left = rng.uniform(0.1, 0.9) * max(0.0, w - width)
    top = rng.uniform(0.1, 0.9) * max(0.0, h - step * len(lines))
    align: Align = "right" if rtl else rng.choice(("left", "left", "center"))
    x = {"left": left, "center": left + width / 2, "right": left + width}[align]
    if len(lines) == 1 and rng.random() < 0.06:
        y = round(top + style.size * 1.08)
        sheet.rule(left, y, left + width, ink=style.ink, width=max(1, style.size // 18))
    return [
        sheet.text(x, top + n * step + style.size * 0.95, line, style, role="line", align=align)
        for n, line in enumerate(lines)
    ]

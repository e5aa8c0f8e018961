"""What pictures say: words, short lines, numbers, prices, codes.

Sources, all of shared/data/text: Tesseract's English word list (Apache-2.0), wordfreq (CC BY-SA 4.0, Robyn Speer),
English public-domain texts. Made up when that folder is not there: pronounceable nonsense, enough for tests.
"""

from __future__ import annotations

import json
import lzma
import random
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from internvl.data.charset import CHARSET, LETTERS

MAX_WORD = 11
ACCENTED_LANGUAGES = ("de", "fr", "es")
_PLAIN = frozenset(LETTERS)
_KNOWN = frozenset(CHARSET)


@dataclass(frozen=True, slots=True)
class WordSource:
    """Words and running text to draw from."""

    words: tuple[str, ...]
    accented: tuple[str, ...]
    """Words of other languages with at least one accented letter."""
    texts: tuple[tuple[str, ...], ...]
    """Running texts, each a sequence of words with their punctuation."""


def read_words(shared: Path | None) -> WordSource:
    """Read the word lists below `shared`/data/text."""
    folder = None if shared is None else shared / "data" / "text"
    if folder is None or not folder.is_dir():
        made_up = _nonsense(500)
        return WordSource(words=made_up, accented=("für", "été", "niño"), texts=(made_up,))
    words: dict[str, None] = {}
    accented: dict[str, None] = {}
    for row in _rows(folder / "wordfreq_words.jsonl.xz"):
        if row["lang"] == "en":
            words.update((w, None) for w in row["words"] if len(w) <= MAX_WORD and _PLAIN.issuperset(w))
        elif row["lang"] in ACCENTED_LANGUAGES:
            known = (w for w in row["words"] if 2 < len(w) <= MAX_WORD and _KNOWN.issuperset(w))
            accented.update((w, None) for w in known if not _PLAIN.issuperset(w))
    texts = []
    for row in _rows(folder / "english_public_domain.jsonl.xz"):
        split = (w.strip("\"'") for w in row["text"].split())
        texts.append(tuple(w for w in split if w and len(w) <= MAX_WORD and _KNOWN.issuperset(w)))
    return WordSource(
        words=tuple(words), accented=tuple(accented), texts=tuple(t for t in texts if len(t) > 50)
    )


def _rows(path: Path) -> list[dict[str, Any]]:
    with lzma.open(path, "rt", encoding="utf8") as file:
        return [json.loads(line) for line in file]


def _nonsense(count: int) -> tuple[str, ...]:
    rng = random.Random("nonsense words")
    syllables = [c + v for c in "bdfghklmnprstvw" for v in "aeiou"]
    return tuple("".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(count))


def random_word(rng: random.Random, source: WordSource) -> str:
    """One word in some casing; now and then letters at random, so that reading is not guessing."""
    kind = rng.random()
    if kind < 0.05:
        word = rng.choice(source.accented)
    elif kind < 0.15:
        word = "".join(rng.choices(string.ascii_lowercase, k=rng.randint(1, 7)))
    else:
        word = rng.choice(source.words)
    casing = rng.random()
    if casing < 0.3:
        return word.upper() if "ß" not in word else word
    return word.capitalize() if casing < 0.6 else word.lower()


def random_token(rng: random.Random, source: WordSource) -> str:
    """A word, number, price, time, date or code."""
    kind = rng.random()
    if kind < 0.7:
        return random_word(rng, source)
    return rng.choice(_TOKEN_KINDS)(rng)


def _digits(rng: random.Random, least: int, most: int) -> str:
    return "".join(rng.choices(string.digits, k=rng.randint(least, most)))


def _number(rng: random.Random) -> str:
    return _digits(rng, 1, 6)


def _price(rng: random.Random) -> str:
    amount = f"{rng.randint(0, 199)}.{rng.choice(('00', '50', '90', '95', '99', _digits(rng, 2, 2)))}"
    return rng.choice(("$" + amount, amount + "€", "£" + amount, amount, amount + "$"))


def _time(rng: random.Random) -> str:
    return f"{rng.randint(0, 23):0{rng.choice((1, 2))}d}:{rng.randint(0, 59):02d}"


def _date(rng: random.Random) -> str:
    day, month, year = rng.randint(1, 28), rng.randint(1, 12), rng.randint(1950, 2030)
    return rng.choice(
        (f"{day:02d}.{month:02d}.{year}", f"{year}-{month:02d}-{day:02d}", f"{day}/{month}/{year % 100:02d}")
    )


def _code(rng: random.Random) -> str:
    letters = "".join(rng.choices(string.ascii_uppercase, k=rng.randint(1, 3)))
    return letters + rng.choice(("-", "", "")) + _digits(rng, 1, 4)


def _sign(rng: random.Random) -> str:
    number = rng.randint(1, 99)
    return rng.choice(
        (
            f"{number}%",
            f"-{number}%",
            f"#{number}",
            f"+{number}",
            f"No.{number}",
            f"({number})",
            f"{number}+{number}",
        )
    )


_TOKEN_KINDS = (_number, _number, _price, _time, _date, _code, _code, _sign)


def random_line(rng: random.Random, source: WordSource, max_characters: int, max_words: int) -> str:
    """Words and numbers, or a stretch of running text, at most `max_characters` long."""
    if rng.random() < 0.4:
        text = rng.choice(source.texts)
        start = rng.randrange(max(1, len(text) - max_words))
        pieces = list(text[start : start + max_words])
    else:
        pieces = [random_token(rng, source) for _ in range(max_words)]
        if rng.random() < 0.3:
            pieces = [piece.upper() if "ß" not in piece else piece for piece in pieces]
        elif rng.random() < 0.3:
            pieces[-1] += rng.choice(".!?:,")
    line = ""
    for piece in pieces:
        longer = f"{line} {piece}" if line else piece
        if len(longer) > max_characters:
            break
        line = longer
    return line or random_word(rng, source)[:max_characters]

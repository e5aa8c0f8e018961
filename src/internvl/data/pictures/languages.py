"""The skill `languages`: what a thing is called, in the language asked for (CLDR's names, over 100 languages)."""

from __future__ import annotations

import json
import lzma
import random
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from internvl.data.objects import EVERYDAY_SHARE
from internvl.data.pictures.art import Concept, find_art, read_emoji_rows
from internvl.data.pictures.asking import phrase
from internvl.data.pictures.language_phrases import BY_CODE, IN_ENGLISH, IN_THE_LANGUAGE
from internvl.data.pictures.scene import fitting_ground
from internvl.data.pictures.things import art_kind, compose
from internvl.data.sample import Assets, DataSample, Split, Turn
from internvl.errors import ConfigError

LEAST_NAMES = 1100
"""Names that a language needs to be asked for: of most things that pictures show."""
SIZES = ((336, 336), (448, 448), (384, 384), (448, 336))
MAX_TURNS = 5


@dataclass(frozen=True, slots=True)
class Language:
    """A language that names things."""

    code: str
    """CLDR's locale, a BCP-47 code: "sr-Latn"."""
    english: str | None
    autonym: str | None


@dataclass(frozen=True, slots=True)
class NameBook:
    """Names of things in many languages."""

    languages: tuple[Language, ...]
    names: dict[str, dict[str, str]]
    """emoji -> locale -> name."""
    others: dict[str, dict[str, list[str]]]
    """emoji -> locale -> keywords, other words that may name it."""


@lru_cache(maxsize=2)
def read_names(assets: Assets) -> NameBook:
    """Collect the languages that name enough things; regional variants count with their language.

    Raises:
        ConfigError: The shared folder, which holds the names, is not there.
    """
    rows = read_emoji_rows(assets)
    if not rows or assets.text is None:
        raise ConfigError(
            "names of things in languages come from shared/data/text/emoji.jsonl.xz, which is not there; "
            "give the folder that holds data/ (--shared DIR)"
        )
    numbers = Counter(locale for row in rows for locale in row["names"])
    codes = sorted(code for code, number in numbers.items() if number >= LEAST_NAMES and code != "yo-BJ")
    autonyms: dict[str, str] = {}
    english: dict[str, str] = {}
    with lzma.open(assets.text / "cldr_locales.jsonl.xz", "rt", encoding="utf8") as file:
        for row in map(json.loads, file):
            autonyms[row["loc"]] = row.get("autonym") or ""
            if row["loc"] == "en":
                english = row["langs"]
    spoken = {row["e"]: row for row in rows}
    return NameBook(
        languages=tuple(
            Language(code, english.get(code), autonyms.get(code) if "-" not in code else None)
            for code in codes
        ),
        names={emoji: row["names"] for emoji, row in spoken.items()},
        others={emoji: row["kw"] for emoji, row in spoken.items()},
    )


def make_languages(rng: random.Random, *, split: Split, assets: Assets) -> DataSample:
    """Show one thing and ask for its name in several languages."""
    book, names = find_art(assets), read_names(assets)
    assert book is not None  # the names lie beside the art

    def named(*, everyday: bool) -> list[Concept]:
        return [c for c in book.drawable(split, everyday=everyday) if c.emoji in names.names]

    pool = (rng.random() < EVERYDAY_SHARE and named(everyday=True)) or named(everyday=False)
    kind = None
    while kind is None:
        kind = art_kind(rng, rng.choice(pool), split)
    concept = kind.concept
    assert concept is not None
    layout = compose(
        rng, fitting_ground(rng, rng.choice(SIZES), [kind], split), [kind], split=split, least=0.4
    )
    known = [language for language in names.languages if language.code in names.names[concept.emoji]]
    chosen = rng.sample(known, min(len(known), rng.randint(2, MAX_TURNS)))
    turns = [_turn(rng, language, concept, names) for language in chosen]
    truth = layout.truth()
    truth["languages"] = [language.code for language in chosen]
    truth["alternatives"] = [names.others[concept.emoji].get(language.code, []) for language in chosen]
    return DataSample(
        images=[layout.image], turns=turns, truth=truth, skill="languages",
        language=chosen[0].code if len(chosen) == 1 else "mul", things=[layout.marks()],
    )  # fmt: skip


def _turn(rng: random.Random, language: Language, concept: Concept, names: NameBook) -> Turn:
    answer = names.names[concept.emoji][language.code]
    own = IN_THE_LANGUAGE.get(language.code)
    dice = rng.random()
    if own and dice < 0.45:
        question = rng.choice(own)
    elif language.english and dice < 0.8:
        question = phrase(rng, IN_ENGLISH, language=language.english)
    elif language.autonym and dice < 0.88:
        question = phrase(rng, IN_ENGLISH, language=language.autonym)
    else:
        question = phrase(rng, BY_CODE, code=language.code)
    return Turn(question=question, answer=answer, metric="any_of_names")

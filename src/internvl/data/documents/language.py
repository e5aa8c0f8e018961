"""Languages: words and running text of a split, and how numbers and dates are written.

Sources below shared/data/text: wordfreq (CC BY-SA 4.0, Robyn Speer), English public-domain texts, the Universal
Declaration of Human Rights, CLDR (Unicode-3.0). Without that folder: English from a short built-in list.
A tenth of the words and of the texts is held out: which, a checksum says.
"""

from __future__ import annotations

import json
import lzma
import random
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar
from zlib import crc32

from internvl.data.coverage import covers
from internvl.data.documents.typefaces import LATIN, Typeface, find_files, find_typefaces
from internvl.data.sample import Assets, Split
from internvl.errors import ConfigError

EUROPEAN = ("de", "fr", "es", "it", "pt", "nl", "pl", "cs", "sk", "sl", "hu", "ro", "sv", "da", "nb", "fi", "lt", "lv",
            "ca", "tr", "is", "sh", "vi", "id", "fil", "ms", "el", "ru", "uk", "bg", "mk")  # fmt: skip
"""Written with the alphabets that ordinary fonts have."""
OTHER = ("ar", "fa", "ur", "he", "hi", "bn", "ta", "zh", "ja", "ko")
_SCRIPTS = {
    "ar": "Arab", "fa": "Arab", "ur": "Arab", "he": "Hebr", "hi": "Deva", "bn": "Beng", "ta": "Taml", "zh": "Hans",
    "ja": "Jpan", "ko": "Kore", "el": "Grek", "ru": "Cyrl", "uk": "Cyrl", "bg": "Cyrl", "mk": "Cyrl",
}  # fmt: skip
_UNSPACED = ("zh", "ja")
_UDHR = {"de": "deu_1996", "el": "ell_monotonic", "es": "spa", "fa": "pes_1", "fi": "fin", "fil": "tgl", "fr": "fra",
         "ja": "jpn", "pt": "por_BR", "ro": "ron_2006", "sh": "hrv", "zh": "cmn_hans"}  # fmt: skip
"""wordfreq's code -> UDHR's key, where the language's tag does not say it."""
_PUNCTUATION = "\u2019\u201c\u201d\u2014\u060c\u061b\u061f\u0964\u3001\u3002"
MAX_WORD = 16
_LEFT_OUT = """
anal anus ass bitch boobs cock cum cunt dick dildo fuck fucked fucking fuckin hitler milf naked nazi nazis nigga nigger
nude orgasm penis porn pornography prostitute pussy rape raped rapist sex sexual sexy shit slut suicide tits vagina
whore xxx
"""
"""Words that nobody wants to find in an example."""
HELD_OUT_TENTHS = 1

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Language:
    """What is written in one language, in one split."""

    code: str
    script: str
    words: tuple[str, ...]
    sentences: tuple[str, ...]
    """Running text, cut where sentences end; may be empty."""
    letters: str
    """Every character of its words, in both cases."""
    months: tuple[str, ...]
    decimal: str
    group: str

    @property
    def rtl(self) -> bool:
        """Whether it is written from right to left."""
        return self.script in ("Arab", "Hebr")

    @property
    def space(self) -> str:
        """What stands between words."""
        return "" if self.code in _UNSPACED else " "


_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
           "November", "December")  # fmt: skip
_BUILT_IN_WORDS = """
the of and to in a is that for it as was with be by on not he his but at are this have from or had an they
which one you were all her she there would their we him been has when who will no more if out so up said
what its about than into them can only other time new some could these two may first then do any like my now
over such our man me even most made after also did many off before must well back through years much where
your way down should because long each just state people those too mr how little good world make very year
still see own work men day get here old life both between being under three never know same last another
while us might great go come since against right came take used states himself few house use place american
during high without again home around small however found thought school part number night water always
public almost system until end church order paper garden street bridge window morning letter number market
bottle orange yellow purple silver quickly machine village captain history science music picture question
answer station engine river forest island winter summer autumn spring kitchen breakfast evening mountain
journey company contract payment delivery receipt invoice customer address quality service department office
"""


def split_of(text: str) -> Split:
    """Say which split a word or text belongs to; the same on every machine."""
    return "held_out" if crc32(text.encode()) % 10 < HELD_OUT_TENTHS else "train"


def of_split(items: Iterable[T], split: Split, key: Callable[[T], str] = str) -> tuple[T, ...]:
    """Return the items of a split; all of them if none is left."""
    items = tuple(items)
    return tuple(item for item in items if split_of(key(item)) == split) or items


@lru_cache(maxsize=4)
def _rows(path: Path, key: str) -> dict[str, Any]:
    with lzma.open(path, "rt", encoding="utf8") as file:
        return {row[key]: row for row in map(json.loads, file)}


@lru_cache(maxsize=128)
def read_language(code: str, split: Split, text: Path | None) -> Language:
    """Read a language from the folder `text`; without the folder only English is there.

    Raises:
        ConfigError: There are no words of the language.
    """
    if text is None:
        if code != "en":
            raise ConfigError(f"words of language {code!r} are read from shared/data/text; give --shared")
        words = of_split(dict.fromkeys(_BUILT_IN_WORDS.split()), split)
        return Language("en", "Latn", words, (), LATIN, _MONTHS, ".", ",")
    row = _rows(text / "wordfreq_words.jsonl.xz", "lang").get(code)
    if row is None:
        raise ConfigError(f"there are no words of language {code!r} in {text / 'wordfreq_words.jsonl.xz'}")
    script = _SCRIPTS.get(code, "Latn")
    found = [_final_sigma(unicodedata.normalize("NFC", word)) for word in row["words"]]
    found = [
        w
        for w in found
        if len(w) <= MAX_WORD and all(map(_is_letter, w)) and (script == "Latn" or not w.isascii())
    ]
    left_out = frozenset(_LEFT_OUT.split())
    found = [word for word in found if word.lower() not in left_out]
    # letters of two words or fewer belong to foreign names
    common = {c for c, n in Counter(c for word in found for c in set(word)).items() if n > 2}
    words = of_split((word for word in found if common.issuperset(word)), split)
    letters = "".join(sorted(common | {c.upper() for c in common if len(c.upper()) == 1}))
    known = frozenset(letters + LATIN + _PUNCTUATION + " ")
    sentences = of_split(
        (sentence for sentence in _sentences(code, text) if known.issuperset(sentence)), split
    )
    locale = _rows(text / "cldr_locales.jsonl.xz", "loc").get("hr" if code == "sh" else code, {})
    symbols = locale.get("sym") or {}
    group = symbols.get("group") or ","
    return Language(
        code=code, script=script, words=words, sentences=sentences, letters=letters,
        months=tuple(locale.get("months") or _MONTHS),
        # in print a thin or unbreakable space looks like a space, and that is what is answered
        decimal=symbols.get("decimal") or ".", group=" " if group.isspace() else group,
    )  # fmt: skip


def _final_sigma(word: str) -> str:
    return word[:-1] + "\u03c2" if word.endswith("\u03c3") else word


def _is_letter(character: str) -> bool:
    return unicodedata.category(character)[0] in "LM" or character in "'\u2019"


def _sentences(code: str, text: Path) -> Iterator[str]:
    if code == "en":
        for row in _rows(text / "english_public_domain.jsonl.xz", "title").values():
            yield from _cut(row["text"].replace("\n", " "))
    for key, row in _rows(text / "udhr.jsonl.xz", "key").items():
        if key == _UDHR[code] if code in _UDHR else row["bcp47"] == code:
            for paragraph in [*row["preamble"], *(p for article in row["articles"] for p in article["p"])]:
                yield from _cut(paragraph)


def _cut(text: str) -> Iterator[str]:
    """Cut where a sentence ends; short and endless ones are left out."""
    sentence: list[str] = []
    for word in unicodedata.normalize("NFC", text).split():
        sentence.append(word)
        if word[-1] in ".!?;:\u3002\u0964\u061f" and len(sentence) > 2:
            if len(sentence) < 60:
                yield " ".join(sentence)
            sentence = []
    if 2 < len(sentence) < 60:
        yield " ".join(sentence)


def pick_language(
    rng: random.Random,
    assets: Assets,
    split: Split,
    *,
    english: float,
    other: float,
    choices: Sequence[str] = EUROPEAN,
) -> Language:
    """Pick English, one of `choices`, or a language of another script whose fonts are installed."""
    chance = rng.random()
    if assets.text is None or chance < english:
        return read_language("en", split, assets.text)
    code = rng.choice(OTHER if chance > 1 - other else choices)
    language = read_language(code, split, assets.text)
    if not typefaces_of(language, split):
        return read_language("en", split, assets.text)
    return language


def _needed(language: Language) -> str:
    """Return what a font must have; in other scripts `drawable` leaves out the signs that a font lacks."""
    if language.script in ("Latn", "Cyrl", "Grek"):
        return language.letters + LATIN
    return language.letters.translate({ord(sign): None for sign in "'\u2019"})


def typefaces_of(language: Language, split: Split) -> tuple[Typeface, ...]:
    """Return the installed families that can write a language."""
    return find_typefaces(language.script, split, _needed(language))


def files_of(language: Language, split: Split) -> tuple[str, ...]:
    """Return every font file that can write a language."""
    return find_files(language.script, split, _needed(language))


def drawable(text: str, path: str) -> str:
    """Return a text without the characters that a font lacks."""
    if covers(path, text):
        return text
    kept = "".join(c for c in text if c.isspace() or covers(path, c))
    return " ".join(kept.split())


def write_words(rng: random.Random, language: Language, count: int) -> str:
    """Return words at random: reading them is not guessing."""
    return language.space.join(rng.choices(language.words, k=count))


def write_sentence(rng: random.Random, language: Language) -> str:
    """Return a sentence of running text, or one of words at random."""
    # the few sentences that most languages have would be learnt by heart
    if rng.random() < min(0.65, len(language.sentences) / 150):
        return rng.choice(language.sentences)
    words = rng.choices(language.words, k=rng.randint(4, 16))
    for i in range(len(words) - 1):
        if rng.random() < 0.06:
            words[i] += ","
    stop = {"zh": "\u3002", "ja": "\u3002", "hi": "\u0964"}.get(language.code, rng.choice("...?!"))
    text = language.space.join(words) + stop
    return text[:1].upper() + text[1:]


def write_paragraph(rng: random.Random, language: Language, characters: int) -> str:
    """Return sentences of about so many characters."""
    text = write_sentence(rng, language)
    while len(text) < characters:
        text += language.space + write_sentence(rng, language)
    return text

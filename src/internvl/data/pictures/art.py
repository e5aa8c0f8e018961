"""The clip art that pictures are made of: concepts with CLDR's English names, each with one drawing or several.

Drawings come from what is there: Noto's colour font (Debian: fonts-noto-color-emoji), else its atlas in shared/data;
Twemoji's font as Firefox ships it (Debian: firefox-esr, or the file alone in ~/.local/share/fonts).
The art is read where it lies and never copied into the package. Noto: Apache-2.0; Twemoji: CC BY 4.0.

Held out: of every third concept Twemoji's drawing, which training never sees, though it sees Noto's of the same
concept. Without Twemoji no drawing is held out, only grounds and poses (`ArtBook.held_out_is_unseen`).
"""

from __future__ import annotations

import json
import lzma
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from internvl.data.fonts import FONT_DIRECTORIES
from internvl.data.objects import EVERYDAY_NAMES
from internvl.data.pictures.colour_fonts import draw_bitmap_emoji, draw_layered_emoji
from internvl.data.pictures.seen_colour import seen_colour
from internvl.data.sample import Assets, Split

NOTO_FONT, TWEMOJI_FONTS = "NotoColorEmoji.ttf", ("TwemojiMozilla.ttf", "Twemoji.Mozilla.ttf")
_MORE_DIRECTORIES = (
    Path("~/.local/share/fonts"), Path("/usr/lib/firefox-esr/fonts"), Path("/usr/lib/firefox/fonts"),
    Path("/usr/lib/thunderbird/fonts"),
)  # fmt: skip
THING_GROUPS = ("animals-nature", "food-drink", "travel-places", "activities", "objects")
_MORE_THINGS = frozenset(
    """ghost|robot|alien|alien monster|clown face|pile of poo|skull|red heart|broken heart|speech balloon|collision|
    brain|bone|tooth|ear|nose|eye|mouth|foot|leg|lungs|footprints|person|baby|mermaid|Santa Claus|astronaut|ninja|
    police officer|firefighter|cook|farmer|student|scientist|slightly smiling face|sad but relieved face|
    smiling face with sunglasses|nauseated face|cowboy hat face|nerd face|sleeping face|thumbs up|thumbs down|
    waving hand|flexed biceps|check mark|recycling symbol|no entry|radioactive|yin yang|stop sign|pirate flag|
    chequered flag|rainbow flag|love letter|snowman without snow|jack-o-lantern|princess|zombie|vampire""".replace(
        "\n    ", ""
    ).split("|")
)
_NOT_THINGS = re.compile(
    r"o’clock|-thirty|moon|map of|^globe|sunset|sunrise|cityscape|bridge at|mailbox|"
    r"hourglass not|page (with|facing)|^sun behind|button|Japanese (?!castle|dolls)|fog$|"
    r"night with|stamp|[123]\w\w place|eject|with (arrow|pen|key)$|squared|^(in|out)box"
)
_NOT_FLIPPED = re.compile(r"left|right|clock|button|abc|input|calendar|keycap|sign|letter|symbol|arrow|flag")
_SKIPPED_GROUPS = (None, "component")
#: Words of names and keywords that tell nothing about what a drawing shows.
_VAGUE_WORDS = """
the a an of with and in on for to face animal food drink fruit vegetable sport game tool object person man woman place
building vehicle red green blue yellow orange white black brown purple pink small large open closed old new showing
"""
_VAGUE = frozenset(_VAGUE_WORDS.split())
MAX_SEARCHED = 4000
"""Files that are looked at below one font directory, so that a huge tree costs no minutes."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a drawing is found."""

    kind: Literal["bitmap", "layers", "atlas"]
    file: Path
    """The font, or the atlas's sheet."""
    emoji: str
    tile: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Box in the sheet."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """One picture of a concept."""

    picture: Image.Image
    """RGBA, cut to its visible part."""
    colour: str | None
    """The name of its colour, if it clearly has one."""
    mean: tuple[int, int, int]
    """Mean colour of what is visible."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Concept:
    """A kind of thing: its names and its drawings."""

    name: str
    """CLDR's English name: "dog face"."""
    emoji: str
    group: str
    subgroup: str
    words: frozenset[str]
    """Words of its name and its keywords, without vague ones: concepts that share none are told apart easily."""
    train: tuple[Source, ...]
    held_out: tuple[Source, ...]

    @property
    def name_words(self) -> frozenset[str]:
        """The telling words of the name."""
        return telling_words([self.name])

    @property
    def may_flip(self) -> bool:
        """Whether its mirror image is the same thing."""
        return self.group not in ("symbols", "flags") and not _NOT_FLIPPED.search(self.name)

    def sources(self, split: Split) -> tuple[Source, ...]:
        """The drawings of a split."""
        return self.train if split == "train" else self.held_out

    def unlike(self, other: Concept) -> bool:
        """Whether neither could be called by the other's name."""
        return not (self.name_words & other.words or other.name_words & self.words)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ArtBook:
    """All concepts that this machine can draw, in CLDR's order. Equal to itself only: hashing all of it takes 1 ms."""

    concepts: tuple[Concept, ...]
    things: tuple[Concept, ...]
    """Those that are clear things, for scenes."""
    held_out_is_unseen: bool
    """Whether held-out drawings are ones that training never sees."""

    def drawable(self, split: Split, *, things: bool = True, everyday: bool = False) -> Sequence[Concept]:
        """The concepts that have a drawing in this split; `everyday`: only those that people meet every day."""
        return _drawable(self, split, things, everyday)


@lru_cache(maxsize=16)
def _drawable(book: ArtBook, split: Split, things: bool, everyday: bool) -> Sequence[Concept]:
    concepts = book.things if things else book.concepts
    return tuple(c for c in concepts if c.sources(split) and (not everyday or c.name in EVERYDAY_NAMES))


def telling_words(texts: Sequence[str]) -> frozenset[str]:
    """The words of names that say what a thing is: "horse face" -> horse."""
    words = {word for text in texts for word in re.findall(r"\w+", text.lower())}
    return frozenset(words - _VAGUE or words)


@lru_cache(maxsize=2)
def find_art(assets: Assets) -> ArtBook | None:
    """Collect the drawings of this machine; None without the shared folder, which holds the names."""
    folder = None if assets.shared is None else assets.shared / "data" / "emoji"
    if folder is None or not (folder / "index.jsonl").is_file():
        return None
    with (folder / "index.jsonl").open(encoding="utf8") as file:
        rows = [json.loads(line) for line in file]
    noto, twemoji = _find_font(NOTO_FONT), next(filter(None, map(_find_font, TWEMOJI_FONTS)), None)
    keywords = _english_keywords(assets)
    concepts = []
    for row in rows:
        if row["group"] in _SKIPPED_GROUPS or "skin tone" in row["name"]:
            continue
        concepts.append(_concept(row, folder, noto, twemoji, keywords.get(row["emoji"], ())))
    return ArtBook(
        concepts=tuple(concepts),
        things=tuple(filter(_is_thing, concepts)),
        held_out_is_unseen=twemoji is not None,
    )


def _concept(
    row: dict[str, Any], folder: Path, noto: Path | None, twemoji: Path | None, keywords: Sequence[str]
) -> Concept:
    emoji, tile = row["emoji"], (row["x"], row["y"], row["x"] + row["w"], row["y"] + row["h"])
    train = [Source("bitmap", noto, emoji) if noto else Source("atlas", folder / row["sheet"], emoji, tile)]
    held_out = []
    if twemoji is None:
        held_out = train
    elif len(emoji.replace("\ufe0f", "")) == 1:
        other = Source("layers", twemoji, emoji.replace("\ufe0f", ""))
        (held_out if _is_held_out(row["name"]) else train).append(other)
    return Concept(
        name=row["name"], emoji=emoji, group=row["group"], subgroup=row["subgroup"] or "",
        words=telling_words([row["name"], *keywords]), train=tuple(train), held_out=tuple(held_out),
    )  # fmt: skip


def _is_held_out(name: str) -> bool:
    return zlib.crc32(name.encode()) % 3 == 0


def _is_thing(concept: Concept) -> bool:
    if concept.name in _MORE_THINGS:
        return True
    return concept.group in THING_GROUPS and not _NOT_THINGS.search(concept.name)


def _find_font(name: str) -> Path | None:
    for directory in (*FONT_DIRECTORIES, *(path.expanduser() for path in _MORE_DIRECTORIES)):
        for path, _ in zip(directory.rglob(name), range(MAX_SEARCHED), strict=False):
            return path
    return None


def _english_keywords(assets: Assets) -> dict[str, Sequence[str]]:
    return {row["e"]: row["kw"].get("en", ()) for row in read_emoji_rows(assets)}


@lru_cache(maxsize=2)
def read_emoji_rows(assets: Assets) -> list[dict[str, Any]]:
    """The rows of emoji.jsonl.xz: `e` emoji, `en` name, `names` by locale, `kw` keywords by locale."""
    if assets.text is None or not (assets.text / "emoji.jsonl.xz").is_file():
        return []
    with lzma.open(assets.text / "emoji.jsonl.xz", "rt", encoding="utf8") as file:
        return [json.loads(line) for line in file]


@lru_cache(maxsize=4096)
def load_drawing(source: Source) -> Drawing | None:
    """Draw, cut to what is visible, and look at its colour; None where the source has no such drawing."""
    if source.kind == "bitmap":
        picture = draw_bitmap_emoji(source.file, source.emoji)
    elif source.kind == "layers":
        picture = draw_layered_emoji(source.file, source.emoji)
    else:
        picture = _sheet(source.file).crop(source.tile)
    box = None if picture is None else picture.getchannel("A").point(lambda a: 255 * (a > 24)).getbbox()
    if picture is None or box is None:
        return None
    picture = picture.crop(box)
    colour, mean = seen_colour(picture)
    return Drawing(picture, colour, mean)


@lru_cache(maxsize=8)
def _sheet(path: Path) -> Image.Image:
    with Image.open(path) as sheet:
        return sheet.convert("RGBA")

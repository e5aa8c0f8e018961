"""`(skill, seed, index) -> Scene`: every generated picture is a pure function of these three.

Skills: `word` and `line` are read, `object` named, `shape` coloured, `count` counted, `mixed` all of them.
Called by training (`train.nano`) and measuring (`evaluation.nano`); `split` picks fonts, grounds and poses.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from PIL import Image

from internvl.data.colours import Rgb
from internvl.data.fonts import FontBook, find_fonts
from internvl.data.object_scene import MAX_OBJECTS, Wish, choose_objects, draw_objects
from internvl.data.objects import EMOJI, Art, read_art
from internvl.data.scene import Box, Scene, make_ground, wear
from internvl.data.text_scene import draw_lines, ink_for
from internvl.data.words import WordSource, random_line, random_token, read_words
from internvl.errors import ConfigError

Skill = Literal["word", "line", "object", "shape", "count", "mixed", "page"]
SKILLS: tuple[Skill, ...] = ("word", "line", "object", "shape", "count", "mixed")
"""What is measured; `page` is only trained on."""
Split = Literal["train", "held_out"]
WHITE: Rgb = (255, 255, 255)
BLACK: Rgb = (0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assets:
    """What pictures are made from."""

    fonts: FontBook
    words: WordSource
    art: Mapping[str, Sequence[Art]]


@lru_cache(maxsize=2)
def load_assets(shared: Path | None) -> Assets:
    """Find fonts, words and art; `shared` is the folder that holds `data/`, or None for shapes and made-up words."""
    return Assets(fonts=find_fonts(), words=read_words(shared), art=read_art(shared))


@dataclass(frozen=True, slots=True, kw_only=True)
class Difficulty:
    """How hard pictures are."""

    max_characters: int = 14
    """Longest line of text; the narrowest glyphs follow from it."""
    max_lines: int = 3
    max_objects: int = MAX_OBJECTS
    max_tilt: float = 6.0
    """Degrees that text may be turned by."""
    min_size: float = 0.5
    """Smallest text, as a fraction of the largest that fits."""
    plain_share: float = 0.0
    """Share of text pictures that are black on white: colours make letters much harder to learn at first."""


def make_scene(
    skill: Skill,
    seed: int,
    index: int,
    assets: Assets,
    *,
    difficulty: Difficulty = Difficulty(),
    split: Split = "train",
) -> Scene:
    """Draw picture number `index` of a skill.

    Raises:
        ConfigError: There is no such skill.
    """
    rng = random.Random(f"{skill}/{split}/{seed}/{index}")
    held_out = split == "held_out"
    if skill in ("word", "line"):
        return _text(rng, skill, assets, difficulty, held_out)
    if skill in ("object", "shape", "count"):
        return _things(rng, skill, assets, difficulty, held_out)
    if skill == "mixed":
        return _mixed(rng, assets, difficulty, held_out)
    if skill == "page":
        return _page(rng, assets, difficulty, held_out)
    raise ConfigError(f"there is no skill {skill!r}; known: {', '.join(SKILLS)}")


def _canvas(rng: random.Random, *, wide: bool) -> tuple[int, int]:
    """Size in pixels of the picture before it is squashed to a tile."""
    aspect = rng.choice((1.0, 1.0, 4 / 3, 3 / 2, 2.0, 3.0)) if wide else rng.choice((1.0, 1.0, 4 / 3, 3 / 4))
    short = rng.randint(112, 224) if aspect < 2 else rng.randint(80, 140)
    return (round(short * aspect), short) if aspect >= 1 else (short, round(short / aspect))


def _paper(size: tuple[int, int]) -> tuple[Image.Image, str | None, Rgb]:
    """A white ground, in the form of `make_ground`."""
    return Image.new("RGB", size, WHITE), "white", WHITE


def _font(rng: random.Random, assets: Assets, held_out: bool) -> str:
    return rng.choice(assets.fonts.held_out if held_out else assets.fonts.trained)


def _text(rng: random.Random, skill: Skill, assets: Assets, difficulty: Difficulty, held_out: bool) -> Scene:
    plain = rng.random() < difficulty.plain_share
    if plain:
        image, background, ground = _paper(_canvas(rng, wide=True))
    else:
        image, background, ground = make_ground(rng, _canvas(rng, wide=True), held_out=held_out)
    if skill == "word":
        lines: tuple[str, ...] = (random_token(rng, assets.words)[: difficulty.max_characters],)
    else:
        count = rng.randint(1, difficulty.max_lines)
        longest = rng.randint(min(6, difficulty.max_characters), difficulty.max_characters)
        lines = tuple(
            random_line(rng, assets.words, longest, rng.randint(1 if count > 1 else 2, 4))
            for _ in range(count)
        )
    return _with_text(
        rng,
        image,
        background,
        ground,
        lines,
        assets,
        difficulty,
        held_out,
        (0.03, 0.03, 0.97, 0.97),
        plain=plain,
    )


def _with_text(
    rng: random.Random,
    image: Image.Image,
    background: str | None,
    ground: Rgb,
    lines: tuple[str, ...],
    assets: Assets,
    difficulty: Difficulty,
    held_out: bool,
    area: Box,
    *,
    plain: bool = False,
) -> Scene:
    colour, ink = ("black", BLACK) if plain else ink_for(rng, ground)
    font = rng.choice(assets.fonts.plain) if plain and not held_out else _font(rng, assets, held_out)
    # long lines stay near the largest size that fits: smaller could not be read in a tile
    longest = max(len(line) for line in lines)
    min_size = min(1.0, max(difficulty.min_size, longest / difficulty.max_characters))
    text = draw_lines(
        rng, image, lines, font=font, ink=ink, area=area, min_size=min_size,
        max_tilt=difficulty.max_tilt,
    )  # fmt: skip
    return Scene(
        image=wear(rng, image), background=background, lines=lines, text_colour=colour, glyphs=text.glyphs
    )


def _page(rng: random.Random, assets: Assets, difficulty: Difficulty, held_out: bool) -> Scene:
    """A tile full of text, thirty letters instead of five: letters are learnt from many of them, in few pictures."""
    plain = rng.random() < difficulty.plain_share
    if plain:
        image, background, ground = _paper((112, 112))
    else:
        image, background, ground = make_ground(rng, (112, 112), held_out=held_out)
    colour, ink = ("black", BLACK) if plain else ink_for(rng, ground)
    longest = rng.randint(4, 9)
    lines = tuple(random_line(rng, assets.words, longest, 3) for _ in range(rng.randint(3, 6)))
    font = (
        rng.choice(assets.fonts.plain)
        if plain and not held_out and rng.random() < 0.5
        else _font(rng, assets, held_out)
    )
    text = draw_lines(rng, image, lines, font=font, ink=ink, area=(0.02, 0.02, 0.98, 0.98), min_size=0.85)
    return Scene(image=image, background=background, lines=lines, text_colour=colour, glyphs=text.glyphs)


def _things(
    rng: random.Random, skill: Skill, assets: Assets, difficulty: Difficulty, held_out: bool
) -> Scene:
    image, background, ground = make_ground(rng, _canvas(rng, wide=False), held_out=held_out)
    if skill == "count":
        count = rng.randint(1, difficulty.max_objects)
        wishes = choose_objects(rng, count, assets.art, ground)
    elif skill == "object" and assets.art:
        wishes = [Wish(rng.choice(tuple(EMOJI)), None)]
    else:
        wishes = choose_objects(rng, 1, {}, ground)
    objects = draw_objects(rng, image, wishes, assets.art, ground=ground, held_out=held_out)
    return Scene(image=wear(rng, image, 0.7), background=background, objects=objects)


def _mixed(rng: random.Random, assets: Assets, difficulty: Difficulty, held_out: bool) -> Scene:
    """One to three objects over or under a short line."""
    image, background, ground = make_ground(rng, _canvas(rng, wide=False), held_out=held_out)
    split = rng.uniform(0.45, 0.7)
    above = rng.random() < 0.5
    text_area = (0.03, split, 0.97, 0.97) if above else (0.03, 0.03, 0.97, 1 - split)
    object_area = (0.0, 0.0, 1.0, split - 0.02) if above else (0.0, 1.02 - split, 1.0, 1.0)
    wishes = choose_objects(rng, rng.randint(1, 3), assets.art, ground)
    objects = draw_objects(rng, image, wishes, assets.art, ground=ground, area=object_area, held_out=held_out)
    lines = (random_line(rng, assets.words, difficulty.max_characters, rng.randint(1, 2)),)
    scene = _with_text(rng, image, background, ground, lines, assets, difficulty, held_out, text_area)
    scene.objects = objects
    return scene

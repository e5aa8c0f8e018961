"""The skill `scene`: one to ten things of clip art on a background, with questions of every kind.

Without the shared folder, which holds the names, the things are drawn shapes.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from internvl.data.objects import EVERYDAY_SHARE
from internvl.data.pictures.art import ArtBook, Concept, find_art
from internvl.data.pictures.asking import ask
from internvl.data.pictures.english import plural
from internvl.data.pictures.grounds import Ground, draw_ground
from internvl.data.pictures.scene_questions import ASKERS
from internvl.data.pictures.scene_view import View
from internvl.data.pictures.shapes import make_shape
from internvl.data.pictures.things import Kind, art_kind, compose, stands_out
from internvl.data.sample import Assets, DataSample, Split

SIZES = (
    (448, 448),
    (448, 448),
    (384, 384),
    (336, 336),
    (512, 384),
    (384, 512),
    (560, 420),
    (448, 336),
    (600, 400),
)
MAX_TURNS = 6


def make_scene(rng: random.Random, *, split: Split, assets: Assets) -> DataSample:
    """Compose a scene and ask about it."""
    book = find_art(assets)
    if book is None:
        return make_shape(rng, split=split, assets=assets)
    count = rng.choices(range(1, 11), (6, 3, 3, 2.5, 2, 2, 1.5, 1.5, 1, 1))[0]
    kinds = choose_kinds(rng, book, split, rng.choice((1, 2, 2, 3, 3, count)) if count > 1 else 1)
    chosen = spread(rng, kinds, count)
    layout = compose(rng, fitting_ground(rng, rng.choice(SIZES), kinds, split), chosen, split=split)
    view = View(layout, absent_names(rng, book, kinds, split), "object")
    turns = ask(rng, view, ASKERS, rng.randint(2, MAX_TURNS))
    truth = layout.truth()
    truth["names"] = {kind.name: names_of(kind) for kind in kinds}
    return DataSample(images=[layout.image], turns=turns, truth=truth, skill="scene", things=[layout.marks()])


def choose_kinds(
    rng: random.Random, book: ArtBook, split: Split, number: int, *, things: bool = True
) -> list[Kind]:
    """Choose kinds of which none could be called by another's name; fewer if the dice say so."""
    every = book.drawable(split, things=things)
    # what is held out is asked of all things alike
    everyday = book.drawable(split, things=things, everyday=True) if split == "train" else ()
    kinds: list[Kind] = []
    for _ in range(6 * number):
        if len(kinds) == number:
            break
        pool = everyday if everyday and rng.random() < EVERYDAY_SHARE else every
        kind = art_kind(rng, rng.choice(pool), split)
        if kind and all(_concept(kind).unlike(_concept(other)) for other in kinds):
            kinds.append(kind)
    return kinds


def _concept(kind: Kind) -> Concept:
    assert kind.concept is not None
    return kind.concept


def spread(rng: random.Random, kinds: Sequence[Kind], count: int) -> list[Kind]:
    """Return `count` entries in which every kind stands at least once."""
    return [*kinds, *(rng.choice(kinds) for _ in range(count - len(kinds)))][: max(count, len(kinds))]


def fitting_ground(rng: random.Random, size: tuple[int, int], kinds: Sequence[Kind], split: Split) -> Ground:
    """Draw a ground on which the things can be seen, if one of a few does; else they get an outline."""
    for _ in range(4):
        ground = draw_ground(rng, size, split=split)
        if all(stands_out(kind, ground) for kind in kinds):
            break
    return ground


def absent_names(
    rng: random.Random, book: ArtBook, kinds: Sequence[Kind], split: Split, number: int = 8
) -> list[str]:
    """Names of things that nobody would see in the picture."""
    pool = book.drawable("train")
    names: list[str] = []
    for _ in range(4 * number):
        concept = rng.choice(pool)
        if len(names) < number and all(concept.unlike(_concept(kind)) for kind in kinds):
            names.append(concept.name)
    return names


def names_of(kind: Kind) -> list[str]:
    """What the thing may be called: CLDR's name first, then its keywords and plural."""
    concept = _concept(kind)
    return [concept.name, plural(concept.name), *sorted(concept.words - {concept.name})]

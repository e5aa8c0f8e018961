"""The skill `shape`: coloured shapes, their numbers, colours, places and relations. Needs no files."""

from __future__ import annotations

import random

from internvl.data.colours import COLOURS
from internvl.data.objects import SHAPES
from internvl.data.pictures.asking import ask
from internvl.data.pictures.grounds import draw_ground
from internvl.data.pictures.scene_questions import ASKERS
from internvl.data.pictures.scene_view import View
from internvl.data.pictures.things import Kind, compose
from internvl.data.sample import Assets, DataSample, Split

SIZES = ((448, 448), (448, 448), (336, 336), (320, 320), (512, 384), (384, 512), (600, 400))
#: Shapes that one could be taken for the other, so that they never meet in a picture or in its questions.
SHAPES_ALIKE = (
    {"square", "rectangle", "diamond"}, {"circle", "oval", "ring"}, {"pentagon", "hexagon"}, {"crescent", "ring"},
)  # fmt: skip
COLOURS_ALIKE = ({"orange", "brown"}, {"red", "pink"}, {"purple", "pink"}, {"orange", "red"})
MAX_TURNS = 6


def make_shape(rng: random.Random, *, split: Split, assets: Assets) -> DataSample:
    """Compose coloured shapes and ask about them."""
    ground = draw_ground(rng, rng.choice(SIZES), split=split)
    count = rng.choices(range(1, 11), (2, 2, 3, 3, 3, 2.5, 2, 2, 1.5, 1.5))[0]
    shapes = apart(rng, SHAPES, rng.choice((1, 2, 3, 4)), SHAPES_ALIKE)
    colours = apart(rng, [c for c in COLOURS if c != ground.colour], rng.choice((1, 2, 3, 4)), COLOURS_ALIKE)
    kinds = [Kind(rng.choice(shapes), colour=rng.choice(colours)) for _ in range(count)]
    layout = compose(rng, ground, kinds, split=split)
    view = View(layout, absent_shapes(rng, shapes, colours), "shape")
    turns = ask(rng, view, ASKERS, rng.randint(2, MAX_TURNS))
    return DataSample(
        images=[layout.image], turns=turns, truth=layout.truth(), skill="shape", things=[layout.marks()]
    )


def apart(
    rng: random.Random, pool: list[str] | tuple[str, ...], number: int, alike: tuple[set[str], ...]
) -> list[str]:
    """Choose different names, none easily taken for another."""
    chosen: list[str] = []
    for name in rng.sample(pool, len(pool)):
        if len(chosen) < number and not any(name in group and group & set(chosen) for group in alike):
            chosen.append(name)
    return chosen


def absent_shapes(rng: random.Random, shapes: list[str], colours: list[str]) -> list[str]:
    """Coloured shapes that are certainly not there: another shape, or another colour."""
    other_shapes = [
        s
        for s in SHAPES
        if not any(s in group and group & set(shapes) for group in (*SHAPES_ALIKE, set(shapes)))
    ]
    other_colours = [
        c
        for c in COLOURS
        if not any(c in group and group & set(colours) for group in (*COLOURS_ALIKE, set(colours)))
    ]
    names = [f"{rng.choice(COLOURS)} {rng.choice(other_shapes)}" for _ in range(3)] if other_shapes else []
    names += [rng.choice(other_shapes)] if other_shapes else []
    names += [f"{rng.choice(other_colours)} {rng.choice(shapes)}" for _ in range(3)] if other_colours else []
    return names

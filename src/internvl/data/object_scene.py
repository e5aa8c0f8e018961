"""Put objects on a ground so that each can be told from the others."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from internvl.data.colours import COLOURS, Rgb, distance, draw_colour
from internvl.data.objects import EMOJI, SHAPES, Art, draw_shape
from internvl.data.scene import Box, SceneObject

MAX_OBJECTS = 8


@dataclass(frozen=True, slots=True)
class Wish:
    """An object to draw: a name and, for shapes, a colour."""

    name: str
    colour: str | None


def choose_objects(
    rng: random.Random, count: int, art: Mapping[str, Sequence[Art]], ground: Rgb
) -> list[Wish]:
    """Choose `count` things to draw; alike ones are frequent, so that there is something to count."""
    style = rng.random()
    kinds = rng.choice((1, 2, 2, 3, count))
    if not art or style < 0.5:
        pool = [_shape(rng, ground) for _ in range(kinds)]
    elif style < 0.9:
        pool = [Wish(rng.choice(tuple(EMOJI)), None) for _ in range(kinds)]
    else:
        pool = [
            _shape(rng, ground) if rng.random() < 0.5 else Wish(rng.choice(tuple(EMOJI)), None)
            for _ in range(kinds)
        ]
    if rng.random() < 0.25 and pool[0].colour is not None:
        # one shape in several colours
        pool = [Wish(pool[0].name, _shape(rng, ground).colour) for _ in pool]
    return [rng.choice(pool) for _ in range(count)] if kinds < count else pool[:count]


def _shape(rng: random.Random, ground: Rgb) -> Wish:
    return Wish(rng.choice(SHAPES), _visible_colour(rng, ground))


def _visible_colour(rng: random.Random, ground: Rgb) -> str:
    for _ in range(10):
        name = rng.choice(COLOURS)
        if distance(draw_colour(rng, name), ground) > 0.4:
            return name
    return "black" if distance((0, 0, 0), ground) > distance((255, 255, 255), ground) else "white"


def draw_objects(
    rng: random.Random,
    image: Image.Image,
    wishes: Sequence[Wish],
    art: Mapping[str, Sequence[Art]],
    *,
    ground: Rgb,
    area: Box = (0.0, 0.0, 1.0, 1.0),
    held_out: bool = False,
) -> list[SceneObject]:
    """Draw each wish where it touches no other; those that find no room are left out.

    `held_out` widens tilt and size beyond what training shows.
    """
    w, h = image.size
    side = min((area[2] - area[0]) * w, (area[3] - area[1]) * h)
    most = {1: 0.85, 2: 0.5, 3: 0.42, 4: 0.4, 5: 0.34, 6: 0.32}.get(len(wishes), 0.29)
    least = max(0.17, most * 0.45)
    even = rng.random() < 0.5
    common = rng.uniform(least, most)
    taken: list[Box] = []
    drawn: list[SceneObject] = []
    for wish in wishes:
        size = max(10, int(side * (common * rng.uniform(0.9, 1.0) if even else rng.uniform(least, most))))
        picture, colour = _picture(rng, wish, art, size, ground, held_out)
        place = _free_place(rng, picture.size, (w, h), area, taken)
        if place is None:
            continue
        image.paste(picture, (place[0], place[1]), picture)
        box = (place[0], place[1], place[0] + picture.width, place[1] + picture.height)
        taken.append(box)
        drawn.append(SceneObject(wish.name, colour, (box[0] / w, box[1] / h, box[2] / w, box[3] / h)))
    return drawn


def _picture(
    rng: random.Random, wish: Wish, art: Mapping[str, Sequence[Art]], size: int, ground: Rgb, held_out: bool
) -> tuple[Image.Image, str | None]:
    if wish.colour is not None:
        colour = draw_colour(rng, wish.colour)
        for _ in range(5):
            if distance(colour, ground) > 0.35:
                break
            colour = draw_colour(rng, wish.colour)
        return draw_shape(rng, wish.name, colour, size), wish.colour
    chosen = rng.choice(art[wish.name])
    picture = chosen.picture
    if rng.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    scale = size / max(picture.size)
    fit = (
        max(1, round(picture.width * scale * rng.uniform(0.88, 1.0))),
        max(1, round(picture.height * scale)),
    )
    picture = picture.resize(fit, Image.Resampling.BILINEAR if scale > 0.6 else Image.Resampling.HAMMING)
    tilt = rng.uniform(12, 25) * rng.choice((-1, 1)) if held_out else rng.uniform(-14, 14)
    if held_out or rng.random() < 0.5:
        picture = picture.rotate(tilt, Image.Resampling.BILINEAR, expand=True)
        picture = picture.crop(picture.getchannel("A").getbbox())
    return picture, chosen.colour


def _free_place(
    rng: random.Random, size: tuple[int, int], canvas: tuple[int, int], area: Box, taken: Sequence[Box]
) -> tuple[int, int] | None:
    w, h = canvas
    x_most, y_most = int(area[2] * w) - size[0], int(area[3] * h) - size[1]
    x_least, y_least = int(area[0] * w), int(area[1] * h)
    if x_most < x_least or y_most < y_least:
        return None
    for _ in range(30):
        x, y = rng.randint(x_least, x_most), rng.randint(y_least, y_most)
        if all(x >= b[2] or b[0] >= x + size[0] or y >= b[3] or b[1] >= y + size[1] for b in taken):
            return x, y
    return None

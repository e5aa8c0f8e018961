"""The things that pictures show: shapes, which are drawn here, and everyday names for the art of `pictures.art`."""

from __future__ import annotations

import math
import random

from PIL import Image, ImageDraw

from internvl.data.colours import Rgb

SHAPES = (
    "circle", "square", "triangle", "star", "heart", "diamond", "rectangle", "oval", "pentagon", "hexagon", "cross",
    "ring", "crescent", "arrow",
)  # fmt: skip

_EMOJI_TABLE = """
dog=dog face; cat=cat face; mouse=mouse face; rabbit=rabbit face; fox; bear; panda; koala;
tiger=tiger face; lion; cow=cow face; pig=pig face; frog; monkey=monkey face; chicken; penguin;
bird; duck; owl; fish=tropical fish|fish; whale=spouting whale; octopus; crab; butterfly;
bee=honeybee; ladybug=lady beetle; snail; turtle; elephant; giraffe; horse=horse face; sheep=ewe;
dinosaur=T-Rex|sauropod; tree=deciduous tree|evergreen tree; palm tree; cactus; rose; sunflower;
tulip; mushroom; leaf=fallen leaf|maple leaf; apple=red apple|green apple; banana; grapes;
watermelon; lemon; orange=tangerine; pear; peach; cherries; strawberry; pineapple; tomato; carrot;
corn=ear of corn; broccoli; bread; cheese=cheese wedge; hamburger; pizza; egg; ice cream=soft ice
cream; doughnut; cookie; cake=birthday cake; cup=hot beverage; bottle=baby bottle;
car=automobile|oncoming automobile; bus=bus|oncoming bus; train=train|high-speed train;
truck=delivery truck|pickup truck; tractor; bicycle; airplane; rocket; helicopter; boat=sailboat;
ship=ship|passenger ship; house=house|house with garden; castle; tent; umbrella=umbrella|closed
umbrella; sun=sun|sun with face; moon=crescent moon; cloud; rainbow; snowman=snowman without snow;
fire; soccer ball; basketball; tennis ball=tennis; balloon; gift=wrapped gift; trophy; teddy bear;
guitar; drum; trumpet; bell; clock=alarm clock|mantelpiece clock; key=key; lock=locked; hammer;
scissors; pencil; book=closed book|green book|blue book; camera; telephone; laptop; light bulb;
hat=top hat; crown; glasses; shoe=running shoe; sock=socks; shirt=t-shirt; dress; robot; ghost;
alien=alien monster|alien; smiley=slightly smiling face|grinning face; chair; bed; door; bucket;
anchor
"""
#: Our word -> CLDR's names: several may share a word; without "=" the names are equal.
EMOJI: dict[str, tuple[str, ...]] = {
    word: tuple((names or word).split("|"))
    for word, _, names in (" ".join(entry.split()).partition("=") for entry in _EMOJI_TABLE.split(";"))
}

EVERYDAY_NAMES = frozenset(name for names in EMOJI.values() for name in names)
EVERYDAY_SHARE = 0.6
"""How often a thing is one that every child can name, and not any of all: these come first."""


def draw_shape(rng: random.Random, name: str, colour: Rgb, size: int) -> Image.Image:
    """An RGBA picture of one shape, `size` pixels on its longer side, turned where that keeps its name."""
    scale = 3
    side = size * scale
    image = Image.new("RGBA", (side, side), (*colour, 0))
    draw = ImageDraw.Draw(image)
    middle = side / 2
    turn = (
        rng.uniform(0, 360) if name not in ("square", "diamond", "heart", "arrow") else rng.uniform(-10, 10)
    )
    fill = (*colour, 255)
    if name == "circle":
        draw.ellipse((0, 0, side - 1, side - 1), fill=fill)
    elif name == "ring":
        draw.ellipse(
            (0, 0, side - 1, side - 1), outline=fill, width=max(2, int(side * rng.uniform(0.12, 0.22)))
        )
    elif name == "crescent":
        draw.ellipse((0, 0, side - 1, side - 1), fill=fill)
        shift = side * rng.uniform(0.28, 0.4)
        draw.ellipse((shift, -0.05 * side, shift + side, 0.95 * side), fill=(*colour, 0))
    elif name in ("oval", "rectangle"):
        other = side * rng.uniform(0.35, 0.55)
        box = (0, middle - other / 2, side - 1, middle + other / 2)
        if name == "oval":
            draw.ellipse(box, fill=fill)
        else:
            draw.rectangle(box, fill=fill)
        turn = rng.choice((0, 90)) + rng.uniform(-12, 12)
    else:
        if name == "triangle":
            turn = rng.uniform(-15, 15)
        if name == "arrow":
            turn = rng.choice((0, 90, 180, 270)) + rng.uniform(-10, 10)
        if name in ("star", "pentagon", "hexagon", "cross"):
            turn = rng.uniform(-20, 20)
        draw.polygon([(middle + x * middle, middle + y * middle) for x, y in _outline(name)], fill=fill)
    if name not in ("circle", "ring"):
        image = image.rotate(turn, Image.Resampling.NEAREST, expand=True)
    image = image.crop(image.getchannel("A").getbbox())
    longer = max(image.size)
    fit = (max(1, round(image.width * size / longer)), max(1, round(image.height * size / longer)))
    return image.resize(fit, Image.Resampling.BOX)


def _outline(name: str) -> list[tuple[float, float]]:
    """Corners in [-1, 1]."""
    if name == "heart":
        points = []
        for i in range(40):
            t = i / 40 * 2 * math.pi
            x = 16 * math.sin(t) ** 3
            y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
            points.append((x / 17, -(y + 2) / 17))
        return points
    if name == "star":
        return [_on_circle(i / 10, 1.0 if i % 2 == 0 else 0.42) for i in range(10)]
    if name == "square":
        return [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]
    if name == "diamond":
        return [(0, -1), (0.72, 0), (0, 1), (-0.72, 0)]
    if name == "cross":
        a = 0.32
        return [
            (-a, -1),
            (a, -1),
            (a, -a),
            (1, -a),
            (1, a),
            (a, a),
            (a, 1),
            (-a, 1),
            (-a, a),
            (-1, a),
            (-1, -a),
            (-a, -a),
        ]
    if name == "arrow":
        return [(-1, -0.28), (0.1, -0.28), (0.1, -0.75), (1, 0), (0.1, 0.75), (0.1, 0.28), (-1, 0.28)]
    corners = {"triangle": 3, "pentagon": 5, "hexagon": 6}[name]
    return [_on_circle(i / corners, 1.0) for i in range(corners)]


def _on_circle(turn: float, radius: float) -> tuple[float, float]:
    return radius * math.sin(2 * math.pi * turn), -radius * math.cos(2 * math.pi * turn)

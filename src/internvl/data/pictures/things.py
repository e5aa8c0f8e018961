"""Things on a ground: what is wished for, in which pose, where it lies, and which pixels it covers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageChops, ImageEnhance, ImageFilter

from internvl.data.colours import Rgb, distance, draw_colour
from internvl.data.objects import draw_shape
from internvl.data.pictures.art import Concept, Drawing, load_drawing
from internvl.data.pictures.grounds import Ground
from internvl.data.sample import Json, Marks, Split
from internvl.data.scene import wear

Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels; x1 and y1 lie outside."""
LEAST_DISTANCE = 0.3
"""Least distance of a thing's mean colour from its ground's."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What to draw: a concept's drawing, or a shape of a colour."""

    name: str
    concept: Concept | None = None
    drawing: Drawing | None = None
    colour: str | None = None

    @property
    def is_shape(self) -> bool:
        """Whether it is a drawn shape, whose colour is part of what it is."""
        return self.concept is None


@dataclass(slots=True, kw_only=True)
class Thing:
    """Something in a picture."""

    kind: Kind
    box: Box
    picture: Image.Image
    """RGBA, as pasted at the box's corner."""

    @property
    def name(self) -> str:
        """CLDR's name, or the shape's."""
        return self.kind.name

    @property
    def colour(self) -> str | None:
        """Name of its colour, if it clearly has one."""
        return self.kind.colour

    @property
    def centre(self) -> tuple[float, float]:
        """(x, y) of the middle, in pixels."""
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2

    @property
    def extent(self) -> float:
        """Its longer side in pixels."""
        return max(self.box[2] - self.box[0], self.box[3] - self.box[1])


@dataclass(slots=True, kw_only=True)
class Layout:
    """A composed picture."""

    image: Image.Image
    ground: Ground
    things: list[Thing] = field(default_factory=list)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return self.image.size

    def marks(self) -> Marks:
        """What lies where, for dense supervision; of a shape its colour is a part of what it is."""
        names = (f"{t.colour} {t.name}" if t.kind.is_shape else t.name for t in self.things)
        return Marks(tuple(names), np.array([t.box for t in self.things], np.float32).reshape(-1, 4))

    def truth(self) -> dict[str, Json]:
        """Everything that is in the picture, as JSON."""
        w, h = self.size
        return {
            "size": [w, h],
            "background": {"kind": self.ground.kind, "colour": self.ground.colour},
            "objects": [
                {
                    "name": thing.name,
                    "emoji": thing.kind.concept.emoji if thing.kind.concept else None,
                    "colour": thing.colour,
                    "box": list(thing.box),
                    "mask": mask_rle(thing, self.size),
                }
                for thing in self.things
            ],
        }


def mask_rle(thing: Thing, size: tuple[int, int]) -> dict[str, Json]:
    """Return a mask as COCO's uncompressed run lengths: column by column, beginning with what is outside.

    Args:
        thing: Where it lies and what is visible of it.
        size: (width, height) of the whole picture.
    """
    w, h = size
    x0, y0, x1, y1 = thing.box
    columns = np.zeros((x1 - x0, h), bool)
    columns[:, y0:y1] = (np.asarray(thing.picture.getchannel("A")) > 127).T
    flat = columns.reshape(-1)
    edges = np.flatnonzero(np.diff(flat, prepend=False, append=False)) + x0 * h
    counts = np.diff(edges, prepend=0, append=w * h)
    return {"size": [h, w], "counts": counts.tolist()}


def art_kind(rng: random.Random, concept: Concept, split: Split) -> Kind | None:
    """Choose one of a concept's drawings; None if no font has any."""
    sources = list(concept.sources(split))
    rng.shuffle(sources)
    for source in sources:
        drawing = load_drawing(source)
        if drawing is not None:
            return Kind(concept.name, concept, drawing, drawing.colour)
    return None


def stands_out(kind: Kind, ground: Ground, shade: Rgb | None = None) -> bool:
    """Whether a thing can be seen on a ground."""
    colour = shade or (kind.drawing.mean if kind.drawing else None)
    return colour is None or all(distance(colour, other) > LEAST_DISTANCE for other in ground.colours)


def draw_thing(rng: random.Random, kind: Kind, extent: int, ground: Ground, *, split: Split) -> Image.Image:
    """Return an RGBA picture of a thing in some pose, cut to what is visible, `extent` pixels on its longer side.

    Held out: tilts and stretches that training does not show.
    """
    if kind.is_shape:
        assert kind.colour is not None
        shade = draw_colour(rng, kind.colour)
        for _ in range(5):
            if stands_out(kind, ground, shade):
                break
            shade = draw_colour(rng, kind.colour)
        picture = draw_shape(rng, kind.name, shade, extent)
        if not stands_out(kind, ground, shade):
            picture = _outlined(picture, rng)
        return picture
    assert kind.drawing is not None
    assert kind.concept is not None
    picture = kind.drawing.picture
    if kind.concept.may_flip and rng.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    tilt = 0.0
    if kind.concept.group not in ("symbols", "flags"):
        tilt = (
            rng.uniform(15, 28) * rng.choice((-1, 1)) if split == "held_out" and rng.random() < 0.5 else 0.0
        )
        if split == "train" and rng.random() < 0.5:
            tilt = rng.uniform(-15, 15)
    stretch = rng.uniform(0.85, 1.0)
    scale = 1.1 * extent / max(picture.size)  # turned, it is cut and fitted again below
    w, h = max(4, round(picture.width * scale * stretch)), max(4, round(picture.height * scale))
    picture = picture.resize((w, h), Image.Resampling.BILINEAR if scale > 0.6 else Image.Resampling.BOX)
    if tilt:
        picture = picture.rotate(tilt, Image.Resampling.BILINEAR, expand=True)
    picture = _cut(picture)
    longer = max(picture.size)
    if longer != extent:
        fit = (
            max(1, round(picture.width * extent / longer)),
            max(1, round(picture.height * extent / longer)),
        )
        picture = picture.resize(fit, Image.Resampling.BILINEAR)
    if split == "train":
        picture = _varied(rng, picture)
    if not stands_out(kind, ground) or rng.random() < 0.06:
        picture = _outlined(picture, rng)
    return _cut(picture)


def _cut(picture: Image.Image) -> Image.Image:
    return picture.crop(picture.getchannel("A").point(lambda a: 255 * (a > 64)).getbbox())


def _varied(rng: random.Random, picture: Image.Image) -> Image.Image:
    """Change light and contrast a little: other artists draw the same thing so."""
    if rng.random() > 0.35:
        return picture
    alpha = picture.getchannel("A")
    rgb = ImageEnhance.Brightness(picture.convert("RGB")).enhance(rng.uniform(0.88, 1.08))
    rgb = ImageEnhance.Color(rgb).enhance(rng.uniform(0.8, 1.2))
    rgb.putalpha(alpha)
    return rgb


def _outlined(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Give it an edge, as stickers have: white round dark things, dark round light ones."""
    width = max(1, round(max(picture.size) * rng.uniform(0.02, 0.04)))
    grown = Image.new("RGBA", (picture.width + 2 * width, picture.height + 2 * width))
    grown.paste(picture, (width, width))
    alpha = grown.getchannel("A")
    wide = alpha.filter(ImageFilter.MaxFilter(2 * width + 1))
    small = picture.convert("RGBA").resize((1, 1), Image.Resampling.BOX).convert("L").getpixel((0, 0))
    edge = Image.new("RGBA", grown.size, (255, 255, 255, 0) if small < 150 else (40, 40, 40, 0))  # type: ignore[operator]
    edge.putalpha(ImageChops.lighter(wide, alpha))
    return Image.alpha_composite(edge, grown)


def compose(
    rng: random.Random,
    ground: Ground,
    kinds: Sequence[Kind],
    *,
    split: Split,
    least: float = 0.12,
    most: float = 0.8,
    gap: float = 0.015,
    worn: bool = True,
) -> Layout:
    """Lay things where none touches another; what finds no room is left out.

    Args:
        rng: All chance.
        ground: What to lie on.
        kinds: One entry per thing.
        split: Which poses.
        least: Smallest extent of a thing, as a share of the picture's shorter side.
        most: Largest extent, likewise; many things are smaller anyway.
        gap: Room between things, likewise.
        worn: Whether the finished picture may get noise and blur.
    """
    image = ground.image.copy()
    layout = Layout(image=image, ground=ground)
    short = min(image.size)
    most = min(most, {1: 0.8, 2: 0.46, 3: 0.4, 4: 0.36, 5: 0.32, 6: 0.29, 7: 0.27}.get(len(kinds), 0.25))
    even, common = rng.random() < 0.35, rng.uniform(max(least, most * 0.4), most)
    extents = [common if even else rng.uniform(max(least, most * 0.4), most) for _ in kinds]
    taken: list[Box] = []
    # large things first: they find room only while there is much of it
    for share, kind in sorted(zip(extents, kinds, strict=True), key=lambda pair: -pair[0]):
        picture = draw_thing(rng, kind, max(12, int(short * share)), ground, split=split)
        place = _free_place(rng, picture.size, image.size, taken, max(2, int(short * gap)))
        if place is None:
            continue
        x, y = place
        image.paste(picture, place, picture)
        box = (x, y, x + picture.width, y + picture.height)
        taken.append(box)
        layout.things.append(Thing(kind=kind, box=box, picture=picture))
    rng.shuffle(layout.things)
    if worn:
        layout.image = wear(rng, image, 0.6) if max(image.size) < 639 else image
    return layout


def _free_place(
    rng: random.Random, size: tuple[int, int], canvas: tuple[int, int], taken: Sequence[Box], gap: int
) -> tuple[int, int] | None:
    most_x, most_y = canvas[0] - size[0] - gap, canvas[1] - size[1] - gap
    if most_x < gap or most_y < gap:
        return None
    for _ in range(60):
        x, y = rng.randint(gap, most_x), rng.randint(gap, most_y)
        x1, y1 = x + size[0] + gap, y + size[1] + gap
        if all(x >= b[2] + gap or b[0] >= x1 or y >= b[3] + gap or b[1] >= y1 for b in taken):
            return x, y
    return None

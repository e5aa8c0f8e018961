"""The skill `clip`: eight frames in which things move, come and go, change colour or jump, or words are shown.

Frames are samples of a clip, as the family watches videos; `DataSample.video` says so, and the row's placeholder is
`<video>`, which chat and training show as one line "Frame1: <image>" per frame.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from PIL import Image, ImageDraw

from internvl.data.colours import COLOURS, Rgb, distance, draw_colour
from internvl.data.fonts import find_fonts, load_font
from internvl.data.objects import SHAPES, draw_shape
from internvl.data.pictures import clip_phrases as phrases
from internvl.data.pictures.art import ArtBook, find_art
from internvl.data.pictures.asking import NUMBER, WORD, YES_NO, absent_answer, phrase
from internvl.data.pictures.english import everyday, is_counted, plural, with_article
from internvl.data.pictures.grounds import Ground, draw_ground
from internvl.data.pictures.scene import absent_names, choose_kinds, fitting_ground
from internvl.data.pictures.shapes import COLOURS_ALIKE, SHAPES_ALIKE, absent_shapes, apart
from internvl.data.pictures.things import Kind, compose, draw_thing, stands_out
from internvl.data.sample import Assets, DataSample, Json, Split, Turn

NUM_FRAMES = 8
SIZES = ((224, 224), (256, 256), (288, 216), (320, 240), (336, 336))
WORDS = (
    "LION", "APPLE", "RIVER", "CLOUD", "STONE", "PIANO", "GREEN", "NORTH", "LIGHT", "HOUSE", "OCEAN", "TRAIN",
    "SUGAR",
    "MUSIC", "TABLE", "HORSE", "PAPER", "CHAIR", "BREAD", "SMILE", "WATER", "TIGER", "LEMON", "PLANT", "STORM",
    "WORLD",
)  # fmt: skip
WAYS = {
    "left to right": (1, 0), "right to left": (-1, 0), "top to bottom": (0, 1), "bottom to top": (0, -1),
}  # fmt: skip


@dataclass(slots=True, kw_only=True)
class Clip:
    """Frames, what happens in them, and the questions that fit."""

    frames: list[Image.Image]
    event: str
    truth: dict[str, Json]
    makers: list[Callable[[], Turn | None]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Cast:
    """What a clip may show."""

    kinds: list[Kind]
    absent: list[str]
    ground: Ground


def make_clip(rng: random.Random, *, split: Split, assets: Assets) -> DataSample:
    """Make eight frames of an event and ask what happens."""
    cast = _choose_cast(rng, find_art(assets), split)
    events: Sequence[Callable[[random.Random, _Cast, Split], Clip]] = (_move, _appear, _colour, _text, _jump)
    clip = rng.choices(events, (3, 3, 1.5, 2, 1))[0](rng, cast, split)
    makers = rng.sample(clip.makers, len(clip.makers))
    turns: list[Turn] = []
    for maker in makers:
        turn = maker()
        if turn is not None and len(turns) < 4:
            turns.append(turn)
    return DataSample(
        images=clip.frames, turns=turns, truth={"event": clip.event, **clip.truth}, skill="clip", video=True
    )


def _choose_cast(rng: random.Random, book: ArtBook | None, split: Split) -> _Cast:
    size = rng.choice(SIZES)
    if book is None or rng.random() < 0.25:
        shapes, colours = apart(rng, SHAPES, 3, SHAPES_ALIKE), apart(rng, COLOURS, 3, COLOURS_ALIKE)
        kinds = [Kind(shape, colour=colour) for shape, colour in zip(shapes, colours, strict=True)]
        for _ in range(6):
            ground = draw_ground(rng, size, split=split)
            if all(distance(draw_colour(rng, c), other) > 0.4 for c in colours for other in ground.colours):
                break
        return _Cast(kinds, absent_shapes(rng, shapes, colours), ground)
    kinds = choose_kinds(rng, book, split, 3)
    return _Cast(kinds, absent_names(rng, book, kinds, split), fitting_ground(rng, size, kinds, split))


def _name(kind: Kind) -> str:
    return f"{kind.colour} {kind.name}" if kind.is_shape else kind.name


def _metric(kind: Kind) -> str:
    return "exact_ci" if kind.is_shape else "any_of_names"


def _said(rng: random.Random, kind: Kind) -> str:
    return everyday(_name(kind)) if rng.random() < 0.4 else _name(kind)


def _whether(rng: random.Random, cast: _Cast, shown: Sequence[Kind]) -> Callable[[], Turn | None]:
    def ask() -> Turn | None:
        there = rng.random() < 0.5 or not cast.absent
        name = _said(rng, rng.choice(shown)) if there else rng.choice(cast.absent)
        question = phrase(rng, phrases.EXISTS, YES_NO, x=with_article(name))
        return Turn(question=question, answer="yes" if there else "no", metric="yesno")

    return ask


def _absent_way(rng: random.Random, cast: _Cast) -> Callable[[], Turn | None]:
    def ask() -> Turn | None:
        if not cast.absent or rng.random() < 0.5:
            return None
        name = rng.choice(cast.absent)
        forms = [form for form in (*phrases.DIRECTION, *phrases.FRAME_OF) if "{x}" in form]
        return Turn(question=phrase(rng, forms, x=name), answer=absent_answer(name, "video"), metric="absent")

    return ask


def _pasted(
    base: Image.Image, picture: Image.Image, at: tuple[float, float]
) -> tuple[Image.Image, list[int]]:
    """A frame with a picture at a corner, and its box, cut at the frame's edge."""
    frame = base.copy()
    x, y = round(at[0]), round(at[1])
    frame.paste(picture, (x, y), picture)
    return frame, [
        max(0, x),
        max(0, y),
        min(frame.width, x + picture.width),
        min(frame.height, y + picture.height),
    ]


def _move(rng: random.Random, cast: _Cast, split: Split) -> Clip:
    """One thing crosses the picture; others may stand still, out of its way as far as they find room."""
    kind, *rest = cast.kinds
    w, h = cast.ground.image.size
    way = rng.choice(list(WAYS))
    dx, dy = WAYS[way]
    still = rng.sample(rest, rng.choice((0, 0, 1, min(2, len(rest)))))
    base = (
        compose(rng, cast.ground, [*still, *still][: len(still)], split=split, worn=False).image
        if still
        else cast.ground.image
    )
    picture = draw_thing(rng, kind, int(min(w, h) * rng.uniform(0.2, 0.32)), cast.ground, split=split)
    room_x, room_y = w - picture.width - 4, h - picture.height - 4
    side = rng.uniform(0.1, 0.9)
    frames, boxes = [], []
    for i in range(NUM_FRAMES):
        t = (i + rng.uniform(-0.1, 0.1)) / (NUM_FRAMES - 1)
        t = min(1.0, max(0.0, t))
        along = t if dx + dy > 0 else 1 - t
        at = (2 + room_x * (along if dx else side), 2 + room_y * (along if dy else side))
        frame, box = _pasted(base, picture, at)
        frames.append(frame)
        boxes.append(box)
    name = _said(rng, kind)
    clip = Clip(frames=frames, event="move", truth={"object": _name(kind), "way": way, "boxes": boxes})
    clip.makers = [
        lambda: Turn(question=phrase(rng, phrases.WHAT_MOVES, WORD), answer=_name(kind), metric=_metric(kind)),
        lambda: Turn(question=phrase(rng, phrases.DIRECTION, x=name), answer=way, metric="exact_ci"),
        _whether(rng, cast, [kind, *still]), _absent_way(rng, cast),
    ]  # fmt: skip
    return clip


def _appear(rng: random.Random, cast: _Cast, split: Split) -> Clip:
    """Things come one after the other, or go."""
    number = rng.randint(2, 6)
    one_kind = rng.random() < 0.5
    kinds = [cast.kinds[0]] * number if one_kind else [rng.choice(cast.kinds) for _ in range(number)]
    if not one_kind and number <= 3:
        kinds = list(cast.kinds[:number])
    layout = compose(rng, cast.ground, kinds, split=split, worn=False)
    things, coming = layout.things, rng.random() < 0.65
    starts = sorted(rng.sample(range(1, NUM_FRAMES), min(len(things), NUM_FRAMES - 1)))
    if rng.random() < 0.7:
        starts[0] = 0  # one is there from the beginning
    when = starts if coming else [NUM_FRAMES - start for start in reversed(starts)]
    frames, visible = [], []
    for i in range(NUM_FRAMES):
        frame = cast.ground.image.copy()
        seen = [t for t, start in zip(things, when, strict=False) if (i >= start if coming else i < start)]
        for thing in seen:
            frame.paste(thing.picture, thing.box[:2], thing.picture)
        frames.append(frame)
        visible.append([{"name": _name(thing.kind), "box": list(thing.box)} for thing in seen])
    last, first = visible[-1], visible[0]
    clip = Clip(frames=frames, event="appear" if coming else "disappear", truth={"visible": visible})
    names = [_name(thing.kind) for thing in things]

    def number_at(forms: Sequence[str], seen: list[dict[str, Json]]) -> Turn | None:
        name = rng.choice(names)
        count = sum(entry["name"] == name for entry in seen)
        if not is_counted(name):
            forms = forms[:1]
        return Turn(
            question=phrase(rng, forms, NUMBER, x=name, n=plural(name)),
            answer=str(count),
            metric="exact_number",
        )

    def come_or_go() -> Turn | None:
        answer = "appear" if coming else "disappear"
        return Turn(question=rng.choice(phrases.COME_OR_GO), answer=answer, metric="exact_ci")

    def ends(forms: Sequence[str], i: int) -> Callable[[], Turn | None]:
        def ask() -> Turn | None:
            if not coming or len(things) < 2 or names.count(names[i]) > 1:
                return None
            kind = things[i].kind
            return Turn(question=phrase(rng, forms, WORD), answer=_name(kind), metric=_metric(kind))

        return ask

    def frame_of() -> Turn | None:
        i = rng.randrange(len(things))
        if not coming or names.count(names[i]) > 1:
            return None
        question = phrase(rng, phrases.FRAME_OF, NUMBER, x=names[i])
        return Turn(question=question, answer=str(when[i] + 1), metric="exact_number")

    clip.makers = [
        lambda: number_at(phrases.AT_END, last),
        lambda: number_at(phrases.AT_START, first),
        come_or_go,
        ends(phrases.WHICH_COMES, 0),
        ends(phrases.WHICH_LAST, -1),
        frame_of,
        _whether(rng, cast, [thing.kind for thing in things]),
        _absent_way(rng, cast),
    ]
    return clip


def _colour(rng: random.Random, cast: _Cast, split: Split) -> Clip:
    """A shape changes its colour."""
    shape = rng.choice(SHAPES)
    ground = cast.ground
    pool: list[tuple[str, Rgb]] = []
    for name in rng.sample(COLOURS, len(COLOURS)):
        shade = draw_colour(rng, name)
        if stands_out(Kind(shape, colour=name), ground, shade) and all(
            distance(shade, s) > 0.5 for _, s in pool
        ):
            pool.append((name, shade))
    if len(pool) < 2:
        ground = Ground(
            Image.new("RGB", ground.image.size, (255, 255, 255)), "plain", "white", ((255, 255, 255),)
        )
        pool = [("red", draw_colour(rng, "red")), ("blue", draw_colour(rng, "blue"))]
    (before, a), (after, b) = pool[:2]
    w, h = ground.image.size
    extent = int(min(w, h) * rng.uniform(0.35, 0.6))
    state = rng.getstate()
    first = draw_shape(rng, shape, a, extent)
    rng.setstate(state)  # the same pose again
    second = draw_shape(rng, shape, b, extent)
    at = (rng.randint(0, w - first.width), rng.randint(0, h - first.height))
    turn = rng.randint(2, NUM_FRAMES - 2)
    frames = [_pasted(ground.image, first if i < turn else second, at)[0] for i in range(NUM_FRAMES)]
    clip = Clip(
        frames=frames, event="colour", truth={"object": shape, "colours": [before, after], "frame": turn + 1}
    )

    def colour_at(end: bool) -> Turn | None:
        word = rng.choice(("end",) if end else ("start", "beginning"))
        answer = after if end else before
        return Turn(
            question=phrase(rng, phrases.COLOUR_AT, WORD, x=shape, t=word), answer=answer, metric="exact_ci"
        )

    clip.makers = [
        lambda: colour_at(False), lambda: colour_at(True),
        lambda: Turn(
            question=rng.choice(phrases.TURNS).format(x=shape), answer=f"The {shape} changes from {before} to {after}.",
            metric="anls"
        ),
    ]  # fmt: skip
    return clip


def _text(rng: random.Random, cast: _Cast, split: Split) -> Clip:
    """Numbers or words, one after the other."""
    fonts = find_fonts()
    font_path = rng.choice(fonts.held_out if split == "held_out" else fonts.plain)
    numbers = rng.random() < 0.6
    count = rng.choice((2, 4, 4, 8)) if numbers else rng.choice((2, 4))
    texts = [str(n) for n in rng.sample(range(2, 100), count)] if numbers else rng.sample(WORDS, count)
    w, h = cast.ground.image.size
    paper = draw_colour(rng, rng.choice(COLOURS)) if rng.random() < 0.5 else (255, 255, 255)
    ink: Rgb = (0, 0, 0) if distance(paper, (0, 0, 0)) > distance(paper, (255, 255, 255)) else (255, 255, 255)
    size = int(h * rng.uniform(0.3, 0.5))
    while max(load_font(font_path, size).getlength(text) for text in texts) > 0.9 * w:
        size = int(size * 0.85)
    font = load_font(font_path, size)
    frames = []
    for i in range(NUM_FRAMES):
        frame = Image.new("RGB", (w, h), paper)
        text = texts[i * count // NUM_FRAMES]
        ImageDraw.Draw(frame).text((w / 2, h / 2), text, font=font, fill=ink, anchor="mm")
        frames.append(frame)
    noun = "number" if numbers else "word"
    clip = Clip(frames=frames, event="text", truth={"texts": texts})

    def one() -> Turn | None:
        i = rng.choice((0, count - 1, rng.randrange(count)))
        word = (
            "last"
            if i == count - 1
            else ("first", "second", "third", "fourth", "fifth", "sixth", "seventh")[i]
        )
        return Turn(
            question=phrase(rng, phrases.ORDINAL_SHOWN, o=word, n=noun), answer=texts[i], metric="exact"
        )

    clip.makers = [
        lambda: Turn(
            question=phrase(rng, phrases.SHOWN, n=noun + "s"), answer=" ".join(texts), metric="anls"
        ),
        one,
        one,
    ]
    return clip


def _jump(rng: random.Random, cast: _Cast, split: Split) -> Clip:
    """A thing jumps one to three times from the floor."""
    kind = cast.kinds[0]
    w, h = cast.ground.image.size
    picture = draw_thing(rng, kind, int(min(w, h) * rng.uniform(0.25, 0.35)), cast.ground, split=split)
    times = rng.randint(1, 3)
    up = set(rng.sample((1, 3, 5), times))
    x, floor = rng.randint(2, w - picture.width - 2), h - picture.height - 4
    frames, boxes = [], []
    for i in range(NUM_FRAMES):
        frame, box = _pasted(cast.ground.image, picture, (x, floor - (0.45 * h if i in up else 0)))
        frames.append(frame)
        boxes.append(box)
    name = _said(rng, kind)
    clip = Clip(frames=frames, event="jump", truth={"object": _name(kind), "jumps": times, "boxes": boxes})
    clip.makers = [
        lambda: Turn(question=phrase(rng, phrases.JUMPS, NUMBER, x=name), answer=str(times), metric="exact_number"),
        lambda: Turn(question=phrase(rng, phrases.WHAT_MOVES, WORD), answer=_name(kind), metric=_metric(kind)),
        _whether(rng, cast, [kind]), _absent_way(rng, cast),
    ]  # fmt: skip
    return clip

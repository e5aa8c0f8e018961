"""Questions about a composed picture: counting, naming, colour, size, place, relations, boxes, and what is absent.

Short answers are canonical: CLDR's names, digits, one word for a side. Where two things could be meant, nothing is
asked about them.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

from internvl.data.colours import COLOURS
from internvl.data.pictures import scene_phrases as phrases
from internvl.data.pictures.asking import NUMBER, WORD, YES_NO, Asker, absent_answer, phrase
from internvl.data.pictures.english import (
    NUMBERS,
    counted,
    everyday,
    is_counted,
    is_plural,
    joined,
    plural,
    with_article,
)
from internvl.data.pictures.scene_view import View, full_name, name_metric, say
from internvl.data.pictures.things import Thing
from internvl.data.sample import Turn, box_answer, norm1000


def count_all(rng: random.Random, view: View) -> Turn | None:
    """How many things there are."""
    noun = "objects" if view.noun == "object" or rng.random() < 0.3 else view.noun + "s"
    return Turn(
        question=phrase(rng, phrases.COUNT_ALL, NUMBER, n=noun),
        answer=str(len(view.layout.things)),
        metric="exact_number",
    )


def count_kind(rng: random.Random, view: View) -> Turn | None:
    """How many of a kind; every number that the picture shows is asked for as often as one."""
    by_number: dict[int, list[str]] = {}
    for name, number in view.counts.items():
        by_number.setdefault(number, []).append(name)
    if any(thing.kind.is_shape for thing in view.layout.things):
        for shape, number in Counter(t.name for t in view.layout.things if t.kind.is_shape).items():
            by_number.setdefault(number, []).append(shape)
    if not by_number:
        return None
    number = rng.choices(list(by_number), [0.5 if n == 1 else 1.0 for n in by_number])[0]
    return _count_turn(rng, rng.choice(by_number[number]), number)


def count_none(rng: random.Random, view: View) -> Turn | None:
    """How many of something that is not there."""
    return _count_turn(rng, rng.choice(view.absent), 0) if view.absent else None


def _count_turn(rng: random.Random, name: str, number: int) -> Turn:
    spoken = everyday(name) if rng.random() < 0.4 else name
    if is_counted(spoken) and rng.random() < 0.85:
        question = phrase(rng, phrases.COUNT_KIND, NUMBER, n=plural(spoken))
    else:
        question = phrase(rng, phrases.COUNT_QUOTED, NUMBER, x=spoken)
    return Turn(question=question, answer=str(number), metric="exact_number")


def count_colour(rng: random.Random, view: View) -> Turn | None:
    """How many things of a colour; asked where every thing's colour is clear."""
    colours = Counter(thing.colour for thing in view.layout.things)
    if None in colours:
        return None
    noun = "objects" if view.noun == "object" or rng.random() < 0.3 else view.noun + "s"
    if rng.random() < 0.2:
        colour, number = rng.choice([c for c in COLOURS if c not in colours]), 0
    else:
        most = [(c, n) for c, n in colours.items() if c]
        colour, number = rng.choices(most, [n for _, n in most])[0]
    return Turn(
        question=phrase(rng, phrases.COUNT_KIND, NUMBER, n=f"{colour} {noun}"),
        answer=str(number),
        metric="exact_number",
    )


def name_one(rng: random.Random, view: View) -> Turn | None:
    """What the only thing is."""
    if len(view.layout.things) != 1:
        return None
    thing = view.layout.things[0]
    return Turn(
        question=phrase(rng, phrases.NAME_ONE, WORD), answer=full_name(thing), metric=name_metric(thing)
    )


def list_all(rng: random.Random, view: View) -> Turn | None:
    """All kinds, with their numbers, most frequent first."""
    if len(view.counts) > 6 or len(view.layout.things) < 2:
        return None
    return Turn(question=phrase(rng, phrases.LIST), answer=_listed(view), metric="anls")


def describe(rng: random.Random, view: View) -> Turn | None:
    """A short true sentence."""
    if len(view.counts) > 6:
        return None
    colour = view.layout.ground.colour
    ground = f" on {'an' if colour == 'orange' else 'a'} {colour} background" if colour else ""
    return Turn(
        question=phrase(rng, phrases.DESCRIBE),
        answer=f"The picture shows {_listed(view)}{ground}.",
        metric="anls",
    )


def _listed(view: View) -> str:
    ordered = sorted(view.counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return joined(
        [
            counted(n, name) if is_counted(name) or n == 1 else f"{NUMBERS[n]} times {name}"
            for name, n in ordered
        ]
    )


def colour(rng: random.Random, view: View) -> Turn | None:
    """What colour something has."""
    known = [
        t for t in view.layout.things if t.colour and sum(o.name == t.name for o in view.layout.things) == 1
    ]
    if not known:
        return None
    thing = rng.choice(known)
    assert thing.colour is not None
    spoken = thing.name if thing.kind.is_shape else say(rng, thing)
    if thing.colour in spoken.split() or is_plural(spoken):
        return None  # "what colour is the red apple" gives it away
    return Turn(question=phrase(rng, phrases.COLOUR, WORD, x=spoken), answer=thing.colour, metric="exact_ci")


def ground_colour(rng: random.Random, view: View) -> Turn | None:
    """What colour the background has."""
    if not view.layout.ground.colour:
        return None
    question = phrase(rng, phrases.GROUND, WORD, n="objects" if len(view.layout.things) > 1 else "object")
    return Turn(question=question, answer=view.layout.ground.colour, metric="exact_ci")


def half(rng: random.Random, view: View) -> Turn | None:
    """In which half something clearly is."""
    if not view.unique:
        return None
    thing = rng.choice(view.unique)
    axis = rng.randrange(2)
    at = thing.centre[axis] / view.layout.size[axis]
    if 0.43 < at < 0.57:
        return None
    a, b = (("left", "right"), ("top", "bottom"))[axis]
    question = phrase(rng, phrases.HALF, x=say(rng, thing), a=a, b=b, A=a.capitalize())
    return Turn(question=question, answer=a if at < 0.5 else b, metric="exact_ci")


def where(rng: random.Random, view: View) -> Turn | None:
    """In which of nine parts something clearly is."""
    if not view.unique:
        return None
    thing = rng.choice(view.unique)
    words = []
    for at, side, names in zip(
        thing.centre, view.layout.size, (("left", "", "right"), ("top", "", "bottom")), strict=True
    ):
        share = at / side
        part = next(
            (i for i, (low, high) in enumerate(((0, 0.3), (0.38, 0.62), (0.7, 1))) if low <= share <= high),
            None,
        )
        if part is None:
            return None
        words.append(names[part])
    place = " ".join(filter(None, (words[1], words[0]))) or "center"
    return Turn(question=phrase(rng, phrases.WHERE, WORD, x=say(rng, thing)), answer=place, metric="exact_ci")


_RANKS: dict[str, tuple[Callable[[Thing], float], bool]] = {
    "leftmost": (lambda t: -t.centre[0], False), "rightmost": (lambda t: t.centre[0], False),
    "highest": (lambda t: -t.centre[1], False), "lowest": (lambda t: t.centre[1], False),
    "largest": (lambda t: t.extent, True), "smallest": (lambda t: -t.extent, True),
}  # fmt: skip
_SPOKEN_SIDES = {"highest": ("highest", "top", "topmost"), "lowest": ("lowest", "bottom", "bottommost")}


def extreme(rng: random.Random, view: View) -> Turn | None:
    """What is leftmost, largest ..., or its colour or shape, where it is clear by a margin."""
    things = view.layout.things
    if not 2 <= len(things) <= 8:
        return None
    side = rng.choice(list(_RANKS))
    key, by_size = _RANKS[side]
    first, second = sorted(things, key=key, reverse=True)[:2]
    margin = 0.15 * max(first.extent, second.extent) if by_size else 0.07 * min(view.layout.size)
    if key(first) - key(second) < margin:
        return None
    spoken = rng.choice(_SPOKEN_SIDES.get(side, (side,)))
    if first.colour and rng.random() < 0.35:
        question = phrase(rng, phrases.SIDE_COLOUR, WORD, side=spoken, o=view.noun)
        return Turn(question=question, answer=first.colour, metric="exact_ci")
    if first.kind.is_shape and rng.random() < 0.5:
        return Turn(
            question=phrase(rng, phrases.SIDE_SHAPE, WORD, side=spoken), answer=first.name, metric="exact_ci"
        )
    return Turn(
        question=phrase(rng, phrases.SIDE[side], o=view.noun),
        answer=full_name(first),
        metric=name_metric(first),
    )


def _beyond(a: Thing, b: Thing, axis: int) -> bool:
    """Whether `a` ends, nearly, before `b` begins, along x (0) or y (1)."""
    overlap = a.box[axis + 2] - b.box[axis]
    return a.centre[axis] < b.centre[axis] and overlap < 0.25 * min(a.extent, b.extent)


_RELATIONS = (
    (0, "left", "right", "to the left of", "to the right of"),
    (1, "above", "below", "above", "below"),
)


def relation(rng: random.Random, view: View) -> Turn | None:
    """How two things lie to each other."""
    if len(view.unique) < 2:
        return None
    x, y = rng.sample(view.unique, 2)
    axis, before, after, before_of, after_of = rng.choice(_RELATIONS)
    if not (_beyond(x, y, axis) or _beyond(y, x, axis)):
        return None
    is_before = _beyond(x, y, axis)
    names = {"x": say(rng, x), "y": say(rng, y)}
    if rng.random() < 0.45:
        told_before = rng.random() < 0.5
        question = phrase(
            rng, phrases.RELATION_YES, YES_NO, r=before_of if told_before else after_of, **names
        )
        return Turn(question=question, answer="yes" if told_before == is_before else "no", metric="yesno")
    if axis == 0:
        question = phrase(rng, phrases.RELATION, x=names["x"], y=names["y"], a="left", b="right", A="Left")
    else:
        question = phrase(rng, phrases.ABOVE, **names)
    return Turn(question=question, answer=before if is_before else after, metric="exact_ci")


def what_beside(rng: random.Random, view: View) -> Turn | None:
    """The one thing that lies on a side of another."""
    if len(view.unique) < 2 or len(view.layout.things) > 5:
        return None
    y = rng.choice(view.unique)
    axis, _, _, before_of, after_of = rng.choice(_RELATIONS)
    others = [thing for thing in view.layout.things if thing is not y]
    before = [thing for thing in others if _beyond(thing, y, axis)]
    after = [thing for thing in others if _beyond(y, thing, axis)]
    if len(before) + len(after) != len(others):
        return None
    wanted, words = (before, before_of) if rng.random() < 0.5 else (after, after_of)
    if len(wanted) != 1:
        return None
    question = phrase(
        rng, phrases.RELATION_WHAT, WORD, r=words, R=words.capitalize(), y=say(rng, y), o=view.noun
    )
    return Turn(question=question, answer=full_name(wanted[0]), metric=name_metric(wanted[0]))


def larger(rng: random.Random, view: View) -> Turn | None:
    """Which of two things is larger, where one is by far."""
    if len(view.unique) < 2:
        return None
    x, y = rng.sample(view.unique, 2)
    if max(x.extent, y.extent) < 1.35 * min(x.extent, y.extent):
        return None
    big = x if x.extent > y.extent else y
    small = y if big is x else x
    wanted, words = (big, ("larger", "bigger")) if rng.random() < 0.5 else (small, ("smaller",))
    question = phrase(rng, phrases.LARGER, WORD, c=rng.choice(words), x=full_name(x), y=full_name(y))
    return Turn(question=question, answer=full_name(wanted), metric=name_metric(wanted))


def exists(rng: random.Random, view: View) -> Turn | None:
    """Whether something is there; as often no as yes."""
    there = rng.random() < 0.5 or not view.absent
    name = full_name(rng.choice(view.layout.things)) if there else rng.choice(view.absent)
    spoken = everyday(name) if rng.random() < 0.4 else name
    forms = phrases.EXISTS_MANY if is_plural(spoken) else phrases.EXISTS
    question = phrase(rng, forms, YES_NO, x=with_article(spoken))
    return Turn(question=question, answer="yes" if there else "no", metric="yesno")


def box(rng: random.Random, view: View) -> Turn | None:
    """The box of one thing, in the family's form."""
    if not view.unique:
        return None
    thing = rng.choice(view.unique)
    name = say(rng, thing)
    return Turn(
        question=phrase(rng, phrases.BOX, x=name),
        answer=box_answer(name, [thing.box], view.layout.size),
        metric="iou@0.5",
    )


def boxes(rng: random.Random, view: View) -> Turn | None:
    """The boxes of all things of a kind, from left to right."""
    several = [name for name, n in view.counts.items() if n > 1]
    if not several:
        return None
    name = rng.choice(several)
    found = sorted(thing.box for thing in view.layout.things if full_name(thing) == name)
    return Turn(
        question=phrase(rng, phrases.BOXES, x=name),
        answer=box_answer(name, found, view.layout.size),
        metric="iou@0.5",
    )


def detect_all(rng: random.Random, view: View) -> Turn | None:
    """The boxes of everything: a line per kind, kinds and boxes from left to right."""
    if len(view.layout.things) > 6:
        return None
    ordered = sorted(view.layout.things, key=lambda thing: thing.box)
    lines = [
        box_answer(name, [t.box for t in ordered if full_name(t) == name], view.layout.size)
        for name in dict.fromkeys(map(full_name, ordered))
    ]
    return Turn(question=phrase(rng, phrases.DETECT_ALL), answer="\n".join(lines), metric="iou@0.5")


def region(rng: random.Random, view: View) -> Turn | None:
    """What a box holds."""
    thing = rng.choice(view.layout.things)
    place = f"[{list(norm1000(thing.box, view.layout.size))}]"
    return Turn(
        question=phrase(rng, phrases.REGION, WORD, b=place),
        answer=full_name(thing),
        metric=name_metric(thing),
    )


def absent(rng: random.Random, view: View) -> Turn | None:
    """A question about something that is not there."""
    if not view.absent:
        return None
    name = rng.choice(view.absent)
    spoken = everyday(name) if rng.random() < 0.4 else name
    forms = rng.choice((phrases.COLOUR, phrases.WHERE, phrases.BOX, phrases.RELATION))
    if forms is phrases.COLOUR and (spoken.split()[0] in COLOURS or is_plural(spoken)):
        forms = phrases.WHERE
    if forms is phrases.WHERE and is_plural(spoken):
        forms = phrases.BOX
    if forms is phrases.RELATION:
        if not view.unique:
            return None
        other = say(rng, rng.choice(view.unique))
        question = phrase(rng, phrases.RELATION, x=spoken, y=other, a="left", b="right", A="Left")
    else:
        question = phrase(rng, forms, x=spoken)
    return Turn(question=question, answer=absent_answer(spoken), metric="absent")


ASKERS: tuple[tuple[Asker[View], float], ...] = (
    (count_all, 1.2), (count_kind, 2.5), (count_none, 0.6), (count_colour, 1.0), (name_one, 3.0), (list_all, 0.8),
    (describe, 0.7), (colour, 1.5), (ground_colour, 0.4), (half, 0.7), (where, 0.8), (extreme, 1.5), (relation, 1.5),
    (what_beside, 0.8), (larger, 0.6), (exists, 1.2), (box, 2.0), (boxes, 0.8), (detect_all, 0.6), (region, 0.8),
    (absent, 1.2),
)  # fmt: skip

"""Questions about a composed picture: counting, naming, colour, size, place, relations, boxes, and what is absent.

Short answers are canonical: CLDR's names, digits, one word for a side. Where two things could be meant, nothing is
asked about them.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from internvl.data.colours import COLOURS
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
from internvl.data.pictures.things import Layout, Thing
from internvl.data.sample import Turn, box_answer, norm1000

COUNT_ALL = (
    "How many {n} are there?", "How many {n} are in the picture?", "How many {n} are in the image?",
    "Count the {n}.", "How many {n} do you see?", "What is the number of {n} in this image?",
    "How many {n} are there in total?", "Count all {n} in the picture.", "Tell me how many {n} are shown.",
    "How many {n} can be seen here?",
)  # fmt: skip
COUNT_KIND = (
    "How many {n} are there?", "How many {n} are in the picture?", "How many {n} are in the image?",
    "Count the {n}.", "How many {n} do you see?", "What is the number of {n}?", "How many {n} can you find?",
    "How many {n} are shown?", "Please count the {n} in this image.", "How many {n} can be seen?",
)  # fmt: skip
COUNT_QUOTED = (
    'How many "{x}" are in the image?', 'How many times does "{x}" appear in the picture?',
    'Count the objects of the kind "{x}".', 'How often is "{x}" shown?', 'What is the number of "{x}" here?',
    'How many "{x}" do you see?', 'How many pictures of "{x}" are there?', 'Count "{x}" in this image.',
)  # fmt: skip
NAME_ONE = (
    "What is this?", "What is the object in the image?", "What is in the picture?", "What do you see?",
    "What object is shown?", "Name the object.", "What does the picture show?", "What is shown here?",
    "Which object is this?", "Identify the object in the picture.", "What can you see in this image?",
)  # fmt: skip
LIST = (
    "What objects are in the picture?", "List the objects in the image.", "What is in the picture?",
    "What do you see?", "Name everything that is shown.", "Which things are in this image?",
    "What can you see in the picture?", "What are the objects here?", "Tell me what is in this image.",
    "Which objects can be seen?",
)  # fmt: skip
DESCRIBE = (
    "Describe this image.", "Describe the picture.", "describe this image", "Please describe the image shortly.",
    "What does this image show?", "Describe the image in one sentence.", "Give a short description of the picture.",
    "Write a caption for this image.", "Please describe the picture briefly.", "Caption this image.",
)  # fmt: skip
COLOUR = (
    "What color is the {x}?", "What colour is the {x}?", "Which color does the {x} have?",
    "What is the color of the {x}?", "Tell me the color of the {x}.", "Name the colour of the {x}.",
    "The {x}: what color?", "Which colour is the {x}?", "In what color is the {x} shown?",
)  # fmt: skip
GROUND = (
    "What color is the background?", "What colour is the background?", "Which color does the background have?",
    "What is the background color?", "Tell me the colour of the background.", "Name the color of the background.",
    "What color is behind the {n}?", "Which colour is the background of this picture?",
)  # fmt: skip
HALF = (
    "Is the {x} in the {a} half or the {b} half of the image? Answer {a} or {b}.",
    "Is the {x} on the {a} or on the {b}?", "On which side is the {x}, {a} or {b}?",
    "Is the {x} in the {a} or the {b} half?", "Which half of the picture holds the {x}: {a} or {b}?",
    "Does the {x} lie in the {a} or in the {b} half of the picture?", "{A} or {b}: where is the {x}?",
    "Tell me whether the {x} is in the {a} or the {b} half.",
)  # fmt: skip
WHERE = (
    "Where is the {x}?", "Where in the picture is the {x}?", "In which part of the image is the {x}?",
    "What is the position of the {x}?", "Where can I find the {x}?", "Tell me where the {x} is.",
    "Whereabouts is the {x} in this image?", "In what corner or part of the picture is the {x}?",
)  # fmt: skip
SIDE = {
    "leftmost": ("What is the leftmost {o}?", "Which {o} is on the far left?", "What is furthest to the left?",
                 "Name the {o} on the left.", "What is on the left side?", "Which {o} is leftmost?",
                 "What stands furthest left?", "Which {o} is closest to the left edge?"),
    "rightmost": ("What is the rightmost {o}?", "Which {o} is on the far right?", "What is furthest to the right?",
                  "Name the {o} on the right.", "What is on the right side?", "Which {o} is rightmost?",
                  "What stands furthest right?", "Which {o} is closest to the right edge?"),
    "highest": ("What is the topmost {o}?", "Which {o} is at the top?", "What is highest in the picture?",
                "Name the {o} at the top.", "What is at the top of the image?", "Which {o} is highest?",
                "What is uppermost?", "Which {o} is closest to the top edge?"),
    "lowest": ("What is the bottommost {o}?", "Which {o} is at the bottom?", "What is lowest in the picture?",
               "Name the {o} at the bottom.", "What is at the bottom of the image?", "Which {o} is lowest?",
               "What is furthest down?", "Which {o} is closest to the bottom edge?"),
    "largest": ("What is the largest {o}?", "Which {o} is the biggest?", "Name the biggest {o}.",
                "Which {o} is the largest?", "What is the biggest thing here?", "What takes up the most room?",
                "Which is the largest {o} in the image?", "Tell me the name of the largest {o}."),
    "smallest": ("What is the smallest {o}?", "Which {o} is the smallest?", "Name the smallest {o}.",
                 "Which {o} is the tiniest?", "What is the smallest thing here?", "What takes up the least room?",
                 "Which is the smallest {o} in the image?", "Tell me the name of the smallest {o}."),
}  # fmt: skip
SIDE_COLOUR = (
    "What color is the {side} {o}?", "What colour is the {side} {o}?", "Which color does the {side} {o} have?",
    "What is the color of the {side} {o}?", "Name the colour of the {side} {o}.",
    "Tell me the color of the {side} {o}.", "The {side} {o} has which color?", "Which colour is the {side} {o}?",
)  # fmt: skip
SIDE_SHAPE = (
    "What is the shape of the {side} object?", "What shape is the {side} object?", "Which shape is the {side} one?",
    "What is the {side} shape?", "Name the {side} shape.", "Tell me the shape of the {side} object.",
    "The {side} object has what shape?", "Which shape does the {side} object have?",
)  # fmt: skip
RELATION = (
    "Is the {x} to the {a} or to the {b} of the {y}?", "Is the {x} {a} or {b} of the {y}?",
    "Seen from the {y}, is the {x} on the {a} or on the {b}?", "On which side of the {y} is the {x}: {a} or {b}?",
    "Does the {x} lie {a} or {b} of the {y}?", "{A} or {b} of the {y}: where is the {x}?",
    "Which side of the {y} is the {x} on, {a} or {b}?", "Tell me whether the {x} is to the {a} or {b} of the {y}.",
)  # fmt: skip
ABOVE = (
    "Is the {x} above or below the {y}?", "Does the {x} lie above or below the {y}?",
    "Is the {x} higher or lower than the {y}? Answer above or below.", "Above or below the {y}: where is the {x}?",
    "Relative to the {y}, is the {x} above or below?", "Tell me whether the {x} is above or below the {y}.",
    "Compared with the {y}, is the {x} above or below it?", "Is the {x} placed above or below the {y}?",
)  # fmt: skip
RELATION_YES = (
    "Is the {x} {r} the {y}?", "Does the {x} lie {r} the {y}?", "Is it true that the {x} is {r} the {y}?",
    "Would you say the {x} is {r} the {y}?", "Can the {x} be found {r} the {y}?", "Is the {x} placed {r} the {y}?",
    "True or false, in yes or no: the {x} is {r} the {y}.", "Do you see the {x} {r} the {y}?",
)  # fmt: skip
RELATION_WHAT = (
    "What is {r} the {y}?", "Which {o} is {r} the {y}?", "What lies {r} the {y}?", "Name the {o} {r} the {y}.",
    "What do you see {r} the {y}?", "Which {o} can be found {r} the {y}?", "{R} the {y} there is one {o}. Which?",
    "Tell me what is {r} the {y}.",
)  # fmt: skip
LARGER = (
    "Which is {c}, the {x} or the {y}?", "What is {c}: the {x} or the {y}?", "The {x} or the {y}: which one is {c}?",
    "Which one is {c}, the {x} or the {y}?", "Is the {x} or the {y} {c}?", "Which of the two is {c}, {x} or {y}?",
    "Tell me which is {c}, the {x} or the {y}.", "Between the {x} and the {y}, which is {c}?",
)  # fmt: skip
EXISTS = (
    "Is there {x} in the picture?", "Is there {x} in the image?", "Do you see {x}?", "Can you see {x}?",
    "Does the picture show {x}?", "Is {x} shown?", "Does this image contain {x}?", "Can {x} be seen here?",
    "Is {x} in this picture?",
)  # fmt: skip
EXISTS_MANY = (
    "Are there {x} in the picture?", "Are there {x} in the image?", "Do you see {x}?", "Can you see {x}?",
    "Does the picture show {x}?", "Are {x} shown?", "Does this image contain {x}?", "Can {x} be seen here?",
)  # fmt: skip
BOX = (
    "Please provide the bounding box coordinate of the region this sentence describes: <ref>{x}</ref>",
    "Detect the <ref>{x}</ref>.", "Where is the <ref>{x}</ref>? Give its bounding box.",
    "Locate the <ref>{x}</ref>.", "Give the bounding box of the <ref>{x}</ref>.",
    "Mark the position of the <ref>{x}</ref>.", "Please find the <ref>{x}</ref> and return its box.",
    "Show me where the <ref>{x}</ref> is.", "Ground this in the image: <ref>{x}</ref>",
)  # fmt: skip
BOXES = (
    "Please provide the bounding boxes of all <ref>{x}</ref>.", "Detect every <ref>{x}</ref>.",
    "Detect the <ref>{x}</ref>.", "Locate all <ref>{x}</ref>.", "Give the bounding boxes of each <ref>{x}</ref>.",
    "Where are the <ref>{x}</ref>? Give their boxes.", "Mark every <ref>{x}</ref> in the image.",
    "Find each <ref>{x}</ref> and return the boxes.",
)  # fmt: skip
DETECT_ALL = (
    "Please detect and label all objects in the following image and mark their positions.",
    "Detect all objects.", "Find all objects and give their bounding boxes.", "Label everything with boxes.",
    "List all objects with their bounding boxes.", "Detect and locate everything in the picture.",
    "Mark the positions of all objects in the image.", "Which objects are where? Answer with boxes.",
)  # fmt: skip
REGION = (
    "What is in the region <box>{b}</box>?", "What does the box <box>{b}</box> contain?",
    "Name the object at <box>{b}</box>.", "Which object lies in <box>{b}</box>?", "What is at <box>{b}</box>?",
    "Identify what is inside <box>{b}</box>.", "Tell me what <box>{b}</box> shows.",
    "What can be seen in <box>{b}</box>?",
)  # fmt: skip


@dataclass(frozen=True)
class View:
    """A layout as it is asked about."""

    layout: Layout
    absent: Sequence[str]
    """Names of things that are certainly not in the picture."""
    noun: str
    """What the things are together: object or shape."""

    @cached_property
    def counts(self) -> Counter[str]:
        """How many there are of each full name."""
        return Counter(full_name(thing) for thing in self.layout.things)

    @cached_property
    def unique(self) -> list[Thing]:
        """The things that their full name singles out."""
        return [thing for thing in self.layout.things if self.counts[full_name(thing)] == 1]


def full_name(thing: Thing) -> str:
    """Colour and shape, or the name of the art."""
    return f"{thing.colour} {thing.name}" if thing.kind.is_shape else thing.name


def say(rng: random.Random, thing: Thing) -> str:
    """How a question calls a thing: by its name, or an everyday one."""
    name = full_name(thing)
    return everyday(name) if rng.random() < 0.4 else name


def name_metric(thing: Thing) -> str:
    """How a name in an answer is judged."""
    return "exact_ci" if thing.kind.is_shape else "any_of_names"


def count_all(rng: random.Random, view: View) -> Turn | None:
    """How many things there are."""
    noun = "objects" if view.noun == "object" or rng.random() < 0.3 else view.noun + "s"
    return Turn(
        question=phrase(rng, COUNT_ALL, NUMBER, n=noun),
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
        question = phrase(rng, COUNT_KIND, NUMBER, n=plural(spoken))
    else:
        question = phrase(rng, COUNT_QUOTED, NUMBER, x=spoken)
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
        question=phrase(rng, COUNT_KIND, NUMBER, n=f"{colour} {noun}"),
        answer=str(number),
        metric="exact_number",
    )


def name_one(rng: random.Random, view: View) -> Turn | None:
    """What the only thing is."""
    if len(view.layout.things) != 1:
        return None
    thing = view.layout.things[0]
    return Turn(question=phrase(rng, NAME_ONE, WORD), answer=full_name(thing), metric=name_metric(thing))


def list_all(rng: random.Random, view: View) -> Turn | None:
    """All kinds, with their numbers, most frequent first."""
    if len(view.counts) > 6 or len(view.layout.things) < 2:
        return None
    return Turn(question=phrase(rng, LIST), answer=_listed(view), metric="anls")


def describe(rng: random.Random, view: View) -> Turn | None:
    """A short true sentence."""
    if len(view.counts) > 6:
        return None
    colour = view.layout.ground.colour
    ground = f" on {'an' if colour == 'orange' else 'a'} {colour} background" if colour else ""
    return Turn(
        question=phrase(rng, DESCRIBE), answer=f"The picture shows {_listed(view)}{ground}.", metric="anls"
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
    return Turn(question=phrase(rng, COLOUR, WORD, x=spoken), answer=thing.colour, metric="exact_ci")


def ground_colour(rng: random.Random, view: View) -> Turn | None:
    """What colour the background has."""
    if not view.layout.ground.colour:
        return None
    question = phrase(rng, GROUND, WORD, n="objects" if len(view.layout.things) > 1 else "object")
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
    question = phrase(rng, HALF, x=say(rng, thing), a=a, b=b, A=a.capitalize())
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
    return Turn(question=phrase(rng, WHERE, WORD, x=say(rng, thing)), answer=place, metric="exact_ci")


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
        question = phrase(rng, SIDE_COLOUR, WORD, side=spoken, o=view.noun)
        return Turn(question=question, answer=first.colour, metric="exact_ci")
    if first.kind.is_shape and rng.random() < 0.5:
        return Turn(question=phrase(rng, SIDE_SHAPE, WORD, side=spoken), answer=first.name, metric="exact_ci")
    return Turn(
        question=phrase(rng, SIDE[side], o=view.noun), answer=full_name(first), metric=name_metric(first)
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
        question = phrase(rng, RELATION_YES, YES_NO, r=before_of if told_before else after_of, **names)
        return Turn(question=question, answer="yes" if told_before == is_before else "no", metric="yesno")
    if axis == 0:
        question = phrase(rng, RELATION, x=names["x"], y=names["y"], a="left", b="right", A="Left")
    else:
        question = phrase(rng, ABOVE, **names)
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
    question = phrase(rng, RELATION_WHAT, WORD, r=words, R=words.capitalize(), y=say(rng, y), o=view.noun)
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
    question = phrase(rng, LARGER, WORD, c=rng.choice(words), x=full_name(x), y=full_name(y))
    return Turn(question=question, answer=full_name(wanted), metric=name_metric(wanted))


def exists(rng: random.Random, view: View) -> Turn | None:
    """Whether something is there; as often no as yes."""
    there = rng.random() < 0.5 or not view.absent
    name = full_name(rng.choice(view.layout.things)) if there else rng.choice(view.absent)
    spoken = everyday(name) if rng.random() < 0.4 else name
    forms = EXISTS_MANY if is_plural(spoken) else EXISTS
    question = phrase(rng, forms, YES_NO, x=with_article(spoken))
    return Turn(question=question, answer="yes" if there else "no", metric="yesno")


def box(rng: random.Random, view: View) -> Turn | None:
    """The box of one thing, in the family's form."""
    if not view.unique:
        return None
    thing = rng.choice(view.unique)
    name = say(rng, thing)
    return Turn(
        question=phrase(rng, BOX, x=name),
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
        question=phrase(rng, BOXES, x=name),
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
    return Turn(question=phrase(rng, DETECT_ALL), answer="\n".join(lines), metric="iou@0.5")


def region(rng: random.Random, view: View) -> Turn | None:
    """What a box holds."""
    thing = rng.choice(view.layout.things)
    place = f"[{list(norm1000(thing.box, view.layout.size))}]"
    return Turn(
        question=phrase(rng, REGION, WORD, b=place), answer=full_name(thing), metric=name_metric(thing)
    )


def absent(rng: random.Random, view: View) -> Turn | None:
    """A question about something that is not there."""
    if not view.absent:
        return None
    name = rng.choice(view.absent)
    spoken = everyday(name) if rng.random() < 0.4 else name
    forms = rng.choice((COLOUR, WHERE, BOX, RELATION))
    if forms is COLOUR and (spoken.split()[0] in COLOURS or is_plural(spoken)):
        forms = WHERE
    if forms is WHERE and is_plural(spoken):
        forms = BOX
    if forms is RELATION:
        if not view.unique:
            return None
        other = say(rng, rng.choice(view.unique))
        question = phrase(rng, RELATION, x=spoken, y=other, a="left", b="right", A="Left")
    else:
        question = phrase(rng, forms, x=spoken)
    return Turn(question=question, answer=absent_answer(spoken), metric="absent")


ASKERS: tuple[tuple[Asker[View], float], ...] = (
    (count_all, 1.2), (count_kind, 2.5), (count_none, 0.6), (count_colour, 1.0), (name_one, 3.0), (list_all, 0.8),
    (describe, 0.7), (colour, 1.5), (ground_colour, 0.4), (half, 0.7), (where, 0.8), (extreme, 1.5), (relation, 1.5),
    (what_beside, 0.8), (larger, 0.6), (exists, 1.2), (box, 2.0), (boxes, 0.8), (detect_all, 0.6), (region, 0.8),
    (absent, 1.2),
)  # fmt: skip

"""A composed picture as it is asked about: what is in it how often, what is not, and how things are called."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from internvl.data.pictures.english import everyday
from internvl.data.pictures.things import Layout, Thing


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

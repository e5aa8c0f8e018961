"""What all question makers share: drawing a phrasing, short-answer requests, the honest answer to an empty question."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from internvl.data.pictures.english import is_plural
from internvl.data.sample import Turn

S = TypeVar("S")
Asker = Callable[[random.Random, S], Turn | None]
"""Asks about a picture of kind S; None where it has nothing to ask."""
NUMBER = (
    " Answer with a number.",
    " Give only the number.",
    " Reply with a number only.",
    " Just the number, please.",
)
YES_NO = (" Answer yes or no.", " Yes or no?", " Reply yes or no.", " Answer with yes or no only.")
WORD = (" Answer with one word.", " Answer briefly.", " Answer in a word or two.", " Short answer, please.")


def phrase(rng: random.Random, forms: Sequence[str], tail: Sequence[str] = (), **slots: object) -> str:
    """Fill one of several phrasings; in a third of them ask for the form of the answer too.

    >>> phrase(random.Random(0), ("How many {x}?",), x="dogs")
    'How many dogs?'
    """
    text = rng.choice(forms).format(**slots)
    return text + rng.choice(tail) if tail and rng.random() < 0.35 else text


def absent_answer(name: str, place: str = "picture") -> str:
    """The honest answer about a thing that is not there."""
    return f"There {'are' if is_plural(name) else 'is'} no {name} in the {place}."


def ask(
    rng: random.Random,
    subject: S,
    askers: Sequence[tuple[Asker[S], float]],
    turns: int,
    *,
    repeats: int = 2,
) -> list[Turn]:
    """Ask up to `turns` different questions, drawn by weight; one asker speaks at most `repeats` times."""
    makers, weights = zip(*askers, strict=True)
    asked: list[Turn] = []
    spent: dict[int, int] = {}
    said: set[tuple[int, str]] = set()
    for _ in range(8 * turns):
        if len(asked) >= turns:
            break
        number = rng.choices(range(len(makers)), weights)[0]
        if spent.get(number, 0) >= repeats:
            continue
        turn = makers[number](rng, subject)
        if turn is None or any(turn.question == other.question for other in asked):
            continue
        if (number, turn.answer) in said:  # mostly the same question in other words
            continue
        said.add((number, turn.answer))
        spent[number] = spent.get(number, 0) + 1
        asked.append(replace(turn, task=getattr(makers[number], "__name__", "")))
    if not asked:  # unlucky dice: the first that has something to ask
        asked = [turn for maker in makers if (turn := maker(rng, subject)) is not None][:1]
    return asked

"""One generated sample: pictures, questions with their answers, and everything that is true about the pictures.

Made by the skills of `data.skills`; `data.writer` stores samples as training rows, `data.preview` shows them,
training and evaluation may draw them on the fly.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from PIL import Image

Json = Any
"""What `json.dumps` takes: None, bool, int, float, str, list and dict of these."""
Split = Literal["train", "held_out"]
SPLITS: tuple[Split, ...] = ("train", "held_out")
"""Held out: other fonts, other drawings, other templates, other parts of the word lists."""
PixelBox = Sequence[float]
"""x0, y0, x1, y1 in pixels of the picture; x1 and y1 lie outside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assets:
    """Where a skill finds what it draws from; each skill loads what it needs on first use and keeps it."""

    shared: Path | None = None
    """The folder that holds `data/` (word lists, emoji, names in languages); None: what the package makes itself."""

    @property
    def text(self) -> Path | None:
        """The folder of word lists and other texts, if it is there."""
        folder = None if self.shared is None else self.shared / "data" / "text"
        return folder if folder is not None and folder.is_dir() else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One question and the answer to give."""

    question: str
    answer: str
    metric: str
    """How an answer is judged: exact_ci, cer, anls, json_kv_f1, teds, exact_number, yesno, iou@0.5, absent ...

    The names of shared/data, and `absent`: right if the answer says that the thing is not in the picture.
    """
    task: str = ""
    """What kind of question this is, for figures by kind: read, field, json, count_all, colour ... "" = as the metric
    says."""


@dataclass(frozen=True, slots=True)
class Marks:
    """The small things of one picture, glyphs or objects, in reading order: what dense supervision asks for."""

    names: tuple[str, ...]
    """One character each, or names of objects."""
    boxes: np.ndarray
    """(n, 4) float32, pixel xyxy of the picture as it is stored."""


@dataclass(slots=True, kw_only=True)
class DataSample:
    """Pictures, turns and truth.

    Boxes in `truth` are pixel xyxy of the picture as it is stored; boxes in answers are the family's (`box_answer`).
    """

    images: list[Image.Image]
    turns: list[Turn]
    truth: dict[str, Json] = field(default_factory=dict)
    skill: str
    language: str = "en"
    video: bool = False
    """The pictures are the frames of one clip, in order."""
    glyphs: list[Marks] = field(default_factory=list)
    """Printed characters, one entry a picture; empty where nobody noted them."""
    things: list[Marks] = field(default_factory=list)
    """Objects, likewise."""


class Skill(Protocol):
    """Makes a sample; all chance comes from `rng`, so that the sample is a pure function of the arguments."""

    def __call__(self, rng: random.Random, *, split: Split, assets: Assets) -> DataSample:
        """Make one sample."""
        ...


def norm1000(box: PixelBox, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return a pixel box in thousandths of the picture's (width, height), clipped to it."""
    w, h = size
    x0, y0, x1, y1 = (
        min(1000, max(0, round(value * 1000 / side))) for value, side in zip(box, (w, h, w, h), strict=True)
    )
    return x0, y0, x1, y1


def box_answer(name: str, boxes: Sequence[PixelBox], size: tuple[int, int]) -> str:
    """Return the family's form of places: `<ref>name</ref><box>[[x0, y0, x1, y1], ...]</box>`, 0-1000.

    >>> box_answer("cup", [(10, 20, 50, 100)], (100, 200))
    '<ref>cup</ref><box>[[100, 100, 500, 500]]</box>'
    """
    places = ", ".join(str(list(norm1000(box, size))) for box in boxes)
    return f"<ref>{name}</ref><box>[{places}]</box>"

"""Boxes in answers, and whether they are the expected ones. Boxes are x0, y0, x1, y1 in thousandths (0-1000)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from internvl.evaluation.assignment import assign
from internvl.evaluation.text_metrics import plain
from internvl.evaluation.verdict import Truth, Verdict

Box = tuple[float, float, float, float]
THRESHOLD = 0.5

_NUMBER = r"\s*(-?\d+(?:\.\d+)?)\s*"
_BOX = re.compile(r"[\[(]" + ",".join([_NUMBER] * 4) + r"[\])]")
_TOKENS = re.compile(r"<ref>(.*?)</ref>|" + _BOX.pattern, re.DOTALL)


class Placed(NamedTuple):
    """A box, and the name that stood before it ("" if none)."""

    name: str
    box: Box


def find_boxes(text: str) -> list[Placed]:
    """Return the boxes of a text: the family's <ref>cup</ref><box>[[1, 2, 3, 4]]</box>, or bare [1, 2, 3, 4].

    Corners in the wrong order are put right.

    >>> find_boxes("<ref>cup</ref><box>[[10, 20, 30, 40]]</box>")
    [Placed(name='cup', box=(10.0, 20.0, 30.0, 40.0))]
    """
    placed, name = [], ""
    for found in _TOKENS.finditer(text):
        if found[1] is not None:
            name = plain(found[1]).casefold()
        else:
            x0, y0, x1, y1 = map(float, found.groups()[1:])
            placed.append(Placed(name, (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))))
    return placed


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes; 0 where both are empty."""
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    common = max(0.0, w) * max(0.0, h)
    union = _area(a) + _area(b) - common
    return common / union if union > 0 else 0.0


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def iou_at_half(answer: str, truth: Truth) -> Verdict:
    """F1 of boxes that overlap an expected one by IoU >= 0.5 (PASCAL VOC's rule), each used once.

    Where one box is expected and one is given this is the accuracy at IoU 0.5 of grounding sets. Names must agree
    where several different ones are expected. Details: `iou`, the mean over the expected boxes; `boxes`, expected.
    """
    expected, given = find_boxes(truth.text), find_boxes(answer)
    if not expected or not given:
        return Verdict(0.0, {"iou": 0.0, "boxes": len(expected)})
    named = len({place.name for place in expected}) > 1
    overlaps = [[_overlap(want, place, named) for place in given] for want in expected]
    # a hit first, then the larger overlap
    gains: Sequence[Sequence[float]] = [[(o >= THRESHOLD) * 2 + o for o in row] for row in overlaps]
    pairs = assign(gains)
    hits = sum(overlaps[i][j] >= THRESHOLD for i, j in pairs)
    mean = sum(overlaps[i][j] for i, j in pairs) / len(expected)
    return Verdict(2 * hits / (len(expected) + len(given)), {"iou": mean, "boxes": len(expected)})


def _overlap(want: Placed, given: Placed, named: bool) -> float:
    return 0.0 if named and want.name != given.name else iou(want.box, given.box)

"""Cards of a report: the pictures, the question, what was expected and what was answered. Worst answers first."""

from __future__ import annotations

import base64
import hashlib
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from html import escape
from pathlib import Path

from PIL import Image

from internvl.errors import InternVLError
from internvl.evaluation.box_metrics import find_boxes
from internvl.evaluation.item import CLIP_FRAMES, EvalSample, EvalSet
from internvl.evaluation.journal import Row
from internvl.media.image import load_image
from internvl.media.video import load_video

FAILURES, SUCCESSES = 9, 3
"""Cards of each set."""
MAX_SIDE, PAIR_SIDE, FRAME_SIDE = 480, 175, 150
"""Of thumbnails, in pixels."""
MAX_COMPARED = 1500
"""Letters of texts whose differences are coloured; longer ones take seconds."""
GOOD, BAD = 0.9, 0.5


def choose(rows: Sequence[Row]) -> list[Row]:
    """Return the failures and successes to show: of every task some, of the worst and of the best; worst first.

    Of equal scores those whose hash is smallest, so that the choice is arbitrary but always the same.
    """
    failed = _by_turns((row for row in rows if row["score"] < GOOD), best=False)[:FAILURES]
    right = _by_turns((row for row in rows if row["score"] >= GOOD), best=True)[:SUCCESSES]
    return sorted((*failed, *right), key=lambda row: row["score"])


def _by_turns(rows: Iterable[Row], *, best: bool) -> list[Row]:
    """The first of each task, then the second of each ..., of every sample one before any has two."""
    tasks: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (-row["score"] if best else row["score"], _hash(row))):
        tasks[row["task"]].append(row)
    ranked = [(place, _hash(row), row) for some in tasks.values() for place, row in enumerate(some)]
    ordered = [row for _, _, row in sorted(ranked, key=lambda entry: entry[:2])]
    # other pictures before other questions about the same one
    asked: dict[str, int] = defaultdict(int)
    places = []
    for row in ordered:
        places.append(asked[row["sample"]])
        asked[row["sample"]] += 1
    return [row for _, row in sorted(zip(places, ordered, strict=True), key=lambda entry: entry[0])]


def _hash(row: Row) -> str:
    return hashlib.sha256(f"{row['set']}/{row['id']}".encode()).hexdigest()


def make_cards(source: EvalSet, rows: Sequence[Row], beside: dict[str, Row]) -> str:
    """Return the HTML of the chosen answers of a set; `beside`: Tesseract's, by id."""
    samples: dict[str, EvalSample] = {}
    cards = []
    for row in choose(rows):
        name = row["sample"]
        if name not in samples:
            samples[name] = source.make(name)
        cards.append(_card(row, samples[name], beside.get(row["id"])))
    return f'<div class="gallery">{"".join(cards)}</div>'


def grade(score: float) -> str:
    """Return the class of a score: good, mid, bad."""
    return "good" if score >= GOOD else "mid" if score >= BAD else "bad"


def _card(row: Row, sample: EvalSample, theirs: Row | None) -> str:
    entries = [("asked", f'<dd class="question" dir="auto">{escape(row["question"])}</dd>')]
    if sample.items[row["turn"]].question == row["question"]:
        media = _media(sample, row)
    else:
        media = "<small>the set has changed since this was answered</small>"
    expected, answer = compare(row["expected"], row["answer"])
    entries.append(("expected", f'<dd dir="auto">{expected}</dd>'))
    if row.get("alternatives"):
        entries.append(("or", f'<dd dir="auto">{escape(" | ".join(row["alternatives"]))}</dd>'))
    entries.append(("answer", f'<dd dir="auto">{answer or "<i>nothing</i>"}</dd>'))
    if row["finish_reason"] != "stop":
        why = row.get("message") or f"ended by {row['finish_reason']} after {row['tokens']} tokens"
        entries.append(("note", f"<dd>{escape(why)}</dd>"))
    if theirs is not None:
        entries.append(
            (
                f"tesseract {theirs['score']:.2f}",
                f'<dd dir="auto">{compare(row["expected"], theirs["answer"])[1]}</dd>',
            )
        )
    words = "".join(f"<dt>{name}</dt>{text}" for name, text in entries)
    about = f"{row['task']}, {row['metric']}, {row['lang']}, {row['id']}"
    return (
        f'<article class="card {grade(row["score"])}"><header><span>{escape(about)}</span>'
        f'<b>{row["score"]:.2f}</b></header><div class="media">{media}</div><dl>{words}</dl></article>'
    )


def compare(expected: str, answer: str) -> tuple[str, str]:
    """Return both texts as HTML, with what differs marked: missing letters in the first, wrong ones in the second."""
    if max(len(expected), len(answer)) > MAX_COMPARED:
        return escape(expected), escape(answer)
    left, right = [], []
    for kind, a0, a1, b0, b1 in SequenceMatcher(None, expected, answer, autojunk=False).get_opcodes():
        a, b = escape(expected[a0:a1]), escape(answer[b0:b1])
        left.append(a if kind == "equal" or not a else f"<ins>{a}</ins>")
        right.append(b if kind == "equal" or not b else f"<del>{b}</del>")
    return "".join(left), "".join(right)


def _media(sample: EvalSample, row: Row) -> str:
    try:
        images = _open(sample)
    except InternVLError as error:
        return f"<small>{escape(str(error))}</small>"
    side = FRAME_SIDE if sample.clip else MAX_SIDE if len(images) == 1 else PAIR_SIDE
    # boxes of several pictures do not say which one they are in
    boxes = _boxes(row) if len(images) == 1 and row["metric"].startswith("iou") else ""
    return "".join(_figure(image, side, boxes) for image in images)


def _open(sample: EvalSample) -> list[Image.Image]:
    if sample.clip and isinstance(sample.media[0], Path):
        return list(load_video(sample.media[0], num_frames=CLIP_FRAMES))
    return [load_image(picture) if isinstance(picture, Path) else picture for picture in sample.media]


def _boxes(row: Row) -> str:
    shapes = []
    for kind, text in (("want", row["expected"]), ("got", row["answer"])):
        for place in find_boxes(text):
            x0, y0, x1, y1 = place.box
            shapes.append(
                f'<rect class="{kind}" x="{x0:g}" y="{y0:g}" width="{x1 - x0:g}" height="{y1 - y0:g}">'
                f"<title>{escape(place.name)}</title></rect>"
            )
    return f'<svg viewBox="0 0 1000 1000" preserveAspectRatio="none">{"".join(shapes)}</svg>'


def _figure(image: Image.Image, side: int, boxes: str) -> str:
    shown = image.convert("RGB")
    shown.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    shown.save(buffer, "JPEG", quality=80)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<figure><img src="data:image/jpeg;base64,{data}" alt="" loading="lazy">{boxes}</figure>'

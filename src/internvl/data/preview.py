"""One self-contained page that shows samples: pictures with the boxes of their truth, turns, truth.

Called by `internvl data make --preview`. Nothing is loaded from elsewhere; boxes are SVG over the picture and can be
switched off, so that what is read is what the model sees.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from PIL import Image

from internvl.data.sample import DataSample, Json

MAX_SIDE = 1600
"""Larger pictures are shown smaller, so that a page of samples opens quickly."""


def find_boxes(truth: Json, label: str = "") -> Iterator[tuple[str, Sequence[float]]]:
    """Yield (label, pixel box) of every `box` in a truth, whatever holds it."""
    if isinstance(truth, dict):
        name = str(truth.get("role") or truth.get("name") or truth.get("key") or label)
        for key, value in truth.items():
            if key == "box":
                yield name, value
            else:
                yield from find_boxes(value, key)
    elif isinstance(truth, list):
        for value in truth:
            yield from find_boxes(value, label)


def _picture(image: Image.Image, boxes: Sequence[tuple[str, Sequence[float]]]) -> str:
    scale = min(1.0, MAX_SIDE / max(image.size))
    shown = image if scale == 1 else image.resize((round(image.width * scale), round(image.height * scale)))
    buffer = io.BytesIO()
    shown.save(buffer, "JPEG", quality=85)
    data = base64.b64encode(buffer.getvalue()).decode()
    hues: dict[str, int] = {}
    shapes = []
    for label, (x0, y0, x1, y1) in boxes:
        # the golden angle keeps neighbours apart
        hue = hues.setdefault(label, round(137.5 * len(hues)) % 360)
        shapes.append(
            f'<rect x="{x0:.1f}" y="{y0:.1f}" width="{x1 - x0:.1f}" height="{y1 - y0:.1f}" '
            f'style="--hue:{hue}"><title>{escape(label)}</title></rect>'
        )
    w, h = image.size
    return (
        f'<figure style="aspect-ratio:{w}/{h};max-width:{w}px"><img src="data:image/jpeg;base64,{data}" alt="">'
        f'<svg viewBox="0 0 {w} {h}" preserveAspectRatio="none">{"".join(shapes)}</svg>'
        f"<figcaption>{w} x {h}</figcaption></figure>"
    )


def _sample(number: int, sample: DataSample) -> str:
    images = sample.images
    # a truth of several pictures says which one a box belongs to by its place in `pictures`
    per_picture = sample.truth.get("pictures") if len(images) > 1 else None
    pictures = "".join(
        _picture(image, list(find_boxes(per_picture[i] if per_picture else sample.truth)))
        if len(images) == 1 or per_picture
        else _picture(image, [])
        for i, image in enumerate(images)
    )
    turns = "".join(
        f'<dt dir="auto">{escape(turn.question)}</dt><dd dir="auto"><pre>{escape(turn.answer)}</pre>'
        f"<small>{escape(turn.metric)}</small></dd>"
        for turn in sample.turns
    )
    truth = json.dumps(sample.truth, ensure_ascii=False, indent=1)
    return (
        f"<article><header><b>{escape(sample.skill)}</b> {number}<span>{escape(sample.language)}</span></header>"
        f'<div class="pictures">{pictures}</div><div class="words"><dl>{turns}</dl>'
        f"<details><summary>truth</summary><pre>{escape(truth)}</pre></details></div></article>"
    )


def write_preview(path: Path, samples: Iterable[DataSample], *, title: str) -> None:
    """Write the page."""
    articles = [_sample(number, sample) for number, sample in enumerate(samples)]
    page = files("internvl.data").joinpath("preview.html").read_text(encoding="utf8")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        page.replace("{{title}}", escape(title)).replace("{{samples}}", "\n".join(articles)), encoding="utf8"
    )

"""What stands on disk: a sample as the family's row, and shards of rows and pictures in three formats.

Called by `data.writer`; `training_row` also by who draws samples on the fly.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from internvl.data.sample import DataSample, Json
from internvl.errors import MissingDependencyError

JPEG_QUALITY = 92
"""High, and no colour subsampling: skills wear pictures themselves where they want wear."""


def training_row(sample: DataSample, name: str, images: Sequence[str]) -> dict[str, Json]:
    """Return the family's row of a sample whose pictures are stored under `images`.

    Every picture's placeholder stands before the first question, numbered as the family numbers several.
    """
    if sample.video:
        head = "<video>\n"
    elif len(images) == 1:
        head = "<image>\n"
    else:
        head = "".join(f"Image-{n}: <image>\n" for n in range(1, len(images) + 1))
    conversations = []
    for turn in sample.turns:
        conversations += [
            {"from": "human", "value": head + turn.question},
            {"from": "gpt", "value": turn.answer},
        ]
        head = ""
    row: dict[str, Json] = {"id": name}
    if sample.video:
        row["video"] = os.path.dirname(images[0]) + "/"  # a folder of frames
    elif images:
        widths, heights = [i.width for i in sample.images], [i.height for i in sample.images]
        several = len(images) > 1
        row["image"] = list(images) if several else images[0]
        row["width"], row["height"] = (widths, heights) if several else (widths[0], heights[0])
    return {**row, "conversations": conversations}


def truth_row(sample: DataSample, name: str) -> dict[str, Json]:
    """Return what is true about a sample, and how its turns are judged."""
    return {
        "id": name,
        "skill": sample.skill,
        "language": sample.language,
        "metrics": [turn.metric for turn in sample.turns],
        "sizes": [list(image.size) for image in sample.images],
        "truth": sample.truth,
    }


@dataclass(slots=True)
class Shard:
    """Rows, truths and encoded pictures of one shard, ready to be stored."""

    rows: list[dict[str, Json]]
    truths: list[dict[str, Json]]
    pictures: list[list[tuple[str, bytes]]]
    """Per sample: path below the output folder, JPEG bytes."""


def encode(image: Image.Image) -> bytes:
    """Return a picture as JPEG, gray ones with one channel."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def replace(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file under another name and rename it: what stands under its name is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    write(unfinished)
    unfinished.replace(path)


def write_text(path: Path, text: str) -> None:
    """Write a text file."""
    path.write_text(text, encoding="utf8")


def write_lines(path: Path, rows: Sequence[Json]) -> None:
    """Write JSON, one row a line."""
    path.write_text("".join(dumps(row) + "\n" for row in rows), encoding="utf8")


def dumps(value: Json) -> str:
    """Return compact JSON that keeps every script readable."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def write_tar(path: Path, made: Shard) -> None:
    """Write a shard as WebDataset reads it."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for row, truth, pictures in zip(made.rows, made.truths, made.pictures, strict=True):
            # WebDataset: members of one sample share what stands before the first dot
            key = row["id"]
            names = [f"{key}.jpg"] if len(pictures) == 1 else [f"{key}.{n}.jpg" for n in range(len(pictures))]
            inside = {**row}
            if "image" in inside:
                inside["image"] = names[0] if len(names) == 1 else names
            elif "video" in inside:
                inside["video"] = names
            members = [(name, data) for name, (_, data) in zip(names, pictures, strict=True)]
            members += [(f"{key}.json", dumps(inside).encode()), (f"{key}.truth.json", dumps(truth).encode())]
            for name, data in members:
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def write_parquet(path: Path, made: Shard) -> None:
    """Write a shard as one parquet file, pictures inside.

    Raises:
        MissingDependencyError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingDependencyError(
            "format parquet needs pyarrow: pip install 'internvl[train]', or choose --format jsonl"
        ) from error
    columns = {
        "id": [row["id"] for row in made.rows],
        "images": [[{"bytes": data, "path": name} for name, data in pictures] for pictures in made.pictures],
        "conversations": [row["conversations"] for row in made.rows],
        "truth": [dumps(truth) for truth in made.truths],
    }
    pq.write_table(pa.table(columns), path)

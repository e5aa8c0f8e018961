"""The real sets of a data pack: folders with `annotations.jsonl` (files and what is true of them) and `qa.jsonl`.

A row of qa.jsonl: file, task, question, answer, metric, lang; some have alternatives, options, script, labels. `file`
is relative to the pack's root.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from internvl.errors import ConfigError, DataError
from internvl.evaluation.item import EvalSample, Item
from internvl.evaluation.metrics import find_metric
from internvl.evaluation.verdict import Truth
from internvl.media.kind import VIDEO_SUFFIXES

PREFIX = "shared:"
_FACTS = ("script", "labels")
"""Keys of questions that figures may be parted by."""
_CANNOT = {".pdf": "a PDF, of which the pack has no picture"}


def find_folders(data: Path) -> dict[str, Path]:
    """Return set name -> folder of every folder below `data` that has questions.

    Raises:
        ConfigError: Two folders of the same name, or `data` is no folder.
    """
    if not data.is_dir():
        raise ConfigError(f"{data} is no folder; --shared names the folder that holds data/")
    folders: dict[str, Path] = {}
    for path in sorted(data.glob("**/qa.jsonl")):
        name = PREFIX + path.parent.name
        if name in folders:
            raise ConfigError(
                f"{folders[name]} and {path.parent} have the same name; sets need different ones"
            )
        folders[name] = path.parent
    return folders


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedSet:
    """The questions of one folder; those about the same file are one sample, whose id is the file's name."""

    name: str
    data: Path
    samples: Mapping[str, tuple[Item, ...]]
    files: Mapping[str, Path]
    """Sample id -> file below `data`."""
    skipped: Mapping[str, int] = field(default_factory=dict)

    @property
    def sample_ids(self) -> Sequence[str]:
        """Names of the files."""
        return list(self.samples)

    @property
    def costly(self) -> bool:
        """Nothing but a path is handed on."""
        return False

    def make(self, sample_id: str) -> EvalSample:
        """Return the sample of a file."""
        path = self.data / self.files[sample_id]
        clip = path.suffix.lower() in VIDEO_SUFFIXES or path.suffix.lower() == ".gif"
        return EvalSample(id=sample_id, media=(path,), items=self.samples[sample_id], clip=clip)


def load_shared_set(data: Path, folder: Path, count: int | None = None) -> SharedSet:
    """Read a folder's questions.

    Args:
        data: The pack's root.
        folder: Below it.
        count: Most files; fewer than there are: drawn by their names' hashes, the same ones every time.

    Raises:
        DataError: A row that cannot be read, with its line.
    """
    truths = {row["file"]: row for row in _rows(folder / "annotations.jsonl", ("file",))}
    questions: dict[str, list[Item]] = {}
    skipped: Counter[str] = Counter()
    for row in _rows(folder / "qa.jsonl", ("file", "question", "answer", "metric")):
        file = Path(row["file"])
        reason = _CANNOT.get(file.suffix.lower())
        if reason is None and not (data / file).is_file():
            reason = "the file is not there"
        if reason:
            skipped[reason] += 1
            continue
        questions.setdefault(row["file"], []).append(_item(row, truths.get(row["file"], {})))
    chosen = list(questions)
    if count is not None and count < len(chosen):
        chosen = sorted(chosen, key=lambda name: hashlib.sha256(name.encode()).digest())[:count]
    # base names are shorter and, in a folder, nearly always different
    short = Counter(Path(file).name for file in questions)
    ids = {file: Path(file).name if short[Path(file).name] == 1 else file for file in chosen}
    return SharedSet(
        name=PREFIX + folder.name,
        data=data,
        samples={ids[file]: tuple(questions[file]) for file in chosen},
        files={ids[file]: Path(file) for file in chosen},
        skipped=skipped,
    )


def _rows(path: Path, wanted: Sequence[str]) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf8") as file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(f"{path}:{number} is no JSON: {error}") from error
            missing = [key for key in wanted if key not in row]
            if missing:
                raise DataError(f"{path}:{number} has no {', '.join(missing)}")
            yield row


def _item(row: Mapping[str, Any], truth: Mapping[str, Any]) -> Item:
    # "iou@0.5 (0-1000 normalised xyxy)": what stands in brackets is a note for people
    metric = row["metric"].partition(" (")[0]
    find_metric(metric)
    facts = {key: row[key] for key in _FACTS if key in row}
    objects = truth.get("objects", truth.get("boxes"))
    if isinstance(objects, list):
        facts["objects"] = len(objects)
    return Item(
        question=row["question"],
        truth=Truth(
            text=_text(row["answer"]),
            alternatives=tuple(row.get("alternatives", ())),
            options=tuple(row.get("options", ())),
        ),
        metric=metric,
        task=row.get("task") or metric,
        language=row.get("lang", "en"),
        facts=facts,
    )


def _text(answer: Any) -> str:
    """A box as the text that boxes are read from; several passages as the metrics part them; the rest as it is."""
    if isinstance(answer, list):
        return "|".join(answer) if all(isinstance(part, str) for part in answer) else json.dumps(answer)
    return str(answer)

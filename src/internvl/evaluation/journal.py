"""A run's folder: what was asked for, and every answer as one line of JSON, written when it is there.

OUT/run.json          what was asked for; the same command goes on, another one is refused
OUT/answers.jsonl     set, id, question, expected, answer, metric, score ... one line an answer
OUT/tesseract.jsonl   the same of Tesseract, if it was asked for
OUT/figures.json, OUT/report.html
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from internvl.errors import ConfigError
from internvl.evaluation.asking import Answered
from internvl.evaluation.item import EvalSample
from internvl.evaluation.metrics import judge

Row = dict[str, Any]
"""A line of answers.jsonl; its keys stand in docs/evaluation.md."""


def read_rows(path: Path) -> list[Row]:
    """Return the whole lines of a file, none if there is no file. What a killed run left half written is no line."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    rows = []
    for number, line in enumerate(lines[:-1], 1):  # behind the last line's end: nothing, or half a line
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise ConfigError(
                f"{path}:{number} is no JSON ({error}); delete that line, or name another --out"
            ) from error
    return rows


def digest(sample: EvalSample) -> str:
    """Return a short hash of a sample's pictures and questions; of a file its size."""
    found = hashlib.sha256()
    for picture in sample.media:
        if isinstance(picture, Path):
            found.update(f"{picture.name} {picture.stat().st_size}".encode())
        else:
            found.update(repr((picture.mode, picture.size)).encode() + picture.tobytes())
    found.update(repr([(item.question, item.truth) for item in sample.items]).encode())
    return found.hexdigest()[:16]


class Journal:
    """Appends lines to a file; a context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = read_rows(path)
        """What was there, and what has been written since."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = path.open("ab")
        size = self._file.tell()
        whole = path.read_bytes().rfind(b"\n") + 1
        if whole != size:
            self._file.truncate(whole)

    def append(self, row: Row) -> None:
        """Write a line; it is on its way to the disk when this returns."""
        self._file.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
        self._file.flush()
        self.rows.append(row)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def check_same(out: Path, wanted: Mapping[str, Any], sets: Mapping[str, str]) -> None:
    """Note what was asked for in OUT/run.json; refuse a folder that holds answers to something else.

    Args:
        out: The run's folder.
        wanted: Settings, which must be the same.
        sets: Name -> digest of a set's first sample. Sets may be added; one of the same name must be the same, which it
            is not when the code or the fonts that draw it have changed.

    Raises:
        ConfigError: The folder was made with other settings, by another model, or from other sets.
    """
    note = out / "run.json"
    now = json.loads(json.dumps(wanted)) | {"sets": dict(sets)}
    if note.exists():
        before = json.loads(note.read_text(encoding="utf8"))
        changed = [
            f"{key} {before.get(key)!r}, now {now.get(key)!r}"
            for key in dict.fromkeys((*before, *now))
            if key != "sets" and before.get(key) != now.get(key)
        ]
        changed += [
            f"another {name}, whose pictures are drawn otherwise now"
            for name, seen in before["sets"].items()
            if now["sets"].setdefault(name, seen) != seen
        ]
        if changed:
            raise ConfigError(
                f"{out} holds answers of a run with {'; '.join(changed)}. Name another --out, or delete the folder"
            )
    out.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(now, indent=2, ensure_ascii=False) + "\n", encoding="utf8")


def make_row(set_name: str, sample: EvalSample, number: int, answer: Answered) -> Row:
    """Judge an answer and return its line of answers.jsonl."""
    item = sample.items[number]
    verdict = judge(item.metric, answer.text, item.truth)
    row: Row = {
        "set": set_name,
        "id": f"{sample.id}.{number}",
        "sample": sample.id,
        "turn": number,
        "turns": len(sample.items),
        "task": item.task,
        "lang": item.language,
        "question": item.question,
        "expected": item.truth.text,
        "answer": answer.text,
        "metric": item.metric,
        "score": round(verdict.score, 6),
        "details": {key: round(value, 6) for key, value in verdict.details.items()},
        "finish_reason": answer.finish_reason,
        "tokens": answer.num_tokens,
        "prompt_tokens": answer.num_prompt_tokens,
        "seconds": round(answer.seconds, 3),
    }
    optional = {
        "alternatives": list(item.truth.alternatives),
        "options": list(item.truth.options),
        "facts": {**sample.facts, **item.facts},
        "message": answer.message,
    }
    return row | {key: value for key, value in optional.items() if value}

"""A run's folder: what was asked for, and every answer as one line of JSON, written when it is there.

OUT/run.json          what was asked for; the same command goes on, another one is refused
OUT/answers.jsonl     set, id, question, expected, answer, metric, score ... one line an answer
OUT/tesseract.jsonl   the same of Tesseract, if it was asked for
OUT/figures.json, OUT/report.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from internvl.errors import ConfigError

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


def check_same(out: Path, wanted: Mapping[str, Any]) -> None:
    """Note what was asked for in OUT/run.json; refuse a folder that holds answers to something else.

    Raises:
        ConfigError: The folder was made with other settings, or by another model.
    """
    note = out / "run.json"
    wanted = json.loads(json.dumps(wanted))
    if note.exists():
        before = json.loads(note.read_text(encoding="utf8"))
        changed = [
            f"{key} {before.get(key)!r}, now {wanted.get(key)!r}"
            for key in dict.fromkeys((*before, *wanted))
            if before.get(key) != wanted.get(key)
        ]
        if changed:
            raise ConfigError(
                f"{out} holds answers of a run with {'; '.join(changed)}. Name another --out, or delete the folder"
            )
    out.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(wanted, indent=2, ensure_ascii=False) + "\n", encoding="utf8")

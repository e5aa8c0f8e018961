"""Which data sets a run draws from: the family's meta JSON, the same in a recipe, or row files by themselves.

In: `{"name": {"root": ..., "annotation": ..., "repeat_time": ..., ...}}`. Out: `SourceSpec`s, every field checked.
A relative path is looked for beside the meta file, then in the working folder. Called by `train.dataset`.
"""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from internvl.data.sample import SPLITS, Split
from internvl.errors import ConfigError
from internvl.preprocess.messages import nearest

FileFormat = Literal["jsonl", "parquet", "tar"]
#: Ending of a file -> how it is read.
FILE_FORMATS: Mapping[str, FileFormat] = {".jsonl": "jsonl", ".parquet": "parquet", ".tar": "tar"}
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSpec:
    """One data set, as a meta file describes it."""

    name: str
    files: tuple[Path, ...] = ()
    """Row files, all of one format; empty for generated data."""
    root: str = ""
    """Before the names of pictures and videos: a folder or a URL; "": beside the row file."""
    data_augment: bool = False
    """Compress tiles as JPEG of random quality, 75 to 100, as the reference does."""
    min_tiles: int | None = None
    """Of one picture; None: as the run's configuration says. In the file: min_dynamic_patch."""
    max_tiles: int | None = None
    """In the file: max_dynamic_patch."""
    repeat_time: float = 1.0
    """How often an epoch holds each row; below 1, the share of rows that an epoch holds."""
    weight: float | None = None
    """Share in an endless mixture, relative to the others; None: rows times repeat_time."""
    length: int | None = None
    """Rows, as the file says; generated data has as many in an epoch. Row files are counted anyway."""
    generated: str | None = None
    """A skill of `internvl.data.skills` whose samples are made as they are needed."""
    seed: int = 0
    """Of generated data."""
    split: Split = "train"
    """Of generated data."""
    tasks: tuple[str, ...] = ()
    """Of generated data: the kinds of questions to keep (`Turn.task`, e.g. "colour"); empty: all."""
    skip_tasks: tuple[str, ...] = ()
    """Of generated data: the kinds of questions to leave out."""

    def asks(self, task: str) -> bool:
        """Whether questions of this kind are wanted."""
        return task not in self.skip_tasks and (not self.tasks or task in self.tasks)

    @property
    def format(self) -> FileFormat | Literal["generated"]:
        """How the rows are read."""
        return "generated" if self.generated is not None else FILE_FORMATS[self.files[0].suffix]


#: Key of a meta file -> field; keys that say nothing here are let through where the family's files have them.
_KEYS = {field.name: field.name for field in fields(SourceSpec) if field.name not in ("name", "files")} | {
    "min_dynamic_patch": "min_tiles",
    "max_dynamic_patch": "max_tiles",
}
_IGNORED = ("conv_style", "description", "comment")


def read_sources(
    meta: Sequence[str | Path] = (), inline: Mapping[str, Mapping[str, Any]] | None = None, *, root: str = ""
) -> tuple[SourceSpec, ...]:
    """Return the data sets of meta files, of row files, and of a table of the same form as a meta file's.

    Args:
        meta: Meta files (.json), or row files (.jsonl, .parquet, .tar; `*` and `{000..012}` stand for several).
        inline: As in a meta file; relative paths count from the working folder.
        root: Where the media of row files lie; "": beside each file.

    Raises:
        ConfigError: A file is missing, a key unknown, a value impossible, or a name is there twice.
    """
    specs: list[SourceSpec] = []
    for entry in meta:
        path = Path(entry).expanduser()
        if path.suffix == ".json":
            table = _read_json(path)
            specs += [_spec(name, entry, path.parent, str(path)) for name, entry in table.items()]
        else:
            files = _expand(str(path), Path(), str(path))
            specs.append(SourceSpec(name=_name(path), files=files, root=root))
    specs += [_spec(name, entry, Path(), "sources") for name, entry in (inline or {}).items()]
    if not specs:
        raise ConfigError("no training data: name a meta file, row files, or sources")
    names = [spec.name for spec in specs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"data sets of the same name: {', '.join(twice)}. Rename them in their meta files")
    return tuple(specs)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the meta file: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: no JSON: {error}") from None
    if not isinstance(table, dict) or not all(isinstance(entry, dict) for entry in table.values()):
        raise ConfigError(
            f'{path}: expected {{"name": {{"root": ..., "annotation": ...}}}}. A list of rows is no meta file: '
            "write one row a line into a .jsonl file"
        )
    return table


def _name(path: Path) -> str:
    plain = re.sub(r"[*{}.]+", "-", path.name.removesuffix(path.suffix)).strip("-")
    return plain or path.parent.name or "rows"


def _spec(name: str, entry: Mapping[str, Any], beside: Path, file: str) -> SourceSpec:
    where = f"{file}: {name}"
    values: dict[str, Any] = {}
    for key, value in entry.items():
        if key == "annotation" or key in _IGNORED:
            continue
        if key not in _KEYS:
            raise ConfigError(f"{where} has an unknown key {key!r}. {nearest(key, ('annotation', *_KEYS))}")
        if value is not None:
            values[_KEYS[key]] = _check(_KEYS[key], value, f"{where}.{key}")
    annotation = entry.get("annotation")
    if (annotation is None) == ("generated" not in values):
        raise ConfigError(f"{where}: expected either annotation (row files) or generated (a skill)")
    files: tuple[Path, ...] = ()
    if annotation is not None:
        listed = annotation if isinstance(annotation, list) else [annotation]
        if not listed or not all(isinstance(item, str) for item in listed):
            raise ConfigError(
                f"{where}.annotation is {annotation!r}; expected a file's name, or a list of them"
            )
        files = tuple(path for item in listed for path in _expand(item, beside, f"{where}.annotation"))
    for key in ("tasks", "skip_tasks"):
        if key in values and annotation is not None:
            raise ConfigError(f"{where}.{key}: only generated data knows what kind a question is")
    if values.get("root") and "://" not in values["root"]:
        values["root"] = str(_beside(values["root"], beside))
    spec = SourceSpec(name=name, files=files, **values)
    if spec.min_tiles and spec.max_tiles and spec.min_tiles > spec.max_tiles:
        raise ConfigError(
            f"{where}: min_dynamic_patch {spec.min_tiles} exceeds max_dynamic_patch {spec.max_tiles}"
        )
    return spec


def _check(field: str, value: Any, where: str) -> Any:
    """Return a value of the right type, or say what was expected."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    whole = number and value == int(value)
    kinds = (
        isinstance(value, list) and value and all(isinstance(item, str) for item in value),
        "a list of kinds of questions",
    )
    expected = {
        "root": (isinstance(value, str), "a text"),
        "generated": (isinstance(value, str), "a skill's name"),
        "data_augment": (isinstance(value, bool), "true or false"),
        "repeat_time": (number and value > 0, "a number above 0"),
        "weight": (number and value > 0, "a number above 0"),
        "split": (value in SPLITS, " or ".join(SPLITS)),
        "seed": (whole and value >= 0, "a whole number from 0"),
        "tasks": kinds,
        "skip_tasks": kinds,
    }
    ok, words = expected.get(field, (whole and value >= 1, "a whole number from 1"))
    if not ok:
        raise ConfigError(f"{where} is {value!r}; expected {words}")
    if field in ("repeat_time", "weight"):
        return float(value)
    if isinstance(value, list):
        return tuple(value)
    return int(value) if number else value


def _expand(pattern: str, beside: Path, where: str) -> tuple[Path, ...]:
    """Return the files that a name, a `*` or a `{000..012}` stands for, in order."""
    span = _RANGE.search(pattern)
    if span is not None:
        first, last = span.groups()
        numbers = range(int(first), int(last) + 1)
        names = [f"{pattern[: span.start()]}{n:0{len(first)}d}{pattern[span.end() :]}" for n in numbers]
        files = [_beside(name, beside) for name in names]
    elif glob.has_magic(pattern):
        found = glob.glob(str(_beside(pattern, beside))) or glob.glob(pattern)
        files = [Path(name) for name in sorted(found)]
    else:
        files = [_beside(pattern, beside)]
    missing = [file for file in files if not file.is_file()]
    if missing or not files:
        raise ConfigError(f"{where}: no such file: {missing[0] if missing else pattern}")
    if len({file.suffix for file in files}) > 1 or files[0].suffix not in FILE_FORMATS:
        raise ConfigError(
            f"{where}: {files[0].name} ... expected files of one kind: {', '.join(FILE_FORMATS)}"
        )
    return tuple(files)


def _beside(name: str, folder: Path) -> Path:
    """Return a path beside the meta file if it is there, otherwise as it counts from the working folder."""
    path = Path(name).expanduser()
    if path.is_absolute():
        return path
    return folder / path if (folder / path).exists() or not path.exists() else path

"""Data sets whose rows can be read by number: JSONL files, and samples that a skill makes; opens the others too.

In: a `SourceSpec`. Out: a `Source`. Rows are read one at a time from where they lie, in any order; nothing but the
places of the lines is kept in memory. Called by `train.dataset`.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from internvl.data.sample import Assets, DataSample
from internvl.data.shards import training_row
from internvl.data.skills import load_skill, make_sample
from internvl.errors import ConfigError, DataError
from internvl.train.meta import SourceSpec
from internvl.train.rows import Resolve, Row, parse_row

#: Rows that an epoch of generated data has if nobody says how many.
GENERATED_LENGTH = 10_000
#: Samples that are drawn until one asks what is wanted (`SourceSpec.tasks`).
MAX_DRAWN = 50
_OTHER_SEED = 1_000_003
_CHUNK_BYTES = 1 << 24


class RawRow(NamedTuple):
    """A row as its file has it: the arguments of `parse_row`."""

    row: Any
    where: str
    resolve: Resolve


class Source(ABC):
    """Rows by number."""

    spec: SourceSpec
    endless = False
    """Whether there is a row for every number: `__len__` is then only what an epoch holds."""

    @abstractmethod
    def __len__(self) -> int:
        """Rows."""

    @abstractmethod
    def find(self, index: int) -> RawRow:
        """Return a row as it is stored, nothing checked but that it can be read.

        Raises:
            DataError: It cannot be; the message begins with its file and line.
        """

    def read(self, index: int) -> Row:
        """Return a row.

        Raises:
            DataError: The row cannot be used; the message begins with its file and line.
        """
        return parse_row(*self.find(index))

    @property
    def blocks(self) -> Sequence[int]:
        """Numbers of neighbouring rows that are best read together; they add up to the length."""
        return (len(self),)


def open_source(spec: SourceSpec, assets: Assets) -> Source:
    """Open a data set; row files are looked through once, to find their rows.

    Raises:
        ConfigError: A file cannot be read or holds no row, or there is no such skill.
        MissingDependencyError: Parquet files, and pyarrow is not installed.
    """
    if spec.format == "generated":
        return GeneratedSource(spec, assets)
    source: Source
    if spec.format == "jsonl":
        source = JsonlSource(spec)
    elif spec.format == "parquet":
        from internvl.train.parquet_source import ParquetSource  # pyarrow loads only when it is used

        source = ParquetSource(spec)
    else:
        from internvl.train.tar_source import TarSource

        source = TarSource(spec)
    if not len(source):
        raise ConfigError(f"{spec.name}: {spec.files[0]} holds no row")
    return source


class JsonlSource(Source):
    """Rows of JSON, one a line."""

    def __init__(self, spec: SourceSpec) -> None:
        self.spec = spec
        self._lines = [_find_lines(path) for path in spec.files]
        self._resolve = [resolver(spec.root, path) for path in spec.files]
        self._ends = np.cumsum([len(lines) for lines in self._lines]).tolist()

    def __len__(self) -> int:
        return int(self._ends[-1])

    def find(self, index: int) -> RawRow:
        """Return row `index`, counted over all files; empty lines do not count."""
        file = bisect_right(self._ends, index)
        start, end, number = self._lines[file][index - (self._ends[file - 1] if file else 0)].tolist()
        path = self.spec.files[file]
        where = f"{path}:{number}"
        try:
            with path.open("rb") as stream:
                stream.seek(start)
                line = stream.read(end - start)
        except OSError as error:
            raise DataError(f"{where}: cannot read the file: {error.strerror}") from error
        return RawRow(_json(line, where), where, self._resolve[file])


class GeneratedSource(Source):
    """Samples of a skill, made when they are asked for; no two numbers give the same."""

    endless = True

    def __init__(self, spec: SourceSpec, assets: Assets) -> None:
        assert spec.generated is not None
        self.spec, self.skill, self.assets = spec, spec.generated, assets
        load_skill(self.skill)  # a wrong name shows before any work

    def __len__(self) -> int:
        return self.spec.length or GENERATED_LENGTH

    def find(self, index: int) -> RawRow:
        """Make sample `index`, with the questions that are wanted."""
        return self._row(self._make(index), index)

    def read(self, index: int) -> Row:
        """The same, with what lies where in the pictures."""
        sample = self._make(index)
        row = parse_row(*self._row(sample, index))
        return replace(row, glyphs=tuple(sample.glyphs), things=tuple(sample.things))

    def _row(self, sample: DataSample, index: int) -> RawRow:
        names = [f"frames/{n}" for n in range(len(sample.images))]
        pictures = dict(zip(names, sample.images, strict=True))

        def resolve(name: str) -> Any:
            return pictures.get(name, sample.images)  # the name of the folder stands for all frames

        where = self._where(index)
        return RawRow(training_row(sample, where, names), where, resolve)

    def _where(self, index: int) -> str:
        return f"{self.skill}({self.spec.split}, seed {self.spec.seed}):{index}"

    def _make(self, index: int) -> DataSample:
        spec, asked = self.spec, set[str]()
        for attempt in range(MAX_DRAWN):
            seed = spec.seed + attempt * _OTHER_SEED
            sample = make_sample(self.skill, seed, index, split=spec.split, assets=self.assets)
            turns = [turn for turn in sample.turns if spec.asks(turn.task)]
            if turns or not sample.turns:
                return replace(sample, turns=turns)
            asked.update(turn.task for turn in sample.turns)
        given = {"tasks": list(spec.tasks), "skip_tasks": list(spec.skip_tasks)}
        wanted = " and ".join(f"{key} = {kinds}" for key, kinds in given.items() if kinds)
        raise DataError(
            f"{self._where(index)}: none of {MAX_DRAWN} samples asks for {wanted}, but for {sorted(asked)}"
        )


def resolver(root: str, file: Path) -> Resolve:
    """Return what finds the media of a row file: absolute paths and URLs as they are, others below `root`."""
    return partial(_find, root or str(file.parent))


def _find(root: str, name: str) -> str:
    if "://" in name or name.startswith(("data:", "/")):
        return name
    return f"{root.rstrip('/')}/{name}" if "://" in root else str(Path(root) / name)


def _json(line: bytes, where: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        shown = line[:60].decode(errors="replace").strip()
        raise DataError(f"{where}: no JSON ({error}): {shown!r}") from None


def _find_lines(path: Path) -> npt.NDArray[np.int64]:
    """Return (rows, 3): first byte, byte after the last, and number from 1 of each line that is not empty."""
    ends: list[npt.NDArray[np.int64]] = []
    size = 0
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                ends.append(np.flatnonzero(np.frombuffer(chunk, dtype=np.uint8) == ord("\n")) + size)
                size += len(chunk)
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the rows: {error.strerror}") from error
    after = np.concatenate([*ends, np.array([size], dtype=np.int64)])
    before = np.concatenate([np.zeros(1, dtype=np.int64), after[:-1] + 1])
    lines = np.stack([before, after, np.arange(1, len(after) + 1)], axis=1)
    lines = lines[after > before]
    if not len(lines):
        return lines
    begins = np.memmap(path, dtype=np.uint8, mode="r")[lines[:, 0]]
    full = np.ones(len(lines), dtype=bool)
    with path.open("rb") as stream:
        for number in np.flatnonzero(begins <= ord(" ")).tolist():  # white space alone is an empty line, too
            start, end, _ = lines[number].tolist()
            stream.seek(start)
            full[number] = bool(stream.read(end - start).strip())
    return lines[full]

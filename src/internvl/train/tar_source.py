"""WebDataset shards: tar files in which `KEY.json` (the row) stands beside `KEY.jpg`, `KEY.0.jpg` and so on.

The headers are read once, to find the members; rows and pictures are then read from where they lie, in any order.
"""

from __future__ import annotations

import json
import tarfile
from bisect import bisect_right
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from internvl.errors import ConfigError, DataError
from internvl.train.meta import SourceSpec
from internvl.train.rows import PICTURE_SUFFIXES
from internvl.train.sources import RawRow, Source, resolver

_VIDEO_SUFFIXES = frozenset((".mp4", ".webm", ".mkv", ".mov", ".avi"))


class _Member(NamedTuple):
    offset: int
    size: int


@dataclass(slots=True)
class _Sample:
    """The members of one key, by their full names, in the order of the file."""

    key: str
    members: dict[str, _Member] = field(default_factory=dict)

    def named(self, suffixes: frozenset[str]) -> list[str]:
        return [name for name in self.members if PurePosixPath(name).suffix.lower() in suffixes]


class TarSource(Source):
    """Rows in tar shards, with their pictures."""

    def __init__(self, spec: SourceSpec) -> None:
        self.spec = spec
        self._samples = [_find_samples(path) for path in spec.files]
        ends: list[int] = []
        for samples in self._samples:
            ends.append((ends[-1] if ends else 0) + len(samples))
        self._ends = ends

    def __len__(self) -> int:
        return self._ends[-1]

    def find(self, index: int) -> RawRow:
        """Return row `index`, counted over all shards."""
        file = bisect_right(self._ends, index)
        path = self.spec.files[file]
        sample = self._samples[file][index - (self._ends[file - 1] if file else 0)]
        where = f"{path}:{sample.key}"
        return _find(path, sample, where, self.spec)


def _find(path: Path, sample: _Sample, where: str, spec: SourceSpec) -> RawRow:
    def content(name: str) -> bytes:
        member = sample.members[name]
        try:
            with path.open("rb") as stream:
                stream.seek(member.offset)
                data = stream.read(member.size)
        except OSError as error:
            raise DataError(f"{where}: cannot read the shard: {error.strerror}") from error
        if len(data) != member.size:
            raise DataError(f"{where}: {name} is cut off; the shard was not written to its end")
        return data

    row_name = f"{sample.key}.json"
    if row_name not in sample.members:
        found = ", ".join(PurePosixPath(name).name for name in sample.members)
        raise DataError(f"{where}: no {PurePosixPath(row_name).name} beside {found}; it holds the row")
    try:
        row = json.loads(content(row_name))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: {row_name} is no JSON: {error}") from None
    if isinstance(row, dict) and not any(row.get(key) for key in ("image", "images", "video")):
        pictures, videos = sample.named(PICTURE_SUFFIXES), sample.named(_VIDEO_SUFFIXES)
        row = {**row, **({"image": pictures} if pictures else {}), **({"video": videos} if videos else {})}

    def find(name: str) -> Any:
        """A member by its full name, its name without folders, or what follows the key."""
        for member in sample.members:
            plain = PurePosixPath(member).name
            if name in (member, plain, member.removeprefix(f"{sample.key}.")):
                return content(member)
        if spec.root or "://" in name:
            return resolver(spec.root, Path())(name)
        raise DataError(f"{where}: there is no {name!r} beside the row. Store it there, or set root")

    return RawRow(row, where, find)


def _find_samples(path: Path) -> list[_Sample]:
    samples: dict[str, _Sample] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if member.isfile():
                    key = _key(member.name)
                    sample = samples.setdefault(key, _Sample(key))
                    sample.members[member.name] = _Member(member.offset_data, member.size)
    except (OSError, tarfile.TarError) as error:
        raise ConfigError(f"{path}: no tar file that can be read: {error}. Unpack .tar.gz first") from error
    return list(samples.values())


def _key(name: str) -> str:
    """What stands before the first dot of the name's last part."""
    folder, slash, plain = name.rpartition("/")
    return folder + slash + plain.split(".", 1)[0]

"""Reading safetensors: one file or shards with an index, memory-mapped, nothing trusted before it is checked.

A header says where each tensor lies; every size and offset is checked against the file before any tensor is
handed out. Tensors are views of a private mapping; `release` lets the kernel take their pages back, so that
copying a model out of its files needs hardly more memory than the model. Pickle formats are refused:
opening one runs code.
"""

from __future__ import annotations

import json
import math
import mmap
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from internvl.config.files import read_json_object
from internvl.errors import CheckpointError

#: safetensors' own limit on the header.
MAX_HEADER_BYTES = 100_000_000
INDEX_NAME = "model.safetensors.index.json"
SINGLE_NAME = "model.safetensors"
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor as its file's header describes it."""

    file: Path
    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    """Byte offset in the file."""
    end: int

    @property
    def size_bytes(self) -> int:
        """Bytes it takes in the file."""
        return self.end - self.begin


class Shards:
    """All tensors of a checkpoint directory by name; use as a context manager."""

    def __init__(self, files: Iterable[Path]) -> None:
        self.infos: dict[str, TensorInfo] = {}
        self.metadata: dict[str, str] = {}
        self._maps: dict[Path, mmap.mmap] = {}
        for file in files:
            infos, metadata = read_header(file)
            for name, info in infos.items():
                if name in self.infos:
                    raise CheckpointError(
                        f"tensor {name} is in both {self.infos[name].file.name} and {file.name} of "
                        f"{file.parent}; the directory mixes two checkpoints. Keep the shards of one."
                    )
                self.infos[name] = info
            self.metadata.update(metadata)

    def __enter__(self) -> Shards:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Tensors still in use keep the mappings alive; otherwise the pages go now.
        self._maps.clear()

    def __contains__(self, name: str) -> bool:
        return name in self.infos

    def __iter__(self) -> Iterator[str]:
        return iter(self.infos)

    def __len__(self) -> int:
        return len(self.infos)

    @property
    def size_bytes(self) -> int:
        """Bytes of all tensors together."""
        return sum(info.size_bytes for info in self.infos.values())

    def tensor(self, name: str) -> Tensor:
        """A view of the file's bytes; writing to it does not reach the file."""
        info = self.infos[name]
        if info.size_bytes == 0:
            return torch.empty(info.shape, dtype=info.dtype)
        count = math.prod(info.shape)
        mapping = self._mapping(info.file)
        if info.begin % info.dtype.itemsize:
            # Allowed by the format though nobody writes it; torch needs aligned storage.
            data = torch.frombuffer(bytearray(mapping[info.begin : info.end]), dtype=info.dtype, count=count)
        else:
            data = torch.frombuffer(mapping, dtype=info.dtype, count=count, offset=info.begin)
        return data.view(info.shape)

    def release(self, name: str, *, begin: int = 0, end: int | None = None) -> None:
        """Give back the memory of a tensor's bytes [begin, end); the next access reads the file again."""
        info = self.infos[name]
        page = mmap.PAGESIZE
        start = (info.begin + begin) // page * page
        stop = info.begin + (info.size_bytes if end is None else end)
        if stop > start and hasattr(mmap, "MADV_DONTNEED"):
            self._mapping(info.file).madvise(mmap.MADV_DONTNEED, start, stop - start)

    def _mapping(self, file: Path) -> mmap.mmap:
        if file not in self._maps:
            with file.open("rb") as handle:
                # Copy-on-write: torch wants writable memory, the file must not change.
                self._maps[file] = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_COPY)
        return self._maps[file]


def open_shards(directory: Path) -> Shards:
    """Open the weights of a checkpoint directory.

    `model.safetensors`, or the shards that `model.safetensors.index.json` names, or else whatever safetensors
    files there are. Raises CheckpointError for unsafe or broken files and for pickle-only directories.
    """
    refuse_links_outside(directory)
    if (directory / SINGLE_NAME).is_file():
        return Shards([directory / SINGLE_NAME])
    if (directory / INDEX_NAME).is_file():
        return _open_index(directory / INDEX_NAME)
    files = sorted(f for f in directory.glob("*.safetensors") if not f.name.startswith("adapter_"))
    if files:
        return Shards(files)
    pickles = sorted(f.name for f in directory.iterdir() if f.suffix in PICKLE_SUFFIXES)
    if pickles:
        raise CheckpointError(
            f"{directory} holds its weights only as pickle files ({', '.join(pickles[:3])}), and reading "
            "a pickle runs whatever code it contains. Use a revision of the checkpoint that has .safetensors "
            "files, or convert them where you trust their source."
        )
    raise CheckpointError(
        f"{directory} holds no weights: expected {SINGLE_NAME}, {INDEX_NAME} with its shards, or another "
        ".safetensors file. If a download was cut off, run it again."
    )


def refuse_links_outside(directory: Path) -> None:
    """Raise CheckpointError for a file of the checkpoint that is a link to somewhere else.

    An unpacked archive could otherwise make us read, or `convert` copy, any file of this machine. The hub's
    cache keeps all its files as links into `models--*/blobs`; those are its own.
    """
    real = directory.resolve()
    for entry in sorted(real.iterdir()):
        if (
            entry.suffix not in (".safetensors", ".json", ".model", ".txt", ".jinja")
            or not entry.is_symlink()
        ):
            continue
        target = Path(os.path.normpath(real / os.readlink(entry)))
        in_cache = target.parent.name == "blobs" and target.parent.parent.name.startswith("models--")
        if not in_cache and not entry.resolve().is_relative_to(real):
            raise CheckpointError(
                f"{entry} is a link to {target}, outside its directory; refused. Copy or hard-link the file into "
                "the directory, or name the directory that holds it."
            )


def _open_index(index: Path) -> Shards:
    weight_map = read_json_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(v, str) for v in weight_map.values()):
        raise CheckpointError(f"{index}: expected a 'weight_map' from tensor names to file names")
    names = sorted(set(weight_map.values()))
    for name in names:
        if Path(name).name != name or name in ("", ".", "..") or "\\" in name:
            raise CheckpointError(
                f"{index} names the file {name!r}, which lies outside its directory; refused"
            )
        if not name.endswith(".safetensors"):
            raise CheckpointError(f"{index} names {name!r}; only .safetensors files are read")
    absent = [name for name in names if not (index.parent / name).is_file()]
    if absent:
        raise CheckpointError(
            f"{index} names {len(names)} files, of which {len(absent)} are missing: {', '.join(absent[:5])}. "
            "Download the checkpoint again (an interrupted download resumes)."
        )
    shards = Shards(index.parent / name for name in names)
    wrong = [
        f"{name} (should be in {file})"
        for name, file in weight_map.items()
        if name not in shards or shards.infos[name].file.name != file
    ]
    if wrong:
        raise CheckpointError(f"{index} does not fit its files: {'; '.join(wrong[:10])}")
    return shards


def read_header(file: Path) -> tuple[dict[str, TensorInfo], dict[str, str]]:
    """Read and check the header of one safetensors file; return its tensors and its metadata."""

    def broken(what: str) -> CheckpointError:
        return CheckpointError(f"{file} is not a sound safetensors file: {what}. Download it again.")

    size = file.stat().st_size
    with file.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        if size < 8 or not 2 <= length <= min(size - 8, MAX_HEADER_BYTES):
            raise broken(f"{size} bytes long, and its header claims {length} bytes")
        raw = handle.read(length)
    try:
        header = json.loads(raw, object_pairs_hook=_no_duplicates)
    except ValueError as error:
        raise broken(f"its header is no valid JSON ({error})") from error
    if not isinstance(header, dict):
        raise broken("its header is no JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        raise broken("its __metadata__ is no JSON object")
    start = 8 + length
    infos = {}
    for name, entry in header.items():
        infos[name] = _tensor_info(file, name, entry, start, broken)
    # Tensors fill the file exactly: no overlaps that alias, no holes that hide bytes, no missing tail.
    position = start
    for name, info in sorted(infos.items(), key=lambda item: (item[1].begin, item[1].end)):
        if info.begin != position:
            raise broken(f"tensor {name} begins at byte {info.begin}, the one before it ends at {position}")
        position = info.end
    if position != size:
        raise broken(f"its tensors end at byte {position}, the file at {size}")
    return infos, {str(key): str(value) for key, value in metadata.items()}


def _tensor_info(file: Path, name: str, entry: Any, start: int, broken: Any) -> TensorInfo:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise broken(f"the entry of tensor {name} is malformed")
    dtype, shape, offsets = DTYPES.get(entry["dtype"]), entry["shape"], entry["data_offsets"]
    if dtype is None:
        raise broken(f"tensor {name} has the unknown dtype {entry['dtype']!r}")
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise broken(f"tensor {name} has the impossible shape {shape}")
    if (
        not isinstance(offsets, list)
        or len(offsets) != 2
        or not all(type(n) is int and n >= 0 for n in offsets)
    ):
        raise broken(f"tensor {name} has the impossible data_offsets {offsets}")
    expected = math.prod(shape) * dtype.itemsize
    if offsets[1] - offsets[0] != expected:
        raise broken(f"tensor {name} {shape} needs {expected} bytes, its data_offsets are {offsets}")
    return TensorInfo(file, dtype, tuple(shape), start + offsets[0], start + offsets[1])


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found

"""Files and directories that are either complete or not there."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from internvl.errors import CheckpointError


@contextmanager
def complete_directory(
    directory: Path, *, overwrite: bool = False, config_name: str = "config.json"
) -> Iterator[Path]:
    """Give a temporary directory to fill, which takes the name `directory` when the block ends well.

    After an error, or a process that died, nothing stands under that name that did not stand there before.
    Only a checkpoint is ever overwritten: a directory that holds `config_name`.
    """
    directory = Path(directory)
    occupied = directory.exists() and (not directory.is_dir() or any(directory.iterdir()))
    if occupied and not overwrite:
        raise CheckpointError(
            f"{directory} exists and is not empty; name a new directory, or ask to overwrite it"
        )
    if occupied and not (directory / config_name).is_file():
        raise CheckpointError(f"{directory} holds something else (no {config_name}) and is not overwritten")
    parent = directory.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{directory.name}.partial-", dir=parent))
    try:
        yield partial
        os.chmod(partial, 0o777 & ~_umask())
        if directory.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{directory.name}.old-", dir=parent))
            os.replace(directory, old / directory.name)
            os.replace(partial, directory)
            shutil.rmtree(old)
        else:
            os.replace(partial, directory)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_json(file: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object, readable and ending in a line end."""
    with file.open("wb") as out:
        out.write((json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())
        to_disk(out)


def to_disk(out: BinaryIO) -> None:
    """Let the disk hold it: the rename that makes a directory complete must not overtake its content."""
    out.flush()
    os.fsync(out.fileno())


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask

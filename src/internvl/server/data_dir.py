"""Where uploaded files and batches lie: one directory, one server at a time, nothing half written."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any, BinaryIO

from internvl.errors import ConfigError


class DataDir:
    """A locked directory. Without a path it is a temporary one, which goes with this object."""

    def __init__(self, path: Path | None) -> None:
        """Raises ConfigError when it cannot be used, or another server uses it."""
        if path is None:
            self.path = Path(tempfile.mkdtemp(prefix="internvl-server-"))
            weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)
        else:
            self.path = path
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock: BinaryIO = (self.path / "lock").open("ab")
            weakref.finalize(self, self._lock.close)
        except OSError as error:
            raise ConfigError(
                f"the data directory {self.path} cannot be used: {error.strerror}; choose another one with --data-dir"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"another server uses the data directory {self.path}; choose another one with --data-dir"
            ) from None

    def folder(self, name: str) -> Path:
        """Return a folder in it, made if it is missing; what was left unfinished there is removed."""
        path = self.path / name
        path.mkdir(exist_ok=True, mode=0o700)
        for unfinished in path.glob("*.part"):
            unfinished.unlink(missing_ok=True)
        return path

    def close(self) -> None:
        """Let another server use it."""
        self._lock.close()


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Put an object into a file; a kill at any moment leaves the old file or the new one."""
    part = path.with_name(f"{path.name}.part")
    with part.open("w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    sync_folder(path.parent)


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in a file of `write_json`; None where there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def sync_folder(path: Path) -> None:
    """Make names in a folder last."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

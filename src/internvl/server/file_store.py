"""Uploaded files and files of answers, on disk: each is its bytes and a few facts, and belongs to one owner.

A file is named by its id, which nobody can guess and which is checked before it becomes a path. Every method
blocks on the disk and may be called from any thread.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from internvl.errors import MediaError
from internvl.media.source import short_name
from internvl.server.data_dir import DataDir, read_json, sync_folder, write_json
from internvl.server.errors import NotFound, TooLarge
from internvl.server.ids import is_id, new_id

PREFIX = "file-"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """What is known of a file."""

    id: str
    owner: str
    filename: str
    """As the client called it; never a path here."""
    purpose: str
    bytes: int
    created_at: int
    expires_at: int | None = None


class FileStore:
    """All files of one server."""

    def __init__(
        self,
        data: DataDir,
        *,
        max_file_bytes: int,
        max_stored_bytes: int,
        max_stored_files: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """The last two bound what one owner may keep."""
        self._folder = data.folder("files")
        self._max_file_bytes = max_file_bytes
        self._max_stored_bytes = max_stored_bytes
        self._max_stored_files = max_stored_files
        self._clock = clock
        self._lock = threading.Lock()
        self._files = {file.id: file for path in self._folder.glob("*.json") if (file := _read(path))}

    def add(
        self,
        source: BinaryIO,
        *,
        owner: str,
        filename: str,
        purpose: str,
        expires_after_s: int | None = None,
        bounded: bool = True,
    ) -> StoredFile:
        """Keep a copy of what `source` holds from where it stands.

        Args:
            source: An open file.
            owner: Whose it is.
            filename: What the client calls it.
            purpose: OpenAI's word for what it is for.
            expires_after_s: After so many seconds it is removed; None: never.
            bounded: Whether the owner's limits count; answers of an accepted batch are kept in any case.

        Raises:
            TooLarge: The file, or what its owner keeps, would be larger than allowed.
        """
        self._remove_expired()
        file_id = new_id(PREFIX)
        part = self._folder / f"{file_id}.part"
        try:
            with part.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
                target.flush()
                os.fsync(target.fileno())
                size = target.tell()
            now = int(self._clock())
            file = StoredFile(
                id=file_id,
                owner=owner,
                filename=filename,
                purpose=purpose,
                bytes=size,
                created_at=now,
                expires_at=None if expires_after_s is None else now + expires_after_s,
            )
            with self._lock:
                if bounded:
                    self._check_room(owner, size)
                os.replace(part, self._data(file_id))
                write_json(self._folder / f"{file_id}.json", asdict(file))
                self._files[file_id] = file
            return file
        finally:
            part.unlink(missing_ok=True)

    def get(self, file_id: str, owner: str) -> StoredFile:
        """Return what is known of an owner's file. Raises NotFound: there is none, or it is another's."""
        self._remove_expired()
        file = self._files.get(file_id)
        if file is None or file.owner != owner:
            raise NotFound(f"there is no file {short_name(file_id)!r}", param="file_id")
        return file

    def path(self, file_id: str, owner: str) -> Path:
        """Return where an owner's file lies. Raises NotFound."""
        return self._data(self.get(file_id, owner).id)

    def read(self, file_id: str, owner: str, max_bytes: int) -> bytes:
        """Return an owner's file. Raises NotFound, or MediaError when it is larger than `max_bytes`."""
        file = self.get(file_id, owner)
        if file.bytes > max_bytes:
            raise MediaError(f"{file_id} has {file.bytes} bytes; a picture or video may have {max_bytes}")
        try:
            return self._data(file_id).read_bytes()
        except FileNotFoundError:  # deleted meanwhile
            raise NotFound(f"there is no file {short_name(file_id)!r}", param="file_id") from None

    def owned_by(self, owner: str, purpose: str | None = None) -> list[StoredFile]:
        """Return an owner's files, the newest first."""
        self._remove_expired()
        with self._lock:
            mine = [file for file in self._files.values() if file.owner == owner]
        mine.sort(key=lambda file: (file.created_at, file.id), reverse=True)
        return [file for file in mine if purpose in (None, file.purpose)]

    def delete(self, file_id: str, owner: str) -> None:
        """Remove an owner's file. Raises NotFound."""
        self.get(file_id, owner)
        with self._lock:
            self._remove(file_id)

    def _check_room(self, owner: str, size: int) -> None:
        mine = [file.bytes for file in self._files.values() if file.owner == owner]
        if size > self._max_file_bytes:
            raise TooLarge(f"the file has {size} bytes; the limit is {self._max_file_bytes}")
        if sum(mine) + size > self._max_stored_bytes or len(mine) >= self._max_stored_files:
            raise TooLarge(
                f"you keep {len(mine)} files of {sum(mine)} bytes; at most {self._max_stored_files} of"
                f" {self._max_stored_bytes} bytes together may be kept. Delete some"
            )

    def _remove_expired(self) -> None:
        now = self._clock()
        with self._lock:
            for file in list(self._files.values()):
                if file.expires_at is not None and file.expires_at <= now:
                    self._remove(file.id)

    def _remove(self, file_id: str) -> None:
        self._files.pop(file_id, None)
        (self._folder / f"{file_id}.json").unlink(missing_ok=True)
        self._data(file_id).unlink(missing_ok=True)
        sync_folder(self._folder)

    def _data(self, file_id: str) -> Path:
        return self._folder / file_id


def _read(path: Path) -> StoredFile | None:
    """Return the facts in a file of theirs; None for what is no such file."""
    facts = read_json(path)
    if facts is None or not is_id(path.stem, PREFIX) or facts.get("id") != path.stem:
        return None
    if not path.with_suffix("").is_file():
        return None
    try:
        return StoredFile(**facts)
    except TypeError:
        return None

"""Path | URL | data: URL | bytes -> a video's bytes where they lie, readable from anywhere.

A local file is read in place, a download goes to a temporary file, bytes stay the caller's: a video is never
copied into memory as a whole.
"""

from __future__ import annotations

import os
import tempfile
import weakref

from internvl.errors import MediaError
from internvl.media.limits import AddressPolicy, MediaLimits
from internvl.media.source import file_url_path, open_file, read_data_url, short_name


class Stored:
    """Bytes on disk or in memory. Readers have a position each, so several may be open at once."""

    def __init__(self, place: bytes | int, name: str) -> None:
        """`place`: the bytes, or a file descriptor, which is closed with this object."""
        self.name = name
        self._place = place
        if isinstance(place, int):
            weakref.finalize(self, os.close, place)

    @property
    def size(self) -> int:
        """Number of bytes."""
        return os.fstat(self._place).st_size if isinstance(self._place, int) else len(self._place)

    def read_at(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from `offset`; less at the end."""
        if isinstance(self._place, int):
            return os.pread(self._place, size, offset)
        return self._place[offset : offset + size]

    def reader(self) -> Reader:
        """Return a new reader at the beginning."""
        return Reader(self)


class Reader:
    """The part of a file object that PyAV uses."""

    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        self._position = 0

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        if size < 0:
            size = max(0, self._stored.size - self._position)
        data = self._stored.read_at(self._position, size)
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move; never before the beginning, whatever a damaged file asks for."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._stored.size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seekable(self) -> bool:
        """Yes."""
        return True

    def readable(self) -> bool:
        """Yes."""
        return True


def open_stored(
    source: str | os.PathLike[str] | bytes, *, limits: MediaLimits, policy: AddressPolicy
) -> Stored:
    """Return a video's bytes; `source` as of `media.source.read_source`.

    Raises:
        MediaError: Missing, unreadable, empty, too large, too slow, or refused by the policy.
    """
    stored = _open(source, limits, policy)
    if not stored.size:
        raise MediaError(f"{stored.name} is empty (0 bytes): expected a video")
    return stored


def _open(source: str | os.PathLike[str] | bytes, limits: MediaLimits, policy: AddressPolicy) -> Stored:
    if isinstance(source, bytes | bytearray | memoryview):
        stored = Stored(bytes(source), f"video in memory ({len(source)} bytes)")
        cap = limits.size_cap("video")
        if stored.size > cap.value:
            raise MediaError(f"{stored.name}: the limit is {cap.value} bytes ({cap.name})")
        return stored
    if isinstance(source, os.PathLike):
        return Stored(*open_file(os.fspath(source), policy))
    if source[:5].lower() == "data:":
        blob = read_data_url(source, limits, "video")
        return Stored(blob.data, blob.name)
    if "://" not in source:
        return Stored(*open_file(source, policy))
    scheme = source.split("://", 1)[0].lower()
    if scheme == "file":
        return Stored(*open_file(file_url_path(source), policy))
    if scheme in ("http", "https"):
        return _download(source, limits, policy)
    raise MediaError(
        f"{short_name(source)}: the scheme {scheme!r} is not read. Use http, https, file or data."
    )


def _download(url: str, limits: MediaLimits, policy: AddressPolicy) -> Stored:
    from internvl.media.fetch import download  # the HTTP stack loads only when a URL is used

    with tempfile.TemporaryFile(prefix="internvl-video-") as file:
        name = download(url, file, limits=limits, policy=policy, kind="video")
        file.flush()
        return Stored(os.dup(file.fileno()), name)  # it has no name on disk and goes with its descriptor

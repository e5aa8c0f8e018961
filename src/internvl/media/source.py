"""Path | http(s) URL | data: URL | file:// URL | bytes -> the bytes of a file, within the limits.

Called by `media.image` (and by readers of video and documents); what the bytes mean is decided there.
Everything that goes wrong is a MediaError of one line that names the source.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from internvl.errors import MediaError
from internvl.media.limits import DEFAULT_LIMITS, DEFAULT_POLICY, AddressPolicy, MediaKind, MediaLimits

#: Names longer than this are shortened in messages.
_MAX_NAME = 120


@dataclass(frozen=True, slots=True)
class Blob:
    """A file in memory and what to call it in messages."""

    data: bytes
    name: str


def read_source(
    source: str | os.PathLike[str] | bytes,
    *,
    limits: MediaLimits = DEFAULT_LIMITS,
    policy: AddressPolicy = DEFAULT_POLICY,
) -> Blob:
    """Return the bytes behind a path, a URL or bytes themselves.

    A text counts as a URL if it starts with `data:` or contains `://`, otherwise as a path (`~` is expanded).

    Raises:
        MediaError: Missing, unreadable, empty, too large, too slow, or refused by the policy.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        blob = Blob(bytes(source), f"picture in memory ({len(source)} bytes)")
        _check_size(len(blob.data), blob.name, limits)
    elif isinstance(source, os.PathLike):
        blob = _read_file(os.fspath(source), limits, policy)
    elif not isinstance(source, str):
        raise MediaError(
            f"cannot read media from {type(source).__name__}: expected a path, a URL, bytes, "
            "a PIL image or a numpy array"
        )
    elif source[:5].lower() == "data:":
        blob = read_data_url(source, limits, "picture")
    elif "://" in source:
        blob = _read_url(source, limits, policy)
    else:
        blob = _read_file(source, limits, policy)
    if not blob.data:
        raise MediaError(f"{blob.name} is empty (0 bytes): expected a picture")
    return blob


def short_name(text: str) -> str:
    """Return text fit for a one-line message: printable, at most `_MAX_NAME` characters."""
    line = "".join(char if char.isprintable() else "?" for char in text[: 4 * _MAX_NAME])
    return line if len(line) <= _MAX_NAME else f"{line[: _MAX_NAME - 20]}...{line[-17:]}"


def _check_size(size: int, name: str, limits: MediaLimits, kind: MediaKind = "picture") -> None:
    cap = limits.size_cap(kind)
    if size > cap.value:
        raise MediaError(
            f"{name} has {size} bytes: the limit is {cap.value} ({cap.name}). "
            "Send a smaller file or raise the limit."
        )


def _read_url(url: str, limits: MediaLimits, policy: AddressPolicy) -> Blob:
    scheme = url.split("://", 1)[0].lower()
    if scheme == "file":
        return _read_file(file_url_path(url), limits, policy)
    if scheme in ("http", "https"):
        from internvl.media.fetch import fetch  # the HTTP stack loads only when a URL is used

        return fetch(url, limits=limits, policy=policy)
    raise MediaError(f"{short_name(url)}: the scheme {scheme!r} is not read. Use http, https, file or data.")


def file_url_path(url: str) -> str:
    """Return the path that a file:// URL names; MediaError if it names another machine."""
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise MediaError(f"{short_name(url)}: file:// names the host {parts.netloc!r}: expected file:///path")
    return unquote(parts.path)


def _read_file(path: str | bytes, limits: MediaLimits, policy: AddressPolicy) -> Blob:
    descriptor, name = open_file(path, policy)
    try:
        with os.fdopen(descriptor, "rb") as file:
            _check_size(os.fstat(file.fileno()).st_size, name, limits)
            data = file.read(limits.max_bytes + 1)  # the file may have grown since fstat
    except OSError as error:
        raise MediaError(f"{name}: cannot read the file: {_reason(error)}") from error
    _check_size(len(data), name, limits)
    return Blob(data, name)


def open_file(path: str | bytes, policy: AddressPolicy) -> tuple[int, str]:
    """Open a local regular file; return its descriptor, which the caller closes, and its name for messages.

    Raises:
        MediaError: Missing, unreadable, no regular file, or refused by the policy.
    """
    path = os.fsdecode(path)
    name = short_name(path) or "'' (an empty path)"
    check_local(name, policy)
    if "\0" in path:
        raise MediaError(f"{name}: a path cannot hold a NUL character")
    try:
        # opening a pipe would otherwise wait for somebody to write to it
        descriptor = os.open(Path(path).expanduser(), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise MediaError(
            f"{name}: no such file. Check the path (relative to {short_name(os.getcwd())})."
        ) from None
    except (OSError, RuntimeError) as error:  # no permission, name too long, unknown home
        raise MediaError(f"{name}: cannot read the file: {_reason(error)}") from error
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        what = "a directory" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise MediaError(f"{name} is {what}: expected a regular file")
    return descriptor, name


def check_local(name: str, policy: AddressPolicy) -> None:
    """Raise MediaError where local files are not read."""
    if not policy.allow_local_files:
        raise MediaError(
            f"{name}: local files are not read here. Send a URL or the picture itself as a data: URL."
        )


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def read_data_url(url: str, limits: MediaLimits, kind: MediaKind) -> Blob:
    """Return the bytes in a data: URL.

    RFC 2397: data:[type][;parameter...][;base64],payload. The type is not trusted, so not even read.

    Raises:
        MediaError: Malformed, or larger than this kind of media may be.
    """
    head, comma, payload = url[5:].partition(",")
    name = f"data: URL ({len(url)} characters)"
    if not comma:
        example = "video/mp4" if kind == "video" else "image/png"
        raise MediaError(f"{name} has no comma: expected data:{example};base64,<the {kind}>")
    if head.lower().replace(" ", "").endswith(";base64"):
        _check_size(len(payload) // 4 * 3 - 2, name, limits, kind)  # before decoding; padding may be two
        try:
            if "%" in payload:
                payload = unquote(payload)
            data = base64.b64decode("".join(payload.split()), validate=True)
        except (binascii.Error, ValueError) as error:
            raise MediaError(f"{name} is not valid base64: {error}") from error
    else:
        _check_size(len(payload) // 3, name, limits, kind)  # every byte may be written as %XX
        data = unquote_to_bytes(payload)
    _check_size(len(data), name, limits, kind)
    return Blob(data, name)

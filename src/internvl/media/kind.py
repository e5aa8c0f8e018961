"""Is it a picture or a video? By content where it can be looked at, never by a file's name alone.

For call forms in which people pass either without saying which: `('What happens?', 'clip.mp4')`, words on a
command line. An animated GIF is a video here; who wants its first picture passes it as a picture.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import numpy as np

from internvl.errors import MediaError
from internvl.media.frame_list import is_frame_folder
from internvl.media.limits import AddressPolicy
from internvl.media.source import file_url_path, open_file
from internvl.media.stored import Stored
from internvl.media.video import Video
from internvl.media.video_formats import HEAD_BYTES, find_container

#: Names that videos usually have; they decide only where there is nothing to look at yet.
VIDEO_SUFFIXES = (
    *(".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg"),
    *(".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv"),
)

#: Of one picture in a GIF, 255 bytes each; behind more than that nothing is looked for.
_MAX_SUB_BLOCKS = 100_000
#: Whoever names a path to this process may also ask what kind of file it is.
_LOCAL = AddressPolicy()


def media_kind(source: Any) -> Literal["image", "video"]:
    """Return what `source` should be read as; what is neither counts as a picture, which then says so."""
    is_pair = isinstance(source, tuple) and len(source) == 2 and isinstance(source[1], Mapping)
    if isinstance(source, Video) or is_pair or (isinstance(source, np.ndarray) and source.ndim == 4):
        return "video"
    if isinstance(source, str | os.PathLike):
        return "video" if _names_video(os.fspath(source)) else "image"
    if isinstance(source, bytes | bytearray | memoryview):
        return "video" if _moves(Stored(bytes(source), "")) else "image"
    return "image"


def _names_video(name: str | bytes) -> bool:
    name = os.fsdecode(name)
    if name[:5].lower() == "data:":
        return name[5:11].lower() == "video/"
    if "://" in name and not name.lower().startswith("file://"):
        try:
            return Path(urlsplit(name).path).suffix.lower() in VIDEO_SUFFIXES
        except ValueError:  # no URL at all; reading it says so
            return False
    try:
        path = file_url_path(name) if "://" in name else name
        return is_frame_folder(path) or _moves(Stored(*open_file(path, _LOCAL)))
    except MediaError:  # not there: by its name, so that the message fits
        return Path(name).suffix.lower() in VIDEO_SUFFIXES


def _moves(stored: Stored) -> bool:
    container = find_container(stored.read_at(0, HEAD_BYTES))
    return container is not None and (container.demuxer != "gif" or _has_two_pictures(stored))


def _has_two_pictures(stored: Stored) -> bool:
    """Walk through the blocks of a GIF (GIF89a specification) until a second picture begins."""

    def byte(at: int) -> int:
        return (stored.read_at(at, 1) or b"\0")[0]

    def behind_sub_blocks(at: int) -> int:
        for _ in range(_MAX_SUB_BLOCKS):
            size = byte(at)
            at += 1 + size
            if not size:
                break
        return at

    def colours(flags: int) -> int:
        return 3 << (1 + (flags & 7)) if flags & 0x80 else 0

    at, pictures = 13 + colours(byte(10)), 0
    while (kind := byte(at)) in b"!,":
        if kind == ord("!"):
            at = behind_sub_blocks(at + 2)
        else:
            pictures += 1
            if pictures == 2:
                return True
            at = behind_sub_blocks(at + 11 + colours(byte(at + 9)))
    return False

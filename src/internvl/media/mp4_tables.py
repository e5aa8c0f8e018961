"""Do the sample tables of an MP4 file claim more than a file may?

FFmpeg builds an index of 24 bytes per claimed sample before the first one is read, and a table can claim four
billion of them in 20 bytes. So the claims are looked at first. ISO/IEC 14496-12 names the boxes.

The tables are searched for by name instead of walked to, because FFmpeg finds them in odd places too; only
the media data itself (`mdat`) is left out.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from internvl.media.stored import Stored

_TAGS = re.compile(rb"trak|hdlr|stts|stsz|stz2|trun|cmov")
#: Bytes behind a tag that are looked at.
_REACH = 16
_CHUNK = 1 << 20
_MAX_BOXES = 1_000_000


def check_mp4(stored: Stored, max_samples: int) -> None:
    """Raise ValueError, with what is wrong, if the tables claim more than `max_samples`.

    Sound without compression has a sample per 1/44,100 s and is indexed by chunks: it may claim as many as
    the file has bytes.
    """
    in_fragments = 0
    largest, is_chunked_sound = 0, True

    def check_track() -> None:
        limit = max(stored.size, max_samples) if is_chunked_sound else max_samples
        if largest > limit:
            raise ValueError(f"its tables claim {largest} frames or samples")

    for tag, after in _tags(stored):
        if tag == b"trak":
            check_track()
            largest, is_chunked_sound = 0, True
        elif tag == b"cmov":
            raise ValueError("its header is compressed, which only files of the 1990s are")
        elif tag == b"hdlr":
            is_chunked_sound &= after[8:12] not in (b"vide", b"text", b"subt", b"sbtl", b"tmcd", b"clcp")
        elif tag == b"stts":  # one entry, every sample 1 unit long
            is_chunked_sound &= after[4:8] == b"\0\0\0\1" and after[12:16] == b"\0\0\0\1"
        elif tag in (b"stsz", b"stz2"):
            largest = max(largest, *struct.unpack(">I", after[8:12]))
        elif tag == b"trun":
            in_fragments += struct.unpack(">I", after[4:8])[0]
            if in_fragments > max_samples:
                raise ValueError(f"its fragments claim {in_fragments} frames or samples")
    check_track()


def _tags(stored: Stored) -> Iterator[tuple[bytes, bytes]]:
    """Yield each tag outside of the media data with the `_REACH` bytes behind it, zeros past the end."""
    for start, end in _ranges(stored):
        for offset in range(start, end, _CHUNK):
            size = min(_CHUNK, end - offset)
            chunk = stored.read_at(offset, size + 4 + _REACH)
            for found in _TAGS.finditer(chunk):
                if found.start() < size:  # or it is the next chunk's
                    after = chunk[found.end() : found.end() + _REACH]
                    yield found.group(), after.ljust(_REACH, b"\0")


def _ranges(stored: Stored) -> Iterator[tuple[int, int]]:
    """Yield the parts of the file that are not in an outermost `mdat` box."""
    offset = 0
    for _ in range(_MAX_BOXES):
        header = stored.read_at(offset, 16)
        if len(header) < 8:
            return
        size, kind = struct.unpack(">I4s", header[:8])
        smallest = 8
        if size == 1 and len(header) == 16:
            (size,) = struct.unpack(">Q", header[8:])
            smallest = 16
        end = offset + size if size >= smallest else stored.size  # 0, or damaged: the rest of the file
        if kind != b"mdat":
            yield offset, min(end, stored.size)
        offset = end
    raise ValueError(f"it has more than {_MAX_BOXES} boxes")

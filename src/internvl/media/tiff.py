"""Does the table at the head of a TIFF file point inside the file?

Pillow and libtiff answer a damaged table with up to hundreds of warning lines, some of them printed by C
code, and then decode whatever is left. Looking first gives one clear line instead.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

#: Bytes of one value, by field type (TIFF 6.0 section 2, and BigTIFF).
_TYPE_BYTES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_INTEGERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
#: Tags that hold where the pixels are and how many bytes each piece has: strips, tiles.
_PIECES = ((273, 279), (324, 325))


def check_tiff(data: bytes) -> None:
    """Raise ValueError, with what is wrong, if the first directory or its pixels lie outside of the file."""
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"\x2b\0", b"\0\x2b")
    pointer, number, entry_bytes = ("Q", "Q", 20) if big else ("I", "H", 12)
    try:
        (start,) = struct.unpack_from(order + pointer, data, 8 if big else 4)
        (num_entries,) = struct.unpack_from(order + number, data, start)
    except struct.error:
        raise ValueError("the directory lies outside of the file") from None
    first = start + struct.calcsize(order + number)
    if first + num_entries * entry_bytes > len(data):
        raise ValueError("the directory is cut off")
    pieces: dict[int, Sequence[int]] = {}
    for entry in range(first, first + num_entries * entry_bytes, entry_bytes):
        tag, kind, count = struct.unpack_from(f"{order}HH{pointer}", data, entry)
        value = entry + 4 + struct.calcsize(order + pointer)
        size = count * _TYPE_BYTES.get(kind, 1)
        if size > entry + entry_bytes - value:
            (value,) = struct.unpack_from(order + pointer, data, value)
        if kind not in _TYPE_BYTES or value + size > len(data):
            raise ValueError(f"the value of tag {tag} lies outside of the file")
        if kind in _INTEGERS and any(tag in pair for pair in _PIECES):
            pieces[tag] = struct.unpack_from(f"{order}{count}{_INTEGERS[kind]}", data, value)
    for offsets, sizes in _PIECES:
        if offsets in pieces and sizes in pieces:
            _check_pieces(pieces[offsets], pieces[sizes], len(data))


def _check_pieces(offsets: Sequence[int], sizes: Sequence[int], file_bytes: int) -> None:
    if len(offsets) != len(sizes):
        raise ValueError(f"{len(offsets)} pieces of pixels, but sizes of {len(sizes)}")
    if any(offset + size > file_bytes for offset, size in zip(offsets, sizes, strict=True)):
        raise ValueError("pixels are missing at the end of the file")

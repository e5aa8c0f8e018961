"""Which characters a font file has, read from its `cmap` table (OpenType 1.9, chapter cmap, formats 4 and 12).

Asking the rasteriser instead takes 30 ms a font, this takes one; a machine has hundreds of fonts.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from functools import lru_cache
from pathlib import Path

Ranges = tuple[tuple[int, ...], tuple[int, ...]]
"""First and last code points of runs of characters, ascending."""


def covers(path: str, letters: str) -> bool:
    """Whether a font has a glyph for every letter, spaces aside."""
    starts, ends = read_ranges(path)
    for letter in letters:
        if not letter.isspace():
            place = bisect_right(starts, ord(letter)) - 1
            if place < 0 or ends[place] < ord(letter):
                return False
    return True


@lru_cache(maxsize=4096)
def read_ranges(path: str) -> Ranges:
    """Read the characters of a font file (of the first font of a collection); none if it has no Unicode table."""
    with Path(path).open("rb") as file:
        head = file.read(16)
        file.seek(struct.unpack(">I", head[12:16])[0] if head[:4] == b"ttcf" else 0)
        (num_tables,) = struct.unpack(">4xH6x", file.read(12))
        for _ in range(num_tables):
            tag, _, offset, length = struct.unpack(">4sIII", file.read(16))
            if tag == b"cmap":
                file.seek(offset)
                return _join(_read_cmap(file.read(length)))
    return (), ()


def _read_cmap(table: bytes) -> list[tuple[int, int]]:
    """Return the runs of the best Unicode subtable."""
    best: tuple[int, int] | None = None
    (num_subtables,) = struct.unpack_from(">H", table, 2)
    for i in range(num_subtables):
        platform, encoding, offset = struct.unpack_from(">HHI", table, 4 + 8 * i)
        (form,) = struct.unpack_from(">H", table, offset)
        if form in (4, 12) and (platform == 0 or (platform == 3 and encoding in (1, 10))):
            best = max(best or (0, 0), (form, offset))
    if best is None:
        return []
    form, offset = best
    return _format_12(table, offset) if form == 12 else _format_4(table, offset)


def _format_12(table: bytes, offset: int) -> list[tuple[int, int]]:
    (count,) = struct.unpack_from(">I", table, offset + 12)
    groups = struct.iter_unpack(">III", table[offset + 16 : offset + 16 + 12 * count])
    return [(first + (glyph == 0), last) for first, last, glyph in groups]


def _format_4(table: bytes, offset: int) -> list[tuple[int, int]]:
    (twice,) = struct.unpack_from(">H", table, offset + 6)
    count = twice // 2

    def numbers(start: int) -> tuple[int, ...]:
        return struct.unpack_from(f">{count}H", table, start)

    at = offset + 14
    ends, starts = numbers(at), numbers(at + twice + 2)
    deltas, shifts_at = numbers(at + 2 * twice + 2), at + 3 * twice + 2
    shifts = numbers(shifts_at)
    runs = []
    for i, (first, last, delta, shift) in enumerate(zip(starts, ends, deltas, shifts, strict=True)):
        if first == 0xFFFF:
            continue
        if shift == 0:
            hole = -delta % 65536  # the code point that maps to glyph 0, which is no glyph
            runs += (
                [(first, min(last, hole - 1)), (max(first, hole + 1), last)] if first <= hole <= last else []
            )
            runs += [(first, last)] if not first <= hole <= last else []
            continue
        start = shifts_at + 2 * i + shift
        glyphs = struct.unpack_from(f">{last - first + 1}H", table, start)
        runs += [(first + n, first + n) for n, glyph in enumerate(glyphs) if glyph]
    return [(first, last) for first, last in runs if first <= last]


def _join(runs: list[tuple[int, int]]) -> Ranges:
    joined: list[list[int]] = []
    for first, last in sorted(runs):
        if joined and first <= joined[-1][1] + 1:
            joined[-1][1] = max(last, joined[-1][1])
        else:
            joined.append([first, last])
    return tuple(first for first, _ in joined), tuple(last for _, last in joined)

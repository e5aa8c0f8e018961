"""One row of a data set, checked: its turns, its pictures, its videos, and the line it stands on.

In: a mapping as it comes from JSONL, parquet or a tar shard, in the family's form (`id`, `image`, `video` with `clip`,
`conversations`). Out: a `Row`, or a DataError that begins with file and line. Nothing is opened here but for bytes
that came with the row. Called by `train.sources`; opened and cut by `train.dataset`.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from PIL import Image

from internvl.data.sample import Marks
from internvl.errors import DataError
from internvl.preprocess.messages import nearest
from internvl.train.labels import IMAGE_PLACEHOLDER, RowRole, RowTurn

VIDEO_PLACEHOLDER = "<video>"
#: Other spellings of the roles, as other families' data has them.
_ROLE_SPELLINGS: Mapping[str, RowRole] = {
    "user": "human", "assistant": "gpt", "tool": "function", "observation": "function"
}  # fmt: skip
_ROLES: tuple[RowRole, ...] = get_args(RowRole)
PICTURE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".avif")
)
_OPEN_TYPES = (bytes, bytearray, memoryview, Image.Image, np.ndarray)

#: Name of a picture or video -> what to open: a path, a URL, or bytes that came with the row.
Resolve = Callable[[str], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipSource:
    """A video of a row, not opened yet."""

    source: Any
    """What `media.video.load_video` reads; a list is frames that are all shown."""
    start: float | None = None
    """Seconds from the first frame; so is `end`."""
    end: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A checked row. Each medium has one placeholder among the turns, in the order of `media`."""

    where: str
    """File and line, e.g. "receipts.jsonl:12"."""
    turns: tuple[RowTurn, ...]
    """With `<image>` or `<video>` where a medium stands."""
    media: tuple[Any, ...] = ()
    """Pictures (what `media.image.open_image` reads) and `ClipSource`s, in the order of their placeholders."""
    glyphs: tuple[Marks, ...] = ()
    """Of generated pictures: what is printed where, one entry a picture; empty where nobody knows."""
    things: tuple[Marks, ...] = ()
    """Objects, likewise."""

    @property
    def num_pictures(self) -> int:
        """Pictures that are no frames."""
        return sum(not isinstance(medium, ClipSource) for medium in self.media)


def parse_row(row: Any, where: str, resolve: Resolve) -> Row:
    """Check a row.

    Media without any placeholder stand before the first question, in the family's own form: `<image>` and a line end,
    "Image-1: <image>" and so on for several, `<video>` and a line end. Keys that say nothing about the conversation
    (`id`, `width`, `height`, `length`, ...) are let through: the family's files hold many.

    Raises:
        DataError: What is wrong; begins with `where`.
    """
    if not isinstance(row, Mapping):
        raise DataError(f"{where}: the row is {_kind(row)}; expected an object with conversations")
    turns = _turns(row.get("conversations"), where)
    pictures = _pictures(_first(row, ("image", "images")), where, resolve)
    clips = _clips(row.get("video"), row.get("clip"), where, resolve)
    count = {name: _count(turns, name) for name in (IMAGE_PLACEHOLDER, VIDEO_PLACEHOLDER)}
    if count[VIDEO_PLACEHOLDER] == 1 and not clips and not count[IMAGE_PLACEHOLDER] and pictures:
        clips, pictures = [ClipSource(source=pictures)], []  # frames of a clip, stored as its pictures
    if pictures and not count[IMAGE_PLACEHOLDER]:
        numbered = [f"Image-{n}: {IMAGE_PLACEHOLDER}\n" for n in range(1, len(pictures) + 1)]
        head = "".join(numbered) if len(pictures) > 1 else f"{IMAGE_PLACEHOLDER}\n"
        turns = _with_head(turns, head, where)
    if clips and not count[VIDEO_PLACEHOLDER]:
        turns = _with_head(turns, f"{VIDEO_PLACEHOLDER}\n" * len(clips), where)
    _check_count(turns, IMAGE_PLACEHOLDER, len(pictures), "picture", where)
    if clips:  # without a video, `<video>` is a word
        _check_count(turns, VIDEO_PLACEHOLDER, len(clips), "video", where)
    return Row(where=where, turns=tuple(turns), media=_in_order(turns, pictures, clips))


def _turns(value: Any, where: str) -> list[RowTurn]:
    if isinstance(value, str):  # parquet files often hold JSON in a column of text
        try:
            value = json.loads(value)
        except ValueError as error:
            raise DataError(f"{where}: conversations is a text that is no JSON: {error}") from None
    if not isinstance(value, Sequence) or not value:
        raise DataError(
            f'{where}: conversations is {_kind(value)}; expected a list such as [{{"from": "human", "value": "..."}}, '
            '{"from": "gpt", "value": "..."}]'
        )
    turns = [_turn(turn, f"{where}: conversations[{n}]") for n, turn in enumerate(value)]
    if not any(turn.role in ("gpt", "pretrain") for turn in turns):
        raise DataError(f"{where}: no gpt turn, so there is nothing to learn. Add the answer")
    return turns


def _turn(turn: Any, where: str) -> RowTurn:
    if not isinstance(turn, Mapping):
        raise DataError(f"{where} is {_kind(turn)}; expected an object with from and value")
    role, text = _first(turn, ("from", "role")), _first(turn, ("value", "content"))
    if isinstance(role, str):
        role = _ROLE_SPELLINGS.get(role, role)
    if role not in _ROLES:
        raise DataError(f"{where}.from is {role!r}. {nearest(role, _ROLES)}")
    if not isinstance(text, str):
        raise DataError(f"{where}.value is {_kind(text)}; expected a text")
    return RowTurn(role, text)


def _pictures(value: Any, where: str, resolve: Resolve) -> list[Any]:
    if _absent(value):
        return []
    listed = value if isinstance(value, list | tuple) else [value]
    return [
        _medium(item, f"{where}: image[{n}]" if isinstance(value, list | tuple) else f"{where}: image", resolve)
        for n, item in enumerate(listed)
    ]  # fmt: skip


def _clips(value: Any, clip: Any, where: str, resolve: Resolve) -> list[ClipSource]:
    if _absent(value):
        if clip is not None:
            raise DataError(f"{where}: clip without a video")
        return []
    start, end = _clip(clip, where)
    if isinstance(value, list | tuple):
        items = [_medium(item, f"{where}: video[{n}]", resolve) for n, item in enumerate(value)]
        frames = [
            not isinstance(item, str) or Path(item).suffix.lower() in PICTURE_SUFFIXES for item in value
        ]
        if all(frames):  # one video, given as its frames
            if clip is not None:
                raise DataError(f"{where}: clip of a list of frames, which have no times. List fewer frames")
            return [ClipSource(source=items)]
    else:
        items = [_medium(value, f"{where}: video", resolve)]
    if clip is not None and len(items) > 1:
        raise DataError(f"{where}: one clip for {len(items)} videos; expected one video")
    return [ClipSource(source=item, start=start, end=end) for item in items]


def _clip(clip: Any, where: str) -> tuple[float | None, float | None]:
    if clip is None:
        return None, None
    numbers = isinstance(clip, Sequence) and all(
        isinstance(t, int | float) and math.isfinite(t) for t in clip
    )
    if not numbers or isinstance(clip, str) or len(clip) != 2 or not 0 <= clip[0] < clip[1]:
        raise DataError(f"{where}: clip is {clip!r}; expected [start, end] in seconds, 0 <= start < end")
    return float(clip[0]), float(clip[1])


def _medium(value: Any, where: str, resolve: Resolve) -> Any:
    """Return what to open: bytes and open pictures as they are, names through `resolve`."""
    if isinstance(value, Mapping):  # the form of Hugging Face's data sets
        inner = value.get("bytes")
        value = inner if inner is not None else value.get("path")
    if isinstance(value, _OPEN_TYPES):
        return value
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str) or not value:
        raise DataError(f"{where} is {_kind(value)}; expected a file's name, its bytes, or a picture")
    return resolve(value)


def _with_head(turns: list[RowTurn], head: str, where: str) -> list[RowTurn]:
    """Put text before the first question."""
    for number, turn in enumerate(turns):
        if turn.role in ("human", "pretrain"):
            return [*turns[:number], RowTurn(turn.role, head + turn.text), *turns[number + 1 :]]
    raise DataError(f"{where}: there are pictures or videos, but no human turn that they could belong to")


def _in_order(
    turns: Sequence[RowTurn], pictures: Sequence[Any], clips: Sequence[ClipSource]
) -> tuple[Any, ...]:
    places: list[tuple[int, int, bool]] = []
    for number, turn in enumerate(turns):
        if turn.role in ("human", "pretrain"):
            for name, is_clip in ((IMAGE_PLACEHOLDER, False), (VIDEO_PLACEHOLDER, True)):
                places += [(number, place, is_clip) for place in _find(turn.text, name)]
    waiting = {False: iter(pictures), True: iter(clips)}
    found = (next(waiting[is_clip], None) for _, _, is_clip in sorted(places))
    return tuple(medium for medium in found if medium is not None)


def _find(text: str, name: str) -> list[int]:
    places, start = [], text.find(name)
    while start >= 0:
        places.append(start)
        start = text.find(name, start + len(name))
    return places


def _count(turns: Sequence[RowTurn], placeholder: str) -> int:
    return sum(turn.text.count(placeholder) for turn in turns if turn.role in ("human", "pretrain"))


def _check_count(turns: Sequence[RowTurn], placeholder: str, expected: int, noun: str, where: str) -> None:
    found = _count(turns, placeholder)
    if found != expected:
        raise DataError(
            f"{where}: {expected} {noun}{'s' * (expected != 1)}, but {found} {placeholder} in the human turns. "
            "Write one for each, or none at all"
        )


def _first(mapping: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((mapping[name] for name in names if mapping.get(name) is not None), None)


def _absent(value: Any) -> bool:
    return value is None or (isinstance(value, str | list | tuple) and not value)


def _kind(value: Any) -> str:
    if value is None:
        return "missing"
    return "empty" if isinstance(value, str | list | tuple) and not value else type(value).__name__

"""One part of a message -> its text, or a picture or a video with its options, not opened yet.

An option that means nothing, or contradicts another, is a RequestError that says where. Called by
`preprocess.messages`.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from internvl.errors import RequestError
from internvl.media.video import Video
from internvl.preprocess.tile_policy import DETAIL_TILES

#: Where a picture goes inside a text part; the second spelling is LMDeploy's IMAGE_TOKEN (`internvl.vl`).
PLACEHOLDERS = ("<image>", "<IMAGE_TOKEN>")
MAX_TILES = 128
"""Per picture. "4K" is 40; the search over grids grows with the cube."""

_TILE_KEYS = ("max_tiles", "min_tiles", "thumbnail", "detail", "max_dynamic_patch", "min_dynamic_patch")
_CLIP_KEYS = ("num_frames", "fps", "start", "end")
_VIDEO_KEYS = (*_CLIP_KEYS, *_TILE_KEYS)
_PART_KEYS: Mapping[str, tuple[str, ...]] = {
    "text": ("text",),
    "image": ("image", "url", "path", *_TILE_KEYS),
    "image_url": ("image_url", *_TILE_KEYS),
    "image_data": ("image_data", *_TILE_KEYS),
    "video": ("video", "url", "path", *_VIDEO_KEYS),
    "video_url": ("video_url", *_VIDEO_KEYS),
}
_PICTURE_SOURCES = (str, os.PathLike, bytes, bytearray, memoryview, Image.Image, np.ndarray)
_VIDEO_SOURCES = (str, os.PathLike, bytes, bytearray, memoryview, list, tuple, np.ndarray, Video)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture as a message gives it, not opened yet."""

    source: Any
    """str (path, URL or data URL), Path, bytes, PIL image or uint8 array; of a video's frame, a
    `preprocess.frames.Frame`."""
    where: str
    """E.g. "messages[0].content[1]"."""
    min_tiles: int | None = None
    max_tiles: int | None = None
    """None: as the model's configuration says."""
    thumbnail: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A video as a message gives it, and its frames once it is open."""

    source: Any
    """What `media.video.load_video` reads."""
    where: str
    num_frames: int | None = None
    fps: float | None = None
    start: float | None = None
    """Seconds; so is `end`."""
    end: float | None = None
    min_tiles: int | None = None
    max_tiles: int | None = None
    """Of each frame; None: one."""
    thumbnail: bool | None = None
    frames: tuple[Picture, ...] = ()


Part = str | Picture | Clip


def parse_part(part: Any, where: str) -> Part:
    """Return a checked part; RequestError says what is wrong at `where`."""
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        raise RequestError(f"{where} is {type(part).__name__}; expected an object with a type")
    kind = part.get("type")
    if not isinstance(kind, str) or kind not in _PART_KEYS:
        raise RequestError(f"{where}.type is {kind!r}. {nearest(kind, _PART_KEYS)}")
    check_keys(part, ("type", *_PART_KEYS[kind]), where)
    if kind == "text":
        text = part.get("text")
        if not isinstance(text, str):
            raise RequestError(f"{where}.text is {type(text).__name__}; expected a string")
        return text
    if kind.startswith("video"):
        return _parse_clip(kind, part, where)
    return _parse_picture(kind, part, where)


def nearest(name: object, known: Iterable[str]) -> str:
    """Return a sentence that helps with a mistyped name."""
    names = list(known)
    match = difflib.get_close_matches(str(name), names, n=1)
    return f"Did you mean {match[0]!r}?" if match else f"Known: {', '.join(names)}."


def check_tiles(value: Any, where: str) -> int:
    """Return a number of tiles, or raise RequestError."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_TILES:
        raise RequestError(f"{where} is {value!r}; expected a whole number from 1 to {MAX_TILES}")
    return value


def check_keys(mapping: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    """Refuse keys that mean nothing here; clients' empty fields (null) are let through."""
    for key, value in mapping.items():
        if key not in known and value is not None:
            raise RequestError(f"{where} has an unknown key {key!r}. {nearest(key, known)}")


def _parse_picture(kind: str, part: Mapping[str, Any], where: str) -> Picture:
    source, options = _source_and_options(kind, part, _TILE_KEYS, where)
    if not isinstance(source, _PICTURE_SOURCES):
        raise RequestError(
            f"{where}: the picture is {type(source).__name__}; expected a path, a URL, bytes, a PIL image or "
            "a numpy array"
        )
    return Picture(source=source, where=where, **_tile_options(options, where))


def _parse_clip(kind: str, part: Mapping[str, Any], where: str) -> Clip:
    source, options = _source_and_options(kind, part, _VIDEO_KEYS, where)
    if not isinstance(source, _VIDEO_SOURCES):
        raise RequestError(
            f"{where}: the video is {type(source).__name__}; expected a path, a URL, bytes, a folder or a list "
            "of pictures, or an array of frames"
        )
    clip = {key: options[key] for key in _CLIP_KEYS if key in options}
    for key, value in clip.items():
        numeric = isinstance(value, int if key == "num_frames" else int | float)
        if isinstance(value, bool) or not numeric or value < 0 or (key == "num_frames" and value < 1):
            expected = "a whole number from 1" if key == "num_frames" else "a number, not negative"
            raise RequestError(f"{where}.{key} is {value!r}; expected {expected}")
    return Clip(source=source, where=where, **clip, **_tile_options(options, where))


def _source_and_options(
    kind: str, part: Mapping[str, Any], option_keys: tuple[str, ...], where: str
) -> tuple[Any, dict[str, Any]]:
    """Return what a part shows, and the options beside it and inside it; those inside count more."""
    options = {key: part[key] for key in option_keys if part.get(key) is not None}
    if kind in ("image", "video"):
        given = [key for key in (kind, "url", "path") if part.get(key) is not None]
        if len(given) != 1:
            noun = "picture" if kind == "image" else "video"
            raise RequestError(f"{where} has {given or f'no {noun}'}; expected one of {kind}, url, path")
        return part[given[0]], options
    inner, key = part.get(kind), "data" if kind == "image_data" else "url"
    if isinstance(inner, Mapping):
        check_keys(inner, (key, *option_keys), f"{where}.{kind}")
        options |= {name: inner[name] for name in option_keys if inner.get(name) is not None}
        inner = inner.get(key)
    return inner, options


def _tile_options(options: dict[str, Any], where: str) -> dict[str, Any]:
    """Return min_tiles, max_tiles and thumbnail from any of their spellings."""
    found: dict[str, Any] = {}
    for name in ("max_tiles", "min_tiles"):
        foreign = name.split("_")[0] + "_dynamic_patch"
        values = {
            key: check_tiles(options[key], f"{where}.{key}") for key in (name, foreign) if key in options
        }
        if len(set(values.values())) > 1:
            raise RequestError(f"{where}: {name} and {foreign} say different numbers. Give one of them.")
        found[name] = next(iter(values.values()), None)
    detail = options.get("detail", "auto")
    if detail not in ("auto", *DETAIL_TILES):
        raise RequestError(f"{where}.detail is {detail!r}. {nearest(detail, ('auto', *DETAIL_TILES))}")
    if found["max_tiles"] is None:  # a number says more than a word
        found["max_tiles"] = DETAIL_TILES.get(detail)
    if None not in (found["min_tiles"], found["max_tiles"]) and found["min_tiles"] > found["max_tiles"]:
        raise RequestError(
            f"{where}: min_tiles {found['min_tiles']} exceeds max_tiles {found['max_tiles']}. "
            "Lower one or raise the other."
        )
    thumbnail = options.get("thumbnail")
    if thumbnail is not None and not isinstance(thumbnail, bool):
        raise RequestError(f"{where}.thumbnail is {thumbnail!r}; expected true or false")
    return {**found, "thumbnail": thumbnail}

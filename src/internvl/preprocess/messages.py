"""OpenAI-style messages -> checked turns of text and pictures.

In: what a user, a client or a data set wrote. Out: `Turn`s whose pictures carry their options and say where
they came from. Nothing is guessed: an unknown key, an odd role order or a placeholder without a picture is a
RequestError that says where. Called by `preprocess.processor`; no pixels are touched here.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import Image

from internvl.errors import RequestError
from internvl.preprocess.tile_policy import DETAIL_TILES

Role = Literal["system", "user", "assistant", "tool"]

#: Where a picture goes inside a text part; the second spelling is LMDeploy's IMAGE_TOKEN (`internvl.vl`).
PLACEHOLDERS = ("<image>", "<IMAGE_TOKEN>")
MAX_TILES = 128
"""Per picture. "4K" is 40; the search over grids grows with the cube."""

_PLACEHOLDER = re.compile("|".join(map(re.escape, PLACEHOLDERS)))
_ROLES = ("system", "user", "assistant", "tool")
_MESSAGE_KEYS: Mapping[str, tuple[str, ...]] = {
    "system": ("role", "content"),
    "user": ("role", "content"),
    # what was thought before an answer is not shown to the model again
    "assistant": ("role", "content", "tool_calls", "reasoning_content"),
    "tool": ("role", "content", "tool_call_id", "name"),
}
_TILE_KEYS = ("max_tiles", "min_tiles", "thumbnail", "detail", "max_dynamic_patch", "min_dynamic_patch")
_SOURCE_KEYS = ("image", "url", "path")
_PART_KEYS: Mapping[str, tuple[str, ...]] = {
    "text": ("text",),
    "image": (*_SOURCE_KEYS, *_TILE_KEYS),
    "image_url": ("image_url", *_TILE_KEYS),
    "image_data": ("image_data", *_TILE_KEYS),
}
_OTHER_ROLES = {
    "function": "use the role 'tool'.",
    "developer": "use the role 'system'.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture as a message gives it, not opened yet."""

    source: Any
    """str (path, URL or data URL), Path, bytes, PIL image or uint8 array."""
    where: str
    """E.g. "messages[0].content[1]"."""
    min_tiles: int | None = None
    max_tiles: int | None = None
    """None: as the model's configuration says."""
    thumbnail: bool | None = None


class Markup(str):
    """Words of the template's own inside a turn: in them special tokens count."""

    __slots__ = ()


class Call(NamedTuple):
    """A function call in an assistant message."""

    id: str | None
    name: str
    arguments: str
    """JSON text of an object, as the client wrote it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One message: its text and its pictures in their order."""

    role: Role
    parts: tuple[str | Picture, ...]
    calls: tuple[Call, ...] = ()
    """Of an assistant message: the functions it asked for. `tool_format` makes text of them."""
    call_id: str | None = None
    """Of a tool message: which call it answers."""
    header: str | None = None
    """What stands before the message instead of its role's usual words."""

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """The pictures in their order."""
        return tuple(part for part in self.parts if isinstance(part, Picture))

    @property
    def texts(self) -> tuple[str, ...]:
        """The text parts in their order."""
        return tuple(part for part in self.parts if isinstance(part, str))


def parse_messages(messages: Sequence[Mapping[str, Any]]) -> list[Turn]:
    """Check a conversation and return its turns.

    An optional system message comes first, then user and assistant take turns, the user first. An assistant
    message with tool calls is followed by tool messages, and they by an answer or a question.

    Raises:
        RequestError: What is wrong, and at which message and part.
    """
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Iterable):
        raise RequestError(
            f"messages is {type(messages).__name__}; expected a list of messages such as "
            '[{"role": "user", "content": "Hello"}]'
        )
    turns = [_parse_message(message, f"messages[{n}]") for n, message in enumerate(messages)]
    if not turns:
        raise RequestError("messages is empty; expected at least one user message")
    _check_order(turns)
    return turns


def place_pictures(turn: Turn, style: Literal["numbered", "inline"]) -> list[str | Picture]:
    """Return a turn's text with its pictures where the prompt will show them.

    Placeholders in the text are filled in order. Without placeholders the pictures stand before the text:
    "numbered" is the GitHub family's form (a line `<image>` for one, lines "Image-1: <image>" and so on for
    several), "inline" is transformers' (`<image>` and a line end at the place of each part).
    Numbers start at 1 in every message: the reference numbers the pictures of a question by themselves, and
    earlier turns keep the numbers they had when they were asked.

    Raises:
        RequestError: As many placeholders as pictures were expected.
    """
    if turn.role != "user":
        return list(turn.texts)
    pictures = list(turn.pictures)
    asked = sum(len(_PLACEHOLDER.findall(text)) for text in turn.texts)
    if asked and asked != len(pictures):
        raise RequestError(
            f"a user message has {_count(asked, 'placeholder')} (<image>) in its text and "
            f"{_count(len(pictures), 'picture')}; expected as many of one as of the other, or no placeholder"
        )
    joint = "\n" if style == "numbered" else ""
    if asked:
        return _fill(joint.join(turn.texts), pictures)
    if style == "inline":
        return [
            piece for part in turn.parts for piece in ((part, "\n") if isinstance(part, Picture) else (part,))
        ]
    placed: list[str | Picture] = []
    for number, picture in enumerate(pictures, start=1):
        label = [f"Image-{number}: "] if len(pictures) > 1 else []
        placed += [*label, picture, "\n"]
    return [*placed, joint.join(turn.texts)]


def nearest(name: object, known: Iterable[str]) -> str:
    """Return a sentence that helps with a mistyped name."""
    names = list(known)
    match = difflib.get_close_matches(str(name), names, n=1)
    return f"Did you mean {match[0]!r}?" if match else f"Known: {', '.join(names)}."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _fill(text: str, pictures: list[Picture]) -> list[str | Picture]:
    texts = _PLACEHOLDER.split(text)
    filled: list[str | Picture] = [texts[0]]
    for picture, after in zip(pictures, texts[1:], strict=True):
        filled += [picture, after]
    return filled


def _check_order(turns: list[Turn]) -> None:
    for n, turn in enumerate(turns):
        before = turns[n - 1].role if n else None
        if turn.role == "system" and n:
            raise RequestError(f"messages[{n}] is a system message; expected it first and only once")
        if turn.role == "assistant" and before in (None, "system"):
            raise RequestError(f"messages[{n}] is an assistant message; expected a user message before it")
        if turn.role == "tool":
            _check_tool_turn(turns, n)
        elif turn.role == before:
            raise RequestError(
                f"messages[{n}] is a second {turn.role} message in a row; expected user and assistant in "
                "turn. Join the two."
            )


def _check_tool_turn(turns: list[Turn], n: int) -> None:
    """A tool's result stands behind the message that asked for it, or behind other results."""
    asked = next((turn for turn in reversed(turns[:n]) if turn.role != "tool"), None)
    if asked is None or not asked.calls:
        raise RequestError(
            f"messages[{n}] is a tool message; expected an assistant message with tool_calls before it"
        )
    known = [call.id for call in asked.calls]
    if turns[n].call_id is not None and any(known) and turns[n].call_id not in known:
        raise RequestError(
            f"messages[{n}].tool_call_id is {turns[n].call_id!r}; the calls before it are {known}"
        )


def _parse_message(message: Any, where: str) -> Turn:
    if not isinstance(message, Mapping):
        raise RequestError(f"{where} is {type(message).__name__}; expected an object with role and content")
    role = message.get("role")
    if role not in _ROLES:
        hint = _OTHER_ROLES.get(role) if isinstance(role, str) else None
        raise RequestError(f"{where}.role is {role!r}: {hint or nearest(role, _ROLES)}")
    _check_keys(message, _MESSAGE_KEYS[role], where)
    content = message.get("content")
    calls = _parse_calls(message.get("tool_calls") or (), where)
    call_id = message.get("tool_call_id")
    if call_id is not None and not isinstance(call_id, str):
        raise RequestError(f"{where}.tool_call_id is {type(call_id).__name__}; expected a string")
    if content is None and calls:
        content = ""
    if isinstance(content, str):
        return Turn(role=role, parts=(content,), calls=calls, call_id=call_id)
    if not isinstance(content, list | tuple):
        raise RequestError(
            f"{where}.content is {type(content).__name__}; expected a string or a list of parts"
        )
    parts = tuple(_parse_part(part, f"{where}.content[{n}]") for n, part in enumerate(content))
    turn = Turn(role=role, parts=parts, calls=calls, call_id=call_id)
    if turn.pictures and role != "user":
        raise RequestError(
            f"{turn.pictures[0].where} is a picture in a {role} message; expected it in a user message"
        )
    return turn


def _parse_calls(calls: Any, where: str) -> tuple[Call, ...]:
    if not isinstance(calls, list | tuple):
        raise RequestError(f"{where}.tool_calls is {type(calls).__name__}; expected a list")
    return tuple(_parse_call(call, f"{where}.tool_calls[{n}]") for n, call in enumerate(calls))


def _parse_call(call: Any, where: str) -> Call:
    if not isinstance(call, Mapping) or not isinstance(call.get("function"), Mapping):
        raise RequestError(
            f'{where} is no call; expected {{"id": ..., "type": "function", "function": {{"name": ..., '
            '"arguments": ...}}'
        )
    function, identity = call["function"], call.get("id")
    name, arguments = function.get("name"), function.get("arguments")
    if call.get("type", "function") != "function" or not isinstance(name, str) or not name:
        raise RequestError(f"{where} has no function's name; only calls of functions are known")
    if identity is not None and not isinstance(identity, str):
        raise RequestError(f"{where}.id is {type(identity).__name__}; expected a string")
    if isinstance(arguments, Mapping):
        arguments = json.dumps(arguments, ensure_ascii=False)
    if arguments in (None, ""):
        arguments = "{}"
    try:
        parsed = json.loads(arguments) if isinstance(arguments, str) else None
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict):
        raise RequestError(f"{where}.function.arguments is no JSON object: {arguments!r:.80}")
    return Call(identity, name, arguments)


def _parse_part(part: Any, where: str) -> str | Picture:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        raise RequestError(f"{where} is {type(part).__name__}; expected an object with a type")
    kind = part.get("type")
    if kind in ("video", "video_url"):
        raise RequestError(
            f"{where}: videos are not read here yet. Give the frames as pictures with max_tiles=1 each, and "
            "'Frame-1: <image>' and so on in the text, a line each."
        )
    if not isinstance(kind, str) or kind not in _PART_KEYS:
        raise RequestError(f"{where}.type is {kind!r}. {nearest(kind, _PART_KEYS)}")
    _check_keys(part, ("type", *_PART_KEYS[kind]), where)
    if kind == "text":
        text = part.get("text")
        if not isinstance(text, str):
            raise RequestError(f"{where}.text is {type(text).__name__}; expected a string")
        return text
    return _parse_picture(kind, part, where)


def _parse_picture(kind: str, part: Mapping[str, Any], where: str) -> Picture:
    options = {key: part[key] for key in _TILE_KEYS if part.get(key) is not None}
    if kind == "image":
        given = [key for key in _SOURCE_KEYS if part.get(key) is not None]
        if len(given) != 1:
            raise RequestError(f"{where} has {given or 'no picture'}; expected one of image, url, path")
        source = part[given[0]]
    else:
        inner, key = part.get(kind), "url" if kind == "image_url" else "data"
        if isinstance(inner, Mapping):
            _check_keys(inner, (key, *_TILE_KEYS), f"{where}.{kind}")
            options |= {name: inner[name] for name in _TILE_KEYS if inner.get(name) is not None}
            inner = inner.get(key)
        source = inner
    if not isinstance(source, str | os.PathLike | bytes | bytearray | memoryview | Image.Image | np.ndarray):
        raise RequestError(
            f"{where}: the picture is {type(source).__name__}; expected a path, a URL, bytes, a PIL image or "
            "a numpy array"
        )
    return Picture(source=source, where=where, **_tile_options(options, where))


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


def check_tiles(value: Any, where: str) -> int:
    """Return a number of tiles, or raise RequestError."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_TILES:
        raise RequestError(f"{where} is {value!r}; expected a whole number from 1 to {MAX_TILES}")
    return value


def _check_keys(mapping: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    """Refuse keys that mean nothing here; clients' empty fields (null) are let through."""
    for key, value in mapping.items():
        if key not in known and value is not None:
            raise RequestError(f"{where} has an unknown key {key!r}. {nearest(key, known)}")

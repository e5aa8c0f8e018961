"""OpenAI-style messages -> checked turns of text, pictures and videos.

In: what a user, a client or a data set wrote. Out: `Turn`s whose parts carry their options and say where they
came from (`preprocess.parts`). Nothing is guessed: an unknown key or an odd role order is a RequestError that
says where. Called by `preprocess.processor`; no pixels are touched here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from internvl.errors import RequestError
from internvl.preprocess.parts import (
    MAX_TILES,
    PLACEHOLDERS,
    Clip,
    Part,
    Picture,
    check_keys,
    check_tiles,
    nearest,
    parse_part,
)
from internvl.preprocess.placement import place_pictures

__all__ = [
    "MAX_TILES",
    "PLACEHOLDERS",
    "Call",
    "Clip",
    "Markup",
    "Part",
    "Picture",
    "Role",
    "Turn",
    "check_tiles",
    "nearest",
    "parse_messages",
    "place_pictures",
]

Role = Literal["system", "user", "assistant", "tool"]

_ROLES = ("system", "user", "assistant", "tool")
_MESSAGE_KEYS: Mapping[str, tuple[str, ...]] = {
    "system": ("role", "content"),
    "user": ("role", "content"),
    # what was thought before an answer is not shown to the model again
    "assistant": ("role", "content", "tool_calls", "reasoning_content"),
    "tool": ("role", "content", "tool_call_id", "name"),
}
_OTHER_ROLES = {
    "function": "use the role 'tool'.",
    "developer": "use the role 'system'.",
}


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
    """One message: its text, its pictures and its videos in their order."""

    role: Role
    parts: tuple[Part, ...]
    calls: tuple[Call, ...] = ()
    """Of an assistant message: the functions it asked for. `tool_format` makes text of them."""
    call_id: str | None = None
    """Of a tool message: which call it answers."""
    header: str | None = None
    """What stands before the message instead of its role's usual words."""

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """The pictures in their order; a video that is open counts as its frames."""
        found: list[Picture] = []
        for part in self.parts:
            found += [part] if isinstance(part, Picture) else part.frames if isinstance(part, Clip) else ()
        return tuple(found)

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
    check_keys(message, _MESSAGE_KEYS[role], where)
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
    parts = tuple(parse_part(part, f"{where}.content[{n}]") for n, part in enumerate(content))
    for part in parts:
        if not isinstance(part, str) and role != "user":
            kind = "picture" if isinstance(part, Picture) else "video"
            raise RequestError(f"{part.where} is a {kind} in a {role} message; expected it in a user message")
    return Turn(role=role, parts=parts, calls=calls, call_id=call_id)


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

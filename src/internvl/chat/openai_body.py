"""The body of an OpenAI chat completion -> what the engine is asked: messages, `GenerationConfig`, wishes.

One translation for the server and for `internvl batch`; plain data, no web framework. Nothing is swallowed:
a field is honoured, or is a label without influence on the answer, or is refused by name, an unknown one with
the nearest known (`chat.openai_fields`).

Sampling: as on the command line, an answer is greedy unless a sampling field asks for more; a temperature
of 0 is greedy whatever the others say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from internvl.answer_format import CONSTRAINTS
from internvl.chat.openai_fields import (
    GENERATION,
    LABELS,
    SAMPLING,
    BodyError,
    field_value,
    is_integer,
    is_number,
    kind_of,
    refuse_unknown,
    shown,
    sub_fields,
)
from internvl.errors import ConfigError
from internvl.types import GenerationConfig, Message

__all__ = ["BodyError", "ChatBody", "read_chat_body"]

#: OpenAI's own upper bound for n and for top_logprobs.
_MAX_N, _MAX_TOP_LOGPROBS = 128, 20
#: Options of `mm_processor_kwargs` for pictures, and of `media_io_kwargs["video"]` for videos.
_PICTURE_OPTIONS = ("max_tiles", "min_tiles", "max_dynamic_patch", "min_dynamic_patch", "thumbnail")
_VIDEO_OPTIONS = ("num_frames", "fps", "start", "end")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatBody:
    """A chat completion as asked for."""

    messages: list[Message]
    """As the client wrote them, tool messages too; developer messages are system messages."""
    gen_config: GenerationConfig
    fit_answer: bool
    """No length was asked for: give the answer the room that the session has left (`Engine.submit`)."""
    model: str | None = None
    stream: bool = False
    include_usage: bool = False
    """Of a stream: end with a chunk that holds the usage."""
    tools: tuple[Mapping[str, Any], ...] = ()
    tool_choice: str | Mapping[str, Any] | None = None
    parallel_tool_calls: bool = True
    thinking: bool | None = None
    """`enable_thinking`; None: as the model does by itself."""
    reasoning_effort: str | None = None
    priority: int = 0
    cache_salt: str | None = None
    """As in `Engine.submit`."""
    labels: dict[str, Any] = field(default_factory=dict)
    """The given ones of `LABELS`."""


def read_chat_body(body: Any, *, default_max_tokens: int | None = None) -> ChatBody:
    """Check the body of a chat completion and translate it.

    Args:
        body: The parsed JSON.
        default_max_tokens: Longest answer where the body names none; None: what the session has room for.

    Raises:
        BodyError: An unknown field, a value that cannot be right, or a field that cannot be honoured.
    """
    if not isinstance(body, Mapping):
        raise BodyError(f"the body is {kind_of(body)}; expected an object with model and messages")
    refuse_unknown(body)
    return ChatBody(
        messages=_messages(body),
        gen_config=_generation_config(body, default_max_tokens),
        fit_answer=_max_tokens(body) is None,
        model=field_value(body, "model", "string"),
        stream=bool(field_value(body, "stream", "boolean")),
        include_usage=_include_usage(body),
        tools=_tools(body),
        tool_choice=_tool_choice(body),
        parallel_tool_calls=field_value(body, "parallel_tool_calls", "boolean") is not False,
        thinking=_thinking(body),
        reasoning_effort=field_value(body, "reasoning_effort", "string"),
        priority=field_value(body, "priority", "integer") or 0,
        cache_salt=_cache_salt(body),
        labels={name: body[name] for name in LABELS if body.get(name) is not None},
    )


def _messages(body: Mapping[str, Any]) -> list[Message]:
    messages = field_value(body, "messages", "list")
    if not messages:
        raise BodyError("messages is missing or empty; expected at least one message", "messages")
    for n, message in enumerate(messages):
        if not isinstance(message, Mapping):
            raise BodyError(f"messages[{n}] is {kind_of(message)}; expected an object", f"messages[{n}]")
    options = _part_options(body)
    return [_message(message, options) for message in messages]


def _message(message: Mapping[str, Any], options: Mapping[str, Mapping[str, Any]]) -> Message:
    made = dict(message)
    if made.get("role") == "developer":
        made["role"] = "system"
    if isinstance(made.get("content"), list):
        made["content"] = [_part(part, options) for part in made["content"]]
    return made


def _part(part: Any, options: Mapping[str, Mapping[str, Any]]) -> Any:
    """The part with the body's options for its kind, where it does not say it itself."""
    kind = part.get("type") if isinstance(part, Mapping) else None
    mine = options.get(kind, {}) if isinstance(kind, str) else {}
    inner = part.get(kind) if mine else None
    said = {*part, *(inner if isinstance(inner, Mapping) else ())} if mine else set()
    return {**part, **{name: value for name, value in mine.items() if name not in said}} if mine else part


def _part_options(body: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Options that the body gives for all its pictures and videos, by type of part."""
    tiles = sub_fields(body, "mm_processor_kwargs", _PICTURE_OPTIONS)
    io = sub_fields(body, "media_io_kwargs", ("video", "image"))
    frames = sub_fields(io, "video", _VIDEO_OPTIONS, "media_io_kwargs.")
    sub_fields(io, "image", (), "media_io_kwargs.")
    pictures = dict.fromkeys(("image", "image_url"), tiles)
    return {**pictures, **dict.fromkeys(("video", "video_url"), frames)}


def _generation_config(body: Mapping[str, Any], default_max_tokens: int | None) -> GenerationConfig:
    given: dict[str, Any] = {}
    for name, (target, kind) in GENERATION.items():
        value = field_value(body, name, kind)
        if value is not None:
            given[target] = value
    if given.get("top_k") == -1:  # vLLM's way to say all
        given["top_k"] = 0
    if given.get("n", 1) > _MAX_N:
        raise BodyError(f"n is {given['n']}; expected at most {_MAX_N}", "n")
    if "random_seed" in given:
        given["random_seed"] %= 2**62  # the engine adds a choice's number to it
    given["max_new_tokens"] = _max_tokens(body) or default_max_tokens or 2**30
    given["min_new_tokens"] = min(given.get("min_new_tokens", 0), given["max_new_tokens"])
    given["stop_words"] = _strings(body, "stop")
    given["bad_words"] = _strings(body, "bad_words")
    given["stop_token_ids"] = _token_ids(body)
    given["bad_token_ids"] = _banned(body)
    given["logprobs"] = _logprobs(body)
    given["do_sample"] = _samples(body)
    if given["do_sample"] and "temperature" not in given:
        given["temperature"] = 1.0  # OpenAI's default
    # checked by the configuration itself
    given |= {name: body[name] for name in CONSTRAINTS if body.get(name) is not None}
    try:
        return GenerationConfig(**given)
    except ConfigError as error:
        message = re.sub(r"^GenerationConfig[:.] ?", "", str(error))
        own = {each.name for each in fields(GenerationConfig)}
        names = {target: name for name, (target, _) in reversed(GENERATION.items())}
        param = next((names.get(word, word) for word in re.findall(r"\w+", message) if word in own), None)
        raise BodyError(message, param) from error


def _samples(body: Mapping[str, Any]) -> bool:
    if body.get("temperature") is not None:
        return bool(body["temperature"] > 0)
    # several greedy answers to one question would be one answer several times
    return any(body.get(name) is not None for name in SAMPLING) or (body.get("n") or 1) > 1


def _cache_salt(body: Mapping[str, Any]) -> str | None:
    salt: str | None = field_value(body, "cache_salt", "string")
    if salt == "":  # a secret that somebody forgot to fill in
        raise BodyError("cache_salt is empty; expected a text, or leave it out", "cache_salt")
    return salt


def _max_tokens(body: Mapping[str, Any]) -> int | None:
    values = {name: field_value(body, name, "integer") for name in ("max_completion_tokens", "max_tokens")}
    given = {name: value for name, value in values.items() if value is not None}
    if len(set(given.values())) > 1:
        raise BodyError("max_tokens and max_completion_tokens differ; give one of them", "max_tokens")
    for name, value in given.items():
        if value < 1:
            raise BodyError(f"{name} is {value}; expected at least 1", name)
    return next(iter(given.values()), None)


def _strings(body: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = body.get(name)
    if isinstance(value, str):
        value = [value]
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
        raise BodyError(
            f"{name} is {shown(value)}; expected a string, or a list of strings, none empty", name
        )
    return tuple(value)


def _token_ids(body: Mapping[str, Any]) -> tuple[int, ...]:
    ids = field_value(body, "stop_token_ids", "list") or []
    if not all(is_integer(each) and each >= 0 for each in ids):
        raise BodyError(f"stop_token_ids is {shown(ids)}; expected token ids", "stop_token_ids")
    return tuple(ids)


def _banned(body: Mapping[str, Any]) -> tuple[int, ...]:
    """`logit_bias`, as far as it bans tokens (-100)."""
    bias = field_value(body, "logit_bias", "object") or {}
    banned = []
    for token, value in bias.items():
        if not (str(token).isdecimal() and is_number(value)):
            raise BodyError("logit_bias: expected token ids with numbers from -100 to 100", "logit_bias")
        if value > -100 and value != 0:
            raise BodyError(
                f"logit_bias {value} of token {token}: only -100, a ban, is supported", "logit_bias"
            )
        if value:
            banned.append(int(token))
    return tuple(banned)


def _logprobs(body: Mapping[str, Any]) -> int | None:
    wanted = field_value(body, "logprobs", "boolean")
    top = field_value(body, "top_logprobs", "integer")
    if top is not None and not 0 <= top <= _MAX_TOP_LOGPROBS:
        raise BodyError(f"top_logprobs is {top}; expected 0 to {_MAX_TOP_LOGPROBS}", "top_logprobs")
    if top and not wanted:
        raise BodyError("top_logprobs needs logprobs: true", "top_logprobs")
    return (top or 0) if wanted else None


def _include_usage(body: Mapping[str, Any]) -> bool:
    options = sub_fields(body, "stream_options", ("include_usage", "include_obfuscation"))
    if options and not body.get("stream"):
        raise BodyError("stream_options needs stream: true", "stream_options")
    return bool(field_value(options, "include_usage", "boolean", "stream_options."))


def _tools(body: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    tools = field_value(body, "tools", "list") or []
    for n, tool in enumerate(tools):
        if not isinstance(tool, Mapping):
            raise BodyError(f"tools[{n}] is {kind_of(tool)}; expected an object", f"tools[{n}]")
    return tuple(tools)


def _tool_choice(body: Mapping[str, Any]) -> str | Mapping[str, Any] | None:
    choice = body.get("tool_choice")
    if choice is None or isinstance(choice, Mapping) or choice in ("none", "auto", "required"):
        return choice
    raise BodyError(
        f"tool_choice is {shown(choice)}; expected none, auto, required or an object", "tool_choice"
    )


def _thinking(body: Mapping[str, Any]) -> bool | None:
    own = field_value(body, "enable_thinking", "boolean")
    template = sub_fields(body, "chat_template_kwargs", ("enable_thinking",))
    inner = field_value(template, "enable_thinking", "boolean", "chat_template_kwargs.")
    if own is not None and inner is not None and own != inner:
        raise BodyError("enable_thinking and chat_template_kwargs.enable_thinking differ", "enable_thinking")
    return own if inner is None else bool(inner)

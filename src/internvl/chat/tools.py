"""OpenAI's `tools`, `tool_choice` and `parallel_tool_calls` -> checked wishes. No torch.

What the model is shown of them, `preprocess.tool_format` writes; what it may answer, `chat.answer_grammar`
says; what it answered, `chat.tool_parser` reads.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from internvl.errors import RequestError
from internvl.preprocess.messages import nearest

MAX_TOOLS = 128
"""OpenAI's own limit."""

_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_FUNCTION_KEYS = ("name", "description", "parameters", "strict")


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may ask for."""

    name: str
    schema: str
    """JSON schema of its arguments, as JSON text."""
    strict: bool
    """Its arguments must fit the schema even where the model is free to call or not."""
    definition: Mapping[str, Any]
    """As the model is shown it: {"type": "function", "function": {...}}."""


@dataclass(frozen=True, slots=True)
class ToolUse:
    """Which tools an answer may, or must, call."""

    tools: tuple[Tool, ...] = ()
    """The ones that may be called."""
    mode: Literal["none", "auto", "required"] = "none"
    parallel: bool = True
    """Whether one answer may hold several calls."""
    shown: tuple[Mapping[str, Any], ...] = ()
    """Definitions for the prompt: all that were given, so that a narrower choice keeps the prompt's cache."""


def read_tool_use(tools: Any = None, tool_choice: Any = None, parallel_tool_calls: bool = True) -> ToolUse:
    """Check what a request says about tools.

    Args:
        tools: OpenAI's list, in the form of /v1/chat/completions or of /v1/responses.
        tool_choice: "none", "auto" (None: if there are tools), "required", one function or "allowed_tools".
        parallel_tool_calls: Several calls in one answer.

    Raises:
        RequestError: What is wrong, and where.
    """
    known = read_tools(tools)
    if not known:
        if tool_choice not in (None, "none", "auto"):
            raise RequestError(f"tool_choice is {tool_choice!r:.80}, but there are no tools; give some")
        return ToolUse()
    mode, names = _read_choice(tool_choice, [tool.name for tool in known])
    if mode == "none":
        return ToolUse()
    one_function = isinstance(tool_choice, Mapping) and tool_choice.get("type") == "function"
    return ToolUse(
        tools=tuple(tool for tool in known if tool.name in names),
        mode=mode,
        parallel=bool(parallel_tool_calls) and not one_function,
        shown=tuple(tool.definition for tool in known),
    )


def read_tools(tools: Any) -> tuple[Tool, ...]:
    """Check definitions of tools; raises RequestError."""
    if tools is None:
        return ()
    if not isinstance(tools, Sequence) or isinstance(tools, str | bytes):
        raise RequestError(f"tools is {type(tools).__name__}; expected a list of functions")
    if len(tools) > MAX_TOOLS:
        raise RequestError(f"there are {len(tools)} tools; the limit is {MAX_TOOLS}")
    known = tuple(_read_tool(tool, f"tools[{n}]") for n, tool in enumerate(tools))
    for n, tool in enumerate(known):
        if tool.name in [other.name for other in known[:n]]:
            raise RequestError(f"tools[{n}] is a second {tool.name!r}; names must differ")
    return known


def _read_tool(tool: Any, where: str) -> Tool:
    if not isinstance(tool, Mapping) or tool.get("type", "function") != "function":
        kind = tool.get("type") if isinstance(tool, Mapping) else type(tool).__name__
        raise RequestError(f"{where} is of type {kind!r}; only functions can be called here")
    function = tool.get("function", {key: value for key, value in tool.items() if key != "type"})
    if not isinstance(function, Mapping):
        raise RequestError(f"{where}.function is {type(function).__name__}; expected an object")
    for key, value in function.items():
        if key not in _FUNCTION_KEYS and value is not None:
            raise RequestError(f"{where}.function has an unknown key {key!r}. {nearest(key, _FUNCTION_KEYS)}")
    name, parameters = function.get("name"), function.get("parameters")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise RequestError(
            f"{where}.function.name is {name!r:.80}; expected 1 to 64 letters, digits or any of _ . : -"
        )
    if not isinstance(function.get("description"), str | None):
        raise RequestError(f"{where}.function.description is no text")
    if not isinstance(function.get("strict"), bool | None):
        raise RequestError(f"{where}.function.strict is {function['strict']!r:.80}; expected true or false")
    if not isinstance(parameters, Mapping | None):
        raise RequestError(
            f"{where}.function.parameters is {type(parameters).__name__}; expected a JSON schema"
        )
    definition = tool if "function" in tool else {"type": "function", "function": dict(function)}
    try:
        json.dumps(definition)
        schema = json.dumps(dict(parameters) if parameters else {"type": "object"}, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestError(f"{where} cannot be written as JSON: {error}") from error
    return Tool(name, schema, bool(function.get("strict")), definition)


def _read_choice(choice: Any, names: list[str]) -> tuple[Literal["none", "auto", "required"], list[str]]:
    """Return the mode and the names that may be called."""
    if choice is None:
        return "auto", names
    if choice in ("none", "auto", "required"):
        return choice, names
    if isinstance(choice, Mapping) and choice.get("type") == "function":
        return "required", [_chosen_name(choice, names, "tool_choice")]
    if isinstance(choice, Mapping) and choice.get("type") == "allowed_tools":
        allowed = choice.get("allowed_tools", choice)
        listed = allowed.get("tools") if isinstance(allowed, Mapping) else None
        mode = allowed.get("mode", "auto") if isinstance(allowed, Mapping) else None
        if mode not in ("auto", "required") or not isinstance(listed, list) or not listed:
            raise RequestError("tool_choice.allowed_tools: expected a mode (auto, required) and tools")
        return mode, [
            _chosen_name(each, names, f"tool_choice.allowed_tools.tools[{n}]")
            for n, each in enumerate(listed)
        ]
    raise RequestError(
        f'tool_choice is {choice!r:.80}; expected "none", "auto", "required",'
        ' {"type": "function", "function": {"name": ...}} or {"type": "allowed_tools", ...}'
    )


def _chosen_name(choice: Any, names: list[str], where: str) -> str:
    inner = choice.get("function", choice) if isinstance(choice, Mapping) else None
    name = inner.get("name") if isinstance(inner, Mapping) else None
    if name not in names:
        raise RequestError(f"{where} names {name!r:.80}, which is none of the tools. {nearest(name, names)}")
    return str(name)

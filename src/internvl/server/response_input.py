"""The body of a response -> the fields of a chat completion, so that both mean the same."""

from __future__ import annotations

from typing import Any

from internvl.chat.openai_body import BodyError
from internvl.server.schemas.responses import (
    FunctionCallItem,
    FunctionCallOutput,
    InputFile,
    InputImage,
    InputText,
    InputVideo,
    OutputText,
    ReasoningItem,
    ResponseRequest,
)
from internvl.types import Message

#: Fields of the same name and meaning.
_SAME = (
    *("temperature", "top_p", "seed", "top_k", "stop", "stream", "parallel_tool_calls", "metadata"),
    *("user", "safety_identifier", "prompt_cache_key", "cache_salt"),
)
#: Where a part's media are, and what changes nothing; everything else is an option.
_SOURCES = (
    *("type", "image_url", "video_url", "file_id", "file_data", "file_url", "filename"),
    "prompt_cache_breakpoint",
)
_LOGPROBS = "message.output_text.logprobs"


def chat_fields(body: ResponseRequest) -> dict[str, Any]:
    """Return the fields of a chat completion that asks for the same. Raises BodyError."""
    fields: dict[str, Any] = {name: value for name in _SAME if (value := getattr(body, name)) is not None}
    fields |= {"model": body.model, "messages": _messages(body)}
    if body.max_output_tokens is not None:
        fields["max_completion_tokens"] = body.max_output_tokens
    if body.top_logprobs is not None or _LOGPROBS in (body.include or ()):
        fields |= {"logprobs": True, "top_logprobs": body.top_logprobs or 0}
    if body.tools:
        fields["tools"] = [_tool(tool.model_dump(exclude_unset=True)) for tool in body.tools]
    if body.tool_choice is not None:
        fields["tool_choice"] = _tool_choice(body.tool_choice)
    if body.text is not None and body.text.format is not None:
        fields["response_format"] = _format(body.text.format.model_dump(exclude_unset=True, by_alias=True))
    if body.reasoning is not None and body.reasoning.effort is not None:
        fields["reasoning_effort"] = body.reasoning.effort
    return fields


def _messages(body: ResponseRequest) -> list[Message]:
    instructions = [{"role": "system", "content": body.instructions}] if body.instructions else []
    if isinstance(body.input, str):
        return [*instructions, {"role": "user", "content": body.input}]
    messages: list[Message] = [*instructions]
    for n, item in enumerate(body.input):
        if isinstance(item, ReasoningItem):
            continue
        message = _message(item, f"input[{n}]")
        before = messages[-1] if messages else None
        if before is not None and _joins(before, message):
            _join(before, message)
        else:
            messages.append(message)
    if not messages:
        raise BodyError("input holds no message", "input")
    return messages


def _joins(before: Message, message: Message) -> bool:
    """Whether two items are one message of a chat: instructions and a system message, or an answer's text and
    calls."""
    if before["role"] != message["role"]:
        return False
    return before["role"] == "system" or (before["role"] == "assistant" and "tool_calls" in message)


def _join(before: Message, message: Message) -> None:
    if before["role"] == "system":
        before["content"] = [
            *_as_parts(before["content"]),
            {"type": "text", "text": "\n\n"},
            *_as_parts(message["content"]),
        ]
    else:
        before["tool_calls"] = [*before.get("tool_calls", ()), *message["tool_calls"]]


def _as_parts(content: Any) -> list[Any]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _message(item: Any, where: str) -> Message:
    if isinstance(item, FunctionCallItem):
        call = {"name": item.name, "arguments": item.arguments}
        calls = [{"id": item.call_id, "type": "function", "function": call}]
        return {"role": "assistant", "content": None, "tool_calls": calls}
    if isinstance(item, FunctionCallOutput):
        output = item.output
        content = output if isinstance(output, str) else "".join(part.text for part in output)
        return {"role": "tool", "tool_call_id": item.call_id, "content": content}
    role = "system" if item.role == "developer" else item.role
    if isinstance(item.content, str):
        return {"role": role, "content": item.content}
    parts = [_part(part, f"{where}.content[{k}]") for k, part in enumerate(item.content)]
    return {"role": role, "content": parts}


def _part(part: Any, where: str) -> dict[str, Any]:
    if isinstance(part, InputText | OutputText):
        return {"type": "text", "text": part.text}
    given = part.model_dump(exclude_unset=True)
    options = {name: value for name, value in given.items() if name not in _SOURCES and value is not None}
    if isinstance(part, InputVideo):
        return {"type": "video_url", "video_url": given["video_url"], **options}
    names = ("image_url", "file_id") if isinstance(part, InputImage) else ("file_id", "file_data", "file_url")
    found = [name for name in names if given.get(name) is not None]
    if len(found) != 1:
        raise BodyError(f"{where} must hold one of {', '.join(names)}", where)
    source = given[found[0]]
    if isinstance(part, InputFile) and found != ["file_url"]:
        return {"type": "file", "file": {found[0]: source}, **options}
    if isinstance(part, InputFile):
        # what an address leads to is known when it is read
        return {"type": "file", "file": {"file_id": source}, **options}
    return {"type": "image_url", "image_url": source, **options}


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {key: value for key, value in tool.items() if key != "type"}}


def _tool_choice(choice: Any) -> Any:
    if isinstance(choice, str):
        return choice
    said = choice.model_dump()
    if said["type"] == "function":
        return {"type": "function", "function": {"name": said["name"]}}
    return {
        "type": "allowed_tools",
        "allowed_tools": {"mode": said["mode"], "tools": [_tool(tool) for tool in said["tools"]]},
    }


def _format(asked: dict[str, Any]) -> dict[str, Any]:
    if asked["type"] != "json_schema":
        return asked
    named = {key: value for key, value in asked.items() if key != "type"}
    return {"type": "json_schema", "json_schema": named}

"""/v1/responses: what goes out, whole or as the last event of a stream."""

from __future__ import annotations

from typing import Any, Literal

from internvl.server.schemas.base import Sent
from internvl.server.schemas.chat import PictureUsage, TokenLogprob

ItemStatus = Literal["in_progress", "completed", "incomplete"]


class AnswerText(Sent):
    """Text of the answer."""

    type: Literal["output_text"] = "output_text"
    text: str
    annotations: list[Any]
    logprobs: list[TokenLogprob]


class AnswerItem(Sent):
    """The answer as a message."""

    type: Literal["message"] = "message"
    id: str
    status: ItemStatus
    role: Literal["assistant"] = "assistant"
    content: list[AnswerText]


class ThoughtText(Sent):
    """What the model thought."""

    type: Literal["reasoning_text"] = "reasoning_text"
    text: str


class ThoughtItem(Sent):
    """Thoughts before the answer."""

    type: Literal["reasoning"] = "reasoning"
    id: str
    status: ItemStatus
    summary: list[Any]
    content: list[ThoughtText]


class CallItem(Sent):
    """A function that the model asks to be called."""

    type: Literal["function_call"] = "function_call"
    id: str
    call_id: str
    name: str
    arguments: str
    status: ItemStatus


OutputItem = ThoughtItem | AnswerItem | CallItem


class IncompleteDetails(Sent):
    """Why the answer is not complete."""

    reason: Literal["max_output_tokens"]


class InputTokensDetails(Sent):
    """What of the input was pictures, and what was known already."""

    cached_tokens: int
    cache_write_tokens: int
    image_tokens: int


class OutputTokensDetails(Sent):
    """Thoughts are not counted apart: they are part of the output."""

    reasoning_tokens: int


class ResponseUsage(Sent):
    """What it cost."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int
    media: list[PictureUsage]


class ResponseObject(Sent):
    """Answer of /v1/responses."""

    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: Literal["in_progress", "completed", "incomplete"]
    model: str
    output: list[OutputItem]
    error: None = None
    incomplete_details: IncompleteDetails | None
    usage: ResponseUsage | None
    instructions: str | None
    max_output_tokens: int | None
    metadata: dict[str, str]
    parallel_tool_calls: bool
    previous_response_id: None = None
    reasoning: dict[str, Any]
    store: Literal[False]
    temperature: float | None
    text: dict[str, Any]
    tool_choice: Any
    tools: list[Any]
    top_p: float | None
    truncation: Literal["disabled"]

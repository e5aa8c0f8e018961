"""/v1/responses: what comes in. `schemas.response_output` has what goes out."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from internvl.chat.tools import MAX_TOOLS
from internvl.server.schemas.base import NotSupported, Strict, by_field, by_shape, one_of
from internvl.server.schemas.messages import Address, ClipOptions, NoHint, TileOptions, VideoAddress
from internvl.server.schemas.sampling import CacheSalt, Count, Label, Texts
from internvl.server.schemas.tools import FunctionName, JsonObjectFormat, JsonSchema, RegexFormat, TextFormat

#: Fields of answers that clients send back with them.
ItemId = Annotated[str, Field(max_length=128)]
Status = Literal["in_progress", "completed", "incomplete"]
Ignored = Annotated[Any, NotSupported(([],), "leave it out")]


class InputText(Strict):
    """A piece of text."""

    type: Literal["input_text"]
    text: str
    prompt_cache_breakpoint: NoHint = None


class InputImage(TileOptions):
    """A picture: an http(s) address or data: URL, or the id of an uploaded file."""

    type: Literal["input_image"]
    image_url: Address | None = None
    file_id: ItemId | None = None
    prompt_cache_breakpoint: NoHint = None


class InputVideo(ClipOptions):
    """A video, likewise. Ours: OpenAI has no videos here."""

    type: Literal["input_video"]
    video_url: one_of(by_shape, text=Address, object=VideoAddress)  # type: ignore[valid-type]


class InputFile(ClipOptions):
    """A picture or a video as a file."""

    type: Literal["input_file"]
    file_id: ItemId | None = None
    file_data: Address | None = None
    file_url: Address | None = None
    filename: Annotated[str, Field(max_length=512)] | None = None
    """Changes nothing: what a file is, its bytes say."""
    prompt_cache_breakpoint: NoHint = None


class OutputText(Strict):
    """Text of an earlier answer."""

    type: Literal["output_text"]
    text: str
    annotations: Ignored = None
    logprobs: list[Any] | None = None
    """Of the answer that this was; it changes nothing."""


InputPart = one_of(
    by_field("type"),
    input_text=InputText,
    input_image=InputImage,
    input_video=InputVideo,
    input_file=InputFile,
    output_text=OutputText,
)
InputParts = Annotated[list[InputPart], Field(min_length=1)]  # type: ignore[valid-type]


class InputMessage(Strict):
    """A message, earlier answers included."""

    type: Literal["message"] | None = None
    role: Literal["user", "assistant", "system", "developer"]
    content: one_of(by_shape, text=str, list=InputParts)  # type: ignore[valid-type]
    id: ItemId | None = None
    status: Status | None = None
    phase: Annotated[Any, NotSupported((), "leave it out")] = None


class FunctionCallItem(Strict):
    """A call that an earlier answer asked for."""

    type: Literal["function_call"]
    call_id: ItemId
    name: FunctionName
    arguments: str
    id: ItemId | None = None
    status: Status | None = None


TextOnly = one_of(by_field("type"), input_text=InputText)
TextParts = Annotated[list[TextOnly], Field(min_length=1)]  # type: ignore[valid-type]
CallOutput = one_of(by_shape, text=str, list=TextParts)


class FunctionCallOutput(Strict):
    """What the called function returned."""

    type: Literal["function_call_output"]
    call_id: ItemId
    output: CallOutput  # type: ignore[valid-type]
    id: ItemId | None = None
    status: Status | None = None


class ReasoningText(Strict):
    """Thoughts."""

    type: Literal["reasoning_text"]
    text: str


class ReasoningItem(Strict):
    """Thoughts before an earlier answer; not shown to the model again."""

    type: Literal["reasoning"]
    id: ItemId | None = None
    summary: Ignored = None
    content: list[ReasoningText] | None = None
    encrypted_content: Annotated[Any, NotSupported((), "thoughts are not encrypted here")] = None
    status: Status | None = None


def by_item(value: Any) -> str | None:
    """Choose by type; what has a role and no type is a message."""
    kind = by_field("type")(value)
    return "message" if kind is None and isinstance(value, dict) and "role" in value else kind


by_item.__name__ = "type"

InputItem = one_of(
    by_item,
    message=InputMessage,
    function_call=FunctionCallItem,
    function_call_output=FunctionCallOutput,
    reasoning=ReasoningItem,
)
InputItems = Annotated[list[InputItem], Field(min_length=1, max_length=4096)]  # type: ignore[valid-type]


class FlatTool(Strict):
    """A function that the model may ask for."""

    type: Literal["function"]
    name: FunctionName
    description: str | None = None
    parameters: JsonSchema | None = None
    strict: bool | None = None


class FlatToolName(Strict):
    """One of the tools."""

    type: Literal["function"]
    name: FunctionName


class FlatAllowedTools(Strict):
    """The model may, or must, call some of the tools."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[list[FlatToolName], Field(min_length=1, max_length=MAX_TOOLS)]


FlatToolChoice = one_of(
    by_shape,
    text=Literal["none", "auto", "required"],
    object=one_of(by_field("type"), function=FlatToolName, allowed_tools=FlatAllowedTools),
)


class FlatSchemaFormat(Strict):
    """JSON that a schema admits."""

    type: Literal["json_schema"]
    name: Annotated[str, Field(max_length=64)]
    schema_: Annotated[JsonSchema, Field(alias="schema")]
    description: str | None = None
    strict: bool | None = None
    """It always holds here."""


Format = one_of(
    by_field("type"),
    text=TextFormat,
    json_object=JsonObjectFormat,
    json_schema=FlatSchemaFormat,
    regex_schema=RegexFormat,
)


class TextOptions(Strict):
    """The form of the answer."""

    format: Format | None = None  # type: ignore[valid-type]
    verbosity: Annotated[Any, NotSupported(("medium",), "ask for it in the prompt")] = None


class Reasoning(Strict):
    """Thinking before the answer."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    """From "low" on the model is asked to think; there are no degrees of it."""
    summary: Annotated[Any, NotSupported(("auto",), "thoughts are given whole")] = None


class ResponseStreamOptions(Strict):
    """Nothing to choose."""

    include_obfuscation: Annotated[Any, NotSupported((False,), "leave it out")] = None


class ResponseRequest(Strict):
    """Body of POST /v1/responses."""

    model: Annotated[str, Field(min_length=1, max_length=512)]
    input: one_of(by_shape, text=Annotated[str, Field(min_length=1)], list=InputItems)  # type: ignore[valid-type]
    instructions: str | None = None
    """A system message."""
    max_output_tokens: Count | None = None
    """None: what the session has room for."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    include: Annotated[list[Literal["message.output_text.logprobs"]], Field(max_length=8)] | None = None
    stream: bool | None = None
    stream_options: ResponseStreamOptions | None = None
    tools: Annotated[list[FlatTool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: FlatToolChoice | None = None  # type: ignore[valid-type]
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    reasoning: Reasoning | None = None
    metadata: Annotated[dict[str, str], Field(max_length=16)] | None = None
    """Comes back with the response."""
    user: Label | None = None
    safety_identifier: Label | None = None
    prompt_cache_key: Label | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    """Ours, as the next ones."""
    top_k: Annotated[int, Field(ge=-1, lt=2**31)] | None = None
    stop: Texts | None = None
    cache_salt: CacheSalt | None = None

    # -- known from OpenAI, without meaning here
    store: Annotated[Any, NotSupported((False,), "responses are not kept; send the conversation again")] = (
        None
    )
    previous_response_id: Annotated[
        Any, NotSupported((), "responses are not kept; send the conversation as `input`")
    ] = None
    conversation: Annotated[Any, NotSupported((), "send the conversation as `input`")] = None
    background: Annotated[Any, NotSupported((False,), "use /v1/batches")] = None
    truncation: Annotated[Any, NotSupported(("disabled",), "what does not fit is refused")] = None
    service_tier: Annotated[Any, NotSupported(("auto", "default"), "there is one tier")] = None
    max_tool_calls: Annotated[Any, NotSupported((), "tools are called by you")] = None
    prompt: Annotated[Any, NotSupported((), "send the text itself as `input`")] = None
    prompt_cache_retention: Annotated[Any, NotSupported(("in_memory",), "prefixes are kept in memory")] = None

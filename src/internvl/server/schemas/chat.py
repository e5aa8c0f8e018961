"""/v1/chat/completions: request, answer, chunk."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from internvl.server.schemas.base import NotSupported, Sent, Strict, by_shape, one_of
from internvl.server.schemas.messages import ChatMessages, Tiles
from internvl.server.schemas.sampling import Count, Label, SamplingFields
from internvl.server.schemas.tools import Expression, JsonSchema, ResponseFormat, ToolChoice, Tools


class TilingOptions(Strict):
    """vLLM's and LMDeploy's way to say how finely all pictures of a request are cut."""

    max_tiles: Tiles | None = None
    min_tiles: Tiles | None = None
    max_dynamic_patch: Tiles | None = None
    min_dynamic_patch: Tiles | None = None
    thumbnail: bool | None = None


class FrameOptions(Strict):
    """Which frames of all videos of a request are seen."""

    num_frames: Annotated[int, Field(ge=1, le=1024)] | None = None
    fps: Annotated[float, Field(gt=0, le=1000)] | None = None
    start: Annotated[float, Field(ge=0, le=1e7)] | None = None
    end: Annotated[float, Field(ge=0, le=1e7)] | None = None


class MediaOptions(Strict):
    """vLLM's and LMDeploy's way to say so."""

    video: FrameOptions | None = None


class TemplateOptions(Strict):
    """vLLM's and LMDeploy's way to turn thinking on and off."""

    enable_thinking: bool | None = None


class ChatRequest(SamplingFields):
    """Body of POST /v1/chat/completions."""

    messages: ChatMessages
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    mm_processor_kwargs: TilingOptions | None = None
    """For pictures that say nothing themselves."""
    media_io_kwargs: MediaOptions | None = None
    """For videos that say nothing themselves."""
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    """The form of the answer; of this and the next four one may be given."""
    json_schema: one_of(by_shape, text=str, object=JsonSchema) | None = None  # type: ignore[valid-type]
    regex: Expression | None = None
    choice: (
        Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1, max_length=1024)] | None
    ) = None
    grammar: Annotated[str, Field(min_length=1)] | None = None
    """llguidance's dialect of Lark."""
    enable_thinking: bool | None = None
    """True: think first, and keep the thoughts apart, in reasoning_content; False: only keep them apart."""
    chat_template_kwargs: TemplateOptions | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    """From "low" on the model is asked to think; there are no degrees of it."""
    safety_identifier: Label | None = None
    """A label, as the next one."""
    prompt_cache_key: Label | None = None
    priority: Annotated[Any, NotSupported((0,), "the server decides who comes first")] = None

    # -- known from OpenAI, without meaning here
    store: Annotated[Any, NotSupported((False,), "answers are not kept")] = None
    service_tier: Annotated[Any, NotSupported(("auto", "default"), "there is one tier")] = None
    modalities: Annotated[Any, NotSupported((["text"],), "answers are text")] = None
    audio: Annotated[Any, NotSupported((), "answers are text")] = None
    prediction: Annotated[Any, NotSupported((), "there is no speculative decoding")] = None
    web_search_options: Annotated[Any, NotSupported((), "nothing is searched")] = None
    verbosity: Annotated[Any, NotSupported(("medium",), "ask for it in the prompt")] = None
    prompt_cache_retention: Annotated[Any, NotSupported(("in_memory",), "prefixes are kept in memory")] = None
    functions: Annotated[Any, NotSupported(([],), "use tools")] = None
    function_call: Annotated[Any, NotSupported(("none", "auto"), "use tool_choice")] = None

    # -- known from LMDeploy, without meaning here
    do_preprocess: Annotated[Any, NotSupported((True,), "use /v1/completions")] = None
    input_ids: Annotated[Any, NotSupported((), "use /v1/completions with ids as prompt")] = None
    image_data: Annotated[Any, NotSupported((), "put pictures into the messages")] = None


class TopLogprob(Sent):
    """A token that could have come."""

    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(TopLogprob):
    """A token that came."""

    top_logprobs: list[TopLogprob]


class ChoiceLogprobs(Sent):
    """Log-probabilities of an answer's tokens."""

    content: list[TokenLogprob] | None
    refusal: None = None


class FunctionCall(Sent):
    """A function and its arguments."""

    name: str
    arguments: str
    """JSON text of an object."""


class AnswerCall(Sent):
    """A function that the model asks to be called."""

    id: str
    type: Literal["function"]
    function: FunctionCall


class DeltaCall(AnswerCall):
    """The same in a stream, where it comes whole."""

    index: int


class AnswerMessage(Sent):
    """What the model said."""

    role: Literal["assistant"]
    content: str | None
    refusal: None = None
    reasoning_content: str | None = None
    tool_calls: list[AnswerCall] | None = None


#: "repetition": the loop guard, where the request asked for it.
FinishReason = Literal["stop", "length", "tool_calls", "repetition"]


class ChatChoice(Sent):
    """One of the n answers."""

    index: int
    message: AnswerMessage
    logprobs: ChoiceLogprobs | None
    finish_reason: FinishReason


class PictureUsage(Sent):
    """What one picture, or one frame of a video, cost."""

    kind: Literal["image", "frame"]
    width: int
    height: int
    tiles: int
    """Overview tile included."""
    columns: int
    rows: int
    tokens: int
    video: int | None = None
    """Of a frame: which video of the conversation, from 0."""
    frame_index: int | None = None
    timestamp_s: float | None = None


class PromptTokensDetails(Sent):
    """What of the prompt was pictures, and what was known already."""

    cached_tokens: int
    image_tokens: int


class ChatUsage(Sent):
    """What a request cost, all n answers together."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    media: list[PictureUsage]


class ChatCompletion(Sent):
    """Answer of /v1/chat/completions."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChoice]
    usage: ChatUsage


class Delta(Sent):
    """What is new in an answer."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[DeltaCall] | None = None


class ChunkChoice(Sent):
    """The next piece of one of the n answers."""

    index: int
    delta: Delta
    logprobs: ChoiceLogprobs | None
    finish_reason: FinishReason | None


class ChatChunk(Sent):
    """One event of a streamed answer."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChunkChoice]
    usage: ChatUsage | None = None

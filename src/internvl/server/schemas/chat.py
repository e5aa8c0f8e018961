"""/v1/chat/completions: request, answer, chunk."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from internvl.server.schemas.base import NotSupported, Sent, Strict
from internvl.server.schemas.messages import ChatMessages, Tiles
from internvl.server.schemas.sampling import Count, Label, SamplingFields

_NO_TOOLS = "tools are not available here yet"
_NO_FORMAT = "answers are plain text here yet"
_NO_THINKING = "ask for it in the system message"


class TilingOptions(Strict):
    """vLLM's and LMDeploy's way to say how finely all pictures of a request are cut."""

    max_tiles: Tiles | None = None
    min_tiles: Tiles | None = None
    max_dynamic_patch: Tiles | None = None
    min_dynamic_patch: Tiles | None = None
    thumbnail: bool | None = None


class ChatRequest(SamplingFields):
    """Body of POST /v1/chat/completions."""

    messages: ChatMessages
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    mm_processor_kwargs: TilingOptions | None = None
    """For pictures that say nothing themselves."""
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
    functions: Annotated[Any, NotSupported(([],), _NO_TOOLS)] = None
    function_call: Annotated[Any, NotSupported(("none", "auto"), _NO_TOOLS)] = None
    tools: Annotated[Any, NotSupported(([],), _NO_TOOLS)] = None
    tool_choice: Annotated[Any, NotSupported(("none", "auto"), _NO_TOOLS)] = None
    parallel_tool_calls: Annotated[Any, NotSupported((True, False), _NO_TOOLS)] = None
    response_format: Annotated[Any, NotSupported(({"type": "text"},), _NO_FORMAT)] = None
    json_schema: Annotated[Any, NotSupported((), _NO_FORMAT)] = None
    regex: Annotated[Any, NotSupported((), _NO_FORMAT)] = None
    choice: Annotated[Any, NotSupported((), _NO_FORMAT)] = None
    grammar: Annotated[Any, NotSupported((), _NO_FORMAT)] = None
    reasoning_effort: Annotated[Any, NotSupported(("none",), _NO_THINKING)] = None
    chat_template_kwargs: Annotated[Any, NotSupported(({},), _NO_THINKING)] = None
    enable_thinking: Annotated[Any, NotSupported((False,), _NO_THINKING)] = None

    # -- known from LMDeploy, without meaning here
    do_preprocess: Annotated[Any, NotSupported((True,), "use /v1/completions")] = None
    input_ids: Annotated[Any, NotSupported((), "use /v1/completions with ids as prompt")] = None
    image_data: Annotated[Any, NotSupported((), "put pictures into the messages")] = None
    media_io_kwargs: Annotated[Any, NotSupported(({},), "there are no videos here yet")] = None


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


class AnswerMessage(Sent):
    """What the model said."""

    role: Literal["assistant"]
    content: str | None
    refusal: None = None


#: "repetition": the loop guard, where the request or the server asked for it.
FinishReason = Literal["stop", "length", "repetition"]


class ChatChoice(Sent):
    """One of the n answers."""

    index: int
    message: AnswerMessage
    logprobs: ChoiceLogprobs | None
    finish_reason: FinishReason
    token_ids: list[int] | None = None


class PictureUsage(Sent):
    """What one picture cost."""

    kind: str
    width: int
    height: int
    tiles: int
    """Overview tile included."""
    columns: int
    rows: int
    tokens: int


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


class ChunkChoice(Sent):
    """The next piece of one of the n answers."""

    index: int
    delta: Delta
    logprobs: ChoiceLogprobs | None
    finish_reason: FinishReason | None
    token_ids: list[int] | None = None


class ChatChunk(Sent):
    """One event of a streamed answer."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChunkChoice]
    usage: ChatUsage | None = None

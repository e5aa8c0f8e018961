"""/v1/completions: finished prompts, without a template."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from internvl.server.schemas.base import NotSupported, Sent, one_of
from internvl.server.schemas.chat import ChatUsage
from internvl.server.schemas.sampling import SamplingFields, TokenId

MAX_PROMPTS = 64
Ids = Annotated[list[TokenId], Field(min_length=1)]


def by_prompt(value: Any) -> str | None:
    """Choose by what a prompt is, or what a list of them begins with."""
    if isinstance(value, str):
        return "text"
    if not isinstance(value, list):
        return None
    first = value[0] if value else ""
    kinds = {int: "ids", list: "many_ids", str: "texts"}
    return kinds.get(type(first))


Prompt = one_of(
    by_prompt,
    text=str,
    texts=Annotated[list[str], Field(min_length=1, max_length=MAX_PROMPTS)],
    ids=Ids,
    many_ids=Annotated[list[Ids], Field(min_length=1, max_length=MAX_PROMPTS)],
)


class CompletionRequest(SamplingFields):
    """Body of POST /v1/completions."""

    prompt: Prompt  # type: ignore[valid-type]
    """Texts or token ids as they go to the model; special tokens in a text count as such."""
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    """So many alternatives per token."""
    echo: Annotated[Any, NotSupported((False,), "put the prompt before the answer yourself")] = None
    suffix: Annotated[Any, NotSupported(("",), "the models were not trained to fill gaps")] = None
    best_of: Annotated[Any, NotSupported((1,), "ask for n answers with logprobs and choose")] = None


class CompletionLogprobs(Sent):
    """Log-probabilities of an answer's tokens, in the older form."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class CompletionChoice(Sent):
    """One answer, or the next piece of it."""

    index: int
    """Number of the prompt times n, plus number of the answer."""
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: Literal["stop", "length", "repetition"] | None


class Completion(Sent):
    """Answer of /v1/completions, and each event of its stream."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[CompletionChoice]
    usage: ChatUsage | None = None

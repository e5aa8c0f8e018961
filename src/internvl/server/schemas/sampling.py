"""The fields about sampling and length that chat, plain completions and responses share.

What they mean is said in one place, `chat.openai_body`; here is what they may be. Without any sampling field
the answer is greedy, as in the pipeline; with one of them, or with n > 1, it is sampled.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from internvl.server.schemas.base import NotSupported, Strict, by_shape, one_of

StopText = Annotated[str, Field(min_length=1, max_length=256)]
TokenId = Annotated[int, Field(ge=0, lt=2**31)]
Texts = one_of(by_shape, text=StopText, list=Annotated[list[StopText], Field(max_length=64)])
Label = Annotated[str, Field(max_length=512)]
CacheSalt = Annotated[str, Field(min_length=1, max_length=512)]
Count = Annotated[int, Field(ge=1, lt=2**31)]


class StreamOptions(Strict):
    """What a stream holds besides the answer."""

    include_usage: bool | None = None
    """End with a chunk that has no choices and the usage of the whole request."""
    include_obfuscation: Annotated[Any, NotSupported((False,), "leave it out")] = None


class SamplingFields(Strict):
    """How to answer."""

    model: Annotated[str, Field(min_length=1, max_length=512)]
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    """0 is greedy."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    max_tokens: Count | None = None
    """None: what the session has room for."""
    stop: Texts | None = None  # type: ignore[valid-type]
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: Label | None = None
    """A label, as the next ones: it changes nothing."""
    metadata: dict[str, Any] | None = None
    request_id: Label | None = None
    logit_bias: (
        Annotated[dict[str, Annotated[int, Field(ge=-100, le=100)]], Field(max_length=1024)] | None
    ) = None
    """Token id -> -100, which bans the token; other numbers are refused."""
    frequency_penalty: Annotated[Any, NotSupported((0,), "use repetition_penalty")] = None
    presence_penalty: Annotated[Any, NotSupported((0,), "use repetition_penalty")] = None

    # -- known from LMDeploy and vLLM
    top_k: Annotated[int, Field(ge=-1, lt=2**31)] | None = None
    """Sample among the k likeliest tokens; 0 or -1 = all."""
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0.01, le=100)] | None = None
    repetition_ngram_size: Annotated[int, Field(ge=0, le=256)] | None = None
    """Loop guard: end with finish_reason "repetition" once an n-gram of up to this many tokens has repeated
    `repetition_ngram_threshold` times in a row; 0 = off."""
    repetition_ngram_threshold: Annotated[int, Field(ge=0, le=10_000)] | None = None
    min_new_tokens: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    min_tokens: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    """vLLM's name of min_new_tokens."""
    ignore_eos: bool | None = None
    skip_special_tokens: bool | None = None
    include_stop_str_in_output: bool | None = None
    stop_token_ids: Annotated[list[TokenId], Field(max_length=64)] | None = None
    bad_words: Texts | None = None  # type: ignore[valid-type]
    cache_salt: CacheSalt | None = None
    """vLLM's: what was computed for this request is shared only with requests of the same salt."""
    session_id: Annotated[Any, NotSupported((-1,), "send the whole conversation; prefixes are cached")] = None
    spaces_between_special_tokens: Annotated[Any, NotSupported((True,), "leave it out")] = None
    return_token_ids: Annotated[Any, NotSupported((False,), "ask for logprobs")] = None

"""What the engine answers -> the parts that OpenAI's answers share: usage, log-probabilities, reasons."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, cast

from internvl.engine.engine import Engine
from internvl.server.schemas.chat import (
    ChatUsage,
    ChoiceLogprobs,
    FinishReason,
    PictureUsage,
    PromptTokensDetails,
    TokenLogprob,
    TopLogprob,
)
from internvl.types import MediaUsage, Response
from internvl.types import TokenLogprob as EngineLogprob

#: JSON has no infinity; OpenAI's number for "never".
_NEVER = -9999.0


def usage_of(answers: Iterable[Response]) -> ChatUsage:
    """Return what the n answers to one prompt cost together."""
    usages = [answer.usage for answer in answers]
    first = usages[0]
    completion = sum(usage.completion_tokens for usage in usages)
    return ChatUsage(
        prompt_tokens=first.prompt_tokens,
        completion_tokens=completion,
        total_tokens=first.prompt_tokens + completion,
        prompt_tokens_details=PromptTokensDetails(
            cached_tokens=first.cached_tokens,
            image_tokens=sum(item.num_tokens for item in first.media),
        ),
        media=[media_usage(item) for item in first.media],
    )


def media_usage(item: MediaUsage) -> PictureUsage:
    """Return what one picture or frame cost, as it is told."""
    names = ("video", "frame_index", "timestamp_s") if item.kind == "frame" else ()
    return PictureUsage(
        **{name: getattr(item, name) for name in names},
        kind=item.kind,
        width=item.width,
        height=item.height,
        tiles=item.num_tiles,
        columns=item.grid.columns,
        rows=item.grid.rows,
        tokens=item.num_tokens,
    )


def reason_of(answer: Response) -> FinishReason:
    """Return why a complete answer ended; `Running` has raised what failed."""
    reason = answer.finish_reason
    assert reason is not None
    if reason in ("abort", "error"):
        raise AssertionError(f"an answer that ended with {reason!r} was taken for a complete one")
    return cast(FinishReason, reason)


class LogprobTexts:
    """Token ids with log-probabilities -> texts and bytes."""

    def __init__(self, engine: Engine, stop_token_ids: Sequence[int] = ()) -> None:
        """`stop_token_ids`: the request's own; these and the family's are no part of the text."""
        self._tokenizer = engine.processor.tokenizer
        self._stops = {*engine.processor.stop_token_ids, *stop_token_ids}

    def of(self, response: Response) -> ChoiceLogprobs | None:
        """Return an answer's (or a delta's) log-probabilities, without the token that ended it."""
        logprobs = response.logprobs
        if logprobs is None:
            return None
        if response.finish_reason == "stop" and logprobs and logprobs[-1].token_id in self._stops:
            logprobs = logprobs[:-1]
        return ChoiceLogprobs(content=[self._token(each) for each in logprobs], refusal=None)

    def _token(self, chosen: EngineLogprob) -> TokenLogprob:
        return TokenLogprob(
            **self._candidate(chosen.token_id, chosen.logprob),
            top_logprobs=[TopLogprob(**self._candidate(*pair)) for pair in chosen.top],
        )

    def _candidate(self, token_id: int, logprob: float) -> dict[str, Any]:
        data = self._tokenizer.token_bytes(token_id)
        if data is None:  # a control token
            return {
                "token": self._tokenizer.id_to_token(token_id),
                "logprob": _finite(logprob),
                "bytes": None,
            }
        return {
            "token": data.decode(errors="replace"),
            "logprob": _finite(logprob),
            "bytes": list(data),
        }


def _finite(logprob: float) -> float:
    return logprob if math.isfinite(logprob) else _NEVER

"""What the engine answers -> the models of OpenAI's answers. `chat.openai_answer` knows the forms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from internvl.chat.openai_answer import logprobs_of, media_of
from internvl.chat.openai_answer import usage_of as usage_fields
from internvl.preprocess.processor import Processor
from internvl.server.schemas.chat import ChatUsage, ChoiceLogprobs, FinishReason, PictureUsage
from internvl.types import MediaUsage, Response


def usage_of(answers: Sequence[Response]) -> ChatUsage:
    """Return what the n answers to one prompt cost together."""
    return ChatUsage.model_validate(usage_fields(answers))


def media_usage(item: MediaUsage) -> PictureUsage:
    """Return what one picture or frame cost."""
    return PictureUsage.model_validate(media_of(item))


def reason_of(answer: Response) -> FinishReason:
    """Return why a complete answer ended; `Running` has raised what failed."""
    reason = answer.finish_reason
    assert reason is not None
    if reason in ("abort", "error"):
        raise AssertionError(f"an answer that ended with {reason!r} was taken for a complete one")
    return cast(FinishReason, reason)


class LogprobTexts:
    """Token ids with log-probabilities -> texts and bytes."""

    def __init__(self, processor: Processor, stop_token_ids: Sequence[int] = ()) -> None:
        """`stop_token_ids`: the request's own; these and the family's are no part of the text."""
        self._processor = processor
        self._stops = {*processor.stop_token_ids, *stop_token_ids}

    def of(self, response: Response) -> ChoiceLogprobs | None:
        """Return an answer's (or a delta's) log-probabilities, without the token that ended it."""
        found = logprobs_of(response, self._stops, self._processor)
        return None if found is None else ChoiceLogprobs.model_validate(found)

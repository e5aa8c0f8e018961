"""/v1/plan: a chat completion without the need of a model's name -> what it would cost."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from internvl.server.schemas.base import Sent
from internvl.server.schemas.chat import ChatRequest, PictureUsage


class PlanRequest(ChatRequest):
    """Body of POST /v1/plan: that of a chat completion."""

    model: Annotated[str, Field(min_length=1, max_length=512)] | None = None  # type: ignore[assignment]


class Seconds(Sent):
    """Estimates from what this server needed last, under the load of then; null: nothing was measured yet."""

    vision: float | None
    prompt: float | None
    answer_token: float | None
    longest_answer: float | None


class Plan(Sent):
    """What a request would cost."""

    model: str
    tiles: int
    image_tokens: int
    prompt_tokens: int
    """Pictures, texts and template together."""
    max_answer_tokens: int
    session_len: int
    fits: bool
    """Whether prompt and longest answer fit into the session."""
    media: list[PictureUsage]
    seconds: Seconds

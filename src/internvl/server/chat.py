"""POST /v1/chat/completions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response as HttpResponse

from internvl.chat.openai_body import BodyError, ChatBody, read_chat_body
from internvl.server.answering import Running
from internvl.server.body import JsonRoute
from internvl.server.openapi import ERRORS, streamed
from internvl.server.schemas.chat import (
    AnswerMessage,
    ChatChoice,
    ChatChunk,
    ChatCompletion,
    ChatRequest,
    ChatUsage,
    ChunkChoice,
    Delta,
)
from internvl.server.service import FINGERPRINT, Service, ServiceDep, new_id, owner_of, request_id_of
from internvl.server.sse import DONE, EventStream, event, unless_gone
from internvl.server.texts import LogprobTexts, finish_reason, usage_of
from internvl.types import Conversation, Response

_GREEDY_TEMPERATURE = 0.01

router = APIRouter(route_class=JsonRoute, tags=["answers"], responses=ERRORS)


@router.post(
    "/v1/chat/completions",
    response_model=ChatCompletion,
    response_model_exclude_unset=True,
    responses=streamed("Chunks, if `stream` is true; the last event is `[DONE]`."),
)
async def create_chat_completion(body: ChatRequest, request: Request, service: ServiceDep) -> Any:
    """Answer a conversation about pictures and texts."""
    asked = read(body, service)
    if not asked.stream:
        return await unless_gone(request, complete(asked, service, owner_of(request)))
    running = await unless_gone(request, start(asked, service, owner_of(request)))
    return stream(chunks(asked, running, service), running, request, service)


def read(body: ChatRequest, service: Service) -> ChatBody:
    """Return what is asked for. Raises UnknownModel or RequestError."""
    service.check_model(body.model)
    fields = body.model_dump(exclude_unset=True)
    fields["temperature"] = temperature(body.temperature)
    return read_chat_body(fields, default_max_tokens=service.config.max_answer_tokens)


async def start(asked: ChatBody, service: Service, owner: str) -> Running:
    """Hand a conversation to the engine."""
    check_length(asked.gen_config.max_new_tokens, asked.fit_answer, service)
    return await service.answering.start(
        Conversation(messages=asked.messages), asked.gen_config, fit_answer=asked.fit_answer, owner=owner
    )


async def complete(asked: ChatBody, service: Service, owner: str) -> ChatCompletion:
    """Return the whole answer."""
    async with await start(asked, service, owner) as running:
        answers = await running.collect()
    logprobs = LogprobTexts(service.engine, asked.gen_config.stop_token_ids)
    return ChatCompletion(
        **_head(service, "chat.completion"),
        choices=[
            ChatChoice(
                index=answer.choice,
                message=AnswerMessage(role="assistant", content=answer.text, refusal=None),
                logprobs=logprobs.of(answer),
                finish_reason=finish_reason(answer),
            )
            for answer in answers
        ],
        usage=usage_of(answers),
    )


async def chunks(asked: ChatBody, running: Running, service: Service) -> AsyncIterator[bytes]:
    """Yield the events of a streamed answer."""
    head = _head(service, "chat.completion.chunk")
    logprobs = LogprobTexts(service.engine, asked.gen_config.stop_token_ids)
    last: dict[int, Response] = {}

    def chunk(choices: list[ChunkChoice], usage: ChatUsage | None = None) -> bytes:
        shown: dict[str, Any] = {"usage": usage} if asked.include_usage else {}
        return event(ChatChunk(**head, choices=choices, **shown))

    for choice in range(asked.gen_config.n):
        yield chunk([_piece(choice, Delta(role="assistant", content=""))])
    async for delta in running:
        last[delta.choice] = delta
        found = logprobs.of(delta)
        if delta.text or (found is not None and found.content):
            yield chunk([_piece(delta.choice, Delta(content=delta.text), logprobs=found)])
        if delta.finish_reason is not None:
            yield chunk([_piece(delta.choice, Delta(), finish_reason=finish_reason(delta))])
    if asked.include_usage:
        yield chunk([], usage_of(last[choice] for choice in sorted(last)))
    yield DONE


def stream(
    events: AsyncIterator[bytes],
    held: AbstractAsyncContextManager[Any],
    request: Request,
    service: Service,
) -> HttpResponse:
    """Return the response that sends events, and leaves `held` at its end."""
    return EventStream(
        events,
        held,
        request_id=request_id_of(request),
        ping_interval_s=service.config.ping_interval_s,
        write_timeout_s=service.config.write_timeout_s,
    )


def temperature(asked: float | None) -> float | None:
    """Return the temperature to use: near 0 dividing by it overflows, and the likeliest token wins anyway."""
    return 0.0 if asked is not None and asked < _GREEDY_TEMPERATURE else asked


def check_length(max_new_tokens: int, fit_answer: bool, service: Service) -> None:
    """Refuse an answer that is longer than the server allows."""
    longest = service.config.max_answer_tokens
    if not fit_answer and longest is not None and max_new_tokens > longest:
        raise BodyError(
            f"max_tokens is {max_new_tokens}; this server answers with at most {longest} tokens", "max_tokens"
        )


def _piece(choice: int, delta: Delta, logprobs: Any = None, finish_reason: Any = None) -> ChunkChoice:
    return ChunkChoice(index=choice, delta=delta, logprobs=logprobs, finish_reason=finish_reason)


def _head(service: Service, kind: str) -> dict[str, Any]:
    return {
        "id": new_id("chatcmpl-"),
        "object": kind,
        "created": service.now(),
        "model": service.model_name,
        "system_fingerprint": FINGERPRINT,
    }

"""POST /v1/chat/completions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response as HttpResponse

from internvl.chat.openai_answer import answer_head
from internvl.server.body import JsonRoute
from internvl.server.caller import Caller, CallerDep
from internvl.server.conversation import Conversing, read_conversation
from internvl.server.openapi import ERRORS, streamed
from internvl.server.schemas.chat import (
    ChatChunk,
    ChatCompletion,
    ChatRequest,
    ChatUsage,
    ChunkChoice,
    Delta,
    DeltaCall,
    FunctionCall,
)
from internvl.server.service import Service, ServiceDep, request_id_of
from internvl.server.sse import DONE, EventStream, event, unless_gone
from internvl.server.texts import LogprobTexts, reason_of, usage_of
from internvl.types import Response, ToolCall

router = APIRouter(route_class=JsonRoute, tags=["answers"], responses=ERRORS)


@router.post(
    "/v1/chat/completions",
    response_model=ChatCompletion,
    response_model_exclude_unset=True,
    responses=streamed("Chunks, if `stream` is true; the last event is `[DONE]`."),
)
async def create_chat_completion(
    body: ChatRequest, request: Request, service: ServiceDep, caller: CallerDep
) -> Any:
    """Answer a conversation about pictures, videos and texts."""
    talk = read(body, service)
    if not talk.body.stream:
        return await unless_gone(request, complete(talk, service, caller))
    running = await unless_gone(request, talk.start(service, caller))
    return stream(chunks(talk, talk.deltas(running), service), running, request, service)


def read(body: ChatRequest, service: Service) -> Conversing:
    """Return what is asked for. Raises UnknownModel or RequestError."""
    service.check_model(body.model)
    return read_conversation(body.model_dump(exclude_unset=True, by_alias=True), service)


async def complete(talk: Conversing, service: Service, caller: Caller) -> dict[str, Any]:
    """Return the whole answer, a `ChatCompletion`."""
    answers = await talk.answer(service, caller)
    return talk.task.completion(answers, service.shown_name(talk.body.model))


async def chunks(talk: Conversing, deltas: AsyncIterator[Response], service: Service) -> AsyncIterator[bytes]:
    """Yield the events of a streamed answer."""
    head = answer_head("chatcmpl-", "chat.completion.chunk", service.shown_name(talk.body.model))
    logprobs = LogprobTexts(service.processor, talk.gen_config.stop_token_ids)
    last: dict[int, Response] = {}
    num_calls: dict[int, int] = {}

    def chunk(choices: list[ChunkChoice], usage: ChatUsage | None = None) -> bytes:
        shown: dict[str, Any] = {"usage": usage} if talk.body.include_usage else {}
        return event(ChatChunk(**head, choices=choices, **shown))

    for choice in range(talk.gen_config.n):
        yield chunk([_piece(choice, Delta(role="assistant", content=""))])
    async for delta in deltas:
        last[delta.choice] = delta
        found = logprobs.of(delta)
        news = _news(delta, num_calls, named=found is not None and bool(found.content))
        if news:
            yield chunk([_piece(delta.choice, Delta(**news), logprobs=found)])
        if delta.finish_reason is not None:
            yield chunk([_piece(delta.choice, Delta(), finish_reason=reason_of(delta))])
    if talk.body.include_usage:
        yield chunk([], usage_of([last[choice] for choice in sorted(last)]))
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


def _news(delta: Response, num_calls: dict[int, int], *, named: bool) -> dict[str, Any]:
    """Return what is new, by the fields of `Delta`; `named`: there are log-probabilities to go with it."""
    news: dict[str, Any] = {}
    if delta.reasoning_content:
        news["reasoning_content"] = delta.reasoning_content
    if delta.text or (named and not news):
        news["content"] = delta.text
    if delta.tool_calls:
        first = num_calls.get(delta.choice, 0)
        num_calls[delta.choice] = first + len(delta.tool_calls)
        news["tool_calls"] = [
            DeltaCall(index=index, id=call.id, type="function", function=_function(call))
            for index, call in enumerate(delta.tool_calls, start=first)
        ]
    return news


def _function(call: ToolCall) -> FunctionCall:
    return FunctionCall(name=call.name, arguments=call.arguments)


def _piece(choice: int, delta: Delta, logprobs: Any = None, finish_reason: Any = None) -> ChunkChoice:
    return ChunkChoice(index=choice, delta=delta, logprobs=logprobs, finish_reason=finish_reason)

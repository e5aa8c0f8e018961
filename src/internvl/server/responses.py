"""POST /v1/responses: the same conversations, in OpenAI's newer form."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request

from internvl.server.body import JsonRoute
from internvl.server.caller import Caller, CallerDep
from internvl.server.chat import stream
from internvl.server.conversation import Conversing, read_conversation
from internvl.server.errors import answer_for
from internvl.server.ids import new_id
from internvl.server.openapi import ERRORS, streamed
from internvl.server.response_builder import ResponseBuilder, numbered
from internvl.server.response_input import chat_fields
from internvl.server.schemas.response_output import (
    IncompleteDetails,
    InputTokensDetails,
    OutputTokensDetails,
    ResponseObject,
    ResponseUsage,
)
from internvl.server.schemas.responses import ResponseRequest
from internvl.server.service import Service, ServiceDep, request_id_of
from internvl.server.sse import ClientGone, event, unless_gone
from internvl.server.texts import LogprobTexts, usage_of
from internvl.types import Response

router = APIRouter(route_class=JsonRoute, tags=["answers"], responses=ERRORS)


@router.post(
    "/v1/responses",
    response_model=ResponseObject,
    responses=streamed("Events with names and sequence numbers, if `stream` is true."),
)
async def create_response(
    body: ResponseRequest, request: Request, service: ServiceDep, caller: CallerDep
) -> Any:
    """Answer a conversation. Responses are not kept: send the conversation so far as `input`."""
    if not body.stream:
        return await unless_gone(request, complete(body, service, caller))
    talk, builder = _read(body, service)
    running = await unless_gone(request, talk.start(service, caller))
    told = _events(talk.deltas(running), builder, _frame(body, service), service, request_id_of(request))
    return stream(told, running, request, service)


async def complete(body: ResponseRequest, service: Service, caller: Caller) -> ResponseObject:
    """Return the whole response."""
    talk, builder = _read(body, service)
    frame = _frame(body, service)
    async with await talk.start(service, caller) as running:
        async for delta in talk.deltas(running):
            for _ in builder.push(delta):
                pass
    return _finished(frame, builder, delta, service)


def _read(body: ResponseRequest, service: Service) -> tuple[Conversing, ResponseBuilder]:
    service.check_model(body.model)
    talk = read_conversation(chat_fields(body), service)
    return talk, ResponseBuilder(LogprobTexts(service.processor, talk.gen_config.stop_token_ids))


async def _events(
    deltas: AsyncIterator[Response],
    builder: ResponseBuilder,
    frame: dict[str, Any],
    service: Service,
    request_id: str,
) -> AsyncIterator[bytes]:
    number = numbered()

    def send(fields: dict[str, Any]) -> bytes:
        return event(number(fields), fields["type"])

    begun = ResponseObject(**frame, status="in_progress", output=[], **_NOT_YET).model_dump()
    yield send({"type": "response.created", "response": begun})
    yield send({"type": "response.in_progress", "response": begun})
    try:
        async for delta in deltas:
            for each in builder.push(delta):
                yield send(each)
    except ClientGone:
        raise
    except Exception as error:  # noqa: BLE001  # told to the client, logged by answer_for
        told = answer_for(error, request_id).error
        yield send({"type": "error", **{name: told[name] for name in ("code", "message", "param")}})
        return
    done = _finished(frame, builder, delta, service)
    yield send({"type": f"response.{done.status}", "response": done.model_dump()})


_NOT_YET: dict[str, Any] = {"completed_at": None, "incomplete_details": None, "usage": None}


def _frame(body: ResponseRequest, service: Service) -> dict[str, Any]:
    """Return what of a response is known from the request."""
    text = body.text.model_dump(exclude_unset=True, by_alias=True) if body.text is not None else {}
    effort = None if body.reasoning is None else body.reasoning.effort
    choice = body.tool_choice
    return {
        "id": new_id("resp_"),
        "object": "response",
        "created_at": service.now(),
        "model": service.shown_name(body.model),
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "metadata": body.metadata or {},
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "reasoning": {"effort": effort, "summary": None},
        "store": False,
        "temperature": body.temperature,
        "text": {
            "format": {"type": "text"},
            **{key: value for key, value in text.items() if value is not None},
        },
        "tool_choice": "auto"
        if choice is None
        else choice
        if isinstance(choice, str)
        else choice.model_dump(),
        "tools": [tool.model_dump(exclude_unset=True) for tool in body.tools or ()],
        "top_p": body.top_p,
        "truncation": "disabled",
    }


def _finished(
    frame: dict[str, Any], builder: ResponseBuilder, last: Response, service: Service
) -> ResponseObject:
    cut = last.finish_reason == "length"
    return ResponseObject(
        **frame,
        status="incomplete" if cut else "completed",
        completed_at=service.now(),
        output=builder.output,
        incomplete_details=IncompleteDetails(reason="max_output_tokens") if cut else None,
        usage=_usage(last),
    )


def _usage(last: Response) -> ResponseUsage:
    usage = usage_of([last])
    return ResponseUsage(
        input_tokens=usage.prompt_tokens,
        input_tokens_details=InputTokensDetails(
            cached_tokens=usage.prompt_tokens_details.cached_tokens,
            cache_write_tokens=0,
            image_tokens=usage.prompt_tokens_details.image_tokens,
        ),
        output_tokens=usage.completion_tokens,
        output_tokens_details=OutputTokensDetails(reasoning_tokens=0),
        total_tokens=usage.total_tokens,
        media=usage.media,
    )

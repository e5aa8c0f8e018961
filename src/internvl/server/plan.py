"""GET /metrics, and POST /v1/plan: what a request would cost, without running it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from internvl.server.body import JsonRoute
from internvl.server.caller import CallerDep
from internvl.server.conversation import read_conversation
from internvl.server.openapi import ERRORS
from internvl.server.schemas.plan import Plan, PlanRequest, Seconds
from internvl.server.service import Service, ServiceDep
from internvl.server.sse import unless_gone
from internvl.server.texts import media_usage

router = APIRouter(route_class=JsonRoute, tags=["server"], responses=ERRORS)


@router.post("/v1/plan", response_model_exclude_unset=True)
async def plan(body: PlanRequest, request: Request, service: ServiceDep, caller: CallerDep) -> Plan:
    """Say what a chat completion would cost: tiles, tokens, and seconds as this server last needed them.

    Pictures are read but not decoded, and the prompt is counted, but nothing is computed.
    """
    if body.model is not None:
        service.check_model(body.model)
    fields = body.model_dump(exclude_unset=True, by_alias=True)
    talk = read_conversation({"model": service.model_name, **fields}, service)
    counted = await unless_gone(
        request, service.answering.count(talk.task.options.conversation(talk.body.messages), caller)
    )
    room = max(0, service.engine.session_len - counted.prompt_tokens)
    answer = (
        min(talk.gen_config.max_new_tokens, room) if talk.body.fit_answer else talk.gen_config.max_new_tokens
    )
    tiles = sum(item.num_tiles for item in counted.media)
    return Plan(
        model=service.model_name,
        tiles=tiles,
        image_tokens=sum(item.num_tokens for item in counted.media),
        prompt_tokens=counted.prompt_tokens,
        max_answer_tokens=answer,
        session_len=service.engine.session_len,
        fits=counted.prompt_tokens + max(1, answer) <= service.engine.session_len,
        media=[media_usage(item) for item in counted.media],
        seconds=_seconds(service, tiles, counted.prompt_tokens, answer),
    )


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(service: ServiceDep) -> Any:
    """Return Prometheus metrics of the server and its engine."""
    return Response(service.metrics.render(), media_type=CONTENT_TYPE_LATEST)


def _seconds(service: Service, tiles: int, prompt_tokens: int, answer_tokens: int) -> Seconds:
    rates = service.metrics.rates
    parts = {
        "vision": (rates.tile.seconds, tiles),
        "prompt": (rates.prompt_token.seconds, prompt_tokens),
        "answer_token": (rates.answer_token.seconds, 1),
        "longest_answer": (rates.answer_token.seconds, answer_tokens),
    }
    known = {name: None if rate is None else round(rate * count, 4) for name, (rate, count) in parts.items()}
    if not tiles:
        known["vision"] = 0.0
    return Seconds(**known)

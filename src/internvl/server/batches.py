"""/v1/batches: many requests in a file, answered when there is time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Query
from pydantic import BaseModel

from internvl.server import chat, completions, embeddings, responses
from internvl.server.batch_runner import BatchRunner, Handler, new_batch
from internvl.server.batch_store import Batch
from internvl.server.body import JsonRoute
from internvl.server.caller import Caller, CallerDep
from internvl.server.errors import Conflict
from internvl.server.openapi import ERRORS
from internvl.server.pages import page_of
from internvl.server.schemas.batches import (
    BatchList,
    BatchObject,
    BatchProblem,
    BatchProblems,
    BatchRequest,
    RequestCounts,
)
from internvl.server.schemas.chat import ChatRequest
from internvl.server.schemas.completions import CompletionRequest
from internvl.server.schemas.embeddings import EmbeddingRequest
from internvl.server.schemas.responses import ResponseRequest
from internvl.server.service import Service, ServiceDep

router = APIRouter(route_class=JsonRoute, tags=["files and batches"], responses=ERRORS)

#: Whoever waits for an answer comes first.
_PRIORITY = -1


def make_runner(service: Service) -> BatchRunner:
    """Return what does the batches of a server."""

    def caller_of(owner: str) -> Caller:
        return Caller(name=f"batches of {owner}", owner=owner, priority=_PRIORITY)

    async def answer_chat(body: ChatRequest, owner: str) -> Mapping[str, Any]:
        return await chat.complete(chat.read(body, service), service, caller_of(owner))

    async def answer_prompt(body: CompletionRequest, owner: str) -> Mapping[str, Any]:
        return _dump(await completions.complete(body, service, caller_of(owner)))

    async def answer_features(body: EmbeddingRequest, owner: str) -> Mapping[str, Any]:
        return _dump(await embeddings.complete(body, service, caller_of(owner)))

    async def answer_response(body: ResponseRequest, owner: str) -> Mapping[str, Any]:
        return (await responses.complete(body, service, caller_of(owner))).model_dump()

    handlers = {
        "/v1/chat/completions": Handler(ChatRequest, answer_chat),
        "/v1/completions": Handler(CompletionRequest, answer_prompt),
        "/v1/embeddings": Handler(EmbeddingRequest, answer_features),
        "/v1/responses": Handler(ResponseRequest, answer_response),
    }
    return BatchRunner(
        service.batches,
        service.files,
        handlers,
        max_lines=service.config.max_batch_lines,
        num_open=2 * service.engine.num_rows,
    )


@router.post("/v1/batches")
async def create_batch(body: BatchRequest, service: ServiceDep, caller: CallerDep) -> BatchObject:
    """Accept a batch. It will be done even when the server ends and starts again."""
    path = await anyio.to_thread.run_sync(service.files.path, body.input_file_id, caller.owner)
    batch = new_batch(caller.owner, body.endpoint, body.input_file_id, body.metadata, service.now())
    await anyio.to_thread.run_sync(service.batches.add, batch, path)
    service.runner.start()
    return _object(batch, service)


@router.get("/v1/batches")
async def list_batches(
    service: ServiceDep,
    caller: CallerDep,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[str | None, Query(max_length=128)] = None,
) -> BatchList:
    """List the caller's batches, the newest first."""
    page, more = page_of(service.batches.owned_by(caller.owner), after=after, limit=limit)
    ids = [batch.id for batch in page]
    return BatchList(
        object="list",
        data=[_object(batch, service) for batch in page],
        first_id=ids[0] if ids else None,
        last_id=ids[-1] if ids else None,
        has_more=more,
    )


@router.get("/v1/batches/{batch_id}")
async def get_batch(batch_id: str, service: ServiceDep, caller: CallerDep) -> BatchObject:
    """Describe a batch and say how far it is."""
    return _object(service.batches.get(batch_id, caller.owner), service)


@router.post("/v1/batches/{batch_id}/cancel")
async def cancel_batch(batch_id: str, service: ServiceDep, caller: CallerDep) -> BatchObject:
    """End a batch; answers so far are kept in its files."""
    batch = service.batches.get(batch_id, caller.owner)
    if not batch.is_open:
        raise Conflict(f"the batch is {batch.status} already")
    batch = await anyio.to_thread.run_sync(service.runner.cancel, batch_id)
    service.runner.start()
    return _object(batch, service)


def _object(batch: Batch, service: Service) -> BatchObject:
    problem = None
    if batch.problem is not None:
        problems = [BatchProblem(code="invalid_batch", message=batch.problem)]
        problem = BatchProblems(object="list", data=problems)
    times: dict[str, Any] = {f"{name}_at": batch.times.get(name) for name in _TIMES}
    return BatchObject(
        id=batch.id,
        object="batch",
        endpoint=batch.endpoint,
        model=service.model_name,
        input_file_id=batch.input_file_id,
        completion_window="24h",
        status=batch.status,  # type: ignore[arg-type]  # checked by the model
        output_file_id=batch.output_file_id,
        error_file_id=batch.error_file_id,
        errors=problem,
        created_at=batch.created_at,
        request_counts=RequestCounts(total=batch.total, completed=batch.completed, failed=batch.failed),
        metadata=batch.metadata,
        **times,
    )


_TIMES = ("in_progress", "finalizing", "completed", "failed", "cancelling", "cancelled")


def _dump(answer: BaseModel) -> dict[str, Any]:
    return answer.model_dump(exclude_unset=True)

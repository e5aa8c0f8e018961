"""The FastAPI application around one engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio.to_thread
from fastapi import FastAPI, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response

from internvl.chat.pipeline import Pipeline
from internvl.engine.engine import Engine
from internvl.errors import InternVLError
from internvl.server import batches, chat, completions, embeddings, files, health, models, plan, responses
from internvl.server.config import ServerConfig
from internvl.server.errors import answer_for
from internvl.server.guard import BodyGuard, CallerGuard
from internvl.server.middleware import RequestContext
from internvl.server.service import Service, request_id_of
from internvl.server.validation import invalid_body
from internvl.version import __version__


def create_app(engine: Engine | Pipeline, config: ServerConfig | None = None) -> FastAPI:
    """Return the application that serves `engine` (or a pipeline's engine).

    The engine stays its owner's: the application's end does not close it.
    """
    service = Service(engine, config or ServerConfig())
    service.runner = batches.make_runner(service)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if service.batches.open():
            service.runner.start()
        yield
        await anyio.to_thread.run_sync(service.close)

    app = FastAPI(
        title="internvl",
        version=__version__,
        summary="Questions about pictures, answered by an InternVL model: OpenAI's API.",
        lifespan=lifespan,
        docs_url=None,  # its page fetches scripts from elsewhere
        redoc_url=None,
    )
    app.state.service = service
    # `CallerGuard` checks keys before a body is read; here the document is told of them
    keys = [Security(HTTPBearer(auto_error=False))] if service.config.api_keys else []
    app.include_router(health.router)
    for module in (batches, chat, completions, embeddings, files, models, plan, responses):
        app.include_router(module.router, dependencies=keys)
    for kind in (InternVLError, HTTPException):
        app.add_exception_handler(kind, _answer_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    # the last one added is the outermost
    app.add_middleware(BodyGuard, config=service.config)
    app.add_middleware(CallerGuard, service=service)
    app.add_middleware(RequestContext, metrics=service.metrics)
    if service.config.allow_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=service.config.allow_origins,
            allow_credentials=service.config.allow_credentials,
            allow_methods=service.config.allow_methods,
            allow_headers=service.config.allow_headers,
            expose_headers=("x-request-id", "retry-after"),
        )
    return app


async def _answer_error(request: Request, error: Exception) -> Response:
    answer = answer_for(error, request_id_of(request))
    return JSONResponse(answer.body, status_code=answer.status, headers=answer.headers)


async def _answer_invalid(request: Request, error: Any) -> Response:
    return await _answer_error(request, invalid_body(error.errors()))

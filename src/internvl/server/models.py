"""GET /v1/models, and whether the server lives and takes requests."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter

from internvl.server.errors import Draining, EngineEnded
from internvl.server.openapi import ERRORS
from internvl.server.schemas.base import Model, ModelList, Sent
from internvl.server.service import Service, ServiceDep

router = APIRouter(tags=["server"], responses=ERRORS)


class Health(Sent):
    """The server lives."""

    status: Literal["ok"]


def _model(name: str, service: Service) -> Model:
    return Model(
        id=name,
        object="model",
        created=service.created,
        owned_by="internvl",
        max_model_len=service.engine.session_len,
    )


@router.get("/v1/models")
async def list_models(service: ServiceDep) -> ModelList:
    """List the names that the model answers to."""
    return ModelList(object="list", data=[_model(name, service) for name in service.config.model_names])


@router.get("/v1/models/{model:path}")
async def get_model(model: str, service: ServiceDep) -> Model:
    """Describe one model."""
    service.check_model(model)
    return _model(model, service)


@router.get("/health")
async def health(service: ServiceDep) -> Health:
    """Say that the server lives; 500 when its engine has ended, and only a restart helps. Needs no key."""
    if service.engine.closed:
        raise EngineEnded("the engine has ended; the server has to be started again")
    return Health(status="ok")


@router.get("/ready")
async def ready(service: ServiceDep) -> Health:
    """Say that requests are taken; 503 while the server shuts down. Needs no key."""
    if service.gate.draining:
        raise Draining("the server is shutting down")
    return await health(service)

"""Whether the server lives, and whether it takes requests: for whoever keeps the machine running, without a key."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter

from internvl.server.errors import Draining, EngineEnded
from internvl.server.openapi import ERRORS
from internvl.server.schemas.base import Sent
from internvl.server.service import ServiceDep

router = APIRouter(tags=["server"], responses=ERRORS)


class Health(Sent):
    """The server lives."""

    status: Literal["ok"]


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

"""GET /v1/models."""

from __future__ import annotations

from fastapi import APIRouter

from internvl.server.openapi import ERRORS
from internvl.server.schemas.base import Model, ModelList
from internvl.server.service import Service, ServiceDep

router = APIRouter(tags=["server"], responses=ERRORS)


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
    """List the names that the model answers to, and its adapters."""
    return ModelList(object="list", data=[_model(name, service) for name in service.all_names])


@router.get("/v1/models/{model:path}")
async def get_model(model: str, service: ServiceDep) -> Model:
    """Describe one model."""
    service.check_model(model)
    return _model(model, service)

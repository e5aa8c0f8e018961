"""What the OpenAPI document says beyond the models: errors, streams, keys."""

from __future__ import annotations

from typing import Any

from internvl.server.schemas.base import ErrorBody

#: Of every endpoint.
ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorBody, "description": "The request is wrong, or not allowed."},
    "5XX": {"model": ErrorBody, "description": "The server has no room now, or failed."},
}


def streamed(description: str) -> dict[int | str, dict[str, Any]]:
    """Return the entry for an answer that may also be a stream of events."""
    text = {"type": "string"}
    schema = {
        "type": "object",
        "required": ["data"],
        "properties": {"data": text, "event": text},
        "description": f"Each event. {description}",
    }
    return {200: {"description": "The answer.", "content": {"text/event-stream": {"schema": schema}}}}

"""JSON bodies, read so that a hostile one costs little.

The standard library's parser raises RecursionError on deep nesting and blocks the event loop on large bodies;
pydantic's parser bounds the nesting, and large bodies are parsed in a thread. A body that is small on the
wire may still hold millions of values, so commas and brackets are counted first.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import anyio.to_thread
from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic_core import from_json

from internvl.server.errors import InvalidBody, TooLarge

#: Larger bodies are parsed outside of the event loop.
_IN_THREAD_BYTES = 256 << 10


class JsonRequest(Request):
    """A request whose JSON is read as above."""

    async def json(self) -> Any:
        """Return the parsed body. Raises InvalidBody or TooLarge."""
        if not hasattr(self, "_json"):
            body = await self.body()
            most = self.app.state.service.config.max_json_items
            if len(body) < _IN_THREAD_BYTES:
                self._json = parse_json(body, max_items=most)
            else:
                self._json = await anyio.to_thread.run_sync(lambda: parse_json(body, max_items=most))
        return self._json


class JsonRoute(APIRoute):
    """A route that reads its body by `JsonRequest`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler, given our request."""
        handle = super().get_route_handler()

        async def handle_json(request: Request) -> Response:
            read = JsonRequest(request.scope, request.receive)
            if await read.body() and is_json(read.headers.get("content-type", "")):
                await read.json()  # here: FastAPI tells all but its own errors as "error parsing the body"
            return await handle(read)

        return handle_json


def parse_json(body: bytes, *, max_items: int) -> Any:
    """Return the value that a JSON text holds. Raises InvalidBody or TooLarge."""
    items = body.count(b",") + body.count(b"[") + body.count(b"{")
    if items > max_items:
        raise TooLarge(
            f"the body holds about {items} values; this server reads at most {max_items} in one request"
        )
    try:
        return from_json(body, allow_inf_nan=False, cache_strings="none")
    except ValueError as error:
        raise InvalidBody(f"the body is not valid JSON: {error}") from None


def is_json(content_type: str) -> bool:
    """Whether a body of this type is read as JSON; FastAPI's rule."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))

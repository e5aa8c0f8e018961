"""Around everything: request ids, one log line a request, and no exception that gets out."""

from __future__ import annotations

import logging
import re
import secrets
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from internvl.media.source import short_name
from internvl.server.caller import NOBODY
from internvl.server.errors import answer_for
from internvl.server.metrics import Metrics
from internvl.server.sse import ClientGone

logger = logging.getLogger(__name__)

#: What nginx logs when the client has closed the connection.
_CLIENT_GONE = 499
_REQUEST_ID = re.compile(r"[\w.:-]{1,128}")


class RequestContext:
    """Gives each request its id, and answers for what nobody else did."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = Headers(scope=scope).get("x-request-id", "")
        request_id = asked if _REQUEST_ID.fullmatch(asked) else f"req_{secrets.token_hex(12)}"
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        state["caller"] = NOBODY
        started = time.perf_counter()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except (ClientGone, ClientDisconnect):
            status = _CLIENT_GONE
        except Exception as error:
            if status:
                raise  # half an answer is out; the connection must not look complete
            answer = answer_for(error, request_id)
            response = JSONResponse(answer.body, status_code=answer.status, headers=answer.headers)
            await response(scope, receive, send_with_id)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.http_requests.labels(route, str(status)).inc()
            logger.info(
                "%s %s %d %.0f ms, %s, request %s",
                scope["method"],
                short_name(scope["path"]),
                status,
                1000 * (time.perf_counter() - started),
                short_name(state["caller"].name) or "nobody",
                request_id,
            )

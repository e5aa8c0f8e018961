"""Who asks, how often, and how much: decided before a body is read."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from internvl.media.source import short_name
from internvl.server.auth import KeyRing
from internvl.server.caller import Caller
from internvl.server.config import ServerConfig
from internvl.server.errors import Overloaded, TooLarge, TooSlow

if TYPE_CHECKING:
    from internvl.server.service import Service

#: Whoever keeps the machine running may ask these without a key.
_OPEN_PATHS = ("/health", "/ready")
#: Of an upload, besides the file.
_FORM_BYTES = 64 << 10


class CallerGuard:
    """Finds out who asks, and lets requests that make work in one by one."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service
        self._keys = KeyRing(service.config.api_keys)
        self._hosts = service.config.allowed_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        self._check_host(headers.get("host", ""))
        if scope["path"] in _OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        if self._keys.asks:
            name = self._keys.find(headers.get("authorization", "")).name
            caller = Caller(name, owner=name)
        else:
            caller = Caller(_address(scope), owner="")
        scope["state"]["caller"] = caller
        if scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        with self._service.gate.admit(caller.name):
            await self._app(scope, receive, self._with_rate(caller.name, send))

    def _check_host(self, header: str) -> None:
        """A web page whose name was pointed at this machine (DNS rebinding) is known by its Host header."""
        name = header.rpartition(":")[0] if re.search(r":\d+$", header) else header
        if self._hosts and name.lower() not in self._hosts:
            raise HTTPException(421, f"this server does not answer for the host {short_name(header)!r}")

    def _with_rate(self, caller: str, send: Send) -> Send:
        """Add OpenAI's headers about the caller's limit, where there is one."""
        limit = self._service.config.requests_per_minute
        if limit is None:
            return send

        async def send_with_rate(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["x-ratelimit-limit-requests"] = str(limit)
                headers["x-ratelimit-remaining-requests"] = str(self._service.gate.remaining(caller))
            await send(message)

        return send_with_rate


class BodyGuard:
    """Counts the bytes of bodies while they come, and how long they take."""

    def __init__(self, app: ASGIApp, config: ServerConfig) -> None:
        self._app = app
        self._config = config
        self._held_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_upload = scope["path"] == "/v1/files"  # goes to the disk as it comes
        limit = self._config.max_file_bytes + _FORM_BYTES if is_upload else self._config.max_body_bytes
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > limit:
            raise _too_large(limit)
        size, held, complete = 0, 0, False

        async def receive_counted() -> Message:
            nonlocal size, held, complete
            if complete:
                return await receive()  # the client's end, which may be long in coming
            try:
                async with asyncio.timeout(self._config.body_timeout_s):
                    message = await receive()
            except TimeoutError:
                raise TooSlow(f"no part of the body came for {self._config.body_timeout_s:g} s") from None
            if message["type"] != "http.request":
                return message
            got = len(message.get("body", b""))
            complete = not message.get("more_body", False)
            size += got
            held += 0 if is_upload else got
            self._held_bytes += 0 if is_upload else got
            if size > limit:
                raise _too_large(limit)
            if self._held_bytes > self._config.max_inflight_body_bytes:
                raise Overloaded("the bodies of other requests fill the memory for them; try again later")
            return message

        try:
            await self._app(scope, receive_counted, send)
        finally:
            self._held_bytes -= held


def _address(scope: Scope) -> str:
    """Return the client's address, the caller where there are no keys."""
    client = scope.get("client")
    return client[0] if client else "local"


def _too_large(limit: int) -> TooLarge:
    return TooLarge(
        f"the body is larger than {limit} bytes; upload large files with /v1/files, or send addresses",
        headers={"Connection": "close"},
    )

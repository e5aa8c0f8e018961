"""Server-sent events, and noticing that the client has gone."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from internvl.server.errors import answer_for

T = TypeVar("T")

DONE = b"data: [DONE]\n\n"
_PING = b": ping\n\n"


class ClientGone(Exception):  # noqa: N818  # no error of ours: it stops the work
    """The client has closed the connection; nobody waits for the answer."""


def event(data: BaseModel | dict[str, Any], name: str | None = None) -> bytes:
    """Return one event; a model's unset fields are left out."""
    if isinstance(data, BaseModel):
        text = data.model_dump_json(exclude_unset=True)
    else:
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {text}\n\n".encode()


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns; when the client goes first, cancel it and raise ClientGone.

    The body must have been read: what the client sends from then on is the end.
    """
    gone = asyncio.create_task(_wait_until_gone(request.receive))
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({gone, task}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return await task
    finally:
        await _end(gone, task)


class EventStream(Response):
    """Sends events as they come, and leaves the context `held` whatever happens to the client."""

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncIterator[bytes],
        held: AbstractAsyncContextManager[Any],
        *,
        request_id: str,
        ping_interval_s: float,
        write_timeout_s: float,
    ) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._events = events
        self._held = held
        self._request_id = request_id
        self._ping_interval_s = ping_interval_s
        self._write_timeout_s = write_timeout_s
        self._sent_at = time.monotonic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer (ASGI)."""
        async with self._held:  # here, as a generator that nobody started would not leave it
            await self._send_all(receive, send)

    async def _send_all(self, receive: Receive, send: Send) -> None:
        tasks = [
            asyncio.create_task(work)
            for work in (self._send_events(send), self._ping(send), _wait_until_gone(receive))
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if tasks[0].done():
                await tasks[0]
                return
            raise ClientGone
        finally:
            await _end(*tasks)

    async def _send_events(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async with aclosing(self._events) as events:  # type: ignore[type-var]  # always a generator
            try:
                async for piece in events:
                    await self._send(send, piece)
            except ClientGone:
                raise
            except Exception as error:  # noqa: BLE001  # told to the client, logged by answer_for
                await self._send(send, event(answer_for(error, self._request_id).body))
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _ping(self, send: Send) -> None:
        """Say something when nothing was said for long, so that proxies keep the connection."""
        while True:
            quiet_s = time.monotonic() - self._sent_at
            if quiet_s >= self._ping_interval_s:
                await self._send(send, _PING)
            else:
                await asyncio.sleep(self._ping_interval_s - quiet_s)

    async def _send(self, send: Send, piece: bytes) -> None:
        try:
            async with asyncio.timeout(self._write_timeout_s):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        except (TimeoutError, OSError):
            raise ClientGone from None
        self._sent_at = time.monotonic()


async def _wait_until_gone(receive: Receive) -> None:
    message: Message = {"type": "http.request"}
    while message["type"] != "http.disconnect":
        message = await receive()


async def _end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel what still runs, and wait for it."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

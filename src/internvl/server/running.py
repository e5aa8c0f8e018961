"""A request that the engine works on, as the event loop sees it."""

from __future__ import annotations

import asyncio
import logging
import queue
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from internvl.engine.request import Request
from internvl.server.errors import Draining, Failed
from internvl.server.metrics import AnswerWatch
from internvl.types import Response

logger = logging.getLogger(__name__)


class DeltaQueue(queue.SimpleQueue[Response]):
    """What the engine's thread puts in, the event loop takes out."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._items: asyncio.Queue[Response] = asyncio.Queue()

    def put(self, item: Response, block: bool = True, timeout: float | None = None) -> None:
        """Called by the engine's thread; never blocks and never fails."""
        try:
            self._loop.call_soon_threadsafe(self._items.put_nowait, item)
        except RuntimeError:
            return  # the loop has ended: nobody listens any more

    async def next(self) -> Response:
        """Wait for the next delta."""
        return await self._items.get()


class Running:
    """A request that the engine works on. Use as a context manager, iterate once.

    Leaving the context aborts what is unfinished and frees what the request held.
    """

    def __init__(
        self,
        request: Request,
        deltas: DeltaQueue,
        held: AsyncExitStack,
        watch: AnswerWatch,
        *,
        log_text: bool = False,
    ) -> None:
        """`held`: given back with the first token; `log_text`: write the answers to the log."""
        self.request = request
        self._deltas = deltas
        self._held = held
        self._watch = watch
        self._num_open = request.gen_config.n
        self._texts: dict[int, str] | None = {} if log_text else None

    async def __aiter__(self) -> AsyncIterator[Response]:
        """Yield the deltas of all n answers. Raises what made the request fail."""
        while self._num_open:
            delta = await self._deltas.next()
            await self._held.aclose()  # the first token has come: the tiles are encoded and gone
            self._num_open -= delta.finish_reason is not None
            if delta.finish_reason == "error":
                raise self.request.error or Failed("the answer failed")
            if delta.finish_reason == "abort":
                raise Draining("the server is shutting down; the answer was not finished")
            self._watch.see(delta, last=not self._num_open)
            if self._texts is not None:
                self._texts[delta.choice] = self._texts.get(delta.choice, "") + delta.text
            yield delta

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._num_open:
            self.request.abort()
        for choice, text in (self._texts or {}).items():
            logger.info("answer %d: %s", choice, text)
        await self._held.aclose()

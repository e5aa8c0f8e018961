"""What is taken on at once: requests by caller, bytes in flight, tiles in memory. All on the event loop."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from internvl.server.errors import Draining, Overloaded, RateLimited

#: Callers that are remembered; the one idle for longest is forgotten first.
_MAX_CALLERS = 10_000


@dataclass(slots=True)
class _CallerState:
    """What one caller has used."""

    tokens: float
    """Of the bucket: requests that may start now."""
    filled_at: float
    num_open: int = 0


class Gate:
    """Lets requests in, or says when to come again."""

    def __init__(
        self,
        *,
        max_concurrent: int,
        max_concurrent_per_caller: int | None = None,
        requests_per_minute: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_concurrent = max_concurrent
        self._max_per_caller = max_concurrent_per_caller
        self._rate = requests_per_minute
        self._clock = clock
        self._callers: OrderedDict[str, _CallerState] = OrderedDict()
        self.num_open = 0
        self.draining = False
        """Set once, when the server goes down: nothing new is let in."""

    @contextmanager
    def admit(self, caller: str) -> Iterator[None]:
        """Count a request while it is worked on. Raises Draining, RateLimited or Overloaded."""
        if self.draining:
            raise Draining("the server is shutting down; send the request again in a moment")
        state = self._state(caller)
        self._take_token(state)
        if self._max_per_caller is not None and state.num_open >= self._max_per_caller:
            raise RateLimited(
                f"{state.num_open} requests of yours are open; at most {self._max_per_caller} may be",
                headers={"Retry-After": "1"},
            )
        if self.num_open >= self._max_concurrent:
            raise Overloaded(
                f"{self.num_open} requests are open, as many as this server takes on; try again later"
            )
        self.num_open += 1
        state.num_open += 1
        try:
            yield
        finally:
            self.num_open -= 1
            state.num_open -= 1

    def remaining(self, caller: str) -> int | None:
        """Requests that the caller may start now; None = no limit."""
        return None if self._rate is None else int(self._state(caller).tokens)

    def _take_token(self, state: _CallerState) -> None:
        if self._rate is None:
            return
        if state.tokens < 1:
            wait_s = (1 - state.tokens) * 60 / self._rate
            raise RateLimited(
                f"more than {self._rate} requests a minute; try again in {wait_s:.0f} s",
                headers={"Retry-After": str(max(1, round(wait_s)))},
            )
        state.tokens -= 1

    def _state(self, caller: str) -> _CallerState:
        now, rate = self._clock(), self._rate or 0
        state = self._callers.get(caller)
        if state is None:
            state = self._callers[caller] = _CallerState(tokens=rate, filled_at=now)
            self._forget_idle()
        state.tokens = min(rate, state.tokens + (now - state.filled_at) * rate / 60)
        state.filled_at = now
        self._callers.move_to_end(caller)
        return state

    def _forget_idle(self) -> None:
        for name in list(self._callers):
            if len(self._callers) <= _MAX_CALLERS:
                break
            if not self._callers[name].num_open:
                del self._callers[name]


class Budget:
    """A number of bytes that holders share; who does not fit waits, first come first served.

    More than there is in all is granted when nothing else is held, so that nobody waits for ever.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self.held = 0

    @asynccontextmanager
    async def hold(self, amount: int) -> AsyncIterator[None]:
        """Hold `amount` bytes, waiting until they are free."""
        await self.acquire(amount)
        try:
            yield
        finally:
            self.release(amount)

    async def acquire(self, amount: int) -> None:
        """Take `amount` bytes; `release` gives them back."""
        if not self._waiting and self._fits(amount):
            self.held += amount
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (amount, granted)
        self._waiting.append(entry)
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self.release(amount)
            elif entry in self._waiting:
                self._waiting.remove(entry)
                self._grant()
            raise

    def release(self, amount: int) -> None:
        """Give `amount` bytes back."""
        self.held -= amount
        self._grant()

    def _fits(self, amount: int) -> bool:
        return not self.held or self.held + amount <= self._size

    def _grant(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            amount, granted = self._waiting.popleft()
            if not granted.cancelled():
                self.held += amount
                granted.set_result(None)

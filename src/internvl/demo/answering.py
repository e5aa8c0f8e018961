"""From a conversation to an answer that grows, and the stop button's way to it. No Gradio here.

Each answer runs in a thread of the web server's; the engine decodes all of them together. `OpenAnswers` knows which
answers are open in which browser window, so that a stop button, or a window that is closed, ends the right ones.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from internvl.engine.engine import Engine
from internvl.engine.request import Request
from internvl.types import GenerationConfig, Message, Response


@dataclass(slots=True, eq=False)
class _Ticket:
    """One answer that somebody waits for."""

    stopped: threading.Event = field(default_factory=threading.Event)
    request: Request | None = None

    def stop(self) -> None:
        self.stopped.set()
        if self.request is not None:
            self.request.abort()


class OpenAnswers:
    """The answers on their way, by browser window."""

    def __init__(self) -> None:
        self._tickets: defaultdict[str, set[_Ticket]] = defaultdict(set)
        self._lock = threading.Lock()

    def stream(
        self,
        window: str,
        engine: Callable[[], Engine],
        messages: Callable[[], Sequence[Message]],
        gen_config: GenerationConfig,
        *,
        adapter: str | None = None,
    ) -> Generator[Response]:
        """Yield the answer so far, again and again; the last one has a finish_reason.

        Ends at once, with finish_reason "abort", when `stop(window)` is called, at any moment. Leaving the
        iteration early stops the answer, too.

        Args:
            window: Whose answer it is; windows share the engine fairly.
            engine: Returns the engine (a model may have to be loaded first).
            messages: Returns the conversation (pictures may have to be opened first).
            gen_config: How to answer; a longer answer than fits is shortened, not refused.
            adapter: Which of the engine's adapters answers; None: the model itself.

        Raises InternVLError: As `Engine.submit` and `Engine.stream`.
        """
        ticket = _Ticket()
        with self._lock:
            self._tickets[window].add(ticket)
        try:
            yield from self._stream(ticket, window, engine, messages, gen_config, adapter)
        finally:
            ticket.stop()  # does nothing to an answer that is complete
            with self._lock:
                self._tickets[window].discard(ticket)
                if not self._tickets[window]:
                    del self._tickets[window]

    def stop(self, window: str) -> None:
        """End the open answers of a window; what there is of them counts."""
        with self._lock:
            tickets = list(self._tickets.get(window, ()))
        for ticket in tickets:
            ticket.stop()

    @property
    def num_open(self) -> int:
        """Answers that somebody waits for."""
        with self._lock:
            return sum(map(len, self._tickets.values()))

    def _stream(
        self,
        ticket: _Ticket,
        window: str,
        engine: Callable[[], Engine],
        messages: Callable[[], Sequence[Message]],
        gen_config: GenerationConfig,
        adapter: str | None,
    ) -> Iterator[Response]:
        answering = engine()
        whole = Response(finish_reason="abort")
        if not ticket.stopped.is_set():
            ticket.request = answering.submit(
                messages(), gen_config, fit_answer=True, user=window, adapter=adapter
            )
        if ticket.request is None:
            yield whole
            return
        if ticket.stopped.is_set():  # between the two: `stop` saw no request to abort
            ticket.request.abort()
        first = True
        with closing(answering.stream(ticket.request)) as deltas:
            for delta in deltas:
                whole = Response().extend(delta) if first else whole.extend(delta)
                first = False
                yield whole

"""The requests of a batch, answered by one engine in this process. `internvl batch` uses it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from internvl.chat.batch import Asked, JobFailed, Reply, Stopped
from internvl.chat.openai_body import BodyError
from internvl.chat.openai_chat import Aborted, ChatTask, read_chat_task
from internvl.engine.engine import Engine
from internvl.engine.request import Request
from internvl.errors import CapacityError, InternVLError
from internvl.types import Response

CHAT_URL = "/v1/chat/completions"
#: Seconds until an engine without room is asked again.
_RETRY_S = 0.1


class EngineAsker:
    """Answers the requests of a batch with one engine."""

    def __init__(
        self,
        engine: Engine,
        model: str,
        *,
        default_max_tokens: int | None = None,
        on_tokens: Callable[[int], None] | None = None,
    ) -> None:
        """Combine an engine with what a job says about all its requests.

        Args:
            engine: Answers.
            model: The name that answers give; requests may ask for others.
            default_max_tokens: Longest answer where a request does not say it; None: the session's room.
            on_tokens: Told the number of new tokens, in any thread.
        """
        self._engine = engine
        self._model = model
        self._default_max_tokens = default_max_tokens
        self._on_tokens = on_tokens
        self._stopped = threading.Event()
        self._open: set[Request] = set()
        self._lock = threading.Lock()

    def abort(self) -> None:
        """End open requests, and those that wait for room, with Stopped."""
        self._stopped.set()
        with self._lock:
            for request in self._open:
                request.abort()

    def __call__(self, asked: Asked) -> Reply:
        """Answer one request; many threads may."""
        if asked.url.removeprefix("https://api.openai.com") != CHAT_URL:
            message = f"url is {asked.url!r:.120}; expected {CHAT_URL}"
            raise BodyError(message, "url")
        if asked.body.get("stream"):
            raise BodyError("stream is true; a batch has whole answers. Leave it out", "stream")
        task = read_chat_task(asked.body, self._engine, default_max_tokens=self._default_max_tokens)
        try:
            return Reply(200, task.completion(self._answers(task), self._model))
        except (InternVLError, Stopped) as error:
            if self._engine.closed and not self._stopped.is_set():
                raise JobFailed(f"the engine has ended: {error}") from error
            raise

    def _answers(self, task: ChatTask) -> list[Response]:
        request = self._submit(task)
        try:
            return task.collect(request, on_tokens=self._on_tokens)
        except Aborted:
            raise Stopped from None
        finally:
            with self._lock:
                self._open.discard(request)

    def _submit(self, task: ChatTask) -> Request:
        """Submit; wait where the engine has no room now."""
        while not self._stopped.is_set():
            try:
                request = task.submit()
            except CapacityError:
                self._stopped.wait(_RETRY_S)
                continue
            with self._lock:
                self._open.add(request)
            if self._stopped.is_set():
                request.abort()
            return request
        raise Stopped

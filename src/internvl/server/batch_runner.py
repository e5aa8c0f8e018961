"""Does the batches, one after the other, in a thread of its own; `chat.batch` does the lines.

Each line goes the way of a request over HTTP (the same models, the same handlers), with a lower priority than
those. The thread stops between two answers when the server ends; the next server goes on.
"""

from __future__ import annotations

import asyncio
import json
import logging
import tempfile
import threading
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import CancelledError as FutureCancelled
from concurrent.futures import Future
from contextlib import ExitStack
from typing import IO, Any, NamedTuple

from pydantic import BaseModel, ValidationError

from internvl.chat.batch import Asked, BatchError, BatchProgress, JobFailed, Reply, Stopped, run_batch
from internvl.chat.batch_files import Requests
from internvl.errors import CapacityError
from internvl.server.batch_store import Batch, BatchStore
from internvl.server.errors import Draining, EngineEnded, Overloaded, answer_for
from internvl.server.file_store import FileStore
from internvl.server.ids import new_id
from internvl.server.validation import invalid_body

logger = logging.getLogger(__name__)

#: Seconds until a server without room is asked again.
_RETRY_S = 0.5


class Handler(NamedTuple):
    """How the requests to one endpoint are answered."""

    model: type[BaseModel]
    answer: Callable[[Any, str], Awaitable[Mapping[str, Any]]]
    """(body, owner) -> the answer's body."""


class BatchRunner:
    """Works through the batches of a store."""

    def __init__(
        self,
        store: BatchStore,
        files: FileStore,
        handlers: Mapping[str, Handler],
        *,
        max_lines: int,
        num_open: int,
    ) -> None:
        """`num_open`: lines that are worked on at once."""
        self._store = store
        self._files = files
        self._handlers = handlers
        self._max_lines = max_lines
        self._num_open = num_open
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._stop_batch = threading.Event()
        """Set to stop the batch that runs now."""
        self._running: str | None = None
        self._futures: set[Future[Reply]] = set()

    def start(self) -> None:
        """Begin, or go on with what an earlier server left. Called on the event loop."""
        self._loop = asyncio.get_running_loop()
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="internvl-batches", daemon=True)
            self._thread.start()
        self._wake.set()

    def cancel(self, batch_id: str) -> Batch:
        """End a batch; its answers so far are kept."""
        batch = self._store.change(batch_id, "cancelling")
        if self._running == batch_id:
            self._stop_batch.set()
        self._wake.set()
        return batch

    def close(self) -> None:
        """Stop between two answers and wait for that. Not on the event loop, which open lines still need."""
        self._ended.set()
        self._stop_batch.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    # -- below: the thread

    def _run(self) -> None:
        while not self._ended.is_set():
            self._wake.clear()
            batch = next(iter(self._store.open()), None)
            if batch is None:
                self._wake.wait()
                continue
            try:
                self._do(batch)
            except JobFailed:
                logger.exception("batch %s waits for the next start of the server", batch.id)
                return
            except Exception:
                logger.exception("batch %s failed", batch.id)
                self._store.change(
                    batch.id, "failed", problem="the server could not do it; its log says more"
                )

    def _do(self, batch: Batch) -> None:
        self._stop_batch.clear()
        self._running = batch.id
        try:
            if batch.status == "cancelling" and not self._store.answers(batch.id).exists():
                self._store.change(batch.id, "cancelled")
                return
            if batch.status != "finalizing" and not self._answer(batch):
                return
            self._finish(batch)
        finally:
            self._running = None

    def _answer(self, batch: Batch) -> bool:
        """Answer all lines. False: nothing to finish, now or ever."""
        path = self._store.requests(batch.id)
        try:
            requests = Requests(path)
            if len(requests.lines) > self._max_lines:
                raise BatchError(
                    f"the file has {len(requests.lines)} requests; at most {self._max_lines} may be"
                )
            self._store.change(batch.id, "in_progress", total=len(requests.lines))
            if self._store.status(batch.id) == "cancelling":
                self._stop_batch.set()

            def ask(asked: Asked) -> Reply:
                return self._ask(batch, asked)

            progress = run_batch(
                requests,
                self._store.answers(batch.id),
                ask,
                num_open=self._num_open,
                on_progress=lambda progress: self._count(batch.id, progress),
                stop=self._stop_batch,
                abort=self._abort,
            )
        except BatchError as error:
            said = str(error).replace(str(path), "the input file")
            self._store.change(batch.id, "failed", problem=said)
            self._store.drop_work_files(batch.id)
            return False
        return progress.complete or self._store.status(batch.id) == "cancelling"

    def _finish(self, batch: Batch) -> None:
        """Divide the answers into two files and end the batch."""
        self._store.change(batch.id, "finalizing")
        with ExitStack() as stack:
            good, bad = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(2))
            with self._store.answers(batch.id).open("rb") as answers:
                for line in answers:
                    (bad if json.loads(line)["error"] is not None else good).write(line)
            changes: dict[str, Any] = {
                "output_file_id": self._keep(good, batch, "output"),
                "error_file_id": self._keep(bad, batch, "errors"),
            }
        self._store.change(batch.id, "completed", **changes)
        self._store.drop_work_files(batch.id)

    def _keep(self, file: IO[bytes], batch: Batch, kind: str) -> str | None:
        if not file.tell():
            return None
        file.seek(0)
        kept = self._files.add(
            file,  # type: ignore[arg-type]
            owner=batch.owner,
            filename=f"{batch.id}_{kind}.jsonl",
            purpose="batch_output",
            bounded=False,
        )
        return kept.id

    def _count(self, batch_id: str, progress: BatchProgress) -> None:
        self._store.change(
            batch_id,
            lasting=False,
            total=progress.total,
            completed=progress.done - progress.failed,
            failed=progress.failed,
        )

    def _abort(self) -> None:
        for future in list(self._futures):
            future.cancel()

    def _ask(self, batch: Batch, asked: Asked) -> Reply:
        """Answer one line; called in threads of `run_batch`."""
        assert self._loop is not None
        try:
            future = asyncio.run_coroutine_threadsafe(self._reply(batch, asked), self._loop)
        except RuntimeError:  # the event loop has ended
            raise Stopped from None
        self._futures.add(future)
        try:
            if self._stop_batch.is_set():
                future.cancel()
            return future.result()
        except (FutureCancelled, asyncio.CancelledError):
            raise Stopped from None
        finally:
            self._futures.discard(future)

    async def _reply(self, batch: Batch, asked: Asked) -> Reply:
        """Answer one line, on the event loop."""
        while True:
            try:
                return Reply(200, await self._handle(batch, asked))
            except (CapacityError, Overloaded):
                await asyncio.sleep(_RETRY_S)  # others have gone first
            except Draining:
                raise asyncio.CancelledError from None
            except EngineEnded as error:
                raise JobFailed(str(error)) from error
            except Exception as error:  # noqa: BLE001  # this line's answer; answer_for logs what is ours
                answer = answer_for(error, f"{batch.id}/{asked.custom_id}")
                return Reply(answer.status, answer.body)

    async def _handle(self, batch: Batch, asked: Asked) -> Mapping[str, Any]:
        if asked.url != batch.endpoint:
            raise BatchError(f"url is {asked.url!r:.120}; the batch's endpoint is {batch.endpoint}")
        if asked.body.get("stream"):
            raise BatchError("stream is true; a batch has whole answers. Leave it out")
        handler = self._handlers[batch.endpoint]
        try:
            body = handler.model.model_validate(asked.body)
        except ValidationError as error:
            raise invalid_body(error.errors()) from None
        return await handler.answer(body, batch.owner)


def new_batch(
    owner: str, endpoint: str, input_file_id: str, metadata: dict[str, str] | None, now: int
) -> Batch:
    """Return a batch that is to be done."""
    return Batch(
        id=new_id("batch_"),
        owner=owner,
        endpoint=endpoint,
        input_file_id=input_file_id,
        status="validating",
        created_at=now,
        metadata=metadata,
    )

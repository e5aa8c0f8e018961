"""A batch job: a file of OpenAI batch requests -> a file of answers, many open at once, resumable at any moment.

Each line is {"custom_id", "method": "POST", "url": "/v1/chat/completions", "body"}; each answer {"id",
"custom_id", "response": {"status_code", "request_id", "body"}, "error"}. A line that fails is answered with its
error and counted; what is answered already is not asked again. Called by `internvl batch` and, with an `ask` of
its own, by the server.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from internvl.chat.batch_files import Answers, BatchError, Line, Requests
from internvl.errors import CapacityError, ContextLengthError, InternVLError

__all__ = ["Ask", "Asked", "BatchError", "BatchProgress", "JobFailed", "Reply", "Stopped", "run_batch"]

logger = logging.getLogger(__name__)

#: Seconds between two looks at whether somebody wants the job to stop.
_TICK_S = 0.2


class Asked(NamedTuple):
    """One request of a batch."""

    custom_id: str
    url: str
    body: Mapping[str, Any]


class Reply(NamedTuple):
    """Its answer, as HTTP would give it."""

    status_code: int
    body: Mapping[str, Any]
    """The answer, or {"error": {"message", "type", "param", "code"}}."""


#: Answers one request; called in several threads at once. Raises Stopped when it is told to give up, JobFailed
#: when nothing can be answered any more; any other exception is that one request's failure.
Ask = Callable[[Asked], Reply]


class Stopped(Exception):
    """The answer was given up because the job stops; the request is asked again by the next run."""


class JobFailed(InternVLError):
    """Nothing can be answered any more; the answers so far are kept."""


@dataclass(slots=True)
class BatchProgress:
    """How far a job is."""

    total: int
    """Requests in the file."""
    answered_before: int = 0
    """By earlier runs, failed ones included."""
    done: int = 0
    """Answered now and before, failed ones included."""
    failed: int = 0
    """Now and before."""
    prompt_tokens: int = 0
    """Of this run."""
    completion_tokens: int = 0
    """Of this run's complete answers."""

    @property
    def complete(self) -> bool:
        """Whether every request has its answer."""
        return self.done >= self.total


def run_batch(
    requests: Path | Requests,
    answers: Path,
    ask: Ask,
    *,
    num_open: int = 16,
    retry_failed: bool = False,
    on_progress: Callable[[BatchProgress], None] | None = None,
    stop: threading.Event | None = None,
    abort: Callable[[], None] | None = None,
) -> BatchProgress:
    """Answer what is not answered yet.

    Args:
        requests: The file, or what `Requests` found in it.
        answers: Where the answers go; it is appended to, so that a killed job goes on where it was.
        ask: Answers one request.
        num_open: Requests that are worked on at once.
        retry_failed: Ask again what failed in an earlier run.
        on_progress: Told at the beginning and after every answer.
        stop: When set, nothing more is asked, and `run_batch` returns when the open requests have ended.
        abort: Called when the job stops early (`stop`, Ctrl-C, a failure); lets open requests end soon.

    Returns:
        What there is now; `complete` says whether all of it is done.

    Raises:
        BatchError: The files cannot be those of one batch, or cannot be written.
        JobFailed: As `ask` raised it.
    """
    if not isinstance(requests, Requests):
        requests = Requests(requests)
    with Answers.open(answers, requests, retry_failed=retry_failed) as written:
        done = written.done
        progress = BatchProgress(
            total=len(requests.lines), answered_before=len(done.keys), done=len(done.keys), failed=done.failed
        )
        job = _Job(requests, written, ask, progress)
        job.on_progress = on_progress or job.on_progress
        job.stop = stop or job.stop
        job.abort = abort or job.abort
        job.on_progress(progress)
        job.run(num_open, [line for line in requests.lines if line.key not in done.keys])
        return progress


@dataclass
class _Job:
    """One run through the requests; answers are written by the thread that called `run_batch` only."""

    requests: Requests
    answers: Answers
    ask: Ask
    progress: BatchProgress
    on_progress: Callable[[BatchProgress], None] = lambda progress: None
    abort: Callable[[], None] = lambda: None
    stop: threading.Event = field(default_factory=threading.Event)
    open: dict[Future[Reply | None], Line] = field(default_factory=dict)

    def run(self, num_open: int, lines: list[Line]) -> None:
        todo = iter(lines)
        with ThreadPoolExecutor(num_open, thread_name_prefix="internvl-batch") as pool:
            try:
                aborted = False
                self._fill(pool, todo, num_open)
                while self.open:
                    finished, _ = wait(self.open, timeout=_TICK_S, return_when=FIRST_COMPLETED)
                    self._take(finished)
                    if self.stop.is_set() and not aborted:
                        aborted = True
                        self.abort()
                    self._fill(pool, todo, num_open)
            except BaseException:
                self.stop.set()
                self.abort()
                raise

    def _fill(self, pool: ThreadPoolExecutor, todo: Iterator[Line], num_open: int) -> None:
        while len(self.open) < num_open and not self.stop.is_set():
            line = next(todo, None)
            if line is None:
                return
            self.open[pool.submit(self._reply, line)] = line

    def _take(self, finished: set[Future[Reply | None]]) -> None:
        for future in finished:
            line = self.open.pop(future)
            reply = future.result()
            if reply is not None:
                self._write(line, reply)

    def _reply(self, line: Line) -> Reply | None:
        """Answer one line; None: stopped before it had an answer."""
        if line.problem is not None:
            return failure(400, line.problem, code="invalid_line")
        request = self.requests.read(line)
        custom_id, method, url, body = (request.get(k) for k in ("custom_id", "method", "url", "body"))
        if method not in (None, "POST"):
            return failure(400, f"method is {method!r:.80}; expected POST", param="method")
        if not isinstance(url, str) or not isinstance(body, Mapping):
            wrong = "url" if not isinstance(url, str) else "body"
            kind = type(request.get(wrong)).__name__
            return failure(400, f"{wrong} is {kind}; expected a request with url and body", param=wrong)
        try:
            return self.ask(Asked(str(custom_id), url, body))
        except Stopped:
            return None
        except JobFailed:
            raise
        except InternVLError as error:
            return failure_of(error)
        except Exception:
            logger.exception("request %r of the batch failed", custom_id)
            return failure(
                500, "this request met an error inside the engine; the log has it", kind="server_error"
            )

    def _write(self, line: Line, reply: Reply) -> None:
        response: dict[str, Any] | None = {
            "status_code": reply.status_code,
            "request_id": f"req_{secrets.token_hex(16)}",
            "body": reply.body,
        }
        error = None
        if reply.status_code != 200:
            inner = reply.body["error"]
            error = {"code": inner.get("code") or inner.get("type"), "message": inner.get("message")}
            self.progress.failed += 1
        if line.custom_id is None and error is not None:
            response, error["line"] = None, line.number
        self.answers.append(line, response, error)
        usage = reply.body.get("usage") or {}
        self.progress.prompt_tokens += usage.get("prompt_tokens", 0)
        self.progress.completion_tokens += usage.get("completion_tokens", 0)
        self.progress.done += 1
        self.on_progress(self.progress)


def failure(
    status_code: int,
    message: str,
    *,
    kind: str = "invalid_request_error",
    param: str | None = None,
    code: str | None = None,
) -> Reply:
    """Return a failed reply in OpenAI's form."""
    return Reply(status_code, {"error": {"message": message, "type": kind, "param": param, "code": code}})


def failure_of(error: InternVLError) -> Reply:
    """Return the reply that says what was wrong with a request."""
    if isinstance(error, CapacityError):
        return failure(503, str(error), kind="server_error", code="no_capacity")
    code = "context_length_exceeded" if isinstance(error, ContextLengthError) else None
    return failure(400, str(error), param=getattr(error, "param", None), code=code)

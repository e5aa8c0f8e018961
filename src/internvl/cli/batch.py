"""`internvl batch`: a file of OpenAI batch requests in, a file of answers out."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from internvl.cli.chat import open_pipeline
from internvl.cli.main import EXIT_FAILED
from internvl.cli.options import (
    DEFAULTS,
    ENGINE_PANEL,
    Device,
    Dtype,
    MaxTiles,
    ModelName,
    Quantize,
    Revision,
    SessionLen,
)

if TYPE_CHECKING:
    from internvl.chat.batch import BatchProgress

#: Requests prepared or answered at once, for each that the engine decodes: the next ones are ready in time.
_OPEN_PER_ROW = 2


def command(
    requests: Annotated[
        Path,
        typer.Argument(
            help='Requests, one a line: {"custom_id", "method": "POST", "url": "/v1/chat/completions", "body"}.'
        ),
    ],
    answers: Annotated[Path, typer.Argument(help="Where the answers go, one a line.")],
    model: ModelName = "nano",
    max_tokens: Annotated[
        int | None,
        typer.Option(
            help="Longest answer where a request does not say it. [default: the context's room]", min=1
        ),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Ask again what failed in an earlier run.")
    ] = False,
    max_batch_size: Annotated[
        int,
        typer.Option(
            "--batch-size",
            "--max-batch-size",
            help="Answers decoded together.",
            min=1,
            rich_help_panel=ENGINE_PANEL,
        ),
    ] = DEFAULTS.max_batch_size,
    max_tiles: MaxTiles = None,
    session_len: SessionLen = None,
    dtype: Dtype = "auto",
    quantize: Quantize = None,
    device: Device = DEFAULTS.device,
    revision: Revision = None,
) -> int:
    """Answer a file of requests: OpenAI batch lines in, answers out.

    internvl batch requests.jsonl answers.jsonl

    A run that was stopped or killed goes on where it was when the same command is given again. Lines that fail
    are answered with their error; the exit code is 1 if there are any.
    """
    from internvl.chat.batch import run_batch
    from internvl.chat.batch_files import Answers, Requests

    # before the model: files that are wrong, or done, should not cost the wait
    found = Requests(requests)
    with Answers.open(answers, found, retry_failed=retry_failed) as written:
        done = written.done
    if len(done.keys) == len(found.lines):
        print(f"all {len(found.lines)} requests are answered already, {done.failed} failed", file=sys.stderr)
        return EXIT_FAILED if done.failed else 0
    from internvl.chat.batch_engine import EngineAsker

    options: dict[str, Any] = {
        "max_batch_size": max_batch_size,
        "max_tiles": max_tiles,
        "session_len": session_len,
        "dtype": dtype,
        "quantize": quantize,
        "device": device,
        "revision": revision,
    }
    with open_pipeline(model, options) as pipe, _Display() as display:
        engine = pipe.engine
        asker = EngineAsker(engine, model, default_max_tokens=max_tokens, on_tokens=display.add_tokens)
        try:
            progress = run_batch(
                found,
                answers,
                asker,
                num_open=_OPEN_PER_ROW * engine.config.max_batch_size,
                on_progress=display.show,
                abort=asker.abort,
            )
        except KeyboardInterrupt:
            display.finish()
            print("stopped; the same command goes on from here", file=sys.stderr)
            raise
    others = sorted(found.models - {model})
    if others:
        names = ", ".join(map(repr, others[:3])) + (", ..." if len(others) > 3 else "")
        print(f"note: requests ask for {names}; {model} answered them all", file=sys.stderr)
    return 0 if progress.complete and not progress.failed else EXIT_FAILED


class _Display:
    """Progress on stderr: a bar with tokens a second and the time left on a terminal, else one line at the
    end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tokens = 0
        self._started = time.perf_counter()
        self._last: BatchProgress | None = None
        self._bar: Any = None

    def add_tokens(self, count: int) -> None:
        """Count new tokens; any thread."""
        with self._lock:
            self._tokens += count

    def show(self, progress: BatchProgress) -> None:
        """Show how far the job is."""
        self._last = progress
        if self._bar is None and sys.stderr.isatty():
            self._bar = self._new_bar(progress)
        if self._bar is not None:
            self._bar.update(self._task, completed=progress.done)

    def finish(self) -> None:
        """Take the bar away and say what was done."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        if self._last is None:
            return
        progress, self._last = self._last, None
        seconds = time.perf_counter() - self._started
        before = f" ({progress.answered_before} before)" if progress.answered_before else ""
        failed = f", {progress.failed} of them failed" if progress.failed else ""
        print(
            f"{progress.done} of {progress.total} requests answered{before}{failed}; {progress.prompt_tokens}"
            f" prompt tokens and {self._tokens} new ones in {seconds:.1f} s, {self._rate()}",
            file=sys.stderr,
        )

    def _rate(self) -> str:
        return f"{self._tokens / max(time.perf_counter() - self._started, 1e-6):.1f} tokens/s"

    def _state(self) -> str:
        failed = self._last.failed if self._last is not None else 0
        return self._rate() + (f", {failed} failed" if failed else "")

    def _new_bar(self, progress: BatchProgress) -> Any:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TimeRemainingColumn
        from rich.text import Text

        state = self._state

        class State(ProgressColumn):
            """Speed and failures, as they are when the bar is drawn."""

            def render(self, task: Any) -> Text:
                return Text(state())

        columns = (MofNCompleteColumn(), BarColumn(), State(), TimeRemainingColumn())
        bar = Progress(*columns, console=Console(stderr=True), transient=True)
        # what earlier runs answered took no time now, so it must not count for the time that is left
        self._task = bar.add_task("answers", total=progress.total, completed=progress.done)
        bar.start()
        return bar

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()

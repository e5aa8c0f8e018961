"""`internvl eval MODEL`: questions with known answers, figures, a report."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import typer

from internvl.cli.options import (
    DEFAULTS,
    ENGINE_PANEL,
    Device,
    Dtype,
    MaxTiles,
    Quantize,
    Revision,
    SessionLen,
    TilePolicy,
)
from internvl.cli.output import duration
from internvl.errors import ConfigError

if TYPE_CHECKING:
    from internvl.evaluation.figures import Figure
    from internvl.evaluation.progress import EvalProgress
    from internvl.evaluation.results import Results

#: Without a terminal, seconds between lines of progress.
LINE_EVERY_S = 60.0


def command(
    model: Annotated[str, typer.Argument(help="nano, a checkpoint directory, or a hub id.")] = "nano",
    sets: Annotated[
        list[str] | None,
        typer.Option(
            help="Sets, with commas or several times: generated:lines, shared:sroie_receipts, or all of a kind:"
            " generated, shared, all. [default: generated]",
        ),
    ] = None,
    count: Annotated[
        int,
        typer.Option("--count", "-n", help="Samples of a generated set, and the most of a real one.", min=1),
    ] = 1000,
    seed: Annotated[int, typer.Option(help="Of the generated samples.")] = 20_000,
    split: Annotated[
        Literal["train", "held_out"],
        typer.Option(help="held_out: fonts, drawings and words that training never shows."),
    ] = "held_out",
    shared: Annotated[
        Path | None,
        typer.Option(
            envvar="INTERNVL_SHARED",
            help="Folder that holds data/: the real sets, and what generated ones draw from.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Answers, figures, report. [default: runs/eval/MODEL]")
    ] = None,
    beside: Annotated[
        Literal["tesseract"] | None,
        typer.Option("--with", help="Let this program read the same pictures, and show its figures too."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Processes that draw samples. [default: one per core but one]", min=0),
    ] = None,
    loop_guard: Annotated[
        bool, typer.Option(help="End answers that go in circles, as in a conversation.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print figures.json instead of a table.")] = False,
    list_sets: Annotated[bool, typer.Option("--list", help="Print the names of the sets and stop.")] = False,
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
    tile_policy: TilePolicy = DEFAULTS.tile_policy,
    session_len: SessionLen = None,
    dtype: Dtype = "auto",
    quantize: Quantize = None,
    device: Device = DEFAULTS.device,
    revision: Revision = None,
) -> int:
    """Measure a model: known questions, figures, a report of failures.

    internvl eval nano --sets generated:lines,generated:page --count 100 --out runs/eval/reading

    Answers are written as they come (OUT/answers.jsonl); after a kill the same command goes on where it was, and a
    larger --count or more --sets add to what is there. OUT/report.html shows figures, failures and successes.
    """
    from internvl.evaluation.sets import list_sets as names_of_sets

    if shared is not None and not (shared / "data").is_dir():
        lacks = "holds no folder data/" if shared.is_dir() else "does not exist"
        raise typer.BadParameter(f"{shared} {lacks}", param_hint="--shared")
    if list_sets:
        print("\n".join(names_of_sets(shared)))
        return 0
    from internvl.engine.config import EngineConfig
    from internvl.evaluation.runner import EvalConfig, default_out, evaluate

    try:
        engine = EngineConfig(
            max_batch_size=max_batch_size,
            max_tiles=max_tiles,
            tile_policy=tile_policy,
            session_len=session_len,
            dtype=dtype,
            quantize=quantize,
            device=device,
            revision=revision,
        )
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from error
    config = EvalConfig(
        sets=",".join(sets or ["generated"]),
        count=count,
        seed=seed,
        split=split,
        shared=shared,
        out=out or default_out(model),
        workers=workers,
        beside=beside,
        loop_guard=loop_guard,
    )
    try:
        with _Display() as display:
            results = evaluate(model, config, engine=engine, on_progress=display.show)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        raise
    if as_json:
        print(json.dumps(results.as_json(), ensure_ascii=False, indent=1))
    else:
        _print_table(results)
    print(f"{config.out / 'report.html'}", file=sys.stderr)
    return 0


def _print_table(results: Results) -> None:
    """The named figures; below them every set's own."""
    lines: list[tuple[str, Figure, str]] = []
    for named in results.table:
        limits = (
            f"{word} {value:.0%}"
            for word, value in (("floor", named.aim.floor), ("aim", named.aim.aim))
            if value
        )
        theirs = (f"tesseract {named.beside.value:.2%}",) if named.beside else ()
        lines.append((named.figure.name, named.figure, ", ".join((*limits, *theirs))))
    if results.false_absent is not None:
        lines.append((results.false_absent.name, results.false_absent, ""))
    for each in results.sets:
        lines += [(f"{each.name}: {figure.name}", figure, "") for figure in each.figures]
        lines += [(f"{each.name}, tesseract: {figure.name}", figure, "") for figure in each.beside]
    width = max((len(name) for name, _, _ in lines), default=0)
    for name, figure, note in lines:
        interval = f"[{figure.low:6.1%}, {figure.high:6.1%}]"
        print(f"{name:{width}}  {figure.value:7.2%}  {interval}  of {figure.questions:<6} {note}".rstrip())
    for each in results.sets:
        for reason, number in each.skipped.items():
            print(f"{each.name}: {number} skipped: {reason}")
        errors = each.finish_reasons.get("error", 0)
        if errors:
            print(f"{each.name}: {errors} answered with an error (score 0): see message in answers.jsonl")


def _how_far(progress: EvalProgress) -> str:
    return (
        f"{progress.done} of {progress.total} samples, {progress.questions} answers, {progress.tokens} tokens"
    )


class _Display:
    """Progress on stderr: a bar with the time left on a terminal, else a line a minute and when a set is done."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._started = self._said = time.perf_counter()
        self._open: set[str] | None = None

    def show(self, progress: EvalProgress) -> None:
        """Show how far the run is."""
        if sys.stderr.isatty():
            self._show_bar(progress)
        still_open = {name for name, left in progress.left.items() if left}
        if self._open is None:
            left = progress.total - progress.done_before
            self._say(f"{left} of {progress.total} samples to ask, in {len(still_open)} sets")
        elif not sys.stderr.isatty():
            for name in self._open - still_open:
                self._say(f"{name} done: {_how_far(progress)} in {self._seconds():.0f} s")
            if time.perf_counter() - self._said >= LINE_EVERY_S:
                each = self._seconds() / max(1, progress.done - progress.done_before)
                remaining = duration(each * (progress.total - progress.done))
                self._say(f"{progress.set}: {_how_far(progress)}, {remaining} left")
        self._open = still_open

    def _say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)
        self._said = time.perf_counter()

    def _seconds(self) -> float:
        return time.perf_counter() - self._started

    def _show_bar(self, progress: EvalProgress) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        if self._bar is None:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            # what earlier runs did took no time now, so it must not count for the time that is left
            self._task = self._bar.add_task("", total=progress.total - progress.done_before, rate="")
            self._bar.start()
        seconds = time.perf_counter() - self._started
        failed = f", {progress.failed} failed" if progress.failed else ""
        self._bar.update(
            self._task,
            completed=progress.done - progress.done_before,
            description=progress.set.partition(":")[2],
            rate=f"{progress.questions / seconds:.1f} answers/s{failed}",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

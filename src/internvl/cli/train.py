"""`internvl train RECIPE...`: train, go on where it stopped, or show what it would cost."""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from internvl.cli.output import console, duration, plain, print_json

if TYPE_CHECKING:
    from internvl.preprocess.processor import Processor
    from internvl.train.config import TrainConfig
    from internvl.train.loop import StepRecord, Watchers
    from internvl.train.parallel import Ranks
    from internvl.train.stages import Stage

#: Without a terminal, seconds between lines of progress.
LINE_EVERY_S = 10.0


def command(
    recipes: Annotated[
        list[Path],
        typer.Argument(
            metavar="RECIPE...", help="TOML files, e.g. one of recipes/; several run in this order."
        ),
    ],
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="SECTION.KEY=VALUE", help="Change a value of every recipe; may be repeated."
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Train nothing: show memory, time, tokens, packing, and what rows teach."
        ),
    ] = False,
    rows: Annotated[int, typer.Option("--rows", min=0, help="With --dry-run: rows to show.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Train or fine-tune a model as a recipe (TOML) says, or as several do, one after the other.

    Ctrl-C and SIGTERM stop a run after the update under way, saved. What was stopped, or killed, goes on at its newest
    checkpoint when the same command is given again, with the losses and the order of data that it would have had; a
    run that is complete is skipped. Several processes: torchrun --nproc-per-node N -m internvl train RECIPE. The
    trained model is OUTPUT/final, beside log.jsonl, report.png and report.html; a later recipe goes on from it by
    model.path.
    """
    from internvl.train.stages import read_stages

    stages = read_stages(recipes, settings or ())
    if dry_run:
        from internvl.cli.train_dry_run import show

        show(stages, rows, as_json=as_json)
        return
    with _stoppable() as received:
        code = _train(stages, received, as_json=as_json)
    if code:
        raise typer.Exit(code)


@contextmanager
def _stoppable() -> Iterator[list[int]]:
    """Collect SIGINT (Ctrl-C) and SIGTERM: they end a run after its update, saved; a second one ends it at once."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number: int, frame: object) -> None:
        received.append(number)
        signal.signal(number, before[signal.Signals(number)])

    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, stop)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _train(stages: Sequence[Stage], received: Sequence[int], *, as_json: bool) -> int:
    """Run the stages; return the exit code, 128 + signal where one ended them. `received`: the signals so far."""
    import torch

    from internvl.train.parallel import leave, ranks, wait_for_all
    from internvl.train.stages import check_stages

    began, threads = time.monotonic(), torch.get_num_threads()
    results: list[dict[str, Any]] = []
    with ranks(stages[0].config.run.device) as where:
        say = _say if where.is_first else _silent
        done = check_stages(stages, where.size)
        wait_for_all(where)  # nobody trains before everybody has seen what is there
        for number, (stage, step) in enumerate(zip(stages, done, strict=True), 1):
            if len(stages) > 1:
                say(f"{number} of {len(stages)}: {stage.recipe}")
            if step is None:
                torch.set_num_threads(threads)  # a recipe that says nothing of them has what it has alone
                results.append(_train_on(stage.config, where, began, received))
                wait_for_all(where)
            else:
                results.append(_skipped(stage, step))
                say(f"complete at step {step}: {stage.final}; skipped")
            if not results[-1]["finished"]:
                break
        if where.is_first:
            _show_results(results, len(stages), as_json=as_json)
    complete = all(result["finished"] for result in results) and len(results) == len(stages)
    code = 128 + received[0] if received and not complete else 0
    leave(where, code)
    return code


def _show_results(results: Sequence[dict[str, Any]], num_stages: int, *, as_json: bool) -> None:
    if as_json:
        print_json(results[0] if num_stages == 1 else {"stages": results})
        return
    out = console()
    for result in results:
        if result["skipped"]:
            continue
        end = (
            f"trained model: {result['final']}"
            if result["final"]
            else "not finished: the same command goes on"
        )
        loss = "" if result["loss"] is None else f", loss {result['loss']:.4f}"
        out.print(plain(f"step {result['step']} of {result['steps']}{loss}; {end}"))
        if result["data_ended"] and result["step"] < result["steps"]:
            out.print(
                plain(
                    f"the data ended at step {result['step']}: the learning rate had not fallen to its end. With "
                    f"run.steps={result['step']} it would have"
                )
            )
        out.print(plain(f"report: {result['report'][-1]}"))
    if all(result["skipped"] for result in results):
        out.print(plain(f"nothing left to train; trained model: {results[-1]['final']}"))
    elif len(results) < num_stages:
        out.print(plain(f"{num_stages - len(results)} of {num_stages} recipes have not begun"))


def _skipped(stage: Stage, step: int) -> dict[str, Any]:
    return {
        "output": stage.config.output,
        "step": step,
        "steps": step,
        "finished": True,
        "data_ended": False,
        "skipped": True,
        "loss": None,
        "validation_loss": None,
        "refused": 0,
        "seconds": 0.0,
        "num_bad_rows": 0,
        "bad_rows": [],
        "num_bad_validation_rows": 0,
        "num_truncated": 0,
        "packing_efficiency": None,
        "final": str(stage.final),
        "report": [],
    }


def _train_on(
    config: TrainConfig, where: Ranks, clock_began: float, received: Sequence[int]
) -> dict[str, Any]:
    """Run one recipe; return what became of it, as --json prints it. `received`: signals, which end it."""
    from internvl.train.report import write_report
    from internvl.train.run_data import count_rows
    from internvl.train.setup import export, prepare

    output = Path(config.output)
    prepared = prepare(config, where)
    trainer = prepared.trainer
    config = trainer.config
    say = _say if where.is_first else _silent
    if prepared.resumed:
        say(f"going on at step {trainer.step} of {config.run.steps} in {output}")
    if config.run.sample_every:
        trainer.watchers.answers = _answers(config, prepared.processor)
    trainer.watchers.wants_stop = lambda: bool(received)
    with _progress(config, trainer.watchers, first=where.is_first):
        summary = trainer.run(clock_began)
    trainer.log.close()
    final = export(trainer, config) if summary.finished else None
    rows = count_rows(prepared.batches, where)
    measured = None if prepared.validation is None else count_rows(prepared.validation.batches, where)
    for row in rows.listed[:5]:
        say(f"left out: {row}")
    if measured is not None and measured.bad:
        say(f"left out of the validation rows: {measured.bad}, e.g. {_first(measured.listed)}")
    facts = {
        "steps": f"{summary.step} of {config.run.steps}{', where the data ended' if summary.data_ended else ''}",
        "loss of the last step": _figure(summary.last_loss),
        "validation loss": _figure(summary.validation_loss),
        "refused updates": summary.refused,
        "seconds": f"{summary.seconds:.0f}",
        "model": config.model.path,
        "data": ", ".join((*config.data.meta, *config.data.sources)),
    }
    if rows.packing_efficiency is not None:
        facts["packing efficiency"] = f"{rows.packing_efficiency:.1%}"
    if rows.bad:
        facts["rows left out"] = f"{rows.bad}, e.g. {_first(rows.listed)}"
    if rows.truncated:
        facts["rows cut off at data.max_tokens"] = rows.truncated
    if measured is not None and measured.bad:
        facts["validation rows left out"] = f"{measured.bad}, e.g. {_first(measured.listed)}"
    written = write_report(output, title=config.notes or output.name, facts=facts) if where.is_first else []
    return {
        "output": str(output),
        "step": summary.step,
        "steps": config.run.steps,
        "finished": summary.finished,
        "data_ended": summary.data_ended,
        "skipped": False,
        "loss": _finite(summary.last_loss),
        "validation_loss": _finite(summary.validation_loss),
        "refused": summary.refused,
        "seconds": round(summary.seconds, 1),
        "num_bad_rows": rows.bad,
        "bad_rows": rows.listed,
        "num_bad_validation_rows": 0 if measured is None else measured.bad,
        "num_truncated": rows.truncated,
        "packing_efficiency": rows.packing_efficiency,
        "final": None if final is None else str(final),
        "report": [str(path) for path in written],
    }


def _figure(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4f}"


def _finite(value: float | None) -> float | None:
    """JSON knows no NaN."""
    return value if value is None or math.isfinite(value) else None


def _first(rows: Sequence[str]) -> str:
    return rows[0] if rows else "one of another rank"


def _answers(config: TrainConfig, processor: Processor) -> Any:
    """A function of the model: its answers to the first validation rows (or training rows, without them)."""
    from internvl.data.sample import Assets
    from internvl.engine.config import EngineConfig
    from internvl.engine.engine import Engine
    from internvl.errors import DataError
    from internvl.train.meta import read_sources
    from internvl.train.pairs import conversation
    from internvl.train.rows import ClipSource, parse_row
    from internvl.train.sources import open_source
    from internvl.types import GenerationConfig

    data = config.validation_data() if config.validation.given else config.data
    assets = Assets(shared=Path(data.assets) if data.assets else None)
    asked: list[tuple[list[dict[str, Any]], str, str]] = []
    for spec in read_sources(data.meta, data.sources, root=data.root):
        source = open_source(spec, assets)
        for index in range(min(len(source), config.run.num_samples)):
            try:
                raw = source.find(index)
                if config.objective.is_preference:
                    raw = raw._replace(row=conversation(raw))
                row = parse_row(*raw)
            except DataError:
                if data.on_bad_row == "stop":
                    raise
                continue
            turns = [turn for turn in row.turns if turn.role in ("human", "gpt")]
            if len(turns) < 2 or any(isinstance(medium, ClipSource) for medium in row.media):
                continue
            pictures = turns[0].text.count("<image>")
            content = [{"type": "image", "image": medium} for medium in row.media[:pictures]]
            messages = [
                {"role": "user", "content": [*content, {"type": "text", "text": turns[0].text}]},
            ]
            asked.append((messages, turns[0].text, turns[1].text))
    asked = asked[: config.run.num_samples]

    def answers(model: Any) -> list[dict[str, str]]:
        if not asked:
            return []
        inputs = [processor(messages) for messages, _, _ in asked]
        longest = max(len(one.input_ids) for one in inputs) + 160
        engine_config = EngineConfig(session_len=longest, max_batch_size=len(inputs))
        with Engine(model, processor, engine_config) as engine:
            found = engine.generate(inputs, GenerationConfig(max_new_tokens=128))
        return [
            {"question": question, "expected": expected, "answer": response.text}
            for (_, question, expected), response in zip(asked, found, strict=True)
        ]

    return answers


@contextmanager
def _progress(config: TrainConfig, watchers: Watchers, *, first: bool) -> Iterator[None]:
    """A bar on a terminal, a line now and then without one; both on stderr."""
    if not first:
        yield
        return
    if not sys.stderr.isatty():
        last = [-LINE_EVERY_S]

        def line(record: StepRecord) -> None:
            late = time.monotonic() - last[0] >= LINE_EVERY_S
            if late or record.step == record.steps or record.result.refused:
                last[0] = time.monotonic()
                _say(f"step {record.step}/{record.steps} {_status(record)} ETA {duration(record.eta_s)}")

        watchers.on_step, watchers.on_event = line, _say_event
        yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[status]}"),
        TextColumn("ETA {task.fields[eta]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=config.run.steps, status="", eta="-")

        def show(record: StepRecord) -> None:
            progress.update(task, completed=record.step, status=_status(record), eta=duration(record.eta_s))
            if record.result.refused:
                progress.console.print(plain(f"step {record.step} refused: {record.result.refused}", "red"))

        def event(kind: str, step: int, values: Mapping[str, Any]) -> None:
            progress.console.print(plain(_event_line(kind, step, values)))

        watchers.on_step, watchers.on_event = show, event
        yield


def _status(record: StepRecord) -> str:
    parts = [
        f"loss {record.result.loss:.4f}",
        f"lr {record.learning_rate:.2e}",
        f"{record.tokens_per_s:,.0f} tokens/s",
    ]
    if record.mfu is not None:
        parts.append(f"MFU {record.mfu:.1%}")
    if record.result.refused:
        parts.append(f"refused: {record.result.refused}")
    return ", ".join(parts)


def _event_line(kind: str, step: int, values: Mapping[str, Any]) -> str:
    if kind == "sample":
        question = " ".join(str(values["question"]).split())
        return f"step {step} | {question[-60:]} | expected {values['expected'][:60]!r} | {values['answer'][:60]!r}"
    return f"step {step} {kind}: " + ", ".join(f"{name} {value:.4f}" for name, value in values.items())


def _say_event(kind: str, step: int, values: Mapping[str, Any]) -> None:
    _say(_event_line(kind, step, values))


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _silent(text: str) -> None:
    """What the other ranks say."""

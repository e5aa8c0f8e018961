"""`internvl train RECIPE.toml`: train, go on where it stopped, or show what it would cost."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from internvl.cli.output import amount, console, plain, print_json, print_table, table

if TYPE_CHECKING:
    from internvl.preprocess.processor import Processor
    from internvl.train.config import TrainConfig
    from internvl.train.loop import StepRecord, Watchers
    from internvl.train.parallel import Ranks

#: Without a terminal, seconds between lines of progress.
LINE_EVERY_S = 10.0


def command(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A TOML file, e.g. one of recipes/.")],
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="SECTION.KEY=VALUE", help="Change a value of the recipe; may be repeated."
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
    """Train or fine-tune a model as a recipe (TOML) says.

    A run that was stopped, or killed, goes on at its newest checkpoint when the same command is given again, with the
    losses and the order of data that it would have had. Several processes: torchrun --nproc-per-node N -m internvl
    train RECIPE. The trained model is OUTPUT/final, beside log.jsonl, report.png and report.html.
    """
    from internvl.train.recipes import read_recipe

    config = read_recipe(recipe, settings or ())
    if dry_run:
        _dry_run(config, rows, as_json=as_json)
        return
    _train(config, as_json=as_json)


def _train(config: TrainConfig, *, as_json: bool) -> None:
    from internvl.train.parallel import leave, ranks

    with ranks(config.run.device) as where:
        _train_on(config, where, as_json=as_json)
    leave(where)


def _train_on(config: TrainConfig, where: Ranks, *, as_json: bool) -> None:
    from internvl.train.report import write_report
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
    with _progress(config, trainer.watchers, first=where.is_first):
        summary = trainer.run()
    trainer.log.close()
    final = export(trainer, config) if summary.finished else None
    if not where.is_first:
        return
    facts = {
        "steps": f"{summary.step} of {config.run.steps}",
        "loss of the last step": f"{summary.last_loss:.4f}",
        "validation loss": "not measured"
        if summary.validation_loss is None
        else f"{summary.validation_loss:.4f}",
        "refused updates": summary.refused,
        "seconds": f"{summary.seconds:.0f}",
        "model": config.model.path,
        "data": ", ".join((*config.data.meta, *config.data.sources)),
    }
    report = getattr(getattr(trainer.source, "dataset", None), "report", None)
    bad = getattr(report, "bad_rows", None) or getattr(trainer.source, "bad_rows", [])
    if bad:
        facts["rows left out"] = f"{len(bad)}, e.g. {bad[0]}"
    written = write_report(output, title=config.notes or output.name, facts=facts)
    if as_json:
        print_json(
            {
                "output": str(output),
                "step": summary.step,
                "finished": summary.finished,
                "loss": summary.last_loss,
                "validation_loss": summary.validation_loss,
                "refused": summary.refused,
                "seconds": round(summary.seconds, 1),
                "bad_rows": bad,
                "final": None if final is None else str(final),
                "report": [str(path) for path in written],
            }
        )
        return
    for row in bad[:5]:
        say(f"left out: {row}")
    out = console()
    end = f"trained model: {final}" if final else "not finished: the same command goes on"
    out.print(plain(f"step {summary.step} of {config.run.steps}, loss {summary.last_loss:.4f}; {end}"))
    out.print(plain(f"report: {written[-1]}"))


def _dry_run(config: TrainConfig, shown: int, *, as_json: bool) -> None:
    import os

    from internvl.train.parallel import Ranks
    from internvl.train.predict import facts, predict
    from internvl.train.setup import make_model, make_processor, make_source, with_steps

    num_ranks = int(os.environ.get("WORLD_SIZE", "1"))
    processor = make_processor(config)
    config = with_steps(config, processor, num_ranks)
    source = make_source(config, processor, Ranks())
    batches: list[Any] = []
    while len(batches) < 16:
        try:
            batches.append(next(source))
        except StopIteration:
            break
    prediction = predict(config, make_model(config, device="meta"), batches, num_ranks=num_ranks)
    if as_json:
        print_json(facts(prediction))
        return
    out = console()
    made = table("", "predicted", right=("predicted",))
    share = prediction.num_trained / prediction.num_parameters
    lines = [
        ("parameters", f"{prediction.num_parameters / 1e6:.1f} M"),
        ("trained", f"{prediction.num_trained / 1e6:.1f} M ({share:.0%})"),
        ("memory", amount(prediction.total_bytes)),
        ("  weights", amount(prediction.weight_bytes)),
        ("  gradients", amount(prediction.gradient_bytes)),
        ("  optimizer", amount(prediction.optimizer_bytes)),
        ("  activations", amount(prediction.activation_bytes)),
        ("tokens a step", f"{prediction.tokens_per_step:,.0f}"),
        ("  learnt", f"{prediction.labels_per_step:,.0f}"),
        ("tiles a step", f"{prediction.tiles_per_step:,.0f}"),
        ("rows a step", f"{prediction.documents_per_step:,.1f}"),
        ("packing efficiency", f"{prediction.packing_efficiency:.1%}"),
        ("time a step", _duration(prediction.seconds_per_step)),
        ("steps", f"{prediction.steps:,}"),
        ("time in all", _duration(prediction.total_seconds)),
        ("tokens in all", f"{prediction.total_tokens / 1e6:,.1f} M"),
    ]
    for name, value in lines:
        made.add_row(plain(name), plain(value))
    print_table(out, made)
    for text in loss_masks(batches, processor, shown):
        out.print()
        out.print(text)


def loss_masks(batches: Sequence[Any], processor: Processor, count: int) -> Iterator[Any]:
    """The first documents as text: what is learnt on green, the prompt dim, pictures as their number of tokens."""
    from rich.text import Text

    from internvl.train.batch import IGNORE_INDEX

    for number, (ids, labels) in enumerate(_documents(batches)):
        if number >= count:
            return
        learnt = sum(label != IGNORE_INDEX for label in labels)
        shown = Text(f"row {number + 1}: {len(ids)} tokens, {learnt} learnt\n", style="bold")
        start = 0
        while start < len(ids):
            kind = _kind(ids[start], labels[start], processor.image_token_id)
            stop = start
            while stop < len(ids) and _kind(ids[stop], labels[stop], processor.image_token_id) == kind:
                stop += 1
            if kind == "image":
                shown.append(f"[{stop - start} image tokens]", style="cyan")
            else:
                text = processor.tokenizer.decode(ids[start:stop], skip_special_tokens=False)
                if kind == "learnt" and not sys.stdout.isatty():
                    text = f"«{text}»"  # no colours into a pipe
                shown.append(text, style="black on green" if kind == "learnt" else "dim")
            start = stop
        yield shown


def _documents(batches: Sequence[Any]) -> Iterator[tuple[list[int], list[int]]]:
    for batch in batches:
        rows = getattr(batch, "sequences", batch)
        if rows.cu_seqlens is not None:
            edges = rows.cu_seqlens.tolist()
            for start, stop in zip(edges, edges[1:], strict=False):
                yield rows.input_ids[0, start:stop].tolist(), rows.labels[0, start:stop].tolist()
            continue
        for row in range(rows.input_ids.shape[0]):
            width = rows.input_ids.shape[1]
            kept = slice(None) if rows.attention_mask is None else rows.attention_mask[row].nonzero()[:, 0]
            ids, labels = rows.input_ids[row][kept], rows.labels[row][kept]
            assert len(ids) <= width
            yield ids.tolist(), labels.tolist()


def _kind(token: int, label: int, image_token_id: int) -> str:
    if token == image_token_id:
        return "image"
    return "prompt" if label < 0 else "learnt"


def _answers(config: TrainConfig, processor: Processor) -> Any:
    """A function of the model: its answers to the first validation rows (or training rows, without them)."""
    from internvl.data.sample import Assets
    from internvl.engine.config import EngineConfig
    from internvl.engine.engine import Engine
    from internvl.train.meta import read_sources
    from internvl.train.rows import ClipSource
    from internvl.train.sources import open_source
    from internvl.types import GenerationConfig

    data = config.validation_data() if config.validation.given else config.data
    assets = Assets(shared=Path(data.assets) if data.assets else None)
    asked: list[tuple[list[dict[str, Any]], str, str]] = []
    for spec in read_sources(data.meta, data.sources, root=data.root):
        source = open_source(spec, assets)
        for index in range(min(len(source), config.run.num_samples)):
            row = source.read(index)
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
                _say(f"step {record.step}/{record.steps} {_status(record)} ETA {_duration(record.eta_s)}")

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
            progress.update(task, completed=record.step, status=_status(record), eta=_duration(record.eta_s))
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


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.2g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"

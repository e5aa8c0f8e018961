"""`internvl data pairs`: sampled answers, judged, as pairs for preference learning."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from internvl.cli.chat import open_pipeline
from internvl.cli.main import EXIT_FAILED
from internvl.cli.options import (
    DEFAULTS,
    ENGINE_PANEL,
    Device,
    Dtype,
    MaxTiles,
    Quantize,
    Revision,
    SessionLen,
)

if TYPE_CHECKING:
    from internvl.evaluation.pairs import PairReport

#: Without a terminal, seconds between lines of progress.
LINE_EVERY_S = 10.0
ANSWERS_SUFFIX = ".answers.jsonl"


def pairs(
    model: Annotated[str, typer.Argument(help="Who answers: nano, a checkpoint directory, or a hub id.")],
    rows: Annotated[
        list[Path] | None,
        typer.Argument(help="The family's rows (.jsonl) or meta files (.json), with answers to judge by."),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The pairs, one a line; the sampled answers stand beside.")
    ] = Path("pairs.jsonl"),
    samples: Annotated[
        int, typer.Option("--samples", "-n", help="Answers to each question.", min=2, max=1024)
    ] = 8,
    temperature: Annotated[float, typer.Option(help="Higher: more varied answers.", min=0.01)] = 1.0,
    top_p: Annotated[float, typer.Option(help="Sample from the likeliest share.", min=0.01, max=1)] = 1.0,
    top_k: Annotated[int, typer.Option(help="Sample from the k likeliest tokens; 0 = all.", min=0)] = 0,
    max_new_tokens: Annotated[int, typer.Option(help="Longest answer.", min=1)] = 512,
    seed: Annotated[int, typer.Option(help="Same seed, same pairs.")] = 0,
    verifier: Annotated[
        str,
        typer.Option(
            help="metric: against the reference answer. regex:EXPRESSION: the form of the answer. module:function: your"
            " (question, answer, reference) -> True, False, or 0 to 1."
        ),
    ] = "metric",
    metric: Annotated[
        str | None,
        typer.Option(
            help="Metric of all answers: exact_ci, anls, cer, exact_number, json_kv_f1, iou@0.5 ... [default: what the"
            " row or its truth file names, else by the look of the reference answer]"
        ),
    ] = None,
    right: Annotated[float, typer.Option(help="Score from which an answer is right.", min=0, max=1)] = 1.0,
    wrong: Annotated[
        float | None,
        typer.Option(help="Score up to which it is wrong. [default: anything below right]", min=0, max=1),
    ] = None,
    pairs_per_question: Annotated[int, typer.Option(help="Most pairs of one question.", min=1)] = 4,
    reference_as_chosen: Annotated[
        bool,
        typer.Option(
            "--reference-as-chosen", help="Where no answer is right, the reference is the chosen one."
        ),
    ] = False,
    turns: Annotated[
        Literal["first", "each"] | None,
        typer.Option(
            help="Of rows with several questions. each: every one by itself. [default: first; each with --skill]"
        ),
    ] = None,
    skill: Annotated[
        list[str] | None, typer.Option(help="Instead of rows, or beside: samples of this skill.")
    ] = None,
    count: Annotated[int, typer.Option("--count", help="Samples of each --skill.", min=1)] = 100,
    shared: Annotated[
        Path | None, typer.Option(envvar="INTERNVL_SHARED", help="As for `internvl data make`.")
    ] = None,
    root: Annotated[
        str, typer.Option(help="Where the pictures of row files lie. [default: beside each file]")
    ] = "",
    limit: Annotated[int | None, typer.Option(help="Ask only the first questions.", min=1)] = None,
    on_bad_row: Annotated[
        Literal["stop", "skip"],
        typer.Option(help="A row that cannot be asked stops, or is counted and listed."),
    ] = "stop",
    num_frames: Annotated[int, typer.Option(help="Frames of a video.", min=1)] = 8,
    max_tiles: MaxTiles = None,
    max_batch_size: Annotated[
        int,
        typer.Option(
            "--max-batch-size", help="Answers decoded together.", min=1, rich_help_panel=ENGINE_PANEL
        ),
    ] = 16,
    session_len: SessionLen = None,
    dtype: Dtype = "auto",
    quantize: Quantize = None,
    device: Device = DEFAULTS.device,
    revision: Revision = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as one JSON object.")] = False,
) -> int:
    """Sample answers, judge them, and pair right with wrong ones.

    internvl data pairs nano receipts.jsonl --out pairs.jsonl --samples 8

    internvl data pairs nano --skill receipt --count 200 --out pairs.jsonl --right 0.95 --wrong 0.5

    internvl train recipes/internvl2-mpo.toml --set model.path=nano --set data.meta=pairs.jsonl

    The same command after a kill goes on where it was: every question's answers are in OUT.answers.jsonl when they
    are there. Other --right, --wrong and --pairs-per-question make other pairs of the same answers at once.
    """
    from internvl.evaluation.pair_questions import Questions, read_questions
    from internvl.evaluation.pairs import PairRule, Sampling, sample_and_judge, write_pairs
    from internvl.evaluation.verifiers import check_metric, read_verifier

    if not rows and not skill:
        raise typer.BadParameter("name rows (.jsonl, or a meta .json), or a --skill to make samples of")
    if out.suffix != ".jsonl":
        raise typer.BadParameter(f"{out} does not end in .jsonl, which training reads", param_hint="--out")
    judge = read_verifier(verifier)
    rule = PairRule(
        right=right,
        wrong=wrong,
        per_question=pairs_per_question,
        reference_as_chosen=reference_as_chosen,
        seed=seed,
    )
    sampling = Sampling(
        samples=samples,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        max_new_tokens=max_new_tokens,
        seed=seed,
        max_tiles=max_tiles,
        num_frames=num_frames,
    )
    metric = check_metric(metric) if metric else ""
    found = Questions()
    made = _make(skill, count, seed, out, shared) if skill else []
    for files, which in ((rows or [], turns or "first"), (made, turns or "each")):
        if files:
            read = read_questions(files, root=root, turns=which, metric=metric, on_bad_row=on_bad_row)
            found.asked += read.asked
            found.not_asked += read.not_asked
            found.bad_rows += read.bad_rows
    questions = found.asked[:limit]
    answers = out.with_name(out.stem + ANSWERS_SUFFIX)
    run: dict[str, Any] = {"model": model, "revision": revision, "quantize": quantize, "dtype": dtype}
    run |= {"verifier": verifier, "metric": metric, "turns": turns}
    options: dict[str, Any] = {
        "max_batch_size": max_batch_size,
        "session_len": session_len,
        "dtype": dtype,
        "quantize": quantize,
        "device": device,
        "revision": revision,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    with open_pipeline(model, options) as pipe, _progress() as show:
        sample_and_judge(
            pipe.engine,
            questions,
            answers,
            sampling=sampling,
            verifier=judge,
            run=run,
            on_bad_row=on_bad_row,
            on_progress=show,
        )
    report = write_pairs(questions, answers, out, rule, not_asked=found.not_asked)
    report.bad_rows = [*found.bad_rows, *report.bad_rows]
    _print(report, out, as_json=as_json)
    return 0 if report.pairs else EXIT_FAILED


def _make(skills: list[str], count: int, seed: int, out: Path, shared: Path | None) -> list[Path]:
    """Make the samples in a folder beside the pairs, which name their pictures; return the row files."""
    from internvl.cli.data import write_samples
    from internvl.data.writer import Job

    folder = out.with_name(out.stem)
    jobs = [Job(skill=name, count=count, seed=seed, split="train") for name in dict.fromkeys(skills)]
    write_samples(jobs, folder, shared, os.cpu_count() or 1, say=sys.stderr)
    return [folder / f"{job.skill}.jsonl" for job in jobs]


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Show questions, rate and time left: a bar on a terminal, else a line now and then, on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    terminal = sys.stderr.isatty()
    columns = (
        TextColumn("questions"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=Console(stderr=True), disable=not terminal, transient=True)
    task = bar.add_task("questions", rate="")
    began, shown, first = time.monotonic(), time.monotonic(), None

    def show(done: int, total: int) -> None:
        nonlocal first, shown
        first = done if first is None else first
        now = time.monotonic()
        rate = (done - first) / max(now - began, 1e-6)
        words = f"{rate:.2f} questions/s" if done > first else ""
        bar.update(task, completed=done, total=total, rate=words)
        if not terminal and (now - shown > LINE_EVERY_S or done in (first, total)):
            shown = now
            left = f", {(total - done) / rate:.0f} s left" if words and done < total else ""
            print(f"{done} of {total} questions{', ' if words else ''}{words}{left}", file=sys.stderr)

    with bar:
        yield show


def _print(report: PairReport, out: Path, *, as_json: bool) -> None:
    from internvl.cli.output import print_json

    if as_json:
        print_json({"out": str(out), **asdict(report)})
        return
    outcomes = report.outcomes
    share = f"{report.right / report.answers:.1%}" if report.answers else "none"
    print(f"{report.pairs} pairs of {report.questions} questions in {out}")
    print(
        f"questions: {outcomes['mixed']} with right and wrong answers, {outcomes['all_right']} all right, "
        f"{outcomes['all_wrong']} all wrong, {outcomes['tie']} without two sides"
    )
    judged = ", ".join(f"{name} {number}" for name, number in report.metrics.items())
    print(
        f"answers: {report.answers}, {share} right, mean score {report.mean_score:.3f}, {report.cut_off} cut off "
        f"(neither side); metrics: {judged}"
    )
    if report.not_asked:
        print(
            f"not asked: {report.not_asked} later questions of rows (--turns each asks those that stand alone)"
        )
    if report.bad_rows:
        print(f"left out: {len(report.bad_rows)} rows, e.g. {report.bad_rows[0]}")
    if not report.pairs:
        print(
            "no pairs: raise --temperature or --samples, or move --right and --wrong; --reference-as-chosen pairs "
            "what is all wrong",
            file=sys.stderr,
        )

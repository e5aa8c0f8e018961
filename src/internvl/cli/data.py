"""`internvl data make | list | pairs`: training data."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TextIO

import typer

from internvl.cli.data_pairs import pairs

if TYPE_CHECKING:
    from internvl.data.writer import Job

HELP = "Make training data: generated samples, and pairs of answers."
PREVIEW_SAMPLES = 12
"""Samples of each skill on a preview page."""


def make(
    skills: Annotated[list[str] | None, typer.Argument(help="Skills to make, or all.")] = None,
    count: Annotated[int, typer.Option("--count", "-n", help="Samples of each skill.", min=1)] = 100,
    seed: Annotated[int, typer.Option(help="Other seeds give other samples.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for rows, pictures and truth.")
    ] = None,
    split: Annotated[
        Literal["train", "held_out"],
        typer.Option(help="held_out: fonts, templates and words that train never shows."),
    ] = "train",
    format: Annotated[
        Literal["jsonl", "wds", "parquet"], typer.Option(help="How rows and pictures are stored.")
    ] = "jsonl",
    shard_size: Annotated[
        int, typer.Option(help="Samples of a shard: what a killed run redoes.", min=1)
    ] = 200,
    workers: Annotated[int | None, typer.Option(help="Processes. [default: one per core]", min=1)] = None,
    shared: Annotated[
        Path | None,
        typer.Option(
            envvar="INTERNVL_SHARED",
            help="Folder that holds data/ with word lists and emoji. [default: what the package makes itself]",
        ),
    ] = None,
    preview: Annotated[
        Path | None, typer.Option(help="Write a page that shows the first samples; works without --out.")
    ] = None,
) -> int:
    """Make samples of skills: pictures with questions, answers and truth.

    internvl data make receipt table --count 1000 --seed 1 --out samples --preview samples.html

    The same command after a kill goes on where it was; a larger --count makes the folder grow.
    `samples/meta.json` is what `internvl train` reads. `internvl data list` shows the skills.
    """
    from internvl.data.skills import SKILLS
    from internvl.data.writer import Job

    if not skills:
        raise typer.BadParameter("name one or more skills, or all; `internvl data list` shows them")
    if out is None and preview is None:
        raise typer.BadParameter("say where to: --out DIR, or --preview FILE.html to only look")
    if shared is not None and not (shared / "data").is_dir():
        lacks = "holds no folder data/" if shared.is_dir() else "does not exist"
        raise typer.BadParameter(f"{shared} {lacks}", param_hint="--shared")
    names = list(SKILLS) if "all" in skills else list(dict.fromkeys(skills))
    jobs = [
        Job(skill=name, count=count, seed=seed, split=split, format=format, shard_size=shard_size)
        for name in names
    ]
    if out is not None:
        write_samples(jobs, out, shared, workers or os.cpu_count() or 1)
    if preview is not None:
        _preview(jobs, preview, shared)
    return 0


def list_skills() -> None:
    """List the skills that samples can be made of."""
    from internvl.data.skills import SKILLS

    width = max(map(len, SKILLS))
    for name, entry in SKILLS.items():
        print(f"{name:{width}}  {entry.description}")


def write_samples(
    jobs: list[Job], out: Path, shared: Path | None, workers: int, *, say: TextIO | None = None
) -> None:
    """Write the samples behind a progress bar; what was done is said to `say` (default: stdout)."""
    import time

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from internvl.data.writer import open_jobs, write_jobs

    wanted = sum(job.count for job in jobs)
    missing = sum(len(job.indices(shard)) for job, shard in open_jobs(jobs, out, shared=shared))
    if missing < wanted:
        print(f"{wanted - missing} of {wanted} samples are there already", file=sys.stderr)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.1f} samples/s"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    start = time.perf_counter()
    with bar:
        task = bar.add_task(
            ", ".join(job.skill for job in jobs), total=wanted, completed=wanted - missing, rate=0.0
        )

        def show(done: int) -> None:
            rate = done / (time.perf_counter() - start)
            bar.update(task, completed=wanted - missing + done, rate=rate)

        write_jobs(jobs, out, shared=shared, workers=workers, on_progress=show)
    took = time.perf_counter() - start
    rate = f" ({missing / took:.1f} samples/s)" if missing else ""
    print(f"{wanted} samples in {out}: {missing} made in {took:.1f} s{rate}", file=say)


def _preview(jobs: list[Job], path: Path, shared: Path | None) -> None:
    """Write the page of the first samples of each skill."""
    from internvl.data.preview import write_preview
    from internvl.data.sample import Assets
    from internvl.data.skills import make_sample

    assets = Assets(shared=shared)
    samples = (
        make_sample(job.skill, job.seed, index, split=job.split, assets=assets)
        for job in jobs
        for index in range(min(job.count, PREVIEW_SAMPLES))
    )
    title = f"internvl data: {', '.join(job.skill for job in jobs)} ({jobs[0].split}, seed {jobs[0].seed})"
    write_preview(path, samples, title=title)
    print(f"preview: {path}")


SUBCOMMANDS = {"make": make, "list": list_skills, "pairs": pairs}

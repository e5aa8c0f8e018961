"""`internvl convert`: a checkpoint in one layout becomes a complete directory in the other."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from internvl.cli.output import amount, console, plain, print_json

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


def parse_size(text: str) -> int:
    """Return bytes for "5GB", "500MB" or a plain number.

    Raises:
        typer.BadParameter: Anything else.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?)B?", text.strip().upper())
    if match is None or (size := int(float(match[1]) * _UNITS[match[2]])) < 1:
        raise typer.BadParameter(f"{text!r} is no size; expected e.g. 5GB or 500MB")
    return size


def command(
    source: Annotated[
        str,
        typer.Argument(metavar="SRC", help="A checkpoint directory in any layout, a hub id, or nano."),
    ],
    target: Annotated[Path, typer.Argument(metavar="DST", help="The directory to write.")],
    layout: Annotated[
        Literal["github", "hf"],
        typer.Option(help="github: upstream's names and files; hf: those of transformers."),
    ],
    max_shard_size: Annotated[
        str, typer.Option(help="Weight files are cut before they exceed this.", metavar="SIZE")
    ] = "5GB",
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub id.")] = None,
    adapter: Annotated[
        str | None, typer.Option(help="A LoRA in PEFT's files, to merge: a directory or a hub id.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a checkpoint at DST.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Rewrite a checkpoint in the other layout: GitHub or transformers.

    Weights, configuration, tokenizer and chat template; every tensor keeps its bytes, and the way back gives
    the original. LoRA weights in it are merged, and those of `--adapter`. Converting to the layout that it has already
    reshards a checkpoint.
    """
    max_bytes = parse_size(max_shard_size)
    from internvl.checkpoint.convert import convert

    with _progress() as on_bytes:
        done = convert(
            source,
            target,
            layout=layout,
            max_shard_bytes=max_bytes,
            revision=revision,
            adapter=adapter,
            overwrite=overwrite,
            on_bytes=on_bytes,
        )
    for note in done.notes:
        typer.echo(f"note: {note}", err=True)
    if as_json:
        print_json(
            {
                "directory": str(done.directory),
                "layout": done.layout,
                "family": done.config.text.family,
                "template": done.config.template,
                "num_tensors": done.num_tensors,
                "size_bytes": done.size_bytes,
                "notes": done.notes,
            }
        )
        return
    console().print(
        plain(
            f"{done.directory}: {done.num_tensors} tensors, {amount(done.size_bytes)}, {done.layout} layout, "
            f"{done.config.text.family} with template {done.config.template}"
        )
    )


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None] | None]:
    """A bar on stderr when that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("writing"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)

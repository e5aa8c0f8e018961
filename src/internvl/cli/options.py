"""Options that several commands share: how a model is loaded and how pictures are cut."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

MaxTiles = Annotated[int | None, typer.Option(help="Most tiles of a picture. [default: the model's]", min=1)]
TilePolicy = Annotated[
    Literal["reference", "auto"],
    typer.Option(help="reference, or auto: fewer tiles for small pictures, more for full pages."),
]
Dtype = Annotated[
    Literal["auto", "float32", "bfloat16", "float16"], typer.Option(help="Precision of the weights.")
]
Quantize = Annotated[
    Literal["int8", "int4"] | None,
    typer.Option(help="Weights in fewer bits, on a CPU. [default: as loaded]"),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.")]
ModelName = Annotated[str, typer.Option("--model", "-m", help="nano, a checkpoint directory, or a hub id.")]
Revision = Annotated[str | None, typer.Option(help="Revision of the model on the hub.")]

"""Options that several commands share: how a model is loaded, how the engine runs it, how pictures are cut, and where
one listens.

What an option does when it is not given stands in `EngineConfig` and nowhere else: commands take `DEFAULTS`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from internvl.engine.config import DEFAULT_SESSION_LEN, EngineConfig

DEFAULTS = EngineConfig()

ENGINE_PANEL, LIMITS_PANEL = "Engine", "Limits"
_ENGINE = {"rich_help_panel": ENGINE_PANEL}

Address = Annotated[
    str,
    typer.Option(
        "--server-name", "--host", help="Address to listen on; 0.0.0.0 is every one of this machine."
    ),
]
Port = Annotated[int, typer.Option("--server-port", "--port", help="Port; 0 = a free one.", min=0, max=65535)]
MaxImageMpx = Annotated[
    int, typer.Option(help="Largest picture, in million pixels.", min=1, rich_help_panel=LIMITS_PANEL)
]
MaxTiles = Annotated[
    int | None, typer.Option(help="Most tiles of a picture. [default: the model's]", min=1, **_ENGINE)
]
TilePolicy = Annotated[
    Literal["reference", "auto", "fit"] | None,
    typer.Option(
        help="reference; auto: fewer tiles for small pictures, more for full pages; fit: so, and the picture keeps its"
        " shape. [default: the model's]",
        **_ENGINE,
    ),
]
SessionLen = Annotated[
    int | None,
    typer.Option(
        help="Tokens of a conversation, pictures and answer included. [default: the model's context, at most"
        f" {DEFAULT_SESSION_LEN}]",
        min=1,
        **_ENGINE,
    ),
]
MaxBatchSize = Annotated[int, typer.Option(help="Answers decoded together.", min=1, **_ENGINE)]
CacheMaxTokens = Annotated[
    int | None,
    typer.Option(
        help="Tokens whose keys and values are kept, at least one session's. [default: 8 sessions' on a CPU,"
        " a batch's on a GPU]",
        min=1,
        **_ENGINE,
    ),
]
PrefillChunkTokens = Annotated[
    int,
    typer.Option(
        "--prefill-chunk-tokens",
        "--max-prefill-token-num",
        help="Prompt tokens computed in one step.",
        min=1,
        **_ENGINE,
    ),
]
Dtype = Annotated[
    Literal["auto", "float32", "bfloat16", "float16"],
    typer.Option(help="Precision of the weights.", **_ENGINE),
]
Quantize = Annotated[
    Literal["int8", "int4"] | None,
    typer.Option(help="Weights in fewer bits, on a CPU. [default: as loaded]", **_ENGINE),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.", **_ENGINE)]
ChosenAdapters = Annotated[
    list[str] | None,
    typer.Option(
        "--adapter",
        "--adapters",
        help="A LoRA in PEFT's files as NAME=DIRECTORY (or hub id); several may be given.",
        metavar="NAME=PATH",
    ),
]
ModelName = Annotated[str, typer.Option("--model", "-m", help="nano, a checkpoint directory, or a hub id.")]
Revision = Annotated[str | None, typer.Option(help="Revision of the model on the hub.", **_ENGINE)]


def named_adapters(adapters: list[str], *, option: str = "--adapter") -> dict[str, str]:
    """NAME=PATH, as vLLM's --lora-modules, to a mapping. Raises typer.BadParameter."""
    named: dict[str, str] = {}
    for text in adapters:
        name, equals, path = text.partition("=")
        if not (name and equals and path):
            raise typer.BadParameter(f"{option} {text!r}: expected NAME=DIRECTORY")
        if name in named:
            raise typer.BadParameter(f"{option} names {name!r} twice")
        named[name] = path
    return named

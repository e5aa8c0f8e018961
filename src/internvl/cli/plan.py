"""`internvl plan`: what a request costs before it runs."""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from PIL import Image
from rich.console import Console

from internvl.cli.known_model import KnownModel, find_model
from internvl.cli.machine import inspect_machine
from internvl.cli.options import MaxTiles
from internvl.cli.output import amount, console, plain, print_json, print_table, table
from internvl.cli.request_cost import Picture, RequestCost
from internvl.cli.shown import ClipOptions, open_shown
from internvl.config import memory
from internvl.config.memory import Dtype
from internvl.config.model import TilePolicy
from internvl.engine.config import EngineConfig, session_length
from internvl.errors import MediaError
from internvl.preprocess.processor import TileLimits
from internvl.preprocess.tile_policy import is_dense
from internvl.types import GenerationConfig

_DTYPES: tuple[Dtype, ...] = ("float32", "bfloat16", "int8", "int4")
_SIZE = re.compile(r"(\d{1,6})x(\d{1,6})(?:x(\d{1,5}))?")
#: Video frames cost the same whatever their size.
_FRAME_SIZE = (1280, 720)


def command(
    model: Annotated[
        str, typer.Argument(help="A released checkpoint, its hub id, a checkpoint directory, or nano.")
    ] = "nano",
    pictures: Annotated[
        list[str] | None,
        typer.Argument(
            help="Picture or video files, or sizes: 1280x720, or 1280x720x16 for sixteen of them."
        ),
    ] = None,
    images: Annotated[
        list[str] | None, typer.Option("--images", "-i", help="The same; may be given several times.")
    ] = None,
    frames: Annotated[int, typer.Option(help="Video frames, one tile each, without a file.", min=0)] = 0,
    num_frames: Annotated[
        int | None, typer.Option(help="Frames of each video file. [default: 8]", min=1)
    ] = None,
    start: Annotated[float | None, typer.Option(help="Seconds at which clips begin.", min=0)] = None,
    end: Annotated[float | None, typer.Option(help="Seconds at which clips end.", min=0)] = None,
    min_tiles: Annotated[
        int | None, typer.Option(help="Fewest tiles of a picture. [default: the model's]", min=1)
    ] = None,
    max_tiles: MaxTiles = None,
    tile_policy: Annotated[
        TilePolicy | None,
        typer.Option(
            help="reference; auto: fewer tiles for small pictures, more for pages; fit: so, shapes kept. "
            "[default: the model's]"
        ),
    ] = None,
    no_thumbnail: Annotated[bool, typer.Option("--no-thumbnail", help="Without the overview tile.")] = False,
    session_len: Annotated[
        int | None,
        typer.Option(help="Tokens of the conversation, answers included. [default: the engine's]", min=1),
    ] = None,
    text_tokens: Annotated[
        int, typer.Option(help="Template, system message and question, roughly.", min=0)
    ] = 128,
    max_new_tokens: Annotated[
        int, typer.Option(help="Longest answer.", min=1)
    ] = GenerationConfig().max_new_tokens,
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16", "int8", "int4"],
        typer.Option(help="Format of the weights; int8 and int4 stand for weight-only quantisation."),
    ] = "bfloat16",
    batch: Annotated[int, typer.Option(help="Conversations at the same time.", min=1)] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a request costs before it runs: tiles, tokens, memory.

    internvl plan InternVL2_5-8B --images photo.jpg --images 2480x3508 --session-len 16384

    internvl plan InternVL3-2B clip.mp4 --num-frames 32
    """
    if Path(model).is_file() or _SIZE.fullmatch(model):  # `internvl plan photo.jpg`: for the default model
        model, pictures = "nano", [model, *(pictures or ())]
    known = find_model(model)
    shown = _read_shown(
        [*(images or ()), *(pictures or ())],
        tile_policy,
        ClipOptions(num_frames=num_frames, start=start, end=end),
    )
    cost = RequestCost(
        model=known,
        machine=inspect_machine(),
        pictures=(*shown, *_frames("video frame", _FRAME_SIZE, frames)),
        limits=TileLimits(
            min_tiles=min_tiles,
            max_tiles=max_tiles,
            thumbnail=False if no_thumbnail else None,
            policy=tile_policy,
        ),
        text_tokens=text_tokens,
        answer_tokens=max_new_tokens,
        session_len=session_len or _default_session_len(known),
        dtype=dtype,
        batch_size=batch,
        chunk_tokens=EngineConfig().prefill_chunk_tokens,
    )
    if as_json:
        print_json(_as_dict(cost))
    else:
        _print(cost)


def _default_session_len(model: KnownModel) -> int:
    return session_length(EngineConfig(), model.config.text)


def _read_shown(names: list[str], policy: TilePolicy | None, clip: ClipOptions) -> list[Picture]:
    read: list[Picture] = []
    for name in names:
        size = _SIZE.fullmatch(name)
        if size is not None and not Path(name).exists():
            width, height, count = int(size[1]), int(size[2]), int(size[3] or 1)
            read += [Picture(name=f"{width}x{height}", width=width, height=height)] * count
        else:
            read += _open(name, policy, clip)
    return read


def _open(name: str, policy: TilePolicy | None, clip: ClipOptions) -> list[Picture]:
    """Return a picture, or the frames of a video."""
    if not Path(name).exists() and "://" not in name:
        raise MediaError(
            f"{name}: neither a picture file nor a size. Sizes are WIDTHxHEIGHT in pixels, e.g. 1280x720"
        )
    shown = open_shown(name, clip)
    if isinstance(shown, Image.Image):
        dense = policy != "reference" and is_dense(shown)
        return [Picture(name=name, width=shown.width, height=shown.height, is_dense=dense)]
    return _frames(name, (shown.width, shown.height), len(shown))


def _frames(name: str, size: tuple[int, int], count: int) -> list[Picture]:
    width, height = size
    return [Picture(name=name, width=width, height=height, is_frame=True)] * count


def _print(cost: RequestCost) -> None:
    out = console()
    config, model = cost.model.config, cost.model
    parameters = memory.count_parameters(config)
    active = f" ({parameters.active / 1e9:.1f} active)" if parameters.inactive else ""
    out.print(
        plain(model.name, "bold"),
        plain(f"{_billions(parameters.total)} parameters{active}, context {model.context_length:,} tokens"),
        plain(f"({model.source})", "dim"),
        soft_wrap=True,
    )
    out.print(plain(f"this machine: {cost.machine.describe()}"), soft_wrap=True)
    if cost.media:
        out.print()
        _print_pictures(out, cost)
    out.print()
    _print_tokens(out, cost)
    out.print()
    _print_memory(out, cost)


def _print_pictures(out: Console, cost: RequestCost) -> None:
    made = table("picture", "size", "grid", "tiles", "tokens", right=("tiles", "tokens"))
    for (name, _, _), group in groupby(
        zip(cost.pictures, cost.media, strict=True),
        key=lambda pair: (pair[0].name, pair[1].width, pair[1].height),
    ):
        usages = [usage for _, usage in group]
        first, count = usages[0], len(usages)
        times = f"{count} x " if count > 1 else ""
        grid = f"{first.grid.columns}x{first.grid.rows}" + (" + overview" if first.thumbnail else "")
        made.add_row(
            plain(f"{times}{name}"),
            f"{first.width}x{first.height}",
            grid,
            f"{times}{first.num_tiles}",
            f"{times}{first.num_tokens:,}",
        )
    print_table(out, made)
    tile = cost.model.config.image_size
    out.print(plain(f"a tile is {tile}x{tile} pixels and {cost.model.config.tokens_per_tile} tokens", "dim"))


def _print_tokens(out: Console, cost: RequestCost) -> None:
    made = table("tokens", "", right=("",))
    made.add_row(f"pictures ({cost.num_tiles} tiles) and their marks", f"{cost.image_tokens:,}")
    made.add_row("text (template, question; rough)", f"{cost.text_tokens:,}")
    made.add_row(plain("prompt", "bold"), plain(f"{cost.prompt_tokens:,}", "bold"))
    made.add_row("answer, at most", f"{cost.answer_tokens:,}")
    style = "bold green" if cost.fits_session else "bold red"
    made.add_row(plain("prompt and answer", "bold"), plain(f"{cost.needed_tokens:,}", style))
    made.add_row("session_len", f"{cost.session_len:,}")
    print_table(out, made)
    if cost.fits_session:
        out.print(plain("fits the session", "green"))
    else:
        out.print(plain("does not fit the session: a larger session_len or fewer tiles is needed", "red"))
    _print_advice(out, cost.token_advice())
    trained = cost.model.context_length
    if cost.needed_tokens > trained:
        out.print(
            plain(
                f"note: the model was trained on up to {trained:,} tokens; beyond it answers get worse",
                "yellow",
            ),
            soft_wrap=True,
        )


def _print_memory(out: Console, cost: RequestCost) -> None:
    estimate = cost.memory()
    per_token = memory.kv_bytes_per_token(cost.model.config.text, cost.dtype)
    session = max(cost.session_len, cost.needed_tokens)
    made = table(f"memory in {cost.dtype}", "", "", right=("",))
    made.add_row("weights", amount(estimate.weights))
    made.add_row(
        "KV cache",
        amount(estimate.kv_cache),
        plain(f"{cost.batch_size} x {session:,} tokens x {amount(per_token)}", "dim"),
    )
    made.add_row("activations, about", amount(estimate.activations))
    made.add_row("Python, torch", amount(estimate.runtime))
    places = cost.places()
    made.add_row(
        plain("total", "bold"), plain(amount(estimate.total), "bold green" if places else "bold red")
    )
    print_table(out, made)
    if places:
        out.print(plain(f"fits this machine: {' and '.join(places)}", "green"))
    else:
        out.print(plain("does not fit this machine's free memory", "red"))
    _print_advice(out, cost.memory_advice())
    totals = [f"{dtype} {amount(cost.memory(dtype).total)}" for dtype in _DTYPES]
    out.print(plain(f"total by format: {', '.join(totals)}", "dim"), soft_wrap=True)


def _print_advice(out: Console, advice: list[str]) -> None:
    for line in advice:
        out.print(plain(f"  - {line}"), soft_wrap=True)


def _billions(number: int) -> str:
    return f"{number / 1e9:.1f} B" if number >= 0.1e9 else f"{number / 1e6:.1f} M"


def _as_dict(cost: RequestCost) -> dict[str, Any]:
    estimate = cost.memory()
    config = cost.model.config
    return {
        "model": cost.model.name,
        "source": cost.model.source,
        "parameters": memory.count_parameters(config).total,
        "context_length": cost.model.context_length,
        "tile_pixels": config.image_size,
        "tokens_per_tile": config.tokens_per_tile,
        "images": [
            {
                "name": picture.name,
                "kind": usage.kind,
                "width": usage.width,
                "height": usage.height,
                "grid": list(usage.grid),
                "thumbnail": usage.thumbnail,
                "tiles": usage.num_tiles,
                "tokens": usage.num_tokens,
            }
            for picture, usage in zip(cost.pictures, cost.media, strict=True)
        ],
        "tokens": {
            "images": cost.image_tokens,
            "text": cost.text_tokens,
            "prompt": cost.prompt_tokens,
            "answer": cost.answer_tokens,
            "needed": cost.needed_tokens,
            "session_len": cost.session_len,
            "fits": cost.fits_session,
        },
        "memory_bytes": {
            "dtype": cost.dtype,
            "batch": cost.batch_size,
            "weights": estimate.weights,
            "kv_cache": estimate.kv_cache,
            "kv_cache_per_token": memory.kv_bytes_per_token(config.text, cost.dtype),
            "activations": estimate.activations,
            "runtime": estimate.runtime,
            "total": estimate.total,
            "total_by_dtype": {dtype: cost.memory(dtype).total for dtype in _DTYPES},
        },
        "machine": {
            "ram_bytes": cost.machine.ram_total_bytes,
            "ram_available_bytes": cost.machine.ram_available_bytes,
            "gpus": [
                {"name": gpu.name, "memory_bytes": gpu.total_bytes, "free_bytes": gpu.free_bytes}
                for gpu in cost.machine.gpus
            ],
        },
        "fits": cost.places(),
        "advice": [*cost.token_advice(), *cost.memory_advice()],
    }

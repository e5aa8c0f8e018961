"""`internvl demo`: the chat page, in a browser."""

from __future__ import annotations

import logging
import sys
import webbrowser
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from internvl.cli.chat import open_pipeline
from internvl.cli.options import (
    DEFAULTS,
    Address,
    ChosenAdapters,
    Device,
    Dtype,
    MaxBatchSize,
    MaxImageMpx,
    MaxTiles,
    Port,
    Quantize,
    Revision,
    SessionLen,
    TilePolicy,
    named_adapters,
)
from internvl.errors import MissingDependencyError

if TYPE_CHECKING:
    from internvl.demo.models import ModelShelf


def command(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            help="nano, checkpoint directories, or hub ids; the page offers the choice. [default: nano]"
        ),
    ] = None,
    adapter: ChosenAdapters = None,
    host: Address = "127.0.0.1",
    port: Port = 7860,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    max_image_mpx: MaxImageMpx = 80,
    session_len: SessionLen = None,
    max_batch_size: MaxBatchSize = DEFAULTS.max_batch_size,
    max_tiles: MaxTiles = None,
    tile_policy: TilePolicy = DEFAULTS.tile_policy,
    dtype: Dtype = "auto",
    quantize: Quantize = None,
    device: Device = DEFAULTS.device,
    revision: Revision = None,
) -> None:
    """Ask about pictures in a browser.

    internvl demo

    internvl demo OpenGVLab/InternVL3-2B-hf --open

    internvl demo nano checkpoints/mine --host 0.0.0.0

    internvl demo nano --adapter receipts=runs/receipts/final

    Adapters are offered beside the models; they belong to the first one.
    """
    options = {
        "session_len": session_len,
        "max_batch_size": max_batch_size,
        "max_tiles": max_tiles,
        "tile_policy": tile_policy,
        "dtype": dtype,
        "quantize": quantize,
        "device": device,
        "revision": revision,
    }
    names = named(models or ["nano"])
    adapters = named_adapters(adapter or [])
    if taken := sorted(adapters.keys() & names.keys()):
        raise typer.BadParameter(f"--adapter {taken[0]}: a model has that name; choose another")
    logging.basicConfig(level="WARNING", format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        from internvl.demo.app import create_demo_app, listen, require_gradio, run_app
        from internvl.server.run import is_loopback, loopback_hosts
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"the demo needs {error.name}; install it with: pip install 'internvl[demo]'"
        ) from error
    from internvl.media.limits import MediaLimits

    local = is_loopback(host)
    if not local:
        logging.getLogger("internvl").warning(
            "listening on %s: whoever reaches this machine may use the model, without a password", host
        )
    require_gradio()
    listening = listen(host, port)
    shelf = make_shelf(names, options, adapters)
    try:
        # a model that cannot be loaded should be known now; further ones wait until somebody asks them
        shelf.get(shelf.names[0])
        app = create_demo_app(
            shelf,
            # a web page whose name points at this machine must not reach the demo
            allowed_hosts=loopback_hosts(host) if local else (),
            limits=MediaLimits(max_pixels=max_image_mpx * 1_000_000),
        )
        run_app(app, listening, on_start=partial(_announce, open_browser=open_browser))
    finally:
        listening.close()
        shelf.close()


def named(models: list[str]) -> dict[str, str]:
    """Return shown name -> what to load. Of a directory only the last part is shown: paths are nobody's business.

    Raises typer.BadParameter for two models of the same name.
    """
    names: dict[str, str] = {}
    for model in models:
        name = Path(model).resolve().name if Path(model).exists() else model
        if name in names:
            raise typer.BadParameter(f"two models are named {name}: {names[name]} and {model}")
        names[name] = model
    return names


def make_shelf(
    names: dict[str, str], options: dict[str, Any], adapters: dict[str, str] | None = None
) -> ModelShelf:
    """Return the models by their shown names, none of them loaded yet; `adapters` are the first one's."""
    from internvl.demo.models import ModelShelf

    first, *others = names
    loaders = {first: partial(open_pipeline, names[first], options | {"adapters": adapters or {}})}
    loaders |= {name: partial(open_pipeline, names[name], options) for name in others}
    return ModelShelf(loaders, adapters=dict.fromkeys(adapters or (), first))


def _announce(address: str, *, open_browser: bool) -> None:
    print(f"The demo is at {address} (Ctrl-C ends it).", flush=True)
    if open_browser:
        webbrowser.open(address)

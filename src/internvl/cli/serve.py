"""`internvl serve`: OpenAI's HTTP API over one model."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from internvl.cli.options import (
    DEFAULTS,
    ENGINE_PANEL,
    LIMITS_PANEL,
    Address,
    CacheMaxTokens,
    Device,
    Dtype,
    MaxBatchSize,
    MaxImageMpx,
    MaxTiles,
    Port,
    PrefillChunkTokens,
    Quantize,
    Revision,
    SessionLen,
    TilePolicy,
    named_adapters,
)
from internvl.errors import ConfigError, MissingDependencyError

if TYPE_CHECKING:
    from internvl.engine.config import EngineConfig
    from internvl.server.config import ServerConfig

KEYS_VARIABLE = "INTERNVL_API_KEYS"

_SAFETY, _FILES = "Safety", "Files and batches"
_LMDEPLOY = {"hidden": True}  # options of LMDeploy's that only their defaults can be honoured of


def command(
    model: Annotated[str, typer.Argument(help="nano, a checkpoint directory, or a hub id.")] = "nano",
    server_name: Address = "127.0.0.1",
    server_port: Port = 23333,
    model_name: Annotated[
        list[str] | None,
        typer.Option(help="Name that requests call the model by; several may be given. [default: MODEL's]"),
    ] = None,
    adapters: Annotated[
        list[str] | None,
        typer.Option(
            help="A LoRA in PEFT's files as NAME=DIRECTORY (or hub id), which requests call as a model; several may be"
            " given.",
            metavar="NAME=PATH",
        ),
    ] = None,
    max_answer_tokens: Annotated[
        int | None,
        typer.Option(
            help="Longest answer. [default: what the session has room for]",
            min=1,
            rich_help_panel=LIMITS_PANEL,
        ),
    ] = None,
    max_concurrent_requests: Annotated[
        int, typer.Option(help="Open requests; one more gets 503.", min=1, rich_help_panel=LIMITS_PANEL)
    ] = 256,
    max_concurrent_per_key: Annotated[
        int | None,
        typer.Option(
            help="Open requests of one key (or address); one more gets 429.",
            min=1,
            rich_help_panel=LIMITS_PANEL,
        ),
    ] = None,
    requests_per_minute: Annotated[
        int | None, typer.Option(help="Of one key (or address).", min=1, rich_help_panel=LIMITS_PANEL)
    ] = None,
    max_body_mb: Annotated[
        int, typer.Option(help="Largest request, in MiB.", min=1, rich_help_panel=LIMITS_PANEL)
    ] = 64,
    max_images: Annotated[
        int, typer.Option(help="Pictures in one request.", min=1, rich_help_panel=LIMITS_PANEL)
    ] = 128,
    max_image_mpx: MaxImageMpx = 80,
    api_keys: Annotated[
        list[str] | None,
        typer.Option(
            help="Key that opens the server, or 'name key', or 'name sha256:<hex>'; several may be given, or"
            f" separated by commas in the variable {KEYS_VARIABLE}.",
            rich_help_panel=_SAFETY,
        ),
    ] = None,
    api_key_file: Annotated[
        Path | None, typer.Option(help="File with one such key a line.", rich_help_panel=_SAFETY)
    ] = None,
    allowed_media_domains: Annotated[
        list[str] | None,
        typer.Option(
            help="Host that pictures may be fetched from. [default: any public one]", rich_help_panel=_SAFETY
        ),
    ] = None,
    allow_private_media: Annotated[
        bool,
        typer.Option(
            "--allow-private-media",
            help="Fetch pictures from private addresses too.",
            rich_help_panel=_SAFETY,
        ),
    ] = False,
    allow_origins: Annotated[
        list[str] | None,
        typer.Option(
            help="Web page that may call the server (CORS). [default: none]", rich_help_panel=_SAFETY
        ),
    ] = None,
    allow_credentials: Annotated[
        bool,
        typer.Option("--allow-credentials", help="Such pages may send cookies.", rich_help_panel=_SAFETY),
    ] = False,
    allow_methods: Annotated[
        list[str] | None, typer.Option(help="Methods of such pages.", rich_help_panel=_SAFETY)
    ] = None,
    allow_headers: Annotated[
        list[str] | None, typer.Option(help="Headers of such pages.", rich_help_panel=_SAFETY)
    ] = None,
    ssl_keyfile: Annotated[Path | None, typer.Option(help="Key for https.", rich_help_panel=_SAFETY)] = None,
    ssl_certfile: Annotated[
        Path | None, typer.Option(help="Certificate for https.", rich_help_panel=_SAFETY)
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            help="Where uploaded files and batches lie. [default: in the user's data directory, by port]",
            rich_help_panel=_FILES,
        ),
    ] = None,
    max_file_mb: Annotated[
        int, typer.Option(help="Largest uploaded file, in MiB.", min=1, rich_help_panel=_FILES)
    ] = 512,
    session_len: SessionLen = None,
    max_batch_size: MaxBatchSize = DEFAULTS.max_batch_size,
    max_waiting_requests: Annotated[
        int, typer.Option(help="Requests that may wait for the model.", min=1, rich_help_panel=ENGINE_PANEL)
    ] = DEFAULTS.max_waiting_requests,
    cache_max_entry_count: Annotated[
        float,
        typer.Option(
            help="Share of free memory for keys and values.", min=0.01, max=1, rich_help_panel=ENGINE_PANEL
        ),
    ] = DEFAULTS.cache_max_entry_count,
    cache_max_tokens: CacheMaxTokens = None,
    prefill_chunk_tokens: PrefillChunkTokens = DEFAULTS.prefill_chunk_tokens,
    enable_prefix_caching: Annotated[
        bool, typer.Option(help="Keep what was computed for the next turn.", rich_help_panel=ENGINE_PANEL)
    ] = DEFAULTS.enable_prefix_caching,
    vision_max_batch_size: Annotated[
        int | None,
        typer.Option(
            help="Tiles encoded together. [default: by device]", min=1, rich_help_panel=ENGINE_PANEL
        ),
    ] = None,
    dtype: Dtype = "auto",
    quantize: Quantize = None,
    device: Device = DEFAULTS.device,
    chat_template: Annotated[
        str | None, typer.Option(help="Name of another template.", rich_help_panel=ENGINE_PANEL)
    ] = None,
    max_tiles: MaxTiles = None,
    tile_policy: TilePolicy = DEFAULTS.tile_policy,
    revision: Revision = None,
    demo: Annotated[bool, typer.Option("--demo", help="Serve the chat page too, at /demo.")] = False,
    drain_timeout: Annotated[
        float, typer.Option(help="After SIGTERM: seconds that open requests may take.", min=0.1)
    ] = 30.0,
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"],
        typer.Option(help="How much to log.", case_sensitive=False),
    ] = "INFO",
    log_prompts: Annotated[bool, typer.Option("--log-prompts", help="Log prompts and answers.")] = False,
    tp: Annotated[int, typer.Option(**_LMDEPLOY)] = 1,
    dp: Annotated[int, typer.Option(**_LMDEPLOY)] = 1,
    quant_policy: Annotated[int, typer.Option(**_LMDEPLOY)] = 0,
    model_format: Annotated[str | None, typer.Option(**_LMDEPLOY)] = None,
    backend: Annotated[Literal["turbomind", "pytorch"], typer.Option(**_LMDEPLOY)] = "pytorch",
) -> None:
    """Serve OpenAI's API over one model.

    internvl serve --server-port 23333

    internvl serve OpenGVLab/InternVL3-2B-hf --server-name 0.0.0.0 --api-key-file keys.txt
    """
    engine: dict[str, Any] = {
        "session_len": session_len,
        "max_batch_size": max_batch_size,
        "max_waiting_requests": max_waiting_requests,
        "cache_max_entry_count": cache_max_entry_count,
        "cache_max_tokens": cache_max_tokens,
        "prefill_chunk_tokens": prefill_chunk_tokens,
        "enable_prefix_caching": enable_prefix_caching,
        "vision_batch_size": vision_max_batch_size,
        "dtype": dtype,
        "quantize": quantize,
        "device": device,
        "max_tiles": max_tiles,
        "tile_policy": tile_policy,
        "revision": revision,
        "adapters": named_adapters(adapters or [], option="--adapters"),
    }
    lmdeploy = {"tp": tp, "dp": dp, "quant_policy": quant_policy, "model_format": model_format}
    server: dict[str, Any] = {
        "model_names": tuple(model_name or _names_of(model)),
        "max_answer_tokens": max_answer_tokens,
        "max_concurrent_requests": max_concurrent_requests,
        "max_concurrent_per_key": max_concurrent_per_key,
        "requests_per_minute": requests_per_minute,
        "max_body_bytes": max_body_mb << 20,
        "max_media_per_request": max_images,
        "max_media_pixels": max_image_mpx * 1_000_000,
        "allowed_media_domains": tuple(allowed_media_domains or ()),
        "allow_private_media": allow_private_media,
        "allow_origins": tuple(allow_origins or ()),
        "allow_credentials": allow_credentials,
        "data_dir": data_dir or default_data_dir(server_port),
        "max_file_bytes": max_file_mb << 20,
        "drain_timeout_s": drain_timeout,
        "log_prompts": log_prompts,
    }
    server |= {"allow_methods": tuple(allow_methods)} if allow_methods else {}
    server |= {"allow_headers": tuple(allow_headers)} if allow_headers else {}
    logging.basicConfig(level=log_level, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel("WARNING")
    config = _server_config(server, api_keys or [], api_key_file, server_name)
    engine_config = _engine_config(engine, lmdeploy)
    if demo:
        _check_demo(config)
    from internvl.chat.pipeline import pipeline
    from internvl.media.limits import MediaLimits
    from internvl.server.app import create_app
    from internvl.server.run import is_loopback, make_server

    if not is_loopback(server_name) and not config.api_keys:
        logging.getLogger("internvl").warning(
            "listening on %s without API keys: whoever reaches this machine may use the model; give --api-keys",
            server_name,
        )
    with pipeline(model, engine_config, template=chat_template) as pipe:
        app = create_app(pipe, config)
        if demo:
            from internvl.demo.app import mount_demo
            from internvl.demo.models import ModelShelf

            mount_demo(
                app,
                ModelShelf.of(config.model_names[0], pipe),
                allowed_hosts=config.allowed_hosts,
                limits=MediaLimits(max_pixels=config.max_media_pixels),
                ending=lambda: app.state.service.gate.draining,
            )
        make_server(
            app, host=server_name, port=server_port, ssl_keyfile=ssl_keyfile, ssl_certfile=ssl_certfile
        ).run()


def default_data_dir(port: int) -> Path:
    """Return where files and batches lie unless told: the user's data directory (XDG), one for each port."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "internvl" / "server" / str(port)


def _names_of(model: str) -> list[str]:
    """A hub id and its last part; of a directory only the last part, as paths are nobody's business."""
    last = Path(model).resolve().name if Path(model).exists() else model.rpartition("/")[2]
    return [last] if Path(model).exists() or "/" not in model else [model, last]


def _server_config(
    options: dict[str, Any], api_keys: list[str], api_key_file: Path | None, server_name: str
) -> ServerConfig:
    """Return the server's configuration. Raises typer.BadParameter for a wrong option."""
    try:
        from internvl.server.auth import read_key_file
        from internvl.server.config import ServerConfig
        from internvl.server.run import is_loopback, loopback_hosts
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"serving needs {error.name}; install it with: pip install 'internvl[serve]'"
        ) from error
    given = [*api_keys, os.environ.get(KEYS_VARIABLE, "")]
    texts = [text.strip() for each in given for text in each.split(",") if text.strip()]
    try:
        keys = (*texts, *(read_key_file(api_key_file) if api_key_file else ()))
        # a web page whose name points at this machine must not reach what needs no key
        hosts = loopback_hosts(server_name) if is_loopback(server_name) and not keys else ()
        return ServerConfig(**options, api_keys=keys, allowed_hosts=hosts)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from error


def _check_demo(config: ServerConfig) -> None:
    """Raise before the model is loaded where the page cannot be served."""
    if config.api_keys:
        raise typer.BadParameter(
            "--demo with API keys: a page asks for no key, so whoever reaches it could use the model. Leave one of"
            " the two out, or run `internvl demo` beside the server"
        )
    try:
        from internvl.demo.app import require_gradio
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"the demo needs {error.name}; install it with: pip install 'internvl[demo]'"
        ) from error
    require_gradio()


def _engine_config(options: dict[str, Any], lmdeploy: dict[str, Any]) -> EngineConfig:
    """Return the engine's configuration; options of LMDeploy's that cannot be honoured are refused by name, with
    what to use instead. Raises typer.BadParameter."""
    from internvl.engine.config import PytorchEngineConfig

    try:
        return PytorchEngineConfig(**options, **lmdeploy)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from error

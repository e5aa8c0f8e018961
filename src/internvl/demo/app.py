"""The demo as an application: `build_demo` makes the page, `mount_demo` puts it into a FastAPI application.

Callers: `internvl demo`, `internvl serve --demo`, and whoever wants the page beside something of their own.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from internvl.demo.models import ModelShelf
from internvl.demo.pictures import PictureStore
from internvl.errors import ConfigError, MissingDependencyError
from internvl.media.limits import DEFAULT_LIMITS, MediaLimits

if TYPE_CHECKING:
    from fastapi import FastAPI
    from gradio import Blocks

    from internvl.chat.pipeline import Pipeline


def create_demo_app(
    models: ModelShelf | Pipeline,
    *,
    allowed_hosts: Sequence[str] = (),
    limits: MediaLimits = DEFAULT_LIMITS,
) -> FastAPI:
    """Return an application that is the demo and nothing else; arguments as of `mount_demo`."""
    require_gradio()
    from fastapi import FastAPI

    app = FastAPI(title="internvl demo", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.ending = False
    return mount_demo(
        app,
        models,
        path="/",
        allowed_hosts=allowed_hosts,
        limits=limits,
        ending=lambda: bool(app.state.ending),
    )


def mount_demo(
    app: FastAPI,
    models: ModelShelf | Pipeline,
    *,
    path: str = "/demo",
    allowed_hosts: Sequence[str] = (),
    limits: MediaLimits = DEFAULT_LIMITS,
    ending: Callable[[], bool] = lambda: False,
) -> FastAPI:
    """Put the demo into an application and return that.

    The models stay their owner's; files of the demo go when the application ends.

    Args:
        app: The application, not yet started.
        models: One pipeline, or several by name.
        path: Where the demo is to be found, "/" for all of the application.
        allowed_hosts: Host headers that the demo answers (against DNS rebinding); empty = any.
        limits: On pictures.
        ending: Whether the server is about to end: pages that are still open are then no reason to wait.

    Raises:
        MissingDependencyError: Gradio is not installed.
    """
    require_gradio()
    store = PictureStore(limits=limits)
    _in_a_loop(lambda: _mount(app, models, store, path, allowed_hosts, ending))
    _close_at_end(app, store)
    return app


def _mount(
    app: FastAPI,
    models: ModelShelf | Pipeline,
    store: PictureStore,
    path: str,
    allowed_hosts: Sequence[str],
    ending: Callable[[], bool],
) -> None:
    import gradio as gr
    from starlette.middleware import Middleware

    from internvl.demo.guard import MAX_UPLOAD_BYTES, DemoGuard
    from internvl.demo.layout import I18N
    from internvl.demo.theme import STYLE, make_theme

    # Gradio asks the environment where uploads go, again and again; its default is shared by all of its users
    os.environ["GRADIO_TEMP_DIR"] = str(store.uploads_dir)
    blocks = build_demo(models, store)
    readable = (store.shown_dir, store.uploads_dir)
    guard = Middleware(
        DemoGuard,
        readable=readable,
        has_room=store.has_room_for_uploads,
        allowed_hosts=allowed_hosts,
        ending=ending,
    )
    gr.mount_gradio_app(
        app,
        blocks,
        path=path,
        app_kwargs={"middleware": [guard]},
        allowed_paths=[str(store.shown_dir)],
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=min(store.limits.max_video_bytes, MAX_UPLOAD_BYTES),
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        i18n=I18N,
        theme=make_theme(),
        css=STYLE.read_text(encoding="utf-8"),
    )
    # Gradio checks where files that a browser names come from only once this is set, which mounting leaves out
    blocks.has_launched = True


def build_demo(models: ModelShelf | Pipeline, store: PictureStore) -> Blocks:
    """Return the page alone, for a caller who mounts it in another way.

    `mount_demo` does more than mounting: it guards the page.
    """
    require_gradio()
    from internvl.demo.chat import Chat
    from internvl.demo.page import Page

    shelf = models if isinstance(models, ModelShelf) else ModelShelf.of("internvl", models)
    return Page(Chat(shelf, store)).build()


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens there; port 0 takes a free one. Raises ConfigError: There is none to have."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"cannot listen on {host}, port {port}: {reason}. Choose another with --host or --port."
        ) from error


def run_app(app: FastAPI, listening: socket.socket, *, on_start: Callable[[str], None]) -> None:
    """Serve an application of `create_demo_app` until a signal comes; `on_start` is told the page's address."""
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[Any] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                on_start(_address(listening.getsockname()))

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            app.state.ending = True
            super().handle_exit(sig, frame)

    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        proxy_headers=False,  # anybody could claim to be another address
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=5,
    )
    Server(config).run(sockets=[listening])


def _address(name: tuple[Any, ...]) -> str:
    """Return the page's address for a browser on this machine."""
    host, port = name[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _in_a_loop(make: Callable[[], None]) -> None:
    """Call `make` while an event loop runs: where none does, Gradio makes loops of its own and leaves them open."""

    async def call() -> None:
        make()

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(call())
    else:
        make()


def _close_at_end(app: FastAPI, store: PictureStore) -> None:
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(running: Any) -> AsyncIterator[Any]:
        try:
            async with inner(running) as state:
                yield state
        finally:
            store.close()

    app.router.lifespan_context = lifespan


def require_gradio() -> None:
    """Raise MissingDependencyError where Gradio is not installed; it is not imported yet, which takes seconds."""
    if importlib.util.find_spec("gradio") is None:
        raise MissingDependencyError("the demo needs gradio; install it with: pip install 'internvl[demo]'")

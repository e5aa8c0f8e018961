"""What stands between a browser and Gradio: few doors, nothing from elsewhere, no script but the page's own.

Gradio's server offers more than this page needs (it fetches addresses, runs endpoints by name, records runs). Here a
request passes if it is on a short list; every answer carries a policy by which the browser itself refuses whatever is
not from this server; and scripts run only with the number that the page was given. The page is also told its language
here, before anything of Gradio's runs.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from urllib.parse import unquote

import anyio.to_thread
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from internvl.demo.strings import GRADIO_LOCALES, Strings, choose_language, tables

#: Exact paths and beginnings of paths, below where the demo is mounted.
_GET = frozenset(
    (
        *("/", "/config", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt", "/gradio_api/info"),
        *(
            "/gradio_api/queue/data",
            "/gradio_api/startup-events",
            "/gradio_api/app_id",
            "/gradio_api/theme.css",
        ),
        "/gradio_api/upload_progress",
    )
)
_GET_BELOW = ("/assets/", "/static/", "/svelte/", "/gradio_api/heartbeat/")
_FILE = "/gradio_api/file="
_UPLOAD = "/gradio_api/upload"
_POST = frozenset((_UPLOAD, "/gradio_api/queue/join", "/gradio_api/cancel", "/gradio_api/reset"))
#: Answers that go on as long as a page is open.
_OPEN_ENDED = ("/gradio_api/heartbeat/", "/gradio_api/queue/data")
_SECONDS_BETWEEN_LOOKS = 0.5

#: Largest request but an upload: a conversation and what is around it.
MAX_BODY_BYTES = 16 << 20
#: Largest upload: several pictures together.
MAX_UPLOAD_BYTES = 256 << 20

_POLICY = {
    "default-src": "'self'",
    "script-src": "'self' 'nonce-{nonce}'",
    # Gradio's components set styles on elements
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "media-src": "'self' blob:",
    "font-src": "'self' data:",
    "connect-src": "'self' blob: data:",
    "worker-src": "'self' blob:",
    "object-src": "'none'",
    "base-uri": "'self'",
    "form-action": "'self'",
    "frame-src": "'none'",
    "frame-ancestors": "'self'",
}
_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "SAMEORIGIN",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
}
#: What the page's script says.
_PAGE_STRINGS = ("title", "language", "theme", "skip", "model", "failed")
_SCRIPT = re.compile(r"<script(?=[\s>])")
#: Pictures of Gradio's for other sites that show a link; they are elsewhere.
_ELSEWHERE = re.compile(r"<meta\s[^>]*(?:https?:|og:|twitter:)[^>]*/>\s*")
_HTML_TAG = re.compile(r'<html\s+lang="en"')


class DemoGuard:
    """ASGI middleware inside the demo's application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        readable: Sequence[Path],
        has_room: Callable[[], bool],
        allowed_hosts: Sequence[str] = (),
        ending: Callable[[], bool] = lambda: False,
    ) -> None:
        """Wrap an application.

        Args:
            app: Gradio's.
            readable: Folders whose files browsers may get.
            has_room: Whether a further upload may come; called in a thread.
            allowed_hosts: Host headers that are answered, against DNS rebinding; empty = any.
            ending: Whether the server is about to end: open pages are then no reason to wait.
        """
        self._app = app
        self._ending = ending
        self._readable = [folder.resolve() for folder in readable]
        self._has_room = has_room
        self._hosts = frozenset(host.lower() for host in allowed_hosts)
        self._script = files("internvl.demo").joinpath("static/page.js").read_text(encoding="utf-8")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request (ASGI)."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no WebSockets
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        nonce = secrets.token_urlsafe(18)
        path = _path(scope)
        if path == _UPLOAD and not await anyio.to_thread.run_sync(self._has_room):
            response = PlainTextResponse("no room for further uploads now; try again later", 503)
            await response(scope, receive, send)
            return
        receive = _counted(receive, MAX_UPLOAD_BYTES if path == _UPLOAD else MAX_BODY_BYTES)
        if path == "/" and scope["method"] == "GET":
            send = self._page(scope, nonce, send)
        send = _with_headers(send, nonce)
        if path.startswith(_OPEN_ENDED):
            await self._until_the_end(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _until_the_end(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request whose answer goes on as long as a page is open, or the server runs."""
        task = asyncio.ensure_future(self._app(scope, receive, send))
        try:
            while not task.done() and not self._ending():
                await asyncio.wait((task,), timeout=_SECONDS_BETWEEN_LOOKS)
            if task.done():
                task.result()
        finally:
            task.cancel()
            await asyncio.wait((task,))

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        """Return the answer to a request that does not pass."""
        headers, path, method = Headers(scope=scope), _path(scope), scope["method"]
        host = re.sub(r":\d+\Z", "", headers.get("host", "")).lower()
        if self._hosts and host not in self._hosts:
            return PlainTextResponse("this server does not answer for that host", 421)
        if method in ("GET", "HEAD"):
            known = path in _GET or path.startswith(_GET_BELOW)
            if path.startswith(_FILE):
                known = self._may_read(path.removeprefix(_FILE))
            return None if known else PlainTextResponse("not found", 404)
        if method != "POST" or path not in _POST:
            return PlainTextResponse("not found", 404)
        # a page of another site may send forms here, but then the browser says so
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return PlainTextResponse("not from another site", 403)
        return None

    def _may_read(self, name: str) -> bool:
        try:
            path = Path(unquote(name)).resolve()
        except (OSError, ValueError, RuntimeError):  # too long, a NUL, a circle of links
            return False
        return any(path.is_relative_to(folder) for folder in self._readable)

    def _page(self, scope: Scope, nonce: str, send: Send) -> Send:
        """Rewrite the page while it is sent: its language, its scripts' number, nothing from elsewhere."""
        request = Request(scope)
        language = choose_language(request.cookies, request.headers.get("accept-language", ""))
        strings = Strings(language)
        start: Message = {}
        chunks: list[bytes] = []

        async def send_rewritten(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            chunks.append(message.get("body", b""))
            if message.get("more_body"):
                return
            body = b"".join(chunks)
            if start["status"] == 200:
                body = self._rewritten(body.decode(), strings, nonce).encode()
            headers = MutableHeaders(scope=start)
            headers["content-length"] = str(len(body))
            headers["cache-control"] = "no-store"
            headers["vary"] = "accept-language, cookie"
            await send(start)
            await send({"type": "http.response.body", "body": body})

        return send_rewritten

    def _rewritten(self, page: str, strings: Strings, nonce: str) -> str:
        words = {
            "language": strings.language,
            "locale": GRADIO_LOCALES.get(strings.language, strings.language),
            "strings": {key: strings(key) for key in _PAGE_STRINGS},
            "languages": {code: table["name"] for code, table in tables().items()},
        }
        data = json.dumps(words, ensure_ascii=False).replace("<", "\\u003c")
        page = _ELSEWHERE.sub("", page)
        page = _HTML_TAG.sub(f'<html lang="{strings.language}" dir="{strings.direction}"', page, count=1)
        page = page.replace("<head>", f"<head><script>window.internvl = {data};\n{self._script}</script>", 1)
        return _SCRIPT.sub(f'<script nonce="{nonce}"', page)


def _path(scope: Scope) -> str:
    """Return the path below where the demo is mounted."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return (path.removeprefix(root) if root else path) or "/"


def _with_headers(send: Send, nonce: str) -> Send:
    policy = "; ".join(f"{name} {value.format(nonce=nonce)}" for name, value in _POLICY.items())

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["content-security-policy"] = policy
            for name, value in _HEADERS.items():
                headers[name] = value
        await send(message)

    return send_with_headers


def _counted(receive: Receive, limit: int) -> Receive:
    """Hang up on a body that is larger than the limit."""
    size = 0

    async def receive_counted() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        return {"type": "http.disconnect"} if size > limit else message

    return receive_counted

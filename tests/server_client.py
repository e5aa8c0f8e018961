"""Talk to the server's application in this process, without sockets; and over a loopback socket."""

import asyncio
import base64
import contextlib
import io
import json
import threading
import time

import httpx
import uvicorn

from internvl.engine.sampler import Sampler
from internvl.server.app import create_app
from internvl.server.config import ServerConfig
from tiny_engines import picture, tiny_engine

MODEL = "internvl"


def tiny_app(engine=None, **config):
    return create_app(engine or tiny_engine(), ServerConfig(**config))


def call(app, method, path, **options) -> httpx.Response:
    """One request, answered to its end."""

    async def send():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return await client.request(method, path, **options)

    return asyncio.run(send())


def post(app, path, body, **options) -> httpx.Response:
    return call(app, "POST", path, json=body, **options)


def chat_body(text="What is it?", pictures=(), **fields):
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in pictures]
    content = [*parts, {"type": "text", "text": text}] if parts else text
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": 6,
        **fields,
    }


def data_url(image=None, form="PNG") -> str:
    buffer = io.BytesIO()
    (image or picture()).save(buffer, form)
    return f"data:image/{form.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def chat(app, *arguments, **fields) -> httpx.Response:
    return post(app, "/v1/chat/completions", chat_body(*arguments, **fields))


def events(response) -> list:
    """The data of a stream's events; the last one of a chat is "[DONE]"."""
    found = []
    for block in response.text.split("\n\n"):
        for line in block.splitlines():
            if line.startswith("data: "):
                data = line.removeprefix("data: ")
                found.append(data if data == "[DONE]" else json.loads(data))
    return found


def speak(monkeypatch, engine, text):
    """Let the engine answer with `text`."""
    tokenizer = engine.processor.tokenizer
    ids = [*tokenizer.encode(text, special=False), *engine.processor.stop_token_ids]
    monkeypatch.setattr(Sampler, "choose", lambda self, logits, best, said, *_: ids[len(said)])


class Steps:
    """The engine chooses a token only when told."""

    def __init__(self, monkeypatch):
        self.count = 0
        self._allowed = threading.Semaphore(0)
        choose = Sampler.choose

        def wait_and_choose(sampler, *arguments, **options):
            assert self._allowed.acquire(timeout=30)
            self.count += 1
            return choose(sampler, *arguments, **options)

        monkeypatch.setattr(Sampler, "choose", wait_and_choose)

    def allow(self, number):
        for _ in range(number):
            self._allowed.release()


def count_submitted(engine, monkeypatch):
    """A list that grows with every request that the engine has."""
    submit, submitted = engine.submit, []

    def count(*arguments, **options):
        submitted.append(submit(*arguments, **options))
        return submitted[-1]

    monkeypatch.setattr(engine, "submit", count)
    return submitted


async def until(condition):
    while not condition():
        await asyncio.sleep(0.005)


class Connection:
    """One ASGI call by hand: the client may go at any moment."""

    def __init__(self, app, path, body, method="POST", headers=()):
        self._app = app
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "scheme": "http",
            "headers": [(b"content-type", b"application/json"), *headers],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
        }
        self._body = json.dumps(body).encode()
        self._gone = asyncio.Event()
        self.sent = asyncio.Queue()
        self._first = True

    async def _receive(self):
        if self._first:
            self._first = False
            return {"type": "http.request", "body": self._body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def run(self):
        await self._app(self._scope, self._receive, self.sent.put)

    def leave(self):
        self._gone.set()


def wait_until(condition, timeout_s=60):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


@contextlib.contextmanager
def served(app):
    """A real server on a free loopback port; yields its address."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server ended at its start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()

"""Does a server stay right and whole under mixed, rude and hostile clients?

Starts `internvl serve nano` in a process of its own and sends it requests, many at once: questions whose answers
are known (streamed or not), clients that leave in the middle, broken and enormous pictures, oversize bodies,
addresses of this machine, absurd parameters. At the end: every answer that was awaited was right, every wrong
request got the status it deserves, no cache block is held, nothing is open, and the process is as large as
after the first requests.

    ./run bench soak [--requests N] [--together N] [--seed N]

Prints what happened and ends with one JSON line; exit code 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import os
import platform
import random
import re
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

EXAMPLES = Path(__file__).parents[1] / "examples"
CHAT = "/v1/chat/completions"
SESSION_LEN = 2560
#: Growth of the process after the first quarter of the requests that still counts as none.
MAX_GROWTH = 0.05
MAX_BODY_MB = 4


def data_url(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def hostile_pictures() -> list[bytes]:
    """Pictures that are none, or claim too much."""
    good = (EXAMPLES / "object.png").read_bytes()
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100_000))
    return [
        b"",
        b"\0" * 100,
        good[: len(good) // 2],
        good[:200] + os.urandom(300),
        bomb,
        b"GIF89a" + os.urandom(50),
    ]


def about(picture: str, text: str, **fields: object) -> dict[str, object]:
    parts = [{"type": "image_url", "image_url": {"url": picture}}, {"type": "text", "text": text}]
    return {"model": "nano", "messages": [{"role": "user", "content": parts}], "max_tokens": 24, **fields}


class Soak:
    """The clients."""

    def __init__(self, http: httpx.AsyncClient, rng: random.Random) -> None:
        self.http = http
        self.rng = rng
        self.known: list[tuple[dict[str, object], str]] = []
        self.hostile = [data_url(data) for data in hostile_pictures()]
        self.wrong: list[str] = []
        self.counts: Counter[str] = Counter()
        self.kinds: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (30, self.ask),
            (25, self.stream),
            (12, self.leave_stream),
            (8, self.leave_answer),
            (10, self.show_hostile),
            (3, self.send_too_much),
            (6, self.send_nonsense),
            (3, self.name_this_machine),
            (3, self.ask_absurdly),
        ]

    async def learn(self) -> None:
        """Ask the questions once, alone; these answers are the right ones."""
        for name in ("object.png", "shapes.png", "sign.png"):
            picture = data_url((EXAMPLES / name).read_bytes())
            for text in ("What is this?", "How many objects are there?", "Describe this image."):
                body = about(picture, text)
                response = await self.http.post(CHAT, json=body)
                self.known.append((body, response.json()["choices"][0]["message"]["content"]))

    async def one(self) -> None:
        weights, kinds = zip(*self.kinds, strict=True)
        kind = self.rng.choices(kinds, weights)[0]
        self.counts[kind.__name__] += 1
        try:
            await kind()
        except (httpx.HTTPError, KeyError, ValueError) as error:
            self.wrong.append(f"{kind.__name__}: {type(error).__name__}: {error}")

    def expect(self, ok: bool, what: str) -> None:
        if not ok:
            self.wrong.append(what)

    async def refused(self, body: object, *statuses: int, **options: object) -> None:
        if not options:
            options = {"json": body}
        response = await self.http.post(CHAT, **options)  # type: ignore[arg-type]
        self.expect(response.status_code in statuses, f"status {response.status_code}: {response.text[:200]}")
        self.expect(set(response.json()) == {"error"}, f"no error in OpenAI's form: {response.text[:200]}")

    async def ask(self) -> None:
        body, expected = self.rng.choice(self.known)
        response = await self.http.post(CHAT, json=body)
        found = response.json()["choices"][0]["message"]["content"]
        self.expect(found == expected, f"{found!r} instead of {expected!r}")

    async def stream(self) -> None:
        body, expected = self.rng.choice(self.known)
        text = ""
        async with self.http.stream("POST", CHAT, json={**body, "stream": True}) as response:
            async for line in response.aiter_lines():
                if line.startswith("data: {"):
                    text += json.loads(line[6:])["choices"][0]["delta"].get("content") or ""
        self.expect(text == expected, f"streamed {text!r} instead of {expected!r}")

    async def leave_stream(self) -> None:
        body, _ = self.rng.choice(self.known)
        long = {**body, "stream": True, "max_tokens": 2000, "ignore_eos": True}
        async with self.http.stream("POST", CHAT, json=long) as response:
            lines = response.aiter_lines()
            for _ in range(self.rng.randrange(6)):
                await anext(lines)

    async def leave_answer(self) -> None:
        body, _ = self.rng.choice(self.known)
        long = {**body, "max_tokens": 2000, "ignore_eos": True}
        with suppress(TimeoutError):
            async with asyncio.timeout(self.rng.uniform(0.01, 0.5)):
                await self.http.post(CHAT, json=long)

    async def show_hostile(self) -> None:
        await self.refused(about(self.rng.choice(self.hostile), "What is this?"), 400, 413)

    async def send_too_much(self) -> None:
        content = b" " * (MAX_BODY_MB << 20) + b"{}"
        # the connection may end before all of it is sent
        with suppress(httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
            await self.refused(None, 413, content=content, headers={"Content-Type": "application/json"})

    async def send_nonsense(self) -> None:
        nonsense = [b"", b"{", b"[" * 5000, b"\xff", b"[]", b'{"model": "nano"}', os.urandom(200)]
        headers = {"Content-Type": "application/json"}
        await self.refused(None, 400, content=self.rng.choice(nonsense), headers=headers)

    async def name_this_machine(self) -> None:
        urls = [
            "http://127.0.0.1/a.png",
            "file:///etc/passwd",
            "/etc/passwd",
            "http://[::1]/",
            "http://0x7f.1/",
        ]
        await self.refused(about(self.rng.choice(urls), "What is this?"), 400)

    async def ask_absurdly(self) -> None:
        fields = [
            {"max_tokens": 10**9},
            {"n": 10**6},
            {"temperature": 1e300},
            {"stop": ["x"] * 10_000},
            {"logit_bias": {"999999999": -100}},
            {"repetition_ngram_size": 10**9, "repetition_ngram_threshold": 2},
            {"regex": "(a{1000}){1000}"},
        ]
        body, _ = self.known[0]
        await self.refused({**body, **self.rng.choice(fields)}, 400)


def commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, cwd=EXAMPLES).stdout.strip()


def metrics(text: str) -> dict[str, float]:
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.labels
    }


def rss_bytes(process_id: int) -> int:
    status = Path(f"/proc/{process_id}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) * 1024


async def soak(url: str, process_id: int, options: argparse.Namespace) -> dict[str, object]:
    limits = httpx.Limits(max_connections=options.together)
    async with httpx.AsyncClient(base_url=url, timeout=300, limits=limits) as http:
        clients = Soak(http, random.Random(options.seed))
        await clients.learn()
        gate = asyncio.Semaphore(options.together)

        async def one() -> None:
            async with gate:
                await clients.one()

        started = time.perf_counter()
        first = options.requests // 4
        await asyncio.gather(*(one() for _ in range(first)))
        rss_before = rss_bytes(process_id)
        await asyncio.gather(*(one() for _ in range(options.requests - first)))
        seconds = time.perf_counter() - started
        left: dict[str, float] = {}
        for _ in range(100):  # who has just left may still be on his way out
            found = metrics((await http.get("/metrics")).text)
            names = ("answers_running", "answers_waiting", "kv_blocks_used", "http_requests_open")
            left = {name: found[f"internvl_{name}"] for name in names}
            if not any(left.values()):
                break
            await asyncio.sleep(0.1)
        rss_after = rss_bytes(process_id)
    growth = rss_after / rss_before - 1
    return {
        "benchmark": "soak",
        "machine": platform.platform(),
        "cpus": os.cpu_count(),
        "commit": commit(),
        "requests": options.requests,
        "together": options.together,
        "seconds": round(seconds, 1),
        "kinds": dict(clients.counts),
        "wrong": len(clients.wrong),
        "examples_of_wrong": clients.wrong[:5],
        "left": left,
        "aborted": found["internvl_answers_aborted_total"],
        "rss_mb": [round(rss_before / 1e6), round(rss_after / 1e6)],
        "rss_growth": round(growth, 4),
        "ok": not clients.wrong and not any(left.values()) and growth <= MAX_GROWTH,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--together", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as data_dir, tempfile.TemporaryFile("w+") as log:
        command = [sys.executable, "-m", "internvl", "serve", "nano", "--server-port", "0"]
        # a small cache: all of it has been touched by the time that the size is first looked at
        command += ["--session-len", str(SESSION_LEN), "--max-batch-size", "4"]
        server = subprocess.Popen(
            [*command, "--data-dir", data_dir, "--max-body-mb", str(MAX_BODY_MB)], stderr=log, text=True
        )
        try:
            result = asyncio.run(soak(address_in(log, server), server.pid, options))
        finally:
            server.terminate()
            server.wait(60)
        log.seek(0)
        written = log.read()
        result["tracebacks"] = written.count("Traceback")
    if result["tracebacks"]:
        print(written[written.index("Traceback") - 500 :][:5000])
    for name, value in result.items():
        print(f"{name}: {value}")
    print(json.dumps(result))
    return 0 if result["ok"] and not result["tracebacks"] else 1


def address_in(log: io.TextIOBase, server: subprocess.Popen[str]) -> str:
    """Wait until the server says where it listens."""
    while server.poll() is None:
        log.seek(0)
        found = re.search(r"running on (http://\S+)", log.read())
        if found:
            return found[1]
        time.sleep(0.1)
    log.seek(0)
    raise SystemExit(f"the server ended: {log.read()}")


if __name__ == "__main__":
    sys.exit(main())

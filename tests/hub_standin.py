"""A hub on the loopback: enough of the Hugging Face API to download from, with faults on request."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

Files = dict[str, bytes]


@dataclass
class HubStandIn:
    """Repositories by id, each a table of revisions; `log` tells what was asked."""

    url: str = ""
    repositories: dict[str, dict[str, Files]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    cut_after: dict[str, list[int]] = field(default_factory=dict)
    """File name -> after how many bytes to hang up, one entry for each request."""
    ignores_ranges: bool = False
    corrupt: Counter[str] = field(default_factory=Counter)
    """File name -> how many of its next answers carry a flipped byte."""
    log: list[tuple[str, str, str]] = field(default_factory=list)
    """(method, path, Range header) in order of arrival."""

    def add(self, repo_id: str, files: Files, revision: str = "main") -> str:
        """Publish files; return the commit."""
        self.repositories.setdefault(repo_id, {})[revision] = files
        return commit_of(files)

    def downloads(self) -> list[str]:
        """Names of the files whose bytes were asked for."""
        return [
            path.rsplit("/", 1)[-1] for method, path, _ in self.log if method == "GET" and "/resolve/" in path
        ]

    def find(self, repo_id: str, revision: str) -> Files | None:
        revisions = self.repositories[repo_id]
        if revision in revisions:
            return revisions[revision]
        return next((files for files in revisions.values() if commit_of(files) == revision), None)


def commit_of(files: Files) -> str:
    digest = hashlib.sha1()
    for name in sorted(files):
        digest.update(name.encode() + b"\0" + files[name])
    return digest.hexdigest()


def etag_of(name: str, data: bytes) -> str:
    """Large files carry their sha256, files kept in git their sha1, as on the hub."""
    return (hashlib.sha256 if name.endswith((".safetensors", ".bin")) else hashlib.sha1)(data).hexdigest()


@contextmanager
def running_hub() -> Iterator[HubStandIn]:
    hub = HubStandIn()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(hub: HubStandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, *, body: bool) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.log.append((self.command, path, self.headers.get("Range", "")))
            repo_id = next((name for name in hub.repositories if f"/{name}/" in f"{path}/"), None)
            if repo_id is None:
                return self.refuse(404, "RepoNotFound", body)
            if repo_id in hub.gated:
                return self.refuse(403, "GatedRepo", body)
            if path.startswith("/api/models/"):
                rest = path.removeprefix(f"/api/models/{repo_id}").strip("/").split("/")
                kind, revision = (rest[0], rest[1]) if len(rest) > 1 else ("revision", "main")
                files = hub.find(repo_id, revision)
                if files is None:
                    return self.refuse(404, "RevisionNotFound", body)
                return self.send_json(self.listing(repo_id, files, kind))
            revision, name = path.removeprefix(f"/{repo_id}/resolve/").split("/", 1)
            files = hub.find(repo_id, revision)
            if files is None or name not in files:
                return self.refuse(404, "EntryNotFound", body)
            return self.send_file(name, files, body=body)

        def listing(self, repo_id: str, files: Files, kind: str) -> object:
            if kind == "tree":
                return [
                    {"type": "file", "path": name, "size": len(data), "oid": etag_of(name, data)}
                    for name, data in files.items()
                ]
            return {
                "id": repo_id,
                "sha": commit_of(files),
                "siblings": [{"rfilename": name} for name in files],
            }

        def send_file(self, name: str, files: Files, *, body: bool) -> None:
            data = files[name]
            start = 0
            wanted = self.headers.get("Range", "")
            if wanted.startswith("bytes=") and not hub.ignores_ranges:
                start = int(wanted.removeprefix("bytes=").split("-")[0])
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.send_header("ETag", f'"{etag_of(name, data)}"')
            self.send_header("X-Repo-Commit", commit_of(files))
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            if not body:
                return
            if hub.corrupt[name]:
                hub.corrupt[name] -= 1
                data = data[:-1] + bytes([data[-1] ^ 1])
            cuts = hub.cut_after.get(name, [])
            if cuts:
                self.wfile.write(data[start : start + cuts.pop(0)])
                self.close_connection = True
            else:
                self.wfile.write(data[start:])

        def send_json(self, value: object) -> None:
            data = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def refuse(self, status: int, code: str, body: bool) -> None:
            data = json.dumps({"error": code}).encode()
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if body:
                self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            return

    return Handler

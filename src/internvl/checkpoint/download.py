"""Hub files -> the local cache, going on where a broken download stopped.

huggingface_hub keeps finished files but throws half a shard away when the process ends. Weight files are
therefore fetched here, with HTTP ranges, into ``<repository>/partial/`` of its cache, checked, and moved to
the place where it looks for finished files; it then fetches the small files and links everything into a
snapshot. Called by `hub.py` only.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from internvl.errors import CheckpointError

if TYPE_CHECKING:
    import httpx
    from huggingface_hub import HfApi

logger = logging.getLogger(__name__)

#: Sub-folders hold other formats and copies of the weights (`original/`, `onnx/`): never fetched.
IGNORED = ("*/*",)
_WORKERS = 4
#: An etag becomes the name of a file; anything else is left to the hub's own client.
_FILE_NAME = re.compile(r"[\w-][\w.-]{0,127}")

Advance = Callable[[int], None]
"""Told how many bytes arrived (negative when some have to be fetched again)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """One weight file on the hub and where its bytes belong in the cache."""

    url: str
    name: str
    size_bytes: int
    etag: str
    """Identity of the content; for weight files the hub gives their sha256."""
    blob: Path

    @property
    def partial(self) -> Path:
        """Where bytes are collected; named after the content: a new revision never continues an old file."""
        return self.blob.parent.parent / "partial" / f"{self.etag}.part"


def fetch_snapshot(
    api: HfApi,
    repo_id: str,
    *,
    revision: str,
    commit: str,
    files: Sequence[str],
    patterns: Sequence[str],
    cache_dir: Path | None,
) -> Path:
    """Fetch the files of one revision that match `patterns`; return the snapshot's directory.

    Raises:
        CheckpointError: not enough disk space, or bytes that do not match their checksum after a second try.
        OSError, huggingface_hub.errors.HTTPError: the hub refused or the connection broke for good.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import tqdm

    class Quiet(tqdm):  # type: ignore[misc, unused-ignore]
        """The hub's bars count what we already fetched; ours stands for the whole download."""

        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})

    weights = [file for file in files if file.endswith(".safetensors") and "/" not in file]
    missing = _missing(api, repo_id, commit, weights, cache_dir)
    if missing:
        _fetch_all(missing, repo_id, api)
    return Path(
        snapshot_download(
            repo_id,
            revision=revision,
            cache_dir=cache_dir,
            endpoint=api.endpoint,
            allow_patterns=list(patterns),
            ignore_patterns=list(IGNORED),
            tqdm_class=Quiet,
        )
    )


def _missing(
    api: HfApi, repo_id: str, commit: str, weights: Sequence[str], cache_dir: Path | None
) -> list[RemoteFile]:
    """Those weight files that the cache does not hold yet."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    root = Path(cache_dir or constants.HF_HUB_CACHE) / f"models--{repo_id.replace('/', '--')}"
    missing = []
    for name in weights:
        if isinstance(try_to_load_from_cache(repo_id, name, cache_dir=cache_dir, revision=commit), str):
            continue
        url = hf_hub_url(repo_id, name, revision=commit, endpoint=api.endpoint)
        metadata = get_hf_file_metadata(url)
        if metadata.etag is None or metadata.size is None or not _FILE_NAME.fullmatch(metadata.etag):
            continue  # a mirror that hides them: the hub's own client fetches this file, without resuming
        blob = root / "blobs" / metadata.etag
        if not blob.exists():
            missing.append(
                RemoteFile(url=url, name=name, size_bytes=metadata.size, etag=metadata.etag, blob=blob)
            )
    return missing


def _fetch_all(files: Sequence[RemoteFile], repo_id: str, api: HfApi) -> None:
    from huggingface_hub.utils import build_hf_headers

    _require_space(files, repo_id)
    headers = build_hf_headers(token=api.token)
    stop = threading.Event()
    with _progress(repo_id, sum(file.size_bytes for file in files)) as advance:
        pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="fetch")
        try:
            for future in [
                pool.submit(fetch, file, headers=headers, advance=advance, stop=stop) for file in files
            ]:
                future.result()
        finally:  # also on Ctrl-C: the threads keep what they have and end
            stop.set()
            pool.shutdown(cancel_futures=True)


def _require_space(files: Sequence[RemoteFile], repo_id: str) -> None:
    folder = files[0].blob.parent
    folder.mkdir(parents=True, exist_ok=True)
    have = sum(_size(file.partial) for file in files)
    needed, free = sum(file.size_bytes for file in files) - have, shutil.disk_usage(folder).free
    if needed > free:
        raise CheckpointError(
            f"{repo_id} needs {needed / 1e9:.1f} GB more and {folder} has {free / 1e9:.1f} GB free; "
            "free some space or set HF_HUB_CACHE to another disk"
        )


def fetch(
    file: RemoteFile,
    *,
    headers: dict[str, str],
    advance: Advance = lambda _: None,
    stop: threading.Event | None = None,
    attempts: int = 5,
) -> None:
    """Bring one file into the cache, from where an earlier try stopped.

    Args:
        file: what to fetch.
        headers: request headers (user agent, authorization).
        advance: progress callback, bytes.
        stop: when set, give up after the present chunk and keep the bytes.
        attempts: connections without a single new byte before giving up.
    """
    from huggingface_hub.utils import WeakFileLock

    file.partial.parent.mkdir(parents=True, exist_ok=True)
    # Two processes that fetch the same model take turns; the second one finds the blob finished.
    with WeakFileLock(file.partial.with_suffix(".lock")):
        if file.blob.exists():
            return
        for _ in range(2):
            _collect(file, headers, advance, stop or threading.Event(), attempts)
            if (have := _size(file.partial)) < file.size_bytes:
                return  # told to stop; the next run goes on from here
            if _checksum_holds(file):
                file.blob.parent.mkdir(parents=True, exist_ok=True)
                os.replace(file.partial, file.blob)
                return
            file.partial.unlink()
            advance(-have)
        raise CheckpointError(
            f"{file.name}: the bytes from {file.url} do not match their checksum {file.etag}, twice; "
            "the server or a proxy changes them. Try another endpoint"
        )


def _collect(
    file: RemoteFile, headers: dict[str, str], advance: Advance, stop: threading.Event, attempts: int
) -> None:
    """Grow the partial file to its full size."""
    import httpx

    failures = 0
    have = _size(file.partial)
    if have > file.size_bytes:
        file.partial.unlink()
        have = 0
    advance(have)
    with httpx.Client(follow_redirects=True, timeout=httpx.Timeout(30, connect=10)) as client:
        while have < file.size_bytes and not stop.is_set():
            before = have
            try:
                have = _stream(client, file, headers, have, advance, stop)
                trouble = "the connection ended early"
            except httpx.TransportError as error:
                have, trouble = _size(file.partial), str(error) or type(error).__name__
            if have >= file.size_bytes or stop.is_set():
                break
            failures = 0 if have > before else failures + 1
            if failures >= attempts:
                raise CheckpointError(
                    f"{file.name}: stopped at {have / 1e6:.1f} of {file.size_bytes / 1e6:.1f} MB: {trouble}. "
                    "Run the same command again: it goes on from there"
                )
            logger.info("%s: %s at %d of %d bytes, going on", file.name, trouble, have, file.size_bytes)
            time.sleep(min(0.2 * 2**failures, 5.0))


def _stream(
    client: httpx.Client,
    file: RemoteFile,
    headers: dict[str, str],
    have: int,
    advance: Advance,
    stop: threading.Event,
) -> int:
    """Append one response to the partial file; return its new size."""
    import httpx

    ranged = {**headers, "Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    with client.stream("GET", file.url, headers=ranged) as response:
        if response.status_code >= 400:
            response.read()
            if response.status_code in {408, 429} or response.status_code >= 500:
                raise httpx.RemoteProtocolError(f"HTTP {response.status_code}")
            raise CheckpointError(
                f"{file.name}: the server refused it (HTTP {response.status_code}) although it lists it; "
                "check HF_TOKEN and the conditions of the model"
            )
        if response.status_code != 206 and have:  # the server ignores ranges: from the start
            advance(-have)
            have = 0
        with file.partial.open("ab" if have else "wb") as out:
            for chunk in response.iter_raw():
                out.write(chunk)
                have += len(chunk)
                advance(len(chunk))
                if stop.is_set():
                    break
    return have


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _checksum_holds(file: RemoteFile) -> bool:
    if _size(file.partial) != file.size_bytes:
        return False
    if len(file.etag) != 64:  # not a sha256 (kept in git itself, or a mirror's own tag): the size has to do
        return True
    with file.partial.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest() == file.etag


@contextlib.contextmanager
def _progress(repo_id: str, total_bytes: int) -> Iterator[Advance]:
    """A bar on stderr when that is a terminal, else nothing."""
    if not sys.stderr.isatty() or os.environ.get("HF_HUB_DISABLE_PROGRESS_BARS", "") in {"1", "true", "True"}:
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task(repo_id, total=total_bytes)
        yield lambda count: progress.advance(task, count)

"""Parts of messages that name media -> parts that hold them, read within the limits of a request.

In: messages as clients write them (`image_url` and `file` parts). Out: messages whose pictures are bytes, so
that what follows (`preprocess`) opens nothing itself. Addresses go through the guard of `media.fetch`, in
threads that may wait; ids of uploaded files through the caller's own files.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from internvl.errors import MediaError, RequestError
from internvl.media.limits import AddressPolicy, MediaLimits
from internvl.media.source import Blob, read_source
from internvl.server.config import ServerConfig
from internvl.server.errors import Overloaded, TooLarge
from internvl.types import Message

#: How ids of uploaded files begin.
FILE_ID_PREFIX = "file-"


class Files(Protocol):
    """Where uploaded files are found."""

    def read(self, file_id: str, owner: str, max_bytes: int) -> bytes:
        """Return a file's bytes. Raises NotFound or MediaError."""


@dataclass(frozen=True, slots=True)
class Source:
    """A part of a message that names something to read."""

    message: int
    part: int
    address: str

    @property
    def where(self) -> str:
        """E.g. "messages[0].content[1]"."""
        return f"messages[{self.message}].content[{self.part}]"


def media_limits(config: ServerConfig) -> MediaLimits:
    """Return the limits of one picture."""
    return MediaLimits(
        max_bytes=config.max_media_bytes,
        max_pixels=config.max_media_pixels,
        timeout_s=config.media_timeout_s,
    )


def address_policy(config: ServerConfig) -> AddressPolicy:
    """Return where pictures of requests may come from; never from this machine's files."""
    return AddressPolicy(
        allow_local_files=False,
        allow_private=config.allow_private_media,
        allowed_domains=config.allowed_media_domains,
    )


def find_sources(messages: Sequence[Mapping[str, Any]]) -> tuple[list[Message], list[Source]]:
    """Return the messages with every picture as {"type": "image", "image": address, ...}, and the addresses.

    Raises RequestError where a part names nothing, or twice.
    """
    made: list[Message] = []
    sources: list[Source] = []
    for n, message in enumerate(messages):
        content = message.get("content")
        if not isinstance(content, list):
            made.append(dict(message))
            continue
        parts = [_picture_part(part, f"messages[{n}].content[{k}]") for k, part in enumerate(content)]
        sources += [
            Source(n, k, part["image"])
            for k, part in enumerate(parts)
            if isinstance(part, Mapping) and part.get("type") == "image"
        ]
        made.append({**message, "content": parts})
    return made, sources


def _picture_part(part: Any, where: str) -> Any:
    """Return an `image_url` or `file` part as an `image` part; others as they are."""
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind not in ("image_url", "file"):
        if kind == "image":
            raise RequestError(f"{where}.type is 'image': send pictures as image_url (a URL or data: URL)")
        return part
    inner = part.get(kind)
    options = {key: value for key, value in part.items() if key not in ("type", kind)}
    if isinstance(inner, Mapping):
        names = ("url", "file_id", "file_data", "filename")
        options = {**{key: value for key, value in inner.items() if key not in names}, **options}
        given = [inner[name] for name in names[:3] if inner.get(name) is not None]
        if len(given) != 1 or not isinstance(given[0], str):
            raise RequestError(
                f"{where}.{kind} must hold one of {'url' if kind == 'image_url' else 'file_id, file_data'}"
            )
        address = given[0]
        if inner.get("file_data") is not None and address[:5].lower() != "data:":
            address = f"data:;base64,{address}"
    elif isinstance(inner, str):
        address = inner
    else:
        raise RequestError(f"{where}.{kind} is missing")
    return {"type": "image", "image": address, **options}


class MediaReader:
    """Reads what requests name; one for the server."""

    def __init__(self, config: ServerConfig, files: Files) -> None:
        self._config = config
        self._files = files
        self._limits = media_limits(config)
        self._policy = address_policy(config)
        self._threads = ThreadPoolExecutor(config.fetch_threads, thread_name_prefix="internvl-fetch")
        self._held_bytes = 0

    def close(self) -> None:
        """End the threads; what they still read is dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def read(self, sources: Sequence[Source], owner: str) -> list[Blob]:
        """Return the files behind `sources`. The caller gives them back with `forget`.

        Raises:
            MediaError: One that cannot be read, by its place.
            TooLarge, Overloaded: More than one request, or the server, may hold.
        """
        if len(sources) > self._config.max_media_per_request:
            raise TooLarge(
                f"{len(sources)} pictures; at most {self._config.max_media_per_request} fit into a request"
            )
        blobs: list[Blob] = []
        tasks = [asyncio.create_task(self._read_one(source, owner)) for source in sources]
        try:
            for task in tasks:
                blobs.append(self._hold(await task, blobs))
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.forget(blobs)
            raise
        return blobs

    def forget(self, blobs: Sequence[Blob]) -> None:
        """Count these as gone."""
        self._held_bytes -= sum(len(blob.data) for blob in blobs)

    def _hold(self, blob: Blob, others: Sequence[Blob]) -> Blob:
        size = len(blob.data)
        total = size + sum(len(other.data) for other in others)
        if total > self._config.max_request_media_bytes:
            raise TooLarge(
                f"the pictures of this request have more than {self._config.max_request_media_bytes} bytes"
            )
        if self._held_bytes + size > self._config.max_inflight_media_bytes:
            raise Overloaded("the pictures of other requests fill the memory for them; try again later")
        self._held_bytes += size
        return blob

    async def _read_one(self, source: Source, owner: str) -> Blob:
        loop = asyncio.get_running_loop()
        blob = await loop.run_in_executor(self._threads, self._read_now, source, owner)
        return Blob(blob.data, f"{source.where}: {blob.name}")

    def _read_now(self, source: Source, owner: str) -> Blob:
        address = source.address
        if address.startswith(FILE_ID_PREFIX):
            return Blob(self._files.read(address, owner, self._limits.max_bytes), address)
        if address[:5].lower() != "data:" and "://" not in address:
            raise MediaError(
                f"{source.where}: expected an http(s) address, a data: URL or the id of an uploaded file"
            )
        try:
            return read_source(address, limits=self._limits, policy=self._policy)
        except MediaError as error:
            raise MediaError(f"{source.where}: {error}") from error

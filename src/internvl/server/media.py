"""Parts of messages that name media -> parts that hold them, read within the limits of a request.

In: messages as clients write them (`image_url`, `video_url` and `file` parts). Out: messages that hold
pictures as bytes and videos opened, so that what follows (`preprocess`) opens nothing itself. Addresses go
through the guard of `media.fetch`, in threads that may wait; ids of uploaded files through the caller's own
files.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

from internvl.errors import MediaError, RequestError
from internvl.media.kind import media_kind
from internvl.media.limits import AddressPolicy, MediaLimits
from internvl.media.source import Blob, read_data_url, read_source
from internvl.media.video import Video, load_video
from internvl.server.config import ServerConfig
from internvl.server.errors import Overloaded, TooLarge
from internvl.server.file_store import PREFIX, FileStore
from internvl.types import Message

_PART_KINDS = ("type", "image", "video")
#: Options of a video that say which frames are seen.
CLIP_OPTIONS = ("num_frames", "fps", "start", "end")


@dataclass(frozen=True, slots=True)
class Source:
    """A part of a message that names something to read."""

    message: int
    part: int
    kind: Literal["image", "video", "file"]
    """"file": what it is, its bytes say."""
    address: str
    clip: Mapping[str, Any] = field(default_factory=dict)
    """Of a video: which frames, as `media.video.load_video` takes it."""

    @property
    def where(self) -> str:
        """E.g. "messages[0].content[1]"."""
        return f"messages[{self.message}].content[{self.part}]"


@dataclass(frozen=True, slots=True)
class Read:
    """What a source named."""

    content: Blob | Video
    size_bytes: int
    """In memory; a downloaded video lies in a temporary file."""


def media_limits(config: ServerConfig) -> MediaLimits:
    """Return the limits of one picture."""
    return MediaLimits(
        max_bytes=config.max_media_bytes,
        max_pixels=config.max_media_pixels,
        timeout_s=config.media_timeout_s,
        max_video_bytes=config.max_video_bytes,
        max_sampled_frames=config.max_media_per_request,
        video_timeout_s=config.video_timeout_s,
    )


def address_policy(config: ServerConfig) -> AddressPolicy:
    """Return where pictures of requests may come from; never from this machine's files."""
    return AddressPolicy(
        allow_local_files=False,
        allow_private=config.allow_private_media,
        allowed_domains=config.allowed_media_domains,
    )


def find_sources(messages: Sequence[Mapping[str, Any]]) -> tuple[list[Message], list[Source]]:
    """Return the messages with all media as "image" and "video" parts of addresses, and these addresses.

    Raises RequestError where a part names nothing, or twice.
    """
    made: list[Message] = []
    sources: list[Source] = []
    for n, message in enumerate(messages):
        content = message.get("content")
        if not isinstance(content, list):
            made.append(dict(message))
            continue
        parts = []
        for k, part in enumerate(content):
            source, part = _media_part(part, n, k)
            sources += [] if source is None else [source]
            parts.append(part)
        made.append({**message, "content": parts})
    return made, sources


def _media_part(part: Any, message: int, place: int) -> tuple[Source | None, Any]:
    """Return where a part's media are, and the part with that address; other parts as they are."""
    kind = part.get("type") if isinstance(part, Mapping) else None
    where = f"messages[{message}].content[{place}]"
    if kind in ("image", "video"):
        raise RequestError(f"{where}.type is {kind!r}: send it as {kind}_url (a URL or data: URL)")
    if kind not in ("image_url", "video_url", "file"):
        return None, part
    inner = part.get(kind)
    options = {key: value for key, value in part.items() if key not in ("type", kind) and value is not None}
    if isinstance(inner, Mapping):
        names = ("file_id", "file_data") if kind == "file" else ("url",)
        given = [name for name in names if inner.get(name) is not None]
        if len(given) != 1 or not isinstance(inner[given[0]], str):
            raise RequestError(f"{where}.{kind} must hold {' or '.join(names)}")
        address = inner[given[0]]
        more = {key: value for key, value in inner.items() if key not in (*names, "filename")}
        options |= {key: value for key, value in more.items() if value is not None}
        if given == ["file_data"] and address[:5].lower() != "data:":
            address = f"data:;base64,{address}"
    elif isinstance(inner, str) and kind != "file":
        address = inner
    else:
        raise RequestError(f"{where}.{kind} is missing")
    name: Any = kind.removesuffix("_url")
    clip = {} if name == "image" else {key: options.pop(key) for key in CLIP_OPTIONS if key in options}
    made = "video" if name == "video" else "image"  # of a file it may change when it is read
    return Source(message, place, name, address, clip), {"type": made, made: address, **options}


def fill(
    messages: Sequence[Mapping[str, Any]], sources: Sequence[Source], reads: Sequence[Read]
) -> list[Message]:
    """Return the messages with what was read in the places of the addresses."""
    filled: list[Any] = [
        {**message, "content": list(message["content"])}
        if isinstance(message.get("content"), list)
        else message
        for message in messages
    ]
    for source, read in zip(sources, reads, strict=True):
        parts = filled[source.message]["content"]
        options = {key: value for key, value in parts[source.part].items() if key not in _PART_KINDS}
        if isinstance(read.content, Blob):
            parts[source.part] = {**options, "type": "image", "image": read.content.data}
        else:
            parts[source.part] = {**options, "type": "video", "video": read.content}
    return filled


#: Sources of one request that are read at the same time; slow ones must not hold all threads.
_AT_ONCE = 4


class MediaReader:
    """Reads what requests name; one for the server."""

    def __init__(self, config: ServerConfig, files: FileStore) -> None:
        self._config = config
        self._files = files
        self._limits = media_limits(config)
        self._policy = address_policy(config)
        self._threads = ThreadPoolExecutor(config.fetch_threads, thread_name_prefix="internvl-fetch")
        self._held_bytes = 0

    def close(self) -> None:
        """End the threads; what they still read is dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def read(self, sources: Sequence[Source], owner: str) -> list[Read]:
        """Return what the `sources` name. The caller gives it back with `forget`.

        Raises:
            MediaError: One that cannot be read, by its place.
            TooLarge, Overloaded: More than one request, or the server, may hold.
        """
        if len(sources) > self._config.max_media_per_request:
            raise TooLarge(
                f"{len(sources)} pictures and videos; at most {self._config.max_media_per_request} fit into a"
                " request"
            )
        reads: list[Read] = []
        room = asyncio.Semaphore(_AT_ONCE)
        tasks = [asyncio.create_task(self._read_one(source, owner, room)) for source in sources]
        try:
            for task in tasks:
                reads.append(self._hold(await task, reads))
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.forget(reads)
            raise
        return reads

    def forget(self, reads: Sequence[Read]) -> None:
        """Count these as gone."""
        self._held_bytes -= sum(read.size_bytes for read in reads)

    def _hold(self, read: Read, others: Sequence[Read]) -> Read:
        total = read.size_bytes + sum(other.size_bytes for other in others)
        if total > self._config.max_request_media_bytes:
            raise TooLarge(
                f"the media of this request have more than {self._config.max_request_media_bytes} bytes"
            )
        if self._held_bytes + read.size_bytes > self._config.max_inflight_media_bytes:
            raise Overloaded("the media of other requests fill the memory for them; try again later")
        self._held_bytes += read.size_bytes
        return read

    async def _read_one(self, source: Source, owner: str, room: asyncio.Semaphore) -> Read:
        async with room:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._read_now, source, owner)

    def _read_now(self, source: Source, owner: str) -> Read:
        """Read one source, in a thread."""
        address = source.address
        is_file = address.startswith(PREFIX)
        if not is_file and address[:5].lower() != "data:" and "://" not in address:
            raise MediaError(
                f"{source.where}: expected an http(s) address, a data: URL or the id of an uploaded file"
            )
        try:
            if source.kind == "video" and not is_file:
                return Read(self._video(address, source), 0)
            if is_file:
                most = max(self._limits.max_bytes, self._limits.max_video_bytes)
                blob = Blob(self._files.read(address, owner, most), address)
            elif source.kind == "file" and address[:5].lower() == "data:":
                blob = read_data_url(address, self._limits, "video")
            else:
                blob = read_source(address, limits=self._limits, policy=self._policy)
            if source.kind == "video" or (source.kind == "file" and media_kind(blob.data) == "video"):
                return Read(self._video(blob.data, source), len(blob.data))
            return Read(Blob(blob.data, f"{source.where}: {blob.name}"), len(blob.data))
        except MediaError as error:
            raise MediaError(f"{source.where}: {error}") from error

    def _video(self, place: str | bytes, source: Source) -> Video:
        return load_video(place, **source.clip, limits=self._limits, policy=self._policy)

"""OpenAI's chat messages: roles, and parts of text and media.

A picture is `image_url` (an http(s) address, a data: URL, or the id of an uploaded file), a video is `video_url`,
either may be a `file` part. Beside it, or beside its address, may stand how finely it is cut (`detail`,
`max_tiles`, `min_tiles`, `thumbnail`, or LMDeploy's names for them) and which frames are seen. `server.media`
reads what they name.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from internvl.chat.tools import MAX_TOOLS
from internvl.preprocess.messages import MAX_TILES
from internvl.server.schemas.base import NotSupported, Strict, by_field, by_shape, one_of
from internvl.server.schemas.tools import ToolCall

Tiles = Annotated[int, Field(ge=1, le=MAX_TILES)]
Address = Annotated[str, Field(min_length=1)]
NoName = Annotated[Any, NotSupported((), "the model sees no names; put it into the text")]
NoHint = Annotated[Any, NotSupported((), "prefixes are cached without hints; leave it out")]


class TileOptions(Strict):
    """How finely one picture is cut; what is not given is the model's own."""

    detail: Literal["auto", "low", "medium", "high"] | None = None
    """At most 6, 12 or 24 tiles; "auto" = the model's own."""
    max_tiles: Tiles | None = None
    min_tiles: Tiles | None = None
    thumbnail: bool | None = None
    max_dynamic_patch: Tiles | None = None
    """LMDeploy's name of max_tiles."""
    min_dynamic_patch: Tiles | None = None


class TextPart(Strict):
    """A piece of text."""

    type: Literal["text"]
    text: str
    prompt_cache_breakpoint: NoHint = None


class ImageAddress(TileOptions):
    """Where a picture is."""

    url: Address
    """http(s) address, data: URL, or the id of an uploaded file ("file-...")."""


class ImagePart(TileOptions):
    """A picture."""

    type: Literal["image_url"]
    image_url: one_of(by_shape, text=Address, object=ImageAddress)  # type: ignore[valid-type]
    prompt_cache_breakpoint: NoHint = None


class FileContent(Strict):
    """An uploaded file, or one inside the request: one of `file_id` and `file_data`."""

    file_id: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    file_data: Address | None = None
    """data: URL, or base64 alone."""
    filename: Annotated[str, Field(max_length=512)] | None = None
    """Changes nothing: what a file is, its bytes say."""


class ClipOptions(TileOptions):
    """Which frames of a video are seen, and how finely each is cut (into one tile unless asked otherwise)."""

    num_frames: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Evenly spread; 8 if nothing is said."""
    fps: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Frames of every second instead."""
    start: Annotated[float, Field(ge=0, le=1e7)] | None = None
    """Seconds at which the clip begins."""
    end: Annotated[float, Field(ge=0, le=1e7)] | None = None


class VideoAddress(ClipOptions):
    """Where a video is."""

    url: Address
    """http(s) address, data: URL, or the id of an uploaded file ("file-...")."""


class VideoPart(ClipOptions):
    """A video."""

    type: Literal["video_url"]
    video_url: one_of(by_shape, text=Address, object=VideoAddress)  # type: ignore[valid-type]


class FilePart(ClipOptions):
    """A picture or a video as a file."""

    type: Literal["file"]
    file: FileContent
    prompt_cache_breakpoint: NoHint = None


UserPart = one_of(by_field("type"), text=TextPart, image_url=ImagePart, video_url=VideoPart, file=FilePart)
UserParts = Annotated[list[UserPart], Field(min_length=1)]  # type: ignore[valid-type]
TextOnly = one_of(by_field("type"), text=TextPart)
TextParts = Annotated[list[TextOnly], Field(min_length=1)]  # type: ignore[valid-type]
Text = one_of(by_shape, text=str, list=TextParts)


class SystemMessage(Strict):
    """What the model is told to be. "developer" is OpenAI's newer name of the same role."""

    role: Literal["system", "developer"]
    content: Text  # type: ignore[valid-type]
    name: NoName = None


class UserMessage(Strict):
    """A question, with or without pictures and videos."""

    role: Literal["user"]
    content: one_of(by_shape, text=str, list=UserParts)  # type: ignore[valid-type]
    name: NoName = None


class AssistantMessage(Strict):
    """An earlier answer."""

    role: Literal["assistant"]
    content: Text | None = None  # type: ignore[valid-type]
    """May be missing where there are tool_calls."""
    name: NoName = None
    refusal: Annotated[Any, NotSupported((), "put it into content")] = None
    audio: Annotated[Any, NotSupported((), "the model hears nothing")] = None
    tool_calls: Annotated[list[ToolCall], Field(max_length=MAX_TOOLS)] | None = None
    reasoning_content: str | None = None
    """What it thought; not shown to the model again."""
    function_call: Annotated[Any, NotSupported((), "use tool_calls")] = None


class ToolMessage(Strict):
    """What a called function returned."""

    role: Literal["tool"]
    content: Text  # type: ignore[valid-type]
    tool_call_id: Annotated[str, Field(max_length=128)]
    name: str | None = None


ChatMessage = one_of(
    by_field("role"),
    system=SystemMessage,
    developer=SystemMessage,
    user=UserMessage,
    assistant=AssistantMessage,
    tool=ToolMessage,
)
ChatMessages = Annotated[list[ChatMessage], Field(min_length=1, max_length=4096)]  # type: ignore[valid-type]

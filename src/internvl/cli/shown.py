"""What a command is shown by name: pictures and videos, opened; which it is, their content says."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from internvl.media.image import load_image
from internvl.media.kind import media_kind
from internvl.media.video import Video, load_video

Shown = Image.Image | Video


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipOptions:
    """Which frames of videos to show, as `media.video.load_video` understands it."""

    num_frames: int | None = None
    start: float | None = None
    end: float | None = None


def open_shown(name: str, clip: ClipOptions) -> Shown:
    """Open a path or URL. Raises MediaError."""
    if media_kind(name) == "image":
        return load_image(name)
    return load_video(name, num_frames=clip.num_frames, start=clip.start, end=clip.end)


def describe(name: str, shown: Shown) -> str:
    """Return a line about what was opened."""
    size = f"{shown.width}x{shown.height}"
    if not isinstance(shown, Video):
        return f"picture: {name}, {size}"
    length = "" if shown.duration_s is None else f", {shown.duration_s:.1f} s"
    times = shown.timestamps
    between = f" from {times[0]:.1f} to {times[-1]:.1f} s" if times else ""
    return f"video: {name}, {size}{length}: {len(shown)} of {shown.num_source_frames} frames{between}"

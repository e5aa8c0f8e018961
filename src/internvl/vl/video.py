"""LMDeploy's `load_video`: all chosen frames as one array, and what is known about them.

`internvl.load_video` returns a `Video` instead, which decodes frames when they are needed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from internvl.errors import MediaError
from internvl.media.limits import DEFAULT_LIMITS
from internvl.media.video import load_video as open_video


class LoadedVideo(NamedTuple):
    """Frames and facts; a message part, or a place beside the text, takes it as a video."""

    frames: npt.NDArray[np.uint8]
    """(N, h, w, 3) RGB."""
    metadata: dict[str, Any]
    """`total_num_frames`, `fps`, `duration`, `frames_indices`, `timestamps`, `video_backend`."""


def load_video(
    video_url: Any,
    *,
    num_frames: int | None = None,
    fps: float | None = None,
    start: float | None = None,
    end: float | None = None,
) -> LoadedVideo:
    """Return the frames of a video in memory; arguments and errors as of `internvl.media.video.load_video`.

    Raises MediaError, too, when they need more memory than MediaLimits.max_decode_bytes, or differ in size.
    """
    video = open_video(video_url, num_frames=num_frames, fps=fps, start=start, end=end)
    needed = len(video) * video.width * video.height * 3
    if needed > DEFAULT_LIMITS.max_decode_bytes:
        raise MediaError(
            f"{video.name}: {len(video)} frames of {video.width}x{video.height} pixels need "
            f"{needed / 1e6:.0f} MB at once: the limit is {DEFAULT_LIMITS.max_decode_bytes / 1e6:.0f} MB. "
            "Ask for fewer, or use internvl.load_video, which keeps none of them"
        )
    frames = np.empty((len(video), video.height, video.width, 3), dtype=np.uint8)
    for place, frame in zip(frames, video, strict=True):
        if frame.size != (video.width, video.height):
            raise MediaError(
                f"{video.name}: its frames differ in size, so they make no array. Use internvl.load_video"
            )
        place[:] = np.asarray(frame)
    metadata = {
        "total_num_frames": video.num_source_frames,
        "fps": video.fps,
        "duration": video.duration_s,
        "frames_indices": list(video.indices),
        "timestamps": None if video.timestamps is None else list(video.timestamps),
        "video_backend": "pyav",
    }
    return LoadedVideo(frames, metadata)

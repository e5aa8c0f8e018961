"""A video in a message -> its frames as pictures of one tile each, and their tiles.

Called by `preprocess.processor`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
from PIL import Image

from internvl.errors import MediaError
from internvl.media.limits import AddressPolicy, MediaLimits
from internvl.media.video import Video, load_video
from internvl.preprocess.parts import Clip, Picture

Tiles = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Frame:
    """One of the chosen frames of a video; stands in `Picture.source`."""

    video: Video
    number: int
    """Among the chosen frames, from 0."""
    video_index: int
    """Which video of the conversation, from 0."""

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.video.width, self.video.height

    @property
    def facts(self) -> dict[str, Any]:
        """What `MediaUsage` says about a frame besides its size and cost."""
        times = self.video.timestamps
        return {
            "kind": "frame",
            "video": self.video_index,
            "frame_index": self.video.indices[self.number],
            "timestamp_s": None if times is None else round(times[self.number], 3),
        }


def open_clip(clip: Clip, video_index: int, *, limits: MediaLimits, policy: AddressPolicy) -> Clip:
    """Return the clip with its frames; they are decoded later.

    Raises:
        MediaError: The video cannot be read, or has no such part.
    """
    try:
        video = load_video(
            clip.source,
            num_frames=clip.num_frames,
            fps=clip.fps,
            start=clip.start,
            end=clip.end,
            limits=limits,
            policy=policy,
        )
    except MediaError as error:
        raise MediaError(f"{clip.where}: {error}") from error
    frames = tuple(
        Picture(
            source=Frame(video, number, video_index),
            where=f"{clip.where}.frames[{number}]",
            min_tiles=clip.min_tiles or 1,
            max_tiles=clip.max_tiles or max(1, clip.min_tiles or 1),
            thumbnail=clip.thumbnail,
        )
        for number in range(len(video))
    )
    return replace(clip, frames=frames)


class FrameTiles:
    """Cuts the frames of videos, one decoded frame in memory at a time.

    The tiles of a video are kept as long as somebody holds the `Video`: a conversation about one decodes it
    once, not with every turn.
    """

    def __init__(self) -> None:
        self._kept: WeakKeyDictionary[Video, tuple[Hashable, list[Tiles]]] = WeakKeyDictionary()

    def __reduce__(self) -> tuple[type[FrameTiles], tuple[()]]:
        return FrameTiles, ()  # another process (of a data loader) cuts its own

    def of(self, frame: Frame, how: Hashable, cut: Callable[[Image.Image], Tiles]) -> Tiles:
        """Return a frame's tiles, (n, S, S, 3).

        Args:
            frame: Which frame of which video.
            how: What `cut` does, to tell kept tiles from others.
            cut: Frame -> its tiles.

        Raises:
            MediaError: A frame of the video cannot be decoded.
        """
        kept = self._kept.get(frame.video)
        if kept is None or kept[0] != how:
            kept = how, [cut(image) for image in frame.video]
            self._kept[frame.video] = kept
        return kept[1][frame.number]

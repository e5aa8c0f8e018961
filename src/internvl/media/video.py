"""Video -> the frames that the model sees, with their times.

`load_video` takes what `load_image` takes (path, http(s), file: or data: URL, bytes), and besides a folder
of pictures, a list of pictures, or an array of frames. Which frames are chosen is the reference's law
(`media.frame_sampling`). Frames are decoded only when they are asked for, one at a time.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from internvl.errors import MediaError
from internvl.media.frame_list import FrameList, open_folder
from internvl.media.frame_sampling import DEFAULT_NUM_FRAMES, fps_indices, frame_at, segment_indices
from internvl.media.limits import DEFAULT_LIMITS, DEFAULT_POLICY, AddressPolicy, MediaLimits
from internvl.media.source import file_url_path
from internvl.media.stored import open_stored

#: What `load_video` reads.
VideoSource = Any


class _Frames(Protocol):
    """All frames of a video, however they are kept."""

    name: str
    width: int
    height: int

    @property
    def fps(self) -> float | None: ...

    @property
    def timestamps(self) -> npt.NDArray[np.float64] | None: ...

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int]) -> Iterator[Image.Image]: ...


@dataclass(frozen=True, eq=False)
class Video:
    """Chosen frames of a video. Iterating decodes them, each time anew; `sample` chooses others."""

    source: _Frames
    indices: tuple[int, ...]
    """Which of the source's frames, ascending; a short video repeats some, as in the reference."""
    limits: MediaLimits = DEFAULT_LIMITS

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[Image.Image]:
        """Yield the frames as upright RGB pictures (not to be changed: repeated ones are the same object)."""
        distinct = iter(self.source.read(sorted(set(self.indices))))
        last, frame = -1, None
        for index in self.indices:
            if index != last:
                last, frame = index, next(distinct)
            assert frame is not None
            yield frame

    @property
    def frames(self) -> list[Image.Image]:
        """All chosen frames at once, in their full size."""
        return list(self)

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return self.source.name

    @property
    def width(self) -> int:
        """Pixels, upright."""
        return self.source.width

    @property
    def height(self) -> int:
        """Pixels, upright."""
        return self.source.height

    @property
    def fps(self) -> float | None:
        """Frames a second of the source on average; None for pictures without times."""
        return self.source.fps

    @cached_property
    def timestamps(self) -> tuple[float, ...] | None:
        """Seconds of each chosen frame from the video's first; None for pictures without times."""
        times = self.source.timestamps
        return None if times is None else tuple(float(times[index]) for index in self.indices)

    @property
    def num_source_frames(self) -> int:
        """Frames of the source."""
        return len(self.source)

    @property
    def duration_s(self) -> float | None:
        """Seconds, the last frame's own included; None for pictures without times."""
        times, fps = self.source.timestamps, self.source.fps
        return None if times is None or not fps else float(times[-1]) + 1 / fps

    def sample(
        self,
        *,
        num_frames: int | None = None,
        fps: float | None = None,
        start: float | None = None,
        end: float | None = None,
    ) -> Video:
        """Return other frames of the same source; arguments and errors as of `load_video`."""
        chosen = _choose(self.source, self.limits, num_frames, fps, start, end)
        return Video(self.source, tuple(chosen), self.limits)


def load_video(
    source: VideoSource,
    *,
    num_frames: int | None = None,
    fps: float | None = None,
    start: float | None = None,
    end: float | None = None,
    limits: MediaLimits = DEFAULT_LIMITS,
    policy: AddressPolicy = DEFAULT_POLICY,
) -> Video:
    """Open a video and choose its frames; none of them is decoded yet, but for a look at the first.

    Args:
        source: Path, http(s), file: or data: URL, or bytes of a video or an animated GIF; a folder of
            pictures; a list of pictures; an array (N, h, w, 3); a `Video`, which is sampled anew.
        num_frames: How many frames, the middles of equal segments (the reference's rule); 8 if not said, and
            all of a list, an array or a Video. With `fps`: the most.
        fps: Frames of every second instead; where that makes too many, the most that are allowed.
        start: Seconds from the first frame; the clip begins with the frame nearest to it.
        end: Seconds; the clip ends with the frame nearest to it.
        limits: Size and time.
        policy: Places that may be read.

    Raises:
        MediaError: One line that names the source and the reason.
    """
    if isinstance(source, Video):
        if (num_frames, fps, start, end) == (None, None, None, None):
            return source
        return source.sample(num_frames=num_frames, fps=fps, start=start, end=end)
    frames = _open_frames(source, limits, policy)
    chosen = isinstance(frames, FrameList) and frames.chosen
    if chosen and (num_frames, fps, start, end) == (None, None, None, None):
        _check(frames.name, limits, len(frames), None, None, None)
        return Video(frames, tuple(range(len(frames))), limits)
    return Video(frames, tuple(_choose(frames, limits, num_frames, fps, start, end)), limits)


def _open_frames(source: VideoSource, limits: MediaLimits, policy: AddressPolicy) -> _Frames:
    pair = isinstance(source, tuple) and len(source) == 2 and isinstance(source[1], Mapping)
    if pair:  # LMDeploy's (frames, metadata)
        return _open_list(source[0], limits, policy, source[1])
    if isinstance(source, list | tuple | np.ndarray):
        return _open_list(source, limits, policy, {})
    if isinstance(source, str) and source[:11].lower() == "data:video/" and "," in source:
        head, _, payload = source.partition(",")
        if head[11:].lower().startswith("jpeg"):  # vLLM's and LMDeploy's way to send frames
            return _open_list(
                [f"data:image/jpeg;base64,{part}" for part in payload.split(",")], limits, policy, {}
            )
    folder = _folder(source) if isinstance(source, str | os.PathLike) else None
    if folder is not None:
        return open_folder(folder, limits=limits, policy=policy)
    if isinstance(source, bytearray | memoryview):
        source = bytes(source)
    if not isinstance(source, str | os.PathLike | bytes):
        raise MediaError(
            f"cannot read a video from {type(source).__name__}: expected a path, a URL, bytes, a folder or a "
            "list of pictures, or an array of frames"
        )
    from internvl.media.video_file import VideoFile  # FFmpeg loads only when a video is read

    return VideoFile(open_stored(source, limits=limits, policy=policy), limits)


def _open_list(
    frames: Any, limits: MediaLimits, policy: AddressPolicy, metadata: Mapping[str, Any]
) -> FrameList:
    if isinstance(frames, np.ndarray) and frames.ndim != 4:
        shape = "x".join(map(str, frames.shape))
        raise MediaError(f"array of shape {shape}: expected (N, h, w, 3), the frames of a video")
    times = metadata.get("timestamps")
    if times is None or len(times) != len(frames):
        times = None
    return FrameList(frames, f"list of {len(frames)} frames", limits=limits, policy=policy, timestamps=times)


def _folder(source: str | os.PathLike[str]) -> Path | None:
    """The folder that a path or a file:// URL names, if it names one."""
    name = os.fspath(source)
    if name[:7].lower() == "file://":
        name = file_url_path(name)
    elif name[:5].lower() == "data:" or "://" in name:
        return None
    try:
        path = Path(name).expanduser()
        return path if path.is_dir() else None
    except (OSError, RuntimeError, ValueError):  # too long a name, an unknown home, a NUL: no folder
        return None


def _choose(
    frames: _Frames,
    limits: MediaLimits,
    num_frames: int | None,
    fps: float | None,
    start: float | None,
    end: float | None,
) -> list[int]:
    """Return the indices that the arguments of `load_video` ask for."""
    _check(frames.name, limits, num_frames, fps, start, end)
    if (fps, start, end) == (None, None, None):
        return segment_indices(0, len(frames) - 1, num_frames or DEFAULT_NUM_FRAMES)
    times, rate = frames.timestamps, frames.fps
    if times is None or rate is None:
        raise MediaError(
            f"{frames.name}: its pictures have no times, so fps, start and end mean nothing. Use num_frames"
        )
    first = 0 if start is None else frame_at(start, rate, times)
    last = len(frames) - 1 if end is None else min(frame_at(end, rate, times), len(frames) - 1)
    if first > last:
        length = float(times[-1]) + 1 / rate
        raise MediaError(f"{frames.name}: start {start:g} s is beyond the end of the video ({length:.2f} s)")
    if fps is None:
        return segment_indices(first, last, num_frames or DEFAULT_NUM_FRAMES)
    most = num_frames or limits.max_sampled_frames
    count = last - first + 1
    wanted = fps_indices(count, rate, fps) if count / rate * fps <= 2 * most else [0] * (most + 1)
    if len(wanted) > most:
        return segment_indices(first, last, most)
    return [first + index for index in wanted] or segment_indices(first, last, 1)


def _check(
    name: str,
    limits: MediaLimits,
    num_frames: int | None,
    fps: float | None,
    start: float | None,
    end: float | None,
) -> None:
    if num_frames is not None and not 1 <= num_frames <= limits.max_sampled_frames:
        raise MediaError(
            f"{name}: num_frames is {num_frames}: expected 1 to {limits.max_sampled_frames} "
            "(MediaLimits.max_sampled_frames)"
        )
    if fps is not None and not (math.isfinite(fps) and 0 < fps <= 1000):
        raise MediaError(f"{name}: fps is {fps}: expected frames a second, up to 1000")
    for key, value in (("start", start), ("end", end)):
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise MediaError(f"{name}: {key} is {value}: expected seconds from the beginning")
    if start is not None and end is not None and end < start:
        raise MediaError(f"{name}: the clip ends at {end:g} s, before it starts at {start:g} s")

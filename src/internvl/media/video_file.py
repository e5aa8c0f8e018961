"""One video file -> its frame times, and any of its frames: demuxed once, decoded by seeking.

Frames are numbered as the reference's reader does it: by the packets of the first video stream in the order
of their times. Memory holds eight bytes per frame of the file, and one decoded frame at a time.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image

from internvl.errors import MediaError
from internvl.media.limits import MediaLimits
from internvl.media.stored import Stored
from internvl.media.video_container import Damaged, VideoContainer, check_time
from internvl.media.video_frame import to_picture

#: Share of the announced frames that must be there.
_ENOUGH = 0.99


class _Timeline(NamedTuple):
    """The frames of a stream, by their times."""

    pts: array[int]
    """Ascending; the time of each frame in units of the stream."""
    keys: array[int]
    """Ascending; times at which decoding can start."""
    is_exact: bool
    """Whether every packet had a time of its own; else frames are found by counting."""
    time_base: Fraction
    """Seconds in a unit."""
    rate: float
    """Frames a second, as the file says it; 0 = it does not."""

    def seconds(self, pts: int) -> float:
        """Seconds from the first frame."""
        return float((pts - self.pts[0]) * self.time_base)


class VideoFile:
    """The frames of a video file, numbered from 0. Safe to read from several threads."""

    def __init__(self, stored: Stored, limits: MediaLimits) -> None:
        """Look through the file once.

        Raises:
            MediaError: No video, one that cannot be decoded, or one beyond the limits.
        """
        self._file = VideoContainer(stored, limits)
        self.name = stored.name
        with self._file.errors("looking through it"), self._file.opened() as (container, stream):
            self._timeline = self._scan(container, stream)
        self.fps = _frames_per_second(self._timeline)
        first = next(self.read([0]))
        self.width, self.height = first.size

    def __len__(self) -> int:
        """Number of frames in the file."""
        return len(self._timeline.pts)

    @property
    def timestamps(self) -> npt.NDArray[np.float64]:
        """(N,) seconds of each frame from the first one."""
        if not self._timeline.is_exact:
            return np.arange(len(self)) / self.fps
        pts = np.frombuffer(self._timeline.pts, dtype=np.int64)
        seconds: npt.NDArray[np.float64] = (pts - pts[0]) * float(self._timeline.time_base)
        return seconds

    def read(self, indices: Sequence[int]) -> Iterator[Image.Image]:
        """Yield frames as upright RGB pictures; `indices` ascend without repetition.

        Raises:
            MediaError: A frame is damaged, or decoding takes too long.
        """
        with self._file.errors("decoding it"):
            deadline = self._file.deadline()
            done = 0
            try:
                for picture in self._decode(indices, deadline, seek=self._timeline.is_exact):
                    yield picture
                    done += 1
                return
            except Damaged:
                if not self._timeline.is_exact:
                    raise
            # a place to start from may not have been one: once more, from the beginning
            yield from self._decode(indices[done:], deadline, seek=False)

    # -- looking through

    def _scan(self, container: InputContainer, stream: VideoStream) -> _Timeline:
        deadline, limit = self._file.deadline(), self._file.limits.max_video_frames
        pts, keys = array("q"), array("q")
        is_exact, last = True, -1
        for packet in container.demux(stream):
            check_time(deadline)
            # frames before the first key frame (a recording that was joined late) cannot be decoded
            if packet.size == 0 or packet.is_discard or not (pts or packet.is_keyframe):
                continue
            is_exact &= packet.pts is not None
            at = packet.pts if packet.pts is not None else packet.dts
            last = last + 1 if at is None else at
            pts.append(last)
            if packet.is_keyframe:
                keys.append(last)
            if len(pts) > limit:
                raise MediaError(
                    f"{self.name} has more than {limit} frames (MediaLimits.max_video_frames). "
                    "Cut out a part of it"
                )
        if not pts:
            raise MediaError(f"{self.name} has no frames: expected a video")
        # other containers do not know how many frames they have, or count something else
        announced = stream.frames if self._file.kind.demuxer == "mov" else 0
        if len(pts) < _ENOUGH * announced - 1:
            raise MediaError(
                f"{self.name} is cut off or damaged: it announces {announced} frames, and {len(pts)} are there"
            )
        return _Timeline(
            pts=array("q", sorted(pts)),
            keys=array("q", sorted(keys)),
            is_exact=is_exact and len(set(pts)) == len(pts),
            time_base=stream.time_base or Fraction(1, 1000),
            rate=float(stream.average_rate or stream.guessed_rate or 0),
        )

    # -- decoding

    def _decode(self, indices: Sequence[int], deadline: float, *, seek: bool) -> Iterator[Image.Image]:
        """Yield the wanted frames; without `seek` everything from the beginning is decoded on the way."""
        if not indices:
            return
        with self._file.opened() as (container, stream):
            way = self._seeking if seek else self._passing
            for frame in way(container, stream, indices, deadline):
                if frame.is_corrupt:
                    at = "" if frame.pts is None else f"at {self._timeline.seconds(frame.pts):.2f} s"
                    raise Damaged(at)
                self._file.check_size(frame.width, frame.height, frame.format)
                yield to_picture(frame)

    def _seeking(
        self, container: InputContainer, stream: VideoStream, indices: Sequence[int], deadline: float
    ) -> Iterator[VideoFrame]:
        """Yield frames by their times, jumping where a key frame lies between two of them."""
        timeline = self._timeline
        frames = _Frames(container, stream, deadline)
        position = timeline.keys[0]
        for index in indices:
            target = timeline.pts[index]
            key = timeline.keys[max(0, bisect_right(timeline.keys, target) - 1)]
            if key > position:
                container.seek(key, stream=stream)
                frames = _Frames(container, stream, deadline)
            frame = next((each for each in frames if each.pts is None or each.pts >= target), None)
            if frame is None or frame.pts != target:
                raise Damaged(self._where(index))
            position = target
            yield frame

    def _passing(
        self, container: InputContainer, stream: VideoStream, indices: Sequence[int], deadline: float
    ) -> Iterator[VideoFrame]:
        """Yield frames while decoding everything.

        Some packets show nothing by themselves (hidden reference frames). The next frame stands for them,
        or the last, unless something on the way could not be decoded.
        """
        timeline = self._timeline
        frames = _Frames(container, stream, deadline)
        number, frame, num_errors = -1, None, 0
        for index in indices:
            target = timeline.pts[index]
            while frame is None or (
                number < index if not timeline.is_exact or frame.pts is None else frame.pts < target
            ):
                following = next(frames, None)
                if following is None:
                    break
                frame, number = following, number + 1
            hit = frame is not None and (frame.pts == target or not timeline.is_exact)
            if frame is None or (frames.num_errors > num_errors and not hit):
                raise Damaged(self._where(index))
            num_errors = frames.num_errors
            yield frame

    def _where(self, index: int) -> str:
        return f"at {self.timestamps[index]:.2f} s (frame {index})"


class _Frames:
    """Decoded frames from where the container stands; packets that cannot be decoded are counted."""

    def __init__(self, container: InputContainer, stream: VideoStream, deadline: float) -> None:
        self.num_errors = 0
        self._frames = self._decode(container, stream, deadline)

    def __iter__(self) -> Iterator[VideoFrame]:
        return self

    def __next__(self) -> VideoFrame:
        return next(self._frames)

    def _decode(
        self, container: InputContainer, stream: VideoStream, deadline: float
    ) -> Iterator[VideoFrame]:
        for packet in container.demux(stream):
            check_time(deadline)
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                self.num_errors += 1
                continue
            for frame in frames:
                assert isinstance(frame, VideoFrame)
                yield frame


def _frames_per_second(timeline: _Timeline) -> float:
    """Return the average rate: as the file says, if its own times agree; 1 where nothing is known."""
    seconds = timeline.seconds(timeline.pts[-1])
    measured = (len(timeline.pts) - 1) / seconds if seconds > 0 else 0.0
    said = timeline.rate
    if not measured:
        return said if 0 < said <= 1000 else 1.0
    return said if measured / 2 < said < measured * 2 else measured

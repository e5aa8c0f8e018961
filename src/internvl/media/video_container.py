"""A file's bytes -> an opened container and its video stream, checked before anything is decoded.

The demuxer is the one that the first bytes call for, decoders come from a list, sizes are bounded; nothing
but the given bytes is ever opened.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import av
from av.container import InputContainer
from av.stream import Discard, Disposition
from av.video.stream import VideoStream

from internvl.errors import MediaError
from internvl.media.limits import MediaLimits
from internvl.media.mp4_tables import check_mp4
from internvl.media.stored import Stored
from internvl.media.video_formats import CODECS, HEAD_BYTES, sniff_video

#: Frames that a decoder usually holds; H.264 and HEVC may be told to keep 16.
_BUFFERS = 8
#: Bytes per pixel of a frame on its way to a Pillow picture: RGB from FFmpeg, its copy, Pillow's own.
_RGB_BYTES = 3 + 3 + 4
#: Frames of these sizes are decoded in parallel, each thread holding one more; smaller ones are done at once,
#: larger ones are shared out among the threads where the codec can.
_THREADED_PIXELS = range(500_000, 9_000_000)
_MAX_THREADS = 4


class Damaged(Exception):
    """A wanted frame did not come out of the decoder as it should; says where."""


class VideoContainer:
    """A video's bytes, opened anew for each pass through them."""

    def __init__(self, stored: Stored, limits: MediaLimits) -> None:
        """Raise MediaError if the bytes are no video of a known kind."""
        self.name = stored.name
        self.limits = limits
        self.kind = sniff_video(stored.read_at(0, HEAD_BYTES), stored.name)
        self._stored = stored

    @contextmanager
    def opened(self) -> Iterator[tuple[InputContainer, VideoStream]]:
        """Open the container; only packets of its first video stream are read."""
        if self.kind.demuxer == "mov":
            try:
                check_mp4(self._stored, self.limits.max_video_frames)
            except ValueError as error:
                limit = f"{self.limits.max_video_frames} (MediaLimits.max_video_frames)"
                raise MediaError(f"{self.name}: {error}: the limit is {limit}") from error
        options = {
            "codec_whitelist": ",".join(sorted(CODECS)),
            "max_pixels": str(self.limits.max_video_pixels),
        }
        with av.open(
            self._stored.reader(), format=self.kind.demuxer, options=options, metadata_errors="ignore"
        ) as container:
            assert isinstance(container, InputContainer)
            stream = self._video_stream(container)
            for other in container.streams:
                if other is not stream:
                    other.discard = Discard.all
            yield container, stream

    @contextmanager
    def errors(self, doing: str) -> Iterator[None]:
        """Turn what FFmpeg answers damaged files with, which is whatever error comes up, into MediaErrors."""
        try:
            yield
        except MediaError:
            raise
        except Damaged as error:
            raise MediaError(
                f"{self.name}: the video is damaged {error}. Choose another part of it"
            ) from None
        except TimeoutError:
            raise MediaError(
                f"{self.name}: {doing} took longer than {self.limits.video_timeout_s:g} s "
                "(MediaLimits.video_timeout_s). Cut out a part of it, or raise the limit"
            ) from None
        except Exception as error:
            raise MediaError(
                f"{self.name}: not a readable {self.kind.name} file: {_reason(error)}"
            ) from error

    def deadline(self) -> float:
        """When a pass that starts now must be over, for `check_time`."""
        return time.monotonic() + self.limits.video_timeout_s

    def check_size(self, width: int, height: int, pixel_format: Any) -> None:
        """Raise MediaError for frames beyond the limits."""
        pixels = width * height
        if pixels > self.limits.max_video_pixels:
            raise MediaError(
                f"{self.name} has frames of {width}x{height} pixels ({pixels / 1e6:.0f} Mpx): the limit is "
                f"{self.limits.max_video_pixels / 1e6:g} Mpx (MediaLimits.max_video_pixels)"
            )
        bits = pixel_format.padded_bits_per_pixel if pixel_format is not None else 12
        needed = pixels * (_BUFFERS * bits / 8 + _RGB_BYTES)
        if needed > self.limits.max_decode_bytes:
            raise MediaError(
                f"{self.name}: decoding frames of {width}x{height} pixels may need {needed / 1e6:.0f} MB: the "
                f"limit is {self.limits.max_decode_bytes / 1e6:.0f} MB (MediaLimits.max_decode_bytes)"
            )

    def _video_stream(self, container: InputContainer) -> VideoStream:
        streams = [stream for stream in container.streams.video if not _is_cover(stream)]
        if not streams:
            sound = [stream.codec_context.name for stream in container.streams.audio if stream.codec_context]
            what = f"only sound ({', '.join(sound)})" if sound else "no video stream"
            raise MediaError(f"{self.name} holds {what}: expected a video")
        stream = streams[0]
        context = stream.codec_context
        if context is None or context.name not in CODECS:
            name = "unknown to FFmpeg" if context is None else f"{context.name}, which is not decoded here"
            raise MediaError(f"{self.name}: its codec is {name}. Convert it to H.264 in MP4")
        self.check_size(context.width, context.height, context.format)
        pixels = context.width * context.height
        context.thread_type = "AUTO" if pixels in _THREADED_PIXELS else "SLICE"
        context.thread_count = (
            1 if pixels < _THREADED_PIXELS.start else min(_MAX_THREADS, os.cpu_count() or 1)
        )
        context.options = {"max_pixels": str(self.limits.max_video_pixels)}
        return stream


def check_time(deadline: float) -> None:
    """Raise TimeoutError after the deadline."""
    if time.monotonic() > deadline:
        raise TimeoutError


def _is_cover(stream: VideoStream) -> bool:
    """Whether the stream is the picture on the sleeve of a piece of music."""
    return bool(stream.disposition & Disposition.attached_pic)


def _reason(error: Exception) -> str:
    """What went wrong, without the place in FFmpeg or the name of our reader that PyAV adds."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())[:200]

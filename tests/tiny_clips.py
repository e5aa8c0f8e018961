"""Clips whose frames show their own number, written by PyAV as they are needed."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

WIDTH, HEIGHT = 64, 48
_BITS = 8


def numbered(number: int) -> Image.Image:
    """A frame that shows a number below 256 as black and white bars, over a grey ground."""
    pixels = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    for bit in range(_BITS):
        pixels[:24, bit * 8 : bit * 8 + 8] = 255 if number >> bit & 1 else 0
    return Image.fromarray(pixels)


def number_in(frame: Image.Image) -> int:
    """The number that a frame of `numbered` shows, whatever a codec did to it."""
    grey = np.asarray(frame.convert("L"))
    return sum(1 << bit for bit in range(_BITS) if grey[8:16, bit * 8 + 2 : bit * 8 + 6].mean() > 127)


def numbers_in(frames) -> list[int]:
    return [number_in(frame) for frame in frames]


def write_clip(
    path: Path,
    frames: int | Sequence[Image.Image] = 48,
    *,
    fps: int = 24,
    codec: str = "libx264",
    times: Sequence[float] | None = None,
    matrix: Sequence[int] | None = None,
    pixel_format: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    sound: str | None = None,
) -> Path:
    """Write a clip; `times` (seconds) makes its rate vary, `matrix` says how it is to be turned, `sound` is a
    codec's name."""
    pictures = [numbered(n) for n in range(frames)] if isinstance(frames, int) else list(frames)
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=fps, options=options or {})
        stream.width, stream.height = pictures[0].size
        stream.pix_fmt = pixel_format
        stream.gop_size = 12
        if matrix is not None:
            stream.set_display_matrix(matrix)
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        tone = container.add_stream(sound, rate=44100, layout="mono") if sound else None
        for n, picture in enumerate(pictures):
            frame = av.VideoFrame.from_image(picture).reformat(format=pixel_format)
            frame.pts = n if times is None else round(times[n] * 1000)
            frame.time_base = Fraction(1, fps) if times is None else Fraction(1, 1000)
            container.mux(stream.encode(frame))
        if tone is not None:
            container.mux(tone.encode(_silence(44100 * len(pictures) // fps, tone.codec_context.format.name)))
            container.mux(tone.encode(None))
        container.mux(stream.encode(None))
    return path


def write_sound(path: Path, codec: str = "aac") -> Path:
    """A file with sound and nothing to see."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=44100, layout="mono")
        container.mux(stream.encode(_silence(44100, stream.codec_context.format.name)))
        container.mux(stream.encode(None))
    return path


def write_gif(path: Path, frames: int = 6, *, milliseconds: int = 100) -> Path:
    """An animated GIF."""
    pictures = [numbered(n + 1) for n in range(frames)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=milliseconds, loop=0)
    return path


def _silence(samples: int, sample_format: str) -> av.AudioFrame:
    kind = {"s16": np.int16, "s32": np.int32, "flt": np.float32}[sample_format.removesuffix("p")]
    frame = av.AudioFrame.from_ndarray(np.zeros((1, samples), kind), format=sample_format, layout="mono")
    frame.sample_rate = 44100
    return frame

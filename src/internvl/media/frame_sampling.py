"""Which frames of a video the model sees: indices only, no pixels.

Two laws of the reference, recorded in `golden/**/frames.json`: `segment_indices` is how its model cards ask
about a video, `interval_indices` and `fps_indices` how its training reads one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

#: Frames that are taken when nobody says how many (the model cards' example).
DEFAULT_NUM_FRAMES = 8


def segment_indices(first: int, last: int, num_frames: int) -> list[int]:
    """Return the middle frame of each of `num_frames` equal segments of frames `first` to `last`, inclusive.

    Where there are fewer frames than segments, frames repeat, as in the reference.

    >>> segment_indices(0, 47, 4)
    [5, 17, 29, 40]
    """
    segment = (last - first) / num_frames
    # truncation outside, rounding (half to even) inside: as the model cards' get_index does it
    return [int(first + segment / 2 + round(segment * number)) for number in range(num_frames)]


def interval_indices(num_source_frames: int, num_frames: int) -> list[int]:
    """Return the middle frame of each of `num_frames` intervals of whole frames; a short video is filled up
    with its last choice.

    >>> interval_indices(8, 4), interval_indices(3, 5)
    ([0, 2, 4, 6], [0, 1, 2, 2, 2])
    """
    count = min(num_frames, num_source_frames)
    edges = np.linspace(0, num_source_frames, count + 1).astype(int).tolist()
    chosen = [(start + after - 1) // 2 for start, after in zip(edges, edges[1:], strict=False)]
    return chosen + [chosen[-1]] * (num_frames - count)


def fps_indices(num_source_frames: int, source_fps: float, fps: float, max_frames: int = 0) -> list[int]:
    """Return `fps` frames of every second, each from the middle of its span; `max_frames` > 0 cuts the list.

    A video shorter than half a span has none.

    >>> fps_indices(48, 24.0, 1.0)
    [12, 36]
    """
    span = 1 / fps
    seconds = np.arange(span / 2, num_source_frames / source_fps + span / 2, span)
    indices = np.around(seconds * source_fps).astype(int).tolist()
    inside = [index for index in indices if index < num_source_frames]
    return inside[:max_frames] if max_frames > 0 else inside


def frame_at(seconds: float, fps: float, timestamps: npt.NDArray[np.float64]) -> int:
    """Return the number of the frame nearest to a time; one past the last is the end or later.

    With a steady rate that is the reference's rounding of seconds x fps. Where the rate varies, or frames are
    missing, it is the frame whose own time is nearest.

    Args:
        seconds: From the first frame; finite, not negative.
        fps: Average rate.
        timestamps: (N,) seconds of each frame, ascending from 0.
    """
    steady = bool(np.all(np.abs(timestamps * fps - np.arange(len(timestamps))) <= 0.5))
    if steady:
        return round(seconds * fps)
    if seconds > timestamps[-1]:
        return len(timestamps)
    after = int(np.searchsorted(timestamps, seconds))
    before = max(after - 1, 0)
    return before if seconds - timestamps[before] <= timestamps[after] - seconds else after

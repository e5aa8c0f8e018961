"""Pictures that are the frames of a video: a folder of them, a list, an array, or a list of JPEGs in a URL."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from internvl.errors import MediaError
from internvl.media.image import open_image
from internvl.media.limits import AddressPolicy, MediaLimits
from internvl.media.source import check_local, short_name

_PICTURE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".avif")
)


class FrameList:
    """Frames that are pictures already; each is opened when it is read."""

    fps: float | None = None

    def __init__(
        self,
        frames: Sequence[Any],
        name: str,
        *,
        limits: MediaLimits,
        policy: AddressPolicy,
        timestamps: Sequence[float] | None = None,
        chosen: bool = True,
    ) -> None:
        """Take pictures as frames.

        Args:
            frames: What `media.image.open_image` reads, in order.
            name: What to call them in messages.
            limits: On each picture, and on their number.
            policy: Places that may be read.
            timestamps: Their seconds, if known.
            chosen: Whether somebody has chosen just these to be seen; else they are sampled like a video.

        Raises:
            MediaError: None, too many, or the first one cannot be read.
        """
        if not len(frames):
            raise MediaError(f"{name} has no frames: expected at least one picture")
        if len(frames) > limits.max_video_frames:
            raise MediaError(
                f"{name} has {len(frames)} frames: the limit is {limits.max_video_frames} "
                "(MediaLimits.max_video_frames)"
            )
        self.name = name
        self.chosen = chosen
        self._frames = frames
        self._limits = limits
        self._policy = policy
        self._timestamps = timestamps
        self.width, self.height = self._open(0).size

    def __len__(self) -> int:
        """Number of frames."""
        return len(self._frames)

    @property
    def timestamps(self) -> npt.NDArray[np.float64] | None:
        """(N,) seconds, or None: pictures have no times by themselves."""
        return None if self._timestamps is None else np.asarray(self._timestamps, dtype=np.float64)

    def read(self, indices: Sequence[int]) -> Iterator[Image.Image]:
        """Yield frames as RGB pictures."""
        return (self._open(index) for index in indices)

    def _open(self, index: int) -> Image.Image:
        try:
            return open_image(self._frames[index], limits=self._limits, policy=self._policy)
        except MediaError as error:
            raise MediaError(f"{self.name}: frame {index}: {error}") from error


def open_folder(path: str | os.PathLike[str], *, limits: MediaLimits, policy: AddressPolicy) -> FrameList:
    """Return the pictures of a folder as frames, by the numbers in their names (frame2 before frame10).

    Raises:
        MediaError: No pictures in it, or local files are not read here.
    """
    name = f"folder {short_name(os.fspath(path))}"
    check_local(name, policy)
    try:
        files = [entry.path for entry in os.scandir(Path(path).expanduser()) if _is_picture(entry.name)]
    except OSError as error:
        raise MediaError(f"{name}: cannot be read: {error.strerror}") from error
    if not files:
        raise MediaError(f"{name} holds no pictures: expected frames such as frame_1.jpg")
    return FrameList(sorted(files, key=_by_numbers), name, limits=limits, policy=policy, chosen=False)


def is_frame_folder(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a folder with pictures in it."""
    if not os.fspath(path):  # os.scandir("") would look around here
        return False
    try:
        with os.scandir(Path(path).expanduser()) as entries:
            return any(_is_picture(entry.name) for entry in entries)
    except (OSError, RuntimeError, ValueError):  # no folder, no permission, no path at all
        return False


def _is_picture(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in _PICTURE_SUFFIXES


def _by_numbers(path: str) -> list[Any]:
    """Key of the natural order: texts and numbers in turn, so that they never meet each other."""
    return [
        int(piece) if piece.isdecimal() else piece.lower() for piece in re.split(r"(\d+)", Path(path).name)
    ]

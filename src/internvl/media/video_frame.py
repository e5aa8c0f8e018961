"""A decoded frame -> an upright RGB picture."""

from __future__ import annotations

import numpy as np
from av.video.frame import VideoFrame
from PIL import Image

from internvl.media.pixels import to_rgb

_Turn = Image.Transpose
#: Signs of a display matrix (a, b, c, d) -> how to turn the stored picture; Pillow turns counter-clockwise.
_UPRIGHT: dict[tuple[int, ...], Image.Transpose] = {
    (0, 1, -1, 0): _Turn.ROTATE_270,
    (-1, 0, 0, -1): _Turn.ROTATE_180,
    (0, -1, 1, 0): _Turn.ROTATE_90,
    (-1, 0, 0, 1): _Turn.FLIP_LEFT_RIGHT,
    (1, 0, 0, -1): _Turn.FLIP_TOP_BOTTOM,
    (0, 1, 1, 0): _Turn.TRANSPOSE,
    (0, -1, -1, 0): _Turn.TRANSVERSE,
}


def to_picture(frame: VideoFrame) -> Image.Image:
    """Return a frame as its author meant it: turned as the file says, transparency on white."""
    if frame.format.name == "pal8" or any(part.is_alpha for part in frame.format.components):
        picture = to_rgb(Image.fromarray(frame.to_ndarray(format="rgba")))
    else:
        picture = frame.to_image()
    turn = _UPRIGHT.get(_display_signs(frame))
    return picture if turn is None else picture.transpose(turn)


def _display_signs(frame: VideoFrame) -> tuple[int, ...]:
    """Signs of a, b, c, d in the 3 x 3 matrix that maps stored to shown positions; empty without one."""
    side = frame.side_data.get("DISPLAYMATRIX")
    if side is None:
        return ()
    matrix = np.frombuffer(side, dtype=np.int32)  # type: ignore[call-overload]  # 9 numbers in a buffer
    return tuple(np.sign(matrix[[0, 1, 3, 4]]).tolist())

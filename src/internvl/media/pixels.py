"""Pixels of every kind that files and arrays hold -> RGB, 8 bits.

Memory matters here: a picture may have 80 Mpx, so each copy is 320 MB. Comments of the form `4 + 1` count
bytes per pixel that live at once; `media.image` relies on them to refuse in time what would need too much.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from internvl.errors import MediaError


def to_rgb(image: Image.Image) -> Image.Image:
    """Return a Pillow picture of any mode as RGB; the same object if it is RGB already.

    Transparency is put on white, as a page or a browser shows it; grey of more than 8 bits is scaled, not
    clipped. Colour profiles are not applied.

    Raises:
        ValueError: Pillow knows no way from this mode to RGB (LAB).
    """
    if image.mode.startswith("I;16"):
        return _grey((np.asarray(image) >> 8).astype(np.uint8))  # 2 + 2 + 2 + 1, then 2 + 1 + 1 + 4
    if image.mode in ("I", "F"):
        return _grey(_scale_to_byte(np.asarray(image)))
    if image.has_transparency_data:
        return _on_white(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode == "LA":
        white = Image.new("L", image.size, 255)
        white.paste(image.getchannel("L"), mask=image.getchannel("A"))  # 4 + 1 + 1 + 1
        return white.convert("RGB")  # 4 + 1 + 4
    if image.mode != "RGBA":
        image = image.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image.getchannel("A"))  # source 0, 1 or 4, + 4 + 4 + 1
    return white


def _grey(values: npt.NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(values).convert("RGB")


def _scale_to_byte(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Deep grey -> 0..255. The file does not say its range, so the values decide.

    Integers within 0..65535 are 16-bit pixels; floats within 0..1 are shares of white, within 0..255 they are
    bytes; anything else is stretched from its smallest to its largest value. What is not finite counts as 0.
    """
    integers = np.issubdtype(values.dtype, np.integer)
    floats = values.astype(np.float32)  # 4 + 4 + 4; from here on in place
    np.nan_to_num(floats, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(floats.min()), float(floats.max())
    for usual in (65535.0,) if integers else (1.0, 255.0):
        if low >= 0 and high <= usual:
            low, high = 0.0, usual
            break
    floats -= low
    floats *= 255.0 / max(high - low, 1e-12)
    return np.rint(floats, out=floats).astype(np.uint8)


def from_array(array: npt.NDArray[Any]) -> Image.Image:
    """Return an RGB picture from pixels.

    Args:
        array: (h, w) grey, (h, w, 3) RGB or (h, w, 4) RGBA; uint8, or floating point in [0, 1]. RGBA is put
            on white.

    Raises:
        MediaError: Another shape, type or range.
    """
    shape = "x".join(map(str, array.shape)) or "()"
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)) or array.size == 0:
        raise MediaError(
            f"array of shape {shape}: expected (h, w), (h, w, 3) or (h, w, 4). "
            "Put the channels last; pass several pictures as a list."
        )
    if np.issubdtype(array.dtype, np.floating):
        low, high = float(array.min()), float(array.max())
        if not (low >= 0.0 and high <= 1.0):  # NaN lands here too
            raise MediaError(
                f"array of {array.dtype} with values {low:g}..{high:g}: expected floats in [0, 1]. "
                "Divide by the largest possible value."
            )
        array = np.rint(array * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise MediaError(f"array of {array.dtype}: expected uint8, or floats in [0, 1]. Convert it first.")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    return to_rgb(Image.fromarray(np.ascontiguousarray(array)))

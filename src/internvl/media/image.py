"""Bytes, path, URL, array or PIL image -> RGB picture that looks as its author meant it.

Differs from the reference on purpose (docs/images.md): EXIF orientation is applied, transparency is put on
white, 16-bit grey is scaled, damaged files are refused. A picture that is handed over already opened as a PIL
image is converted to RGB and otherwise left alone, so that parity with the reference can be shown.

No state of Pillow's is changed: not LOAD_TRUNCATED_IMAGES, not MAX_IMAGE_PIXELS.
"""

from __future__ import annotations

import os
import struct
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from internvl.errors import MediaError
from internvl.media.formats import sniff
from internvl.media.limits import DEFAULT_LIMITS, DEFAULT_POLICY, AddressPolicy, MediaLimits
from internvl.media.source import Blob, read_source

ImageSource = str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[Any]

_EXIF_ORIENTATION = 0x0112
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
#: What Pillow's EXIF parser raises on damaged blocks.
_BROKEN_EXIF = (
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    OSError,
    EOFError,
    struct.error,
)
#: A progressive JPEG passes over the whole picture once a scan; real ones have about ten.
_MAX_JPEG_SCANS = 100


def open_image(
    source: ImageSource,
    *,
    limits: MediaLimits = DEFAULT_LIMITS,
    policy: AddressPolicy = DEFAULT_POLICY,
) -> Image.Image:
    """Return a picture in RGB, upright and without transparency.

    Args:
        source: Path, http(s), file: or data: URL, the bytes of a file, a numpy array (see `from_array`), or a
            PIL image, which is only converted to RGB.
        limits: Size and time.
        policy: Places that may be read.

    Returns:
        A PIL image of mode RGB, fully decoded. Of an animation or a multi-page file, the first picture.

    Raises:
        MediaError: One line that names the source and the reason.
    """
    if isinstance(source, Image.Image):
        return _from_pil(source, limits)
    if isinstance(source, np.ndarray):
        return from_array(source)
    return decode_image(read_source(source, limits=limits, policy=policy), limits=limits)


def load_image(
    source: ImageSource,
    *,
    limits: MediaLimits = DEFAULT_LIMITS,
    policy: AddressPolicy = DEFAULT_POLICY,
) -> Image.Image:
    """LMDeploy's name for `open_image`: same rules, returns an RGB PIL image."""
    return open_image(source, limits=limits, policy=policy)


def decode_image(blob: Blob, *, limits: MediaLimits = DEFAULT_LIMITS) -> Image.Image:
    """Return the picture in a file's bytes, in RGB; see `open_image`."""
    kind = sniff(blob)
    # Pillow's plugins answer damaged files with whatever exception comes up (SyntaxError, struct.error,
    # KeyError, zlib.error, ...), so every one of them is turned into a MediaError; MemoryError is no
    # statement on the file.
    try:
        image = kind.open(blob.data)
    except Exception as error:
        raise MediaError(f"{blob.name}: not a readable {kind.name} file: {_reason(error)}") from error
    with image:
        check_pixels(image.size, blob.name, limits)
        _check_decoding(image, kind.name, kind.decode_bytes, blob, limits)
        try:
            image.load()
        except Exception as error:
            raise MediaError(
                f"{blob.name}: damaged or truncated {kind.name} file: {_reason(error)}"
            ) from error
        check_pixels(image.size, blob.name, limits)
        orientation = _orientation(image)
        try:
            picture = to_rgb(image)
        except (OSError, ValueError) as error:
            raise MediaError(
                f"{blob.name}: pixels of mode {image.mode} cannot be turned into RGB: {_reason(error)}"
            ) from error
    return picture.transpose(_TRANSPOSE[orientation]) if orientation in _TRANSPOSE else picture


def _from_pil(image: Image.Image, limits: MediaLimits) -> Image.Image:
    name = f"PIL image {getattr(image, 'filename', '')}".strip()
    check_pixels(image.size, name, limits)
    try:
        return image.convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:  # files are decoded on first use
        raise MediaError(f"{name}: cannot be converted to RGB: {_reason(error)}") from error


def from_array(array: npt.NDArray[Any]) -> Image.Image:
    """Return an RGB picture from pixels.

    Args:
        array: (h, w) grey, (h, w, 3) RGB or (h, w, 4) RGBA; uint8, or floating point in [0, 1]. RGBA is put
            on white.

    Raises:
        MediaError: Another shape, type or range.
    """
    shape = "x".join(map(str, array.shape))
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)) or array.size == 0:
        raise MediaError(
            f"array of shape {shape}: expected (h, w), (h, w, 3) or (h, w, 4). "
            "Channels come last; pass several pictures as a list."
        )
    if np.issubdtype(array.dtype, np.floating):
        low, high = float(array.min()), float(array.max())
        if not (low >= 0.0 and high <= 1.0):  # also false for NaN
            raise MediaError(
                f"array of {array.dtype} with values {low:g}..{high:g}: expected floats in [0, 1]. "
                "Divide by the maximum."
            )
        array = np.rint(array.astype(np.float64) * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise MediaError(f"array of {array.dtype}: expected uint8, or floats in [0, 1]. Convert it first.")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    return to_rgb(Image.fromarray(np.ascontiguousarray(array)))


def check_pixels(size: tuple[int, int], name: str, limits: MediaLimits) -> None:
    """Raise MediaError if a picture has no pixels or more than the limit."""
    width, height = size
    if width < 1 or height < 1:
        raise MediaError(f"{name} has {width}x{height} pixels: expected at least 1x1")
    if width * height > limits.max_pixels:
        raise MediaError(
            f"{name} has {width}x{height} pixels ({width * height / 1e6:.0f} Mpx): the limit is "
            f"{limits.max_pixels / 1e6:g} Mpx (MediaLimits.max_pixels). Send a smaller picture or raise the limit."
        )


def _check_decoding(image: Image.Image, kind: str, per_pixel: int, blob: Blob, limits: MediaLimits) -> None:
    if kind == "JPEG" and ("progressive" in image.info or "progression" in image.info):
        per_pixel += 2 * len(image.getbands())  # libjpeg holds every coefficient until the last scan
        scans = blob.data.count(b"\xff\xda")
        if scans > _MAX_JPEG_SCANS:
            raise MediaError(f"{blob.name}: JPEG with {scans} scans: the limit is {_MAX_JPEG_SCANS}")
    needed = image.width * image.height * per_pixel
    if needed > limits.max_decode_bytes:
        raise MediaError(
            f"{blob.name}: decoding {image.width}x{image.height} pixels of {kind} may need {needed / 1e6:.0f} MB: "
            f"the limit is {limits.max_decode_bytes / 1e6:.0f} MB (MediaLimits.max_decode_bytes). "
            "Send a smaller picture or raise the limit."
        )


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; an EXIF block that cannot be read leaves the picture as it is stored."""
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except _BROKEN_EXIF:
        return 1


def to_rgb(image: Image.Image) -> Image.Image:
    """Return any Pillow picture as RGB: transparency on white, deep greys scaled to 8 bits."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image.copy()
    if image.mode.startswith("I;16"):
        return _grey(np.asarray(image) >> 8)
    if image.mode in ("I", "F"):
        return _grey(_scale_to_byte(np.asarray(image)))
    if not image.has_transparency_data:
        return image.convert("RGB")
    if image.mode != "RGBA":
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image.getchannel("A"))
    return white


def _grey(values: npt.NDArray[Any]) -> Image.Image:
    return Image.fromarray(values.astype(np.uint8)).convert("RGB")


def _scale_to_byte(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Deep grey -> 0..255. The file does not say its range, so the values decide.

    Integers within 0..65535 are 16-bit pixels; floats within 0..1 are shares of white, within 0..255 they are
    bytes; anything else is stretched from its smallest to its largest finite value.
    """
    floats = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(floats.min()), float(floats.max())
    if np.issubdtype(values.dtype, np.integer):
        low, high = (0.0, 65535.0) if low >= 0 and high <= 65535 else (low, high)
    elif low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    elif low >= 0 and high <= 255:
        low, high = 0.0, 255.0
    share = (floats - low) / max(high - low, 1e-12)
    scaled: npt.NDArray[Any] = np.rint(share * 255).clip(0, 255)
    return scaled


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:200]

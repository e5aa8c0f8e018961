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
from PIL.ImageFile import ImageFile

from internvl.errors import MediaError
from internvl.media.formats import Format, sniff
from internvl.media.limits import DEFAULT_LIMITS, DEFAULT_POLICY, AddressPolicy, MediaLimits
from internvl.media.pixels import from_array, to_rgb
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
#: What Pillow's EXIF parser raises on damaged blocks: LookupError, ... and Warning where warnings are errors.
_BROKEN_EXIF = (ArithmeticError, EOFError, LookupError, OSError, SyntaxError, TypeError, ValueError, Warning)
#: A progressive JPEG is passed over as a whole once a scan; real ones have 10 to 18.
_MAX_JPEG_SCANS = 100
_MAX_SCANNED_PIXELS = 2_000_000_000
#: Pixels, and bytes, of what Pillow decodes in Python: PNM of unusual depth or as text, BMP with run lengths.
_MAX_SLOW_SIZE = 1_000_000
#: Memory per pixel of the kinds that need most on their way to RGB (media.pixels).
_DEEP_GREY_BYTES = 18
_COLOUR_KEY_BYTES = 13


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
    picture, orientation = _decode(blob, sniff(blob), limits)
    if orientation in _TRANSPOSE:
        picture = picture.transpose(_TRANSPOSE[orientation])
    picture.info = {}  # the orientation is used up: a later reader of it must not turn the picture again
    return picture


def read_size(blob: Blob, *, limits: MediaLimits = DEFAULT_LIMITS) -> tuple[int, int]:
    """Return (width, height) of the picture in a file's bytes, as its header says; nothing is decoded.

    A photo that is stored lying on its side is not turned here.
    """
    with _open_header(blob, sniff(blob)) as image:
        check_pixels(image.size, blob.name, limits)
        return image.size


def _open_header(blob: Blob, kind: Format) -> ImageFile:
    """Pillow's plugins answer damaged files with whatever exception comes up (SyntaxError, struct.error,
    KeyError, zlib.error, ...), so any of them becomes a MediaError."""
    try:
        return kind.open(blob.data)
    except Exception as error:
        raise MediaError(f"{blob.name}: not a readable {kind.name} file: {_reason(error)}") from error


def _decode(blob: Blob, kind: Format, limits: MediaLimits) -> tuple[Image.Image, int]:
    """RGB and the EXIF orientation that is still to be applied; any exception becomes a MediaError."""
    with _open_header(blob, kind) as image:
        check_pixels(image.size, blob.name, limits)
        _check_cost(image, kind, blob, limits)
        try:
            image.load()
        except Exception as error:
            raise MediaError(f"{blob.name}: damaged or truncated {kind.name}: {_reason(error)}") from error
        orientation = _orientation(image)
        try:
            picture = to_rgb(image)
        except ValueError as error:
            raise MediaError(f"{blob.name}: mode {image.mode} has no RGB: {_reason(error)}") from error
        # a copy lets go of the file object, and with it of the encoded bytes
        return picture.copy() if picture is image else picture, orientation


def _from_pil(image: Image.Image, limits: MediaLimits) -> Image.Image:
    name = f"PIL image {getattr(image, 'filename', '')}".strip()
    check_pixels(image.size, name, limits)
    try:
        return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, struct.error) as error:  # a file is decoded only now
        raise MediaError(f"{name}: cannot be converted to RGB: {_reason(error)}") from error


def check_pixels(size: tuple[int, int], name: str, limits: MediaLimits) -> None:
    """Raise MediaError if a picture has no pixels or more than the limit."""
    width, height = size
    if width < 1 or height < 1:
        raise MediaError(f"{name} has {width}x{height} pixels: expected at least 1x1")
    if width * height > limits.max_pixels:
        raise MediaError(
            f"{name} has {width}x{height} pixels ({width * height / 1e6:.0f} Mpx): the limit is "
            f"{limits.max_pixels / 1e6:g} Mpx (MediaLimits.max_pixels). "
            "Send a smaller picture or raise the limit."
        )


def _check_cost(image: ImageFile, kind: Format, blob: Blob, limits: MediaLimits) -> None:
    """Refuse before decoding what would need too much memory or time."""
    num_pixels = image.width * image.height
    per_pixel = kind.decode_bytes
    if image.mode in ("I", "F"):
        per_pixel = max(per_pixel, _DEEP_GREY_BYTES)
    elif image.mode == "RGB" and "transparency" in image.info:
        per_pixel = max(per_pixel, _COLOUR_KEY_BYTES)
    if "progressive" in image.info:
        # every coefficient, 16 bits each, is kept until the last scan
        per_pixel = max(per_pixel, 4 + 2 * len(image.getbands()))
        scans = blob.data.count(b"\xff\xda")
        if scans > _MAX_JPEG_SCANS or scans * num_pixels > _MAX_SCANNED_PIXELS:
            raise MediaError(
                f"{blob.name}: progressive JPEG of {num_pixels / 1e6:.0f} Mpx with {scans} scans: "
                f"the limits are {_MAX_JPEG_SCANS} scans and {_MAX_SCANNED_PIXELS / 1e6:.0f} Mpx in all of them"
            )
    if any(tile[0] in Image.DECODERS for tile in image.tile) and (
        max(num_pixels, len(blob.data)) > _MAX_SLOW_SIZE
    ):
        raise MediaError(
            f"{blob.name}: this rare kind of {kind.name} is decoded slowly: the limit is "
            f"{_MAX_SLOW_SIZE / 1e6:.0f} million pixels and bytes. Convert it to PNG."
        )
    needed = num_pixels * per_pixel
    if needed > limits.max_decode_bytes:
        raise MediaError(
            f"{blob.name}: decoding {image.width}x{image.height} pixels of {kind.name} may need "
            f"{needed / 1e6:.0f} MB: the limit is {limits.max_decode_bytes / 1e6:.0f} MB "
            "(MediaLimits.max_decode_bytes). Send a smaller picture or raise the limit."
        )


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; an EXIF block that cannot be read leaves the picture as it is stored."""
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except (*_BROKEN_EXIF, struct.error):
        return 1


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "it asks for more memory than there is"
    text = " ".join(str(error).split()) or type(error).__name__
    if text == "not identified by this driver":  # Pillow's words for a header without size or pixel type
        text = "its header gives no size or no known kind of pixels"
    return text[:200]

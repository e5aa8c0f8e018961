"""First bytes of a file -> the decoder that may touch it, or why none will.

A short list instead of Pillow's forty-odd plugins: formats that people photograph, scan and export, decoded
by libraries that are fuzzed, none of which starts another program. File names and content types are not
asked.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from io import BytesIO

from PIL.ImageFile import ImageFile

from internvl.errors import MediaError
from internvl.media.source import Blob
from internvl.media.tiff import check_tiff


@dataclass(frozen=True, slots=True)
class Format:
    """A picture format that is read."""

    name: str
    magic: re.Pattern[bytes]
    plugin: str
    """Class in PIL that decodes it, `module.class`."""
    decode_bytes: int
    """Memory per pixel while decoding, at worst, on the way to upright RGB, Pillow's own 4 bytes included."""

    def open(self, data: bytes) -> ImageFile:
        """Read the header; Pillow decodes later, on load(). Raises whatever the plugin raises."""
        if self.name == "TIFF":
            check_tiff(data)
        module, _, kind = self.plugin.partition(".")
        try:
            plugin = importlib.import_module(f"PIL.{module}")
        except ModuleNotFoundError:  # AVIF before Pillow 11.3
            raise ValueError("the installed Pillow is too old for it: pip install -U pillow") from None
        opened: ImageFile = getattr(plugin, kind)(BytesIO(data))
        return opened


def _starts(magic: bytes) -> re.Pattern[bytes]:
    return re.compile(magic, re.DOTALL)


FORMATS = (
    Format("JPEG", _starts(rb"\xff\xd8\xff"), "JpegImagePlugin.JpegImageFile", 8),
    Format("PNG", _starts(rb"\x89PNG\r\n\x1a\n"), "PngImagePlugin.PngImageFile", 10),
    Format("GIF", _starts(rb"GIF8[79]a"), "GifImagePlugin.GifImageFile", 10),
    Format("WebP", _starts(rb"RIFF....WEBP"), "WebPImagePlugin.WebPImageFile", 18),
    Format("BMP", _starts(rb"BM.{4}\0{4}"), "BmpImagePlugin.BmpImageFile", 9),
    Format("TIFF", _starts(rb"II[*+]\0|MM\0[*+]"), "TiffImagePlugin.TiffImageFile", 10),
    Format("PNM", _starts(rb"P[1-6][\s#]"), "PpmImagePlugin.PpmImageFile", 8),
    # the second form: a general picture container that says further on that it holds AVIF
    Format("AVIF", _starts(rb".{4}ftyp(?:mi[fa][1f].{0,32})?avi[fs]"), "AvifImagePlugin.AvifImageFile", 20),
)

#: Files that are recognised in order to be refused with advice; the first match counts.
_REFUSED = (
    (
        rb".{4}ftyp(?:hei|hev|mif1|msf1)",
        "a HEIC picture: install pillow-heif and pass the opened picture, or convert it to JPEG",
    ),
    (
        rb".{4}(?:ftyp|moov|mdat|free)|\x1aE\xdf\xa3|RIFF....AVI ",
        "a video: expected a picture. Pass it as a video, or extract a frame",
    ),
    (rb"OggS|ID3|fLaC|RIFF....WAVE", "sound: expected a picture"),
    (rb"%PDF", "a PDF document: expected a picture. Pass it as a document, or export the page as PNG"),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "PostScript, which is a program: export it as PNG"),
    (
        rb"(?:\xef\xbb\xbf)?\s*(?:<[?!].*)?<svg[\s>]",
        "an SVG drawing, which is not rendered (it may name files and addresses): export it as PNG",
    ),
    (
        rb"(?:\xef\xbb\xbf)?\s*<(?i:!doctype html|html|head|body)",
        "an HTML page, perhaps an error message or a log-in page instead of the picture",
    ),
    (rb"PK\x03\x04|\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|Rar!", "an archive: unpack it first"),
    (rb"8BPS", "a Photoshop document: export it as PNG"),
    (rb"\0\0[\1\2]\0", "an icon: convert it to PNG"),
    (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "JPEG 2000: convert it to PNG or JPEG"),
    (rb"\0\0\0\x0cJXL |\xff\x0a", "JPEG XL: convert it to PNG or JPEG"),
)


def sniff(blob: Blob) -> Format:
    """Return the format of a file by its first bytes.

    Raises:
        MediaError: Not a picture, or not a format on the list; the message says what it seems to be.
    """
    head = blob.data[:1024]
    for known in FORMATS:
        if known.magic.match(head):
            return known
    for magic, what in _REFUSED:
        if re.match(magic, head, re.DOTALL):
            raise MediaError(f"{blob.name} is {what}")
    kinds = ", ".join(known.name for known in FORMATS)
    raise MediaError(f"{blob.name} is not a picture of a known format: expected {kinds}")

"""First bytes of a file -> the container it is, and which decoders may touch it, or why none will.

The demuxer is chosen here, by content, never by FFmpeg's own probing: playlists (HLS, DASH, concat) would
name other files and addresses to read. File names and content types are not asked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from internvl.errors import MediaError
from internvl.media.formats import FORMATS


@dataclass(frozen=True, slots=True)
class Container:
    """A kind of file that holds video."""

    name: str
    magic: re.Pattern[bytes]
    demuxer: str
    """FFmpeg's name."""


def _starts(magic: bytes) -> re.Pattern[bytes]:
    return re.compile(magic, re.DOTALL)


CONTAINERS = (
    # pictures come in the same boxes as MP4
    Container(
        "MP4", _starts(rb".{4}(?:ftyp(?!mif1|msf1|hei|hev|avif)|moov|mdat|free|skip|wide|pnot)"), "mov"
    ),
    Container("Matroska/WebM", _starts(rb"\x1aE\xdf\xa3"), "matroska"),
    Container("AVI", _starts(rb"RIFF....AVI "), "avi"),
    Container("MPEG transport stream", _starts(rb"(?:.{4})?G.{187}(?:.{4})?G.{187}(?:.{4})?G"), "mpegts"),
    Container("MPEG program stream", _starts(rb"\x00\x00\x01\xba"), "mpeg"),
    Container("MPEG video", _starts(rb"\x00\x00\x01\xb3"), "mpegvideo"),
    Container("Flash video", _starts(rb"FLV\x01"), "flv"),
    Container("Ogg", _starts(rb"OggS"), "ogg"),
    Container("Windows Media", _starts(rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11"), "asf"),
    Container("GIF", _starts(rb"GIF8[79]a"), "gif"),
    Container("animated PNG", _starts(rb"\x89PNG\r\n\x1a\n.{0,400}acTL"), "apng"),
)

#: Decoders for what cameras, phones, editors and screen recorders write; FFmpeg has hundreds more.
CODECS = frozenset(
    (
        *("h264", "hevc", "vp8", "vp9", "libvpx", "libvpx-vp9", "av1", "libdav1d"),
        *("mpeg4", "mpeg1video", "mpeg2video", "mjpeg", "h263", "flv", "msmpeg4", "msmpeg4v2"),
        *("wmv1", "wmv2", "wmv3", "vc1", "theora", "dvvideo", "prores", "dnxhd", "svq3", "cinepak"),
        *("ffv1", "rawvideo", "qtrle", "gif", "apng", "png"),
    )
)

#: Files that are recognised in order to be refused with advice; the first match counts.
_REFUSED = (
    (
        rb"\s*#EXTM3U|\s*<\?xml.{0,400}<MPD|ffconcat",
        "a playlist, which names other files: pass the video itself",
    ),
    (rb".{4}ftyp(?:mif1|msf1|hei|hev)", "a HEIC picture: expected a video"),
    (rb"ID3|\xff[\xfb\xf3\xf2\xf1\xf9]|fLaC|RIFF....WAVE|FORM....AIFF", "sound only: it shows nothing"),
    (rb"%PDF", "a PDF document: expected a video"),
    (
        rb"(?:\xef\xbb\xbf)?\s*<(?i:!doctype html|html|head|body)",
        "an HTML page, perhaps an error message or a page around the video: pass the video file itself",
    ),
    (rb"PK\x03\x04|\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|Rar!", "an archive: unpack it first"),
)
HEAD_BYTES = 1024


def find_container(head: bytes) -> Container | None:
    """Return the container that a file's first bytes belong to, if it is one."""
    return next((known for known in CONTAINERS if known.magic.match(head)), None)


def sniff_video(head: bytes, name: str) -> Container:
    """Return the container of a file by its first `HEAD_BYTES` bytes.

    Raises:
        MediaError: No video, or of no known kind; the message says what it seems to be.
    """
    found = find_container(head)
    if found is not None:
        return found
    for known in FORMATS:
        if known.magic.match(head):
            raise MediaError(f"{name} is a picture ({known.name}): expected a video. Pass it as a picture")
    for magic, what in _REFUSED:
        if re.match(magic, head, re.DOTALL):
            raise MediaError(f"{name} is {what}")
    kinds = ", ".join(known.name for known in CONTAINERS)
    raise MediaError(f"{name} is not a video of a known kind: expected {kinds}")

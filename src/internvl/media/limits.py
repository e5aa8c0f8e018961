"""How much a picture may cost and where it may come from; plain data, passed down by callers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from internvl.errors import ConfigError

MediaKind = Literal["picture", "video"]


class Cap(NamedTuple):
    """A bound and the name of the field that sets it."""

    value: float
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaLimits:
    """Bounds on one picture or video. With the defaults no picture, however hostile, needs 1 GB to be read or
    refused; a video stays below that too, unless it was made to need the most that its kind allows (1.5 GB)."""

    max_bytes: int = 64 << 20
    """Size of the encoded file, after the transfer's own compression."""
    max_pixels: int = 80_000_000
    """Width x height, read from the header before anything is decoded. 600 dpi A3 has 70 Mpx."""
    max_decode_bytes: int = 800_000_000
    """Memory that decoding may need, estimated from format and size (`media.formats`): 80 Mpx of JPEG or PNG,
    44 Mpx of WebP, 40 Mpx of AVIF."""
    timeout_s: float = 20.0
    """For a download as a whole: name look-up, connection, every redirect and the last byte."""
    max_redirects: int = 3
    max_video_bytes: int = 1 << 30
    """Size of a video that is downloaded (to a temporary file) or handed over in memory. A local file may be
    larger: it is read where it lies."""
    max_video_pixels: int = 36_000_000
    """Of one frame of a video; 8K has 33 Mpx. Pictures in a folder of frames count as pictures."""
    max_video_frames: int = 2_000_000
    """Frames in a video, before sampling: 18 hours at 30 a second."""
    max_sampled_frames: int = 256
    """Frames of one video that the model sees."""
    video_timeout_s: float = 120.0
    """For the download of a video, for looking through it, and for decoding its sampled frames, each."""

    def __post_init__(self) -> None:
        positive = ("max_bytes", "max_pixels", "max_decode_bytes", "timeout_s", "max_video_bytes")
        more = ("max_video_pixels", "max_video_frames", "max_sampled_frames", "video_timeout_s")
        for name in (*positive, *more):
            if getattr(self, name) <= 0:
                raise ConfigError(f"MediaLimits: {name} is {getattr(self, name)}: expected a positive number")
        if self.max_redirects < 0:
            raise ConfigError(f"MediaLimits: max_redirects is {self.max_redirects}: expected 0 or more")

    def size_cap(self, kind: MediaKind) -> Cap:
        """Bytes that a file of this kind may have."""
        name = "max_video_bytes" if kind == "video" else "max_bytes"
        return Cap(getattr(self, name), f"MediaLimits.{name}")

    def time_cap(self, kind: MediaKind) -> Cap:
        """Seconds that a download of this kind may take."""
        name = "video_timeout_s" if kind == "video" else "timeout_s"
        return Cap(getattr(self, name), f"MediaLimits.{name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressPolicy:
    """Where pictures may be read from. The defaults suit a person; a server also denies local files."""

    allow_local_files: bool = True
    """Paths and file:// URLs."""
    allow_private: bool = False
    """Hosts with private, loopback, link-local and other non-public addresses, on any port."""
    allow_http: bool = True
    """http:// besides https://."""
    allowed_domains: tuple[str, ...] = ()
    """If not empty, only these hosts and their subdomains; a redirect elsewhere is refused too."""
    allowed_ports: tuple[int, ...] = (80, 443, 8080, 8443)
    """Ports of public hosts."""

    def __post_init__(self) -> None:
        if isinstance(self.allowed_domains, str):
            raise ConfigError(
                f"AddressPolicy: allowed_domains is {self.allowed_domains!r}: expected a tuple of names"
            )


DEFAULT_LIMITS = MediaLimits()
DEFAULT_POLICY = AddressPolicy()

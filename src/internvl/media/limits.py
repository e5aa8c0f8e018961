"""How much a picture may cost and where it may come from; plain data, passed down by callers."""

from __future__ import annotations

from dataclasses import dataclass

from internvl.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaLimits:
    """Bounds on one picture. With the defaults no file, however hostile, needs 1 GB to be read or refused."""

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

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_pixels", "max_decode_bytes", "timeout_s"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"MediaLimits: {name} is {getattr(self, name)}: expected a positive number")
        if self.max_redirects < 0:
            raise ConfigError(f"MediaLimits: max_redirects is {self.max_redirects}: expected 0 or more")


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

"""http(s) URL -> body, without becoming a way into the network that this process stands in.

The check of the address and the connection are one step: `_GuardedBackend.connect_tcp` resolves the name,
refuses what is not public, and connects to exactly the address it looked at, so a name that resolves
differently a moment later gains nothing. Host header and TLS name stay those of the URL. Redirects come back
here, one by one. One deadline spans name look-ups, connections, header lines and body, however slowly they
drip.

Proxies from the environment are not used: behind one, the address that is really contacted could not be
checked.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Any, BinaryIO

import httpcore
import httpx

from internvl.errors import MediaError
from internvl.media.limits import AddressPolicy, Cap, MediaKind, MediaLimits
from internvl.media.source import Blob, short_name
from internvl.version import __version__

_HEADERS = {
    "Accept": "image/*,video/*,*/*;q=0.5",
    "Accept-Encoding": "identity",
    "User-Agent": f"internvl/{__version__}",
}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
#: Windows of zlib by content-coding; 47 = gzip or zlib header, found by itself.
_ZLIB_WINDOW = {"gzip": 47, "x-gzip": 47, "deflate": 47}
#: A name (international ones arrive as punycode) or an IPv6 address without its brackets.
_HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+")
_IPv4Or6 = ipaddress.IPv4Address | ipaddress.IPv6Address


def fetch(url: str, *, limits: MediaLimits, policy: AddressPolicy) -> Blob:
    """Return the body behind an http(s) URL, at most `limits.max_bytes` long.

    Raises:
        MediaError: A place the policy refuses, an answer other than 200, too many redirects, too large, too
            slow.
    """
    body = BytesIO()
    name = download(url, body, limits=limits, policy=policy)
    return Blob(body.getvalue(), name)


def download(
    url: str, into: BinaryIO, *, limits: MediaLimits, policy: AddressPolicy, kind: MediaKind = "picture"
) -> str:
    """Write the body behind an http(s) URL into a file as it comes; return the URL's name for messages.

    Size and time are those of the kind of media; errors as of `fetch`.
    """
    patience = limits.time_cap(kind)
    deadline = time.monotonic() + patience.value
    name = _display_name(url)
    place = _parse(url, name)
    backend = _GuardedBackend(policy, deadline, name)
    try:
        with httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(), network_backend=backend, keepalive_expiry=0
        ) as pool:
            for _ in range(limits.max_redirects + 1):
                _check_place(place, policy, name)
                with pool.stream("GET", _core_url(place), headers=_headers(place)) as response:
                    headers = {name.lower(): value.decode("latin-1") for name, value in response.headers}
                    if response.status in _REDIRECTS and b"location" in headers:
                        place = _parse(headers[b"location"], name, base=place)
                        continue
                    if response.status != 200:
                        raise MediaError(f"{name}: the server answered HTTP {response.status}")
                    _write_body(response.iter_stream(), headers, name, limits.size_cap(kind), into)
                    return name
    except (httpcore.TimeoutException, TimeoutError) as error:
        raise MediaError(f"{name}: not complete after {patience.value:g} s ({patience.name})") from error
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol, OSError) as error:
        raise MediaError(f"{name}: download failed: {error}") from error
    raise MediaError(f"{name}: more than {limits.max_redirects} redirects (MediaLimits.max_redirects)")


def _parse(url: str, name: str, base: httpx.URL | None = None) -> httpx.URL:
    try:
        return httpx.URL(url) if base is None else base.join(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise MediaError(f"{name}: not a valid URL: {error}") from error


def _core_url(place: httpx.URL) -> httpcore.URL:
    return httpcore.URL(
        scheme=place.raw_scheme, host=place.raw_host, port=place.port, target=place.raw_path or b"/"
    )


def _headers(place: httpx.URL) -> list[tuple[bytes, bytes]]:
    plain = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
    return [(b"Host", place.netloc), *plain]


def _check_place(place: httpx.URL, policy: AddressPolicy, name: str) -> None:
    """Refuse by what the URL itself says; the address behind the name is checked at connection."""
    host = place.raw_host.decode("ascii").lower().rstrip(".")
    problem = None
    if place.scheme not in ("http", "https") or not _HOST.fullmatch(host):
        problem = f"leads to {short_name(str(place))!r}: expected http or https and a valid host"
    elif place.scheme == "http" and not policy.allow_http:
        problem = "is plain http: only https is allowed here (AddressPolicy.allow_http)"
    elif place.userinfo:
        problem = "holds a user name or password: remove it from the URL"
    elif policy.allowed_domains and not any(
        host == domain or host.endswith(f".{domain}")
        for domain in (entry.lower().strip(".") for entry in policy.allowed_domains)
    ):
        problem = f"leads to {host}, which is not in AddressPolicy.allowed_domains"
    elif not policy.allow_private and (place.port or 443) not in policy.allowed_ports:
        problem = (
            f"leads to port {place.port}: allowed are {policy.allowed_ports} (AddressPolicy.allowed_ports)"
        )
    if problem:
        raise MediaError(f"{name} {problem}")


def _display_name(url: str) -> str:
    """The URL for messages and logs: without user, password and query, any of which may be secrets."""
    scheme, _, rest = url.partition("#")[0].partition("?")[0].partition("://")
    authority, slash, path = rest.partition("/")
    return short_name(f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}")


def _write_body(
    chunks: Iterable[bytes], headers: dict[bytes, str], name: str, cap: Cap, into: BinaryIO
) -> None:
    announced = headers.get(b"content-length", "")
    if announced.isdecimal() and int(announced) > cap.value:
        raise MediaError(f"{name} has {int(announced)} bytes: the limit is {cap.value} ({cap.name})")
    written = 0
    for chunk in _decoded(chunks, headers.get(b"content-encoding", ""), name, int(cap.value)):
        written += len(chunk)
        if written > cap.value:
            raise MediaError(f"{name} is larger than {cap.value} bytes ({cap.name})")
        into.write(chunk)


def _decoded(chunks: Iterable[bytes], encoding: str, name: str, max_bytes: int) -> Iterator[bytes]:
    """Undo the transfer's compression, which was not asked for, never inflating past the limit."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        yield from chunks
        return
    if encoding not in _ZLIB_WINDOW:
        raise MediaError(f"{name}: the server sent Content-Encoding {encoding!r}, which was not asked for")
    inflate = zlib.decompressobj(_ZLIB_WINDOW[encoding])
    try:
        for chunk in chunks:
            yield inflate.decompress(chunk, max_bytes + 1)
    except zlib.error as error:
        raise MediaError(f"{name}: broken {encoding} body: {error}") from error
    if not inflate.eof:
        raise MediaError(f"{name}: the {encoding} body ends too early")


class _GuardedBackend(httpcore.NetworkBackend):
    """Connects only to addresses that the policy allows; every wait ends at the deadline."""

    def __init__(self, policy: AddressPolicy, deadline: float, name: str) -> None:
        self._policy = policy
        self._deadline = deadline
        self._name = name
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = _resolve(host, port, self._deadline, self._name)
        if not self._policy.allow_private:
            for address in addresses:
                if not is_public(address):
                    # the address itself is not told: the answer must not map the inner network
                    raise MediaError(
                        f"{self._name}: {short_name(host)} is not a public address "
                        "(private, loopback, link-local or reserved; AddressPolicy.allow_private)"
                    )
        failure: Exception | None = None
        for address in addresses:
            try:
                stream = self._inner.connect_tcp(
                    str(address), port, timeout=_remaining(self._deadline), socket_options=socket_options
                )
            except httpcore.ConnectError as error:
                failure = error
            else:
                return _TimedStream(stream, self._deadline)
        raise httpcore.ConnectError(str(failure)) from failure


class _TimedStream(httpcore.NetworkStream):
    """A stream whose every wait ends at the deadline."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: float) -> None:
        self._inner = inner
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, timeout=_remaining(self._deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, timeout=_remaining(self._deadline))

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        secure = self._inner.start_tls(ssl_context, server_hostname, timeout=_remaining(self._deadline))
        return _TimedStream(secure, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)

    def close(self) -> None:
        self._inner.close()


def _remaining(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("deadline passed")
    return left


def _resolve(host: str, port: int, deadline: float, name: str) -> list[_IPv4Or6]:
    """All addresses of a host. The look-up runs in a thread of its own, since it cannot be given a time
    limit."""
    found: list[Any] = []

    def look_up() -> None:
        try:
            found.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            found.append(error)

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(_remaining(deadline))
    if not found:
        raise httpcore.ConnectTimeout(f"looking up {host}")
    if isinstance(found[0], Exception):
        raise MediaError(f"{name}: the host {short_name(host)} is not known: {found[0]}")
    # a scope such as fe80::1%eth0 says which card, not which address
    texts = dict.fromkeys(entry[4][0].partition("%")[0] for entry in found[0])
    return [ipaddress.ip_address(text) for text in texts]


_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_public(address: _IPv4Or6) -> bool:
    """Whether an address is reached over the internet and stands for one host there.

    IPv6 forms that carry an IPv4 address (mapped, NAT64, 6to4, Teredo) are judged by the address inside.
    """
    if isinstance(address, ipaddress.IPv6Address):
        inner: list[ipaddress.IPv4Address] = []
        if address.ipv4_mapped:
            inner.append(address.ipv4_mapped)
        if address.sixtofour:
            inner.append(address.sixtofour)
        if address.teredo:
            inner.extend(address.teredo)
        if address in _NAT64:
            inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if inner:
            return all(is_public(part) for part in inner)
        if address.is_site_local:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)

"""Downloads from a stand-in server on this machine, and every way the guard must say no."""

import gzip
import http.server
import ipaddress
import shutil
import socket
import ssl
import subprocess
import threading
import time
import zlib

import pytest

from internvl.errors import MediaError
from internvl.media import fetch as fetch_module
from internvl.media.fetch import is_public
from internvl.media.limits import AddressPolicy, MediaLimits
from internvl.media.source import read_source
from internvl.media.stored import open_stored

OPEN = AddressPolicy(allow_private=True)
BODY = b"picture bytes " * 50


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by path; the server object counts what was asked."""

    def do_GET(self):
        self.server.asked.append((self.path, self.headers["Host"]))
        path = self.path.partition("?")[0]
        if path.startswith("/redirect/"):
            self.answer(302, b"", Location=path.removeprefix("/redirect/"))
        elif path == "/loop":
            self.answer(302, b"", Location="/loop")
        elif path == "/next":
            self.answer(307, b"", Location="ok?from=next")
        elif path == "/ok":
            self.answer(200, BODY)
        elif path == "/gzip":
            self.answer(200, gzip.compress(BODY), **{"Content-Encoding": "gzip"})
        elif path == "/deflate":
            self.answer(200, zlib.compress(BODY), **{"Content-Encoding": "deflate"})
        elif path == "/bomb":
            self.answer(200, gzip.compress(b"\0" * 30_000_000), **{"Content-Encoding": "gzip"})
        elif path == "/halfgzip":
            self.answer(200, gzip.compress(BODY)[:-12], **{"Content-Encoding": "gzip"})
        elif path == "/brotli":
            self.answer(200, b"xx", **{"Content-Encoding": "br"})
        elif path == "/lies":
            self.answer(200, b"", length=10**12)
        elif path == "/short":
            self.answer(200, BODY, length=len(BODY) + 10)
        elif path in ("/endless", "/drip", "/slowheader"):
            self.misbehave(path)
        elif path == "/none":
            self.answer(404, b"gone")

    def misbehave(self, path):
        try:
            if path == "/slowheader":
                self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                for _ in range(200):
                    self.wfile.write(b"X")
                    time.sleep(0.05)
            self.send_response(200)
            self.end_headers()
            for _ in range(100_000):
                self.wfile.write(b"\0" * 65536 if path == "/endless" else b"\0")
                time.sleep(0 if path == "/endless" else 0.05)
        except OSError:
            self.close_connection = True

    def answer(self, status, body, length=None, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def base(server):
    server.asked.clear()
    return f"http://127.0.0.1:{server.server_port}"


def read(url, policy=OPEN, **limits):
    return read_source(url, policy=policy, limits=MediaLimits(**limits)).data


# --- what works


@pytest.mark.parametrize("path", ["/ok", "/gzip", "/deflate", "/next", "/redirect//ok"])
def test_bodies_arrive_whole_through_redirects_and_compression(base, path):
    assert read(base + path) == BODY


def test_host_header_and_query_stay_those_of_the_url(server, base):
    port = server.server_port
    assert read(f"http://localhost:{port}/ok?a=1&b=%20#part") == BODY
    assert server.asked == [("/ok?a=1&b=%20", f"localhost:{port}")]


def test_names_of_downloads_hold_no_secrets(base):
    blob = read_source(f"{base}/ok?token=secret#x", policy=OPEN, limits=MediaLimits())
    assert blob.name == f"{base}/ok"


@pytest.fixture(scope="module")
def secure_server(tmp_path_factory):
    """A server with a certificate for `localhost` that nobody has signed."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl makes the certificate")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        + ["-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", "/CN=localhost"]
        + ["-addext", "subjectAltName=DNS:localhost"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None
    server.asked = []
    server.certificate = folder / "cert.pem"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_certificates_are_checked_against_the_name_in_the_url(secure_server, monkeypatch):
    port = secure_server.server_port
    with pytest.raises(MediaError, match=r"download failed.*CERTIFICATE_VERIFY_FAILED"):
        read(f"https://localhost:{port}/ok")
    monkeypatch.setenv("SSL_CERT_FILE", str(secure_server.certificate))
    assert read(f"https://localhost:{port}/ok") == BODY
    with pytest.raises(MediaError, match=r"download failed.*CERTIFICATE_VERIFY_FAILED"):
        read(f"https://127.0.0.1:{port}/ok")


# --- size and time


def test_endless_bodies_are_cut_at_the_limit(base):
    with pytest.raises(MediaError, match="larger than 1000000 bytes"):
        read(f"{base}/endless", max_bytes=1_000_000)


def test_compressed_bodies_are_cut_where_they_inflate(base):
    with pytest.raises(MediaError, match="larger than 1000000 bytes"):
        read(f"{base}/bomb", max_bytes=1_000_000)


def test_announced_sizes_are_believed_when_too_large(base):
    with pytest.raises(MediaError, match="1000000000000 bytes"):
        read(f"{base}/lies")


@pytest.mark.parametrize("path", ["/drip", "/slowheader"])
def test_one_deadline_spans_headers_and_body(base, path):
    start = time.monotonic()
    with pytest.raises(MediaError, match=r"not complete after 0\.4 s"):
        read(base + path, timeout_s=0.4)
    assert time.monotonic() - start < 2


def test_slow_name_look_ups_end_at_the_deadline(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(1.5))
    start = time.monotonic()
    with pytest.raises(MediaError, match=r"not complete after 0\.2 s"):
        read("http://slow.example/", timeout_s=0.2)
    assert time.monotonic() - start < 1


@pytest.mark.parametrize(
    ("path", "match"),
    [
        ("/none", "HTTP 404"),
        ("/short", "download failed"),
        ("/halfgzip", "ends too early"),
        ("/brotli", "Content-Encoding 'br'"),
        ("/loop", "more than 3 redirects"),
        ("/redirect/ftp://x/y", "expected http or https"),
        ("/redirect/file:///etc/passwd", "expected http or https"),
        ("/redirect/http://user:pw@127.0.0.1/", "user name or password"),
        ("/redirect/http://[bad/", "valid host"),
    ],
)
def test_bad_answers_are_refused_in_one_line(base, path, match):
    with pytest.raises(MediaError, match=match) as caught:
        read(base + path)
    assert str(caught.value).startswith(base)
    assert "\n" not in str(caught.value)


def test_nobody_listening_is_a_media_error():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(MediaError, match="download failed"):
            read(f"http://127.0.0.1:{free.getsockname()[1]}/")


# --- addresses


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "[::1]", "[::ffff:127.0.0.1]"]
)
def test_loopback_is_refused_in_all_spellings(host, monkeypatch):
    with pytest.raises(MediaError, match="not a public address|is not known"):
        read(f"http://{host}/ok", AddressPolicy())


def test_the_guard_stands_before_the_connection(server, base):
    policy = AddressPolicy(allowed_ports=(server.server_port,))
    with pytest.raises(MediaError, match="not a public address"):
        read(f"{base}/ok", policy)
    assert server.asked == []


def test_a_redirect_to_a_private_address_is_refused(server, monkeypatch):
    """The first hop counts as public here; the second, another spelling of this machine, must not."""
    server.asked.clear()
    first = ipaddress.ip_address("127.0.0.1")
    monkeypatch.setattr(fetch_module, "is_public", lambda address: address == first)
    policy = AddressPolicy(allowed_ports=(server.server_port, 80))
    url = f"http://127.0.0.1:{server.server_port}/redirect/http://127.0.0.2:{server.server_port}/ok"
    with pytest.raises(MediaError, match=r"127\.0\.0\.2 is not a public address"):
        read(url, policy)
    assert len(server.asked) == 1


def test_one_private_address_among_public_ones_spoils_the_host(monkeypatch):
    answers = [(2, 1, 6, "", (address, 80)) for address in ("93.184.216.34", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers)
    with pytest.raises(MediaError, match="not a public address"):
        read("http://mixed.example/", AddressPolicy())


def test_the_address_that_was_checked_is_the_one_connected_to(server, monkeypatch):
    """A name that turns private after the check (DNS rebinding) is looked up once, and only once."""
    port, lookups = server.server_port, []

    def rebinding(host, port, **_):
        lookups.append(host)
        address = "127.0.0.1" if len(lookups) == 1 else "169.254.169.254"
        return [(2, 1, 6, "", (address, port))]

    monkeypatch.setattr(fetch_module.socket, "getaddrinfo", rebinding)
    monkeypatch.setattr(fetch_module, "is_public", lambda address: str(address) == "127.0.0.1")
    server.asked.clear()
    # connecting by address makes the operating system's resolver be asked again, for the address itself
    monkeypatch.setattr(socket, "create_connection", connect_without_lookup(lookups))
    assert read(f"http://rebind.example:{port}/ok", AddressPolicy(allowed_ports=(port,))) == BODY
    assert lookups == ["rebind.example", ("connect", "127.0.0.1")]
    assert server.asked == [("/ok", f"rebind.example:{port}")]


def connect_without_lookup(log):
    def connect(address, timeout=None, **_):
        log.append(("connect", address[0]))
        plain = socket.socket(socket.AF_INET)
        plain.settimeout(timeout)
        plain.connect(address)
        return plain

    return connect


def test_the_next_address_is_tried_when_one_does_not_answer(server, monkeypatch):
    real = socket.getaddrinfo

    def two(host, port, *args, **kwargs):
        if host == "two.example":
            return [(2, 1, 6, "", (address, port)) for address in ("127.0.0.9", "127.0.0.1")]
        return real(host, port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", two)
    assert read(f"http://two.example:{server.server_port}/ok") == BODY


@pytest.mark.parametrize(
    ("policy", "url", "match"),
    [
        (AddressPolicy(allow_http=False), "http://example.org/", "plain http"),
        (AddressPolicy(), "http://example.org:22/", "port 22"),
        (AddressPolicy(), "https://user@example.org/", "user name or password"),
        (AddressPolicy(allowed_domains=("example.org",)), "https://evil.test/", "allowed_domains"),
        (AddressPolicy(allowed_domains=("example.org",)), "https://notexample.org/", "allowed_domains"),
        (AddressPolicy(), "http:///path", "expected http or https and a valid host"),
        (AddressPolicy(), "http://exa mple.org/", "not a valid URL|valid host"),
    ],
)
def test_urls_are_refused_by_what_they_say(policy, url, match, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("looked a name up"))
    with pytest.raises(MediaError, match=match) as caught:
        read(url, policy)
    assert "user" not in str(caught.value).split(" holds ")[0]


def test_subdomains_of_allowed_domains_pass_the_name_check(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("10.0.0.1", 443))])
    for host in ("example.org", "img.example.org", "EXAMPLE.org."):
        with pytest.raises(MediaError, match="not a public address"):
            read(f"https://{host}/", AddressPolicy(allowed_domains=(".Example.org",)))


def test_unknown_hosts_are_named(monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(MediaError, match=r"host nowhere\.example is not known"):
        read("http://nowhere.example/a.png", AddressPolicy())


NOT_PUBLIC = {
    "loopback": ["127.0.0.1", "127.255.255.254", "::1"],
    "private": ["10.1.2.3", "172.16.0.1", "192.168.1.1", "fc00::1", "fec0::1", "100.64.0.1"],
    "link-local": ["169.254.169.254", "fe80::1"],
    "nobody or everybody": ["0.0.0.0", "::", "224.0.0.1", "255.255.255.255", "ff02::1", "100::1"],
    "documentation, benchmarks, reserved": ["192.0.2.1", "198.18.0.1", "240.0.0.1", "2001:db8::1"],
    "IPv4 mapped or compatible": ["::ffff:10.0.0.1", "::127.0.0.1"],
    "NAT64": ["64:ff9b::a00:1", "64:ff9b:1::1"],
    "6to4 and Teredo": ["2002:7f00:1::", "2001:0:5ef5:79fb:0:59f:f5ff:fffe"],
}


@pytest.mark.parametrize("address", [address for kind in NOT_PUBLIC.values() for address in kind])
def test_addresses_that_are_not_public(address):
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_addresses_that_are_public(address):
    assert is_public(ipaddress.ip_address(address))


def test_a_video_is_downloaded_to_disk_within_limits_of_its_own(base):
    limits = MediaLimits(max_bytes=10, max_video_bytes=10_000)
    stored = open_stored(f"{base}/ok", limits=limits, policy=OPEN)
    assert stored.size == len(BODY)
    assert stored.read_at(5, 9) == BODY[5:14]
    readers = stored.reader(), stored.reader()
    assert [reader.read(4) for reader in readers] == [BODY[:4]] * 2
    with pytest.raises(MediaError, match="max_video_bytes"):
        open_stored(f"{base}/endless", limits=limits, policy=OPEN)
    with pytest.raises(MediaError, match="max_video_bytes"):
        open_stored(f"{base}/lies", limits=limits, policy=OPEN)
    with pytest.raises(MediaError, match="video_timeout_s"):
        open_stored(f"{base}/drip", limits=MediaLimits(video_timeout_s=0.2), policy=OPEN)
    with pytest.raises(MediaError, match="allowed_ports"):
        open_stored(f"{base}/ok", limits=limits, policy=AddressPolicy())

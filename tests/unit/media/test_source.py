"""Paths and data: URLs -> bytes, or one clear line."""

import base64
import os

import pytest

from internvl.errors import ConfigError, MediaError
from internvl.media.limits import AddressPolicy, MediaLimits
from internvl.media.source import read_source, short_name


def test_files_are_read_by_path_text_and_file_url(tmp_path, monkeypatch):
    file = tmp_path / "ünï 名 (1).bin"
    file.write_bytes(b"abc")
    monkeypatch.setenv("HOME", str(tmp_path))
    for source in (file, str(file), file.as_uri(), f"file://localhost{file}", f"~/{file.name}"):
        assert read_source(source).data == b"abc"
    assert read_source(file).name == str(file)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda folder: folder, "is a directory"),
        (lambda folder: folder / "none.png", "no such file"),
        (lambda folder: "/dev/zero", "pipe or a device"),
        (lambda folder: "a\0b", "NUL"),
        (lambda folder: "x" * 5000, "cannot read the file"),
        (lambda folder: "", "no such file|directory"),
        (lambda folder: "~no-such-user-at-all/x.png", "cannot read|no such file"),
        (lambda folder: "ftp://host/x.png", "scheme 'ftp'"),
        (lambda folder: "javascript://x", "scheme 'javascript'"),
        (lambda folder: "file://otherhost/x.png", "otherhost"),
        (lambda folder: "file:///none%20such.png", "/none such.png: no such file"),
    ],
)
def test_what_cannot_be_read_is_named_in_one_line(tmp_path, make, match):
    with pytest.raises(MediaError, match=match) as caught:
        read_source(make(tmp_path))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_pipe_without_a_writer_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(MediaError, match="pipe"):
        read_source(tmp_path / "pipe")


def test_empty_files_and_bytes_are_refused(tmp_path):
    (tmp_path / "zero.png").touch()
    for source in (tmp_path / "zero.png", b"", "data:image/png;base64,"):
        with pytest.raises(MediaError, match="empty"):
            read_source(source)


def test_the_byte_limit_holds_for_every_source(tmp_path):
    limits = MediaLimits(max_bytes=10)
    (tmp_path / "f").write_bytes(b"x" * 11)
    for source in (
        tmp_path / "f",
        b"x" * 11,
        "data:," + "x" * 11,
        "data:," + "%41" * 11,
        data_url(b"x" * 11),
    ):
        with pytest.raises(MediaError, match="11 bytes: the limit is 10"):
            read_source(source, limits=limits)
    (tmp_path / "f").write_bytes(b"x" * 10)
    for source in (
        tmp_path / "f",
        b"x" * 10,
        "data:," + "x" * 10,
        "data:," + "%41" * 10,
        data_url(b"x" * 10),
    ):
        assert len(read_source(source, limits=limits).data) == 10


def data_url(data: bytes, head: str = "data:image/png;base64,") -> str:
    return head + base64.b64encode(data).decode()


def test_data_urls_in_all_spellings():
    assert read_source(data_url(b"\x89PNG")).data == b"\x89PNG"
    assert read_source(data_url(b"abc", "DATA:;Base64,")).data == b"abc"
    assert read_source("data:text/plain;charset=utf-8,a%20b%2Cc").data == b"a b,c"
    assert read_source("data:;base64,YW\nJj").data == b"abc"
    assert read_source("data:;base64,YWJjZA%3D%3D").data == b"abcd"


@pytest.mark.parametrize(
    "url", ["data:image/png;base64", "data:;base64,####", "data:;base64,abc", "data:;base64,äöü"]
)
def test_broken_data_urls_are_refused_without_repeating_them(url):
    with pytest.raises(MediaError, match=r"^data: URL"):
        read_source(url)


def test_a_server_can_deny_local_files(tmp_path):
    file = tmp_path / "f"
    file.write_bytes(b"abc")
    for source in (file, str(file), file.as_uri()):
        with pytest.raises(MediaError, match="local files are not read here"):
            read_source(source, policy=AddressPolicy(allow_local_files=False))
    assert read_source("data:,abc", policy=AddressPolicy(allow_local_files=False)).data == b"abc"


def test_names_in_messages_are_short_and_printable():
    assert short_name("a\nb\x1b[31m\u202ec") == "a?b?[31m?c"
    assert len(short_name("x" * 10_000)) <= 120
    assert short_name("x" * 200 + "tail.png").endswith("tail.png")


@pytest.mark.parametrize("field", ["max_bytes", "max_pixels", "max_decode_bytes", "timeout_s"])
def test_limits_must_be_positive(field):
    with pytest.raises(ConfigError, match=field):
        MediaLimits(**{field: 0})


def test_allowed_domains_must_be_a_collection():
    with pytest.raises(ConfigError, match="expected a tuple"):
        AddressPolicy(allowed_domains="example.org")

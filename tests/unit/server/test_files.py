"""/v1/files: kept on disk, found by ids that nobody can guess, and only by their owner."""

import io
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from internvl.errors import ConfigError, MediaError
from internvl.server.data_dir import DataDir
from internvl.server.errors import NotFound, TooLarge
from internvl.server.file_store import FileStore
from server_client import call, chat, tiny_app
from tiny_engines import picture

LIMITS = {"max_file_bytes": 1000, "max_stored_bytes": 2000, "max_stored_files": 5}


@pytest.fixture
def app():
    return tiny_app()


def png():
    buffer = io.BytesIO()
    picture().save(buffer, "PNG")
    return buffer.getvalue()


def upload(app, data=b"hello", name="a.txt", purpose="user_data", headers=None, **fields):
    return call(
        app,
        "POST",
        "/v1/files",
        files={"file": (name, data)},
        data={"purpose": purpose, **fields},
        headers=headers,
    )


def uploaded(app, *arguments, **options):
    response = upload(app, *arguments, **options)
    assert response.status_code == 200, response.text
    return response.json()


def test_a_file_comes_back_as_it_was(app):
    data = bytes(range(256)) * 5000
    file = uploaded(app, data, "photo.png", "vision")
    assert (file["bytes"], file["filename"], file["purpose"]) == (len(data), "photo.png", "vision")
    assert call(app, "GET", f"/v1/files/{file['id']}").json() == file
    content = call(app, "GET", f"/v1/files/{file['id']}/content")
    assert content.content == data
    assert content.headers["content-type"] == "application/octet-stream"
    assert content.headers["content-disposition"].startswith("attachment")
    assert content.headers["x-content-type-options"] == "nosniff"


def test_a_deleted_file_is_gone(app):
    file_id = uploaded(app)["id"]
    assert call(app, "DELETE", f"/v1/files/{file_id}").json()["deleted"]
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        assert call(app, method, f"/v1/files/{file_id}{path}").status_code == 404
    assert list(app.state.service.data.path.glob("files/file-*")) == []


def test_a_picture_is_asked_about_by_its_id(app):
    from server_client import data_url

    file_id = uploaded(app, png(), "a.png", "vision")["id"]
    expected = chat(app, pictures=[data_url()]).json()["choices"]
    assert chat(app, pictures=[file_id]).json()["choices"] == expected
    part = {"type": "file", "file": {"file_id": file_id}}
    messages = [{"role": "user", "content": [part, {"type": "text", "text": "What is it?"}]}]
    assert chat(app, messages=messages).json()["choices"] == expected


def test_a_file_that_is_no_picture_is_named_by_its_id_and_not_by_its_path(app):
    file_id = uploaded(app)["id"]
    error = chat(app, pictures=[file_id]).json()["error"]
    assert error["param"] == "messages[0].content[0]"
    assert file_id in error["message"]
    assert str(app.state.service.data.path) not in error["message"]


def test_files_are_listed_in_pages_the_newest_first(app):
    ids = [uploaded(app, name=f"{n}.txt", purpose="vision" if n % 2 else "user_data")["id"] for n in range(5)]
    # of one second, in the order of their ids
    everything = call(app, "GET", "/v1/files").json()
    assert {file["id"] for file in everything["data"]} == set(ids)
    listed = [file["id"] for file in everything["data"]]
    first = call(app, "GET", "/v1/files", params={"limit": 2}).json()
    second = call(app, "GET", "/v1/files", params={"limit": 3, "after": first["last_id"]}).json()
    assert [file["id"] for file in first["data"] + second["data"]] == listed
    assert (first["has_more"], second["has_more"]) == (True, False)
    assert [file["id"] for file in call(app, "GET", "/v1/files?order=asc").json()["data"]] == listed[::-1]
    assert len(call(app, "GET", "/v1/files?purpose=vision").json()["data"]) == 2
    assert call(app, "GET", "/v1/files?after=file-x").status_code == 404
    assert call(app, "GET", "/v1/files?limit=0").status_code == 400


def test_a_file_belongs_to_the_key_that_sent_it():
    keys = {name: {"Authorization": f"Bearer sk-of-{name}-0123"} for name in ("alice", "bob")}
    app = tiny_app(api_keys=("alice sk-of-alice-0123", "bob sk-of-bob-0123"))
    file_id = uploaded(app, png(), headers=keys["alice"])["id"]
    assert call(app, "GET", f"/v1/files/{file_id}", headers=keys["alice"]).status_code == 200
    assert call(app, "GET", "/v1/files", headers=keys["bob"]).json()["data"] == []
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        assert call(app, method, f"/v1/files/{file_id}{path}", headers=keys["bob"]).status_code == 404
    body = {
        "model": "internvl",
        "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": file_id}]}],
        "max_tokens": 1,
    }
    path = "/v1/chat/completions"
    assert call(app, "POST", path, json=body, headers=keys["bob"]).status_code == 404
    assert call(app, "POST", path, json=body, headers=keys["alice"]).status_code == 200


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"purpose": "fun"}, "purpose"),
        ({"porpuse": "vision"}, "porpuse"),
        ({"expires_after[seconds]": "5"}, "expires_after[seconds]"),
        ({"expires_after[seconds]": "many"}, "expires_after[seconds]"),
        ({"expires_after[anchor]": "now"}, "expires_after[anchor]"),
    ],
)
def test_what_is_not_understood_is_refused(app, fields, param):
    response = upload(app, **fields)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    "options",
    [
        {"json": {"file": "a", "purpose": "vision"}},
        {"data": {"purpose": "vision"}},
        {"content": b"garbage", "headers": {"content-type": "multipart/form-data; boundary=x"}},
        {"content": b"garbage", "headers": {"content-type": "multipart/form-data"}},
        {"files": [("file", ("a", b"1")), ("file", ("b", b"2"))], "data": {"purpose": "vision"}},
        {"files": {"file": ("a", b"1")}, "data": {"purpose": "v" * 5000}},
    ],
)
def test_what_is_no_form_with_one_file_is_refused(app, options):
    response = call(app, "POST", "/v1/files", **options)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_a_file_beyond_the_limit_is_refused_and_leaves_nothing():
    app = tiny_app(max_file_bytes=1000, max_body_bytes=100)
    assert upload(app, b"x" * 1000).status_code == 200
    for size in (1001, 100_000):
        assert upload(app, b"x" * size).status_code == 413
    assert len(list(app.state.service.data.path.glob("files/file-*"))) == 2  # its bytes and its facts


@pytest.mark.parametrize("file_id", ["..%2F..%2Fetc%2Fpasswd", "file-0", "%00", "file-" + "0" * 32])
def test_an_id_is_no_path(app, file_id):
    for path in (f"/v1/files/{file_id}", f"/v1/files/{file_id}/content"):
        assert call(app, "GET", path).status_code == 404


def test_a_name_is_only_shown(app):
    assert uploaded(app, name="../../etc/passwd")["filename"] == "passwd"


def test_what_one_owner_keeps_is_bounded(tmp_path):
    store = FileStore(DataDir(tmp_path), **LIMITS)
    for _ in range(2):
        store.add(io.BytesIO(b"x" * 900), owner="a", filename="f", purpose="p")
    with pytest.raises(TooLarge, match="2 files of 1800 bytes"):
        store.add(io.BytesIO(b"x" * 900), owner="a", filename="f", purpose="p")
    store.add(io.BytesIO(b"x" * 900), owner="b", filename="f", purpose="p")
    for _ in range(3):
        store.add(io.BytesIO(b""), owner="a", filename="f", purpose="p")
    with pytest.raises(TooLarge):
        store.add(io.BytesIO(b""), owner="a", filename="f", purpose="p")
    assert not list(tmp_path.glob("files/*.part"))


def test_limits_hold_for_uploads_at_the_same_time(tmp_path):
    store = FileStore(DataDir(tmp_path), **LIMITS)

    def add(_):
        try:
            return store.add(io.BytesIO(b"x" * 900), owner="a", filename="f", purpose="p")
        except TooLarge:
            return None

    with ThreadPoolExecutor(8) as pool:
        assert sum(file is not None for file in pool.map(add, range(8))) == 2


def test_files_outlive_the_server(tmp_path):
    data = DataDir(tmp_path)
    file = FileStore(data, **LIMITS).add(io.BytesIO(b"abc"), owner="a", filename="f", purpose="p")
    data.close()
    (tmp_path / "files" / "file-torn.part").write_bytes(b"half")
    (tmp_path / "files" / ("file-" + "1" * 32 + ".json")).write_text('{"id": ')
    (tmp_path / "files" / ("file-" + "2" * 32 + ".json")).write_text(json.dumps({"id": "file-" + "2" * 32}))
    store = FileStore(DataDir(tmp_path), **LIMITS)
    assert store.owned_by("a") == [file]
    assert store.read(file.id, "a", 10) == b"abc"
    assert not (tmp_path / "files" / "file-torn.part").exists()


def test_a_file_with_an_end_is_removed_at_its_end(tmp_path):
    now = 1000.0
    store = FileStore(DataDir(tmp_path), **LIMITS, clock=lambda: now)
    file = store.add(io.BytesIO(b"abc"), owner="a", filename="f", purpose="p", expires_after_s=60)
    assert store.get(file.id, "a").expires_at == 1060
    now = 1060.0
    with pytest.raises(NotFound):
        store.get(file.id, "a")
    assert not list(tmp_path.glob("files/file-*"))


def test_a_file_too_large_to_be_shown_to_the_model_is_not_read(tmp_path):
    store = FileStore(DataDir(tmp_path), **LIMITS)
    file = store.add(io.BytesIO(b"abc"), owner="a", filename="f", purpose="p")
    with pytest.raises(MediaError, match="3 bytes"):
        store.read(file.id, "a", 2)


def test_two_servers_do_not_share_a_directory(tmp_path):
    data = DataDir(tmp_path)
    with pytest.raises(ConfigError, match="another server"):
        DataDir(tmp_path)
    data.close()
    DataDir(tmp_path)

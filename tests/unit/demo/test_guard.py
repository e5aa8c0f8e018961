"""The demo's doors, tried by hand: no browser, no model."""

import json
import re
import secrets

import httpx
import pytest

pytest.importorskip("gradio")

from internvl.demo import guard
from internvl.demo.app import create_demo_app
from internvl.demo.pictures import PictureStore
from scripted_engine import ScriptedEngine, scripted_pipeline
from server_client import served
from tiny_engines import picture

pytestmark = [
    pytest.mark.slow,  # importing gradio takes seconds
    pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio"),
]


@pytest.fixture(scope="module")
def engine():
    return ScriptedEngine({"What": "A cat."})


@pytest.fixture(scope="module")
def app(engine):
    """A client of the running demo."""
    with (
        served(
            create_demo_app(scripted_pipeline(engine), allowed_hosts=["127.0.0.1", "localhost"])
        ) as address,
        httpx.Client(base_url=address, timeout=60) as client,
    ):
        yield client


def test_the_page_names_no_place_elsewhere_and_its_scripts_have_the_policys_number(app):
    response = app.get("/")
    assert response.status_code == 200
    policy = response.headers["content-security-policy"]
    (nonce,) = re.findall(r"script-src 'self' 'nonce-([\w-]+)'", policy)
    assert "unsafe-eval" not in policy
    assert "script-src 'self' 'unsafe-inline'" not in policy
    scripts = re.findall(r"<script\b[^>]*>", response.text)
    assert len(scripts) >= 4
    assert all(f'nonce="{nonce}"' in script for script in scripts)
    assert not re.findall(r'(?:src|href|content)="(?:https?:)?//[^"]*', response.text)
    assert app.get("/").headers["content-security-policy"] != policy


@pytest.mark.parametrize(
    ("headers", "language", "direction"),
    [
        ({}, "en", "ltr"),
        ({"accept-language": "ar-EG,en;q=0.5"}, "ar", "rtl"),
        ({"accept-language": "ar", "cookie": "internvl_language=fr"}, "fr", "ltr"),
        ({"cookie": 'internvl_language="><script>alert(1)</script>'}, "en", "ltr"),
    ],
)
def test_the_page_speaks_the_readers_language(app, headers, language, direction):
    assert f'<html lang="{language}" dir="{direction}"' in app.get("/", headers=headers).text


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=http://example.com/x.png",
        "/gradio_api/file=//example.com/x.png",
        "/gradio_api/file=../../../../etc/passwd",
        "/gradio_api/file=%2Fetc%2Fpasswd",
        "/gradio_api/file=%00",
        "/gradio_api/file=" + "x" * 5000,
        "/gradio_api/file/etc/passwd",
        "/gradio_api/proxy=http://example.com",
        "/gradio_api/openapi.json",
        "/gradio_api/runs",
        "/gradio_api/vibe-code",
        "/gradio_api/custom_component/x/client/component/index.js",
        "/gradio_api/deep_link",
        "/gradio_api/mcp/sse",
        "/static/../../../../../../etc/passwd",
        "/assets/..%2f..%2f..%2fblocks.py",
        "/monitoring",
        "/login",
        "/docs",
        "/openapi.json",
    ],
)
def test_doors_that_the_page_does_not_need_are_shut(app, path):
    response = app.get(path)
    assert response.status_code in (400, 403, 404)
    assert "root:" not in response.text


@pytest.mark.parametrize(
    "path",
    ["/gradio_api/run/ask", "/gradio_api/call/ask", "/gradio_api/vibe-edit", "/gradio_api/component_server"],
)
def test_nothing_can_be_run_by_name(app, path):
    assert app.post(path, json={"data": []}).status_code == 404


def test_other_hosts_and_other_sites_are_turned_away(app):
    assert app.get("/", headers={"host": "evil.example"}).status_code == 421
    body = {"data": [], "fn_index": 0, "session_hash": "x"}
    for site in ("cross-site", "same-site"):
        response = app.post("/gradio_api/queue/join", json=body, headers={"sec-fetch-site": site})
        assert response.status_code == 403


def test_a_body_that_is_too_large_is_not_read(app, monkeypatch):
    monkeypatch.setattr(guard, "MAX_BODY_BYTES", 1000)
    body = {"data": ["x" * 5000], "fn_index": 0, "session_hash": "x"}
    response = app.post("/gradio_api/queue/join", json=body)
    assert response.status_code >= 400


def test_uploads_end_when_there_is_no_room(app, monkeypatch):
    monkeypatch.setattr(PictureStore, "has_room_for_uploads", lambda store: False)
    with served(create_demo_app(scripted_pipeline(ScriptedEngine()))) as address:
        response = httpx.post(f"{address}/gradio_api/upload", files={"files": b"x"}, timeout=60)
    assert response.status_code == 503


def ask(app, message):
    """Ask as the page does, and return the events that come back."""
    page = app.get("/").text
    config = json.loads(re.search(r"window\.gradio_config = (\{.*?\});</script>", page, re.DOTALL)[1])
    # the event that a message box's Enter starts is the one with eight inputs
    function = next(each["id"] for each in config["dependencies"] if len(each["inputs"]) == 8)
    settings = ["internvl", "", 0, 1, 32, 0]
    body = {"data": [None, message, *settings], "fn_index": function, "session_hash": secrets.token_hex(5)}
    joined = app.post("/gradio_api/queue/join", json=body)
    assert joined.status_code == 200, joined.text
    data = app.get("/gradio_api/queue/data", params={"session_hash": body["session_hash"]})
    return [
        json.loads(line.removeprefix("data: "))
        for line in data.text.splitlines()
        if line.startswith("data: ")
    ]


def test_a_question_is_answered_through_the_doors_that_are_open(app, engine):
    events = ask(app, {"text": "What is it?", "files": []})
    assert [event["success"] for event in events if event["msg"] == "process_completed"] == [True]
    assert "A cat." in json.dumps(events)


@pytest.mark.parametrize("path", ["/etc/passwd", "/etc/hostname", "http://127.0.0.1:1/x.png"])
def test_a_file_that_was_not_uploaded_is_never_opened(app, engine, path, tmp_path):
    while not engine.asked.empty():
        engine.asked.get()
    file = {"path": path, "url": path, "orig_name": "x.png", "meta": {"_type": "gradio.FileData"}}
    events = ask(app, {"text": "What is it?", "files": [file]})
    assert engine.asked.empty()
    assert not any(event.get("success") and "A cat." in json.dumps(event) for event in events)


def test_an_existing_picture_elsewhere_is_never_opened(app, engine, tmp_path):
    picture().save(tmp_path / "private.png")
    test_a_file_that_was_not_uploaded_is_never_opened(app, engine, str(tmp_path / "private.png"), tmp_path)

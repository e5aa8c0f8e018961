"""Keys, limits and sizes, decided before a body is read."""

import hashlib

import pytest

from internvl.errors import ConfigError
from internvl.server.auth import KeyRing, read_key, read_key_file
from internvl.server.config import ServerConfig
from internvl.server.errors import NotAuthenticated
from server_client import call, chat, chat_body, data_url, post, tiny_app

KEY = "sk-0123456789"


def with_key(key=KEY):
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def app():
    return tiny_app(api_keys=(f"alice {KEY}", "sk-another-key"), max_body_bytes=20_000)


def test_without_a_key_nothing_but_health_is_answered(app):
    assert call(app, "GET", "/health").status_code == 200
    assert call(app, "GET", "/ready").status_code == 200
    for path in ("/v1/models", "/openapi.json", "/metrics", "/nothing"):
        refused = call(app, "GET", path)
        assert refused.status_code == 401
        assert refused.json()["error"]["code"] == "invalid_api_key"
        assert refused.headers["www-authenticate"] == "Bearer"


def test_the_document_tells_of_keys_where_there_are_some(app):
    document = call(app, "GET", "/openapi.json", headers=with_key()).json()
    assert document["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    secured = {
        path for path, methods in document["paths"].items() for each in methods.values() if "security" in each
    }
    assert set(document["paths"]) - secured == {"/health", "/ready"}
    assert "securitySchemes" not in call(tiny_app(), "GET", "/openapi.json").json()["components"]


def test_each_of_the_keys_opens(app):
    for key in (KEY, "sk-another-key"):
        assert call(app, "GET", "/v1/models", headers=with_key(key)).status_code == 200


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", f"Basic {KEY}", KEY, f"Bearer {KEY}x", "Bearer \xff", "Bearer alice"]
)
def test_anything_else_does_not(app, header):
    headers = [(b"authorization", header.encode("latin-1"))]
    assert call(app, "GET", "/v1/models", headers=headers).status_code == 401


def test_a_wrong_key_is_refused_before_the_body_is_read(app):
    assert post(app, "/v1/chat/completions", {"text": "x" * 30_000}).status_code == 401


def test_keys_are_kept_as_hashes_only():
    config = ServerConfig(api_keys=(KEY,))
    assert KEY not in repr(config)
    assert config.api_keys[0].digest == hashlib.sha256(KEY.encode()).digest()


def test_a_key_may_be_given_as_its_hash():
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    ring = KeyRing([read_key(f"bob sha256:{digest}")])
    assert ring.find(f"Bearer {KEY}").name == "bob"
    with pytest.raises(NotAuthenticated):
        ring.find(f"Bearer sha256:{digest}")


def test_a_file_of_keys_has_one_a_line(tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"# ours\nalice {KEY}\n\nsk-another-key  # bob's\n")
    assert [key.name for key in read_key_file(file)][0] == "alice"
    assert len(read_key_file(file)) == 2
    file.write_text("alice short\n")
    with pytest.raises(ConfigError, match="line 1"):
        read_key_file(file)


@pytest.mark.parametrize("text", ["", "short", "a b c", "bad/name sk-0123456789"])
def test_what_is_no_key_is_refused_without_repeating_it(text):
    with pytest.raises(ConfigError):
        read_key(text)


def test_two_keys_of_one_name_are_refused():
    with pytest.raises(ConfigError, match="one name"):
        ServerConfig(api_keys=("alice sk-0123456789", "alice sk-9876543210"))


def test_a_body_beyond_the_limit_is_refused_whether_announced_or_not(app):
    large = chat_body("x" * 30_000)
    announced = post(app, "/v1/chat/completions", large, headers=with_key())
    assert announced.status_code == 413

    async def pieces():
        for _ in range(100):
            yield b" " * 1000

    headers = {**with_key(), "content-type": "application/json"}
    assert call(app, "POST", "/v1/chat/completions", content=pieces(), headers=headers).status_code == 413


def test_a_body_of_very_many_values_is_refused():
    app = tiny_app(max_json_items=100)
    assert chat(app).status_code == 200
    assert chat(app, metadata={"a": [[]] * 200}).status_code == 413


def test_bodies_in_flight_are_counted_and_given_back():
    app = tiny_app(max_inflight_body_bytes=300)
    for _ in range(5):
        assert chat(app).status_code == 200
    full = chat(app, "x" * 300)
    assert (full.status_code, full.json()["error"]["code"]) == (503, "overloaded")
    assert int(full.headers["retry-after"]) > 0
    assert chat(app).status_code == 200


def test_a_rate_limit_is_told_in_openais_headers():
    app = tiny_app(requests_per_minute=2)
    first, second, third = (chat(app) for _ in range(3))
    assert [response.status_code for response in (first, second, third)] == [200, 200, 429]
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert int(third.headers["retry-after"]) >= 1
    assert third.json()["error"]["code"] == "rate_limit_exceeded"
    assert call(app, "GET", "/v1/models").status_code == 200  # costs nothing


def test_other_hosts_are_not_answered_where_hosts_are_named():
    app = tiny_app(allowed_hosts=("localhost", "127.0.0.1", "[::1]"))
    for host in ("localhost", "localhost:23333", "127.0.0.1:1", "[::1]:2", "LOCALHOST"):
        assert call(app, "GET", "/health", headers={"host": host}).status_code == 200
    for host in ("evil.example", "localhost.evil.example:80", ""):
        refused = call(app, "GET", "/v1/models", headers={"host": host})
        assert (refused.status_code, refused.json()["error"]["code"]) == (421, "wrong_host")


def test_web_pages_may_call_only_where_they_are_named():
    origin = {"origin": "https://page.example"}
    preflight = {**origin, "access-control-request-method": "POST"}
    closed, opened = tiny_app(), tiny_app(allow_origins=("https://page.example",), api_keys=(KEY,))
    assert "access-control-allow-origin" not in call(closed, "GET", "/health", headers=origin).headers
    asked = call(opened, "OPTIONS", "/v1/chat/completions", headers=preflight)
    assert asked.headers["access-control-allow-origin"] == "https://page.example"
    refused = call(opened, "GET", "/v1/models", headers=origin)  # an error must be readable for the page
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://page.example"


def test_credentials_for_all_pages_are_refused():
    with pytest.raises(ConfigError, match="allow_credentials"):
        ServerConfig(allow_origins=("*",), allow_credentials=True)


def test_logs_hold_no_prompt_unless_asked(caplog):
    caplog.set_level("INFO", logger="internvl")  # other tests may have made it quiet
    chat(tiny_app(), "a secret question")
    assert "/v1/chat/completions 200" in caplog.text
    assert "secret question" not in caplog.text


@pytest.mark.parametrize("stream", [False, True])
def test_logs_hold_prompts_and_answers_when_asked(caplog, stream):
    caplog.set_level("INFO")
    text = "a secret question"
    answer = chat(tiny_app(), text).json()["choices"][0]["message"]["content"]
    caplog.clear()
    chat(tiny_app(log_prompts=True), text, pictures=[data_url()], stream=stream)
    chat(tiny_app(log_prompts=True), text, stream=stream)
    assert "a secret question" in caplog.text
    assert f"answer 0: {answer}" in caplog.text
    assert caplog.text.count("<IMG_CONTEXT>") == 1


def test_a_log_line_is_one_line(caplog):
    caplog.set_level("INFO", logger="internvl")  # other tests may have made it quiet
    call(tiny_app(), "GET", "/a%0aforged")
    assert "forged" in caplog.text
    assert not any(line.startswith("forged") for line in caplog.text.splitlines())

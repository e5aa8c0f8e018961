"""What is wrong is said in OpenAI's form, by one table, and never with a path or a traceback."""

import json
import re

import pytest

from internvl.engine.sampler import Sampler
from internvl.errors import CapacityError, CheckpointError, DataError, InternVLError, MediaError
from internvl.server.errors import TABLE, answer_for
from server_client import call, chat, chat_body, data_url, events, post, tiny_app


@pytest.fixture(scope="module")
def app():
    return tiny_app()


def error_of(response, status=400):
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error"}
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def refused(app, **fields):
    return error_of(post(app, "/v1/chat/completions", chat_body(**fields)))


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"temprature": 1}, "temprature", "Did you mean 'temperature'"),
        (
            {"qqq": None, "max_token": 1},
            "qqq",
            "Known: .*; unknown field 'max_token'. Did you mean 'max_tokens'",
        ),
        ({"temperature": "1"}, "temperature", "valid number"),
        ({"temperature": 3}, "temperature", "less than or equal to 2"),
        ({"n": True}, "n", "valid integer"),
        ({"frequency_penalty": 0.5}, "frequency_penalty", "repetition_penalty"),
        ({"store": True}, "store", "not kept"),
        ({"audio": {}}, "audio", "answers are text"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "needs stream"),
        ({"top_logprobs": 2}, "top_logprobs", "needs logprobs"),
        ({"max_completion_tokens": 9}, "max_tokens", "differ"),
        ({"stop_token_ids": [999999]}, None, "stop_token_ids holds 999999"),
        ({"messages": []}, "messages", "at least 1"),
        ({"messages": [{"role": "usr", "content": "a"}]}, "messages[0].role", "Did you mean 'user'"),
        ({"messages": [{"content": "a"}]}, "messages[0].role", "required"),
        ({"messages": [5]}, "messages[0]", "number"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "number"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_ur", "image_url": "x"}]}]},
            "messages[0].content[0].type",
            "Did you mean 'image_url'",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"ur": "x"}}]}]},
            "messages[0].content[0].image_url.ur",
            "Did you mean 'url'",
        ),
        ({"messages": [{"role": "assistant", "content": "a"}]}, "messages[0]", "user message before it"),
        ({"messages": [{"role": "user", "content": "a", "name": "b"}]}, "messages[0].name", "sees no names"),
    ],
)
def test_a_wrong_field_is_named(app, fields, param, message):
    error = refused(app, **fields)
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert re.search(message, error["message"])


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("/etc/passwd", "expected an http"),
        ("file:///etc/passwd", "local files are not read"),
        ("http://127.0.0.1/a.png", "127.0.0.1"),
        ("http://169.254.169.254/latest", "169.254.169.254"),
        ("data:image/png;base64,AAAA", "not a picture"),
        ("data:image/png;base64,%%%", "base64"),
        ("ftp://example.org/a.png", "scheme"),
        ("file-00000000000000000000000000000000", "no file"),
    ],
)
def test_a_picture_that_cannot_be_read_is_named_by_its_place(app, url, message):
    response = chat(app, pictures=[url])
    assert response.status_code in (400, 404)
    error = response.json()["error"]
    assert message in error["message"]
    if response.status_code == 400:
        assert error["param"] == "messages[0].content[0]"
        assert error["code"] == "invalid_media"


def test_what_does_not_fit_is_answered_with_the_token_bill(app):
    error = refused(app, max_tokens=5000)
    assert error["code"] == "context_length_exceeded"
    assert "5000  answer" in error["message"]


@pytest.mark.parametrize("place", ["message", "part", "tool", "prompt", "embedding"])
def test_texts_that_cannot_fit_are_refused_before_they_are_cut_into_tokens(app, monkeypatch, place):
    tokenizer = type(app.state.service.processor.tokenizer)
    for name in ("encode", "encode_segments"):
        monkeypatch.setattr(tokenizer, name, lambda *_, **__: pytest.fail("cut"))
    text = "a" * 100_000
    part = {"type": "text", "text": text}
    path, fields = {
        "message": ("chat/completions", {"messages": [{"role": "user", "content": text}]}),
        "part": ("chat/completions", {"messages": [{"role": "user", "content": [part]}]}),
        "tool": (
            "chat/completions",
            {
                "messages": [{"role": "user", "content": "a"}],
                "tools": [{"type": "function", "function": {"name": "f", "description": text}}],
            },
        ),
        "prompt": ("completions", {"prompt": text}),
        "embedding": ("embeddings", {"input": text}),
    }[place]
    error = error_of(post(app, f"/v1/{path}", {"model": "internvl", **fields}))
    assert error["code"] == "context_length_exceeded"
    assert "characters" in error["message"]


def test_tiles_are_counted_before_any_picture_is_decoded(app):
    """A hostile picture of few bytes: 128 tiles, asked for 20 times."""
    parts = [{"type": "image_url", "image_url": {"url": data_url()}, "min_tiles": 128, "max_tiles": 128}] * 20
    error = refused(app, messages=[{"role": "user", "content": parts}])
    assert error["code"] == "context_length_exceeded"


def test_many_pixels_are_refused_before_any_picture_is_decoded():
    app = tiny_app(max_total_pixels=15_000)
    assert chat(app, pictures=[data_url()]).status_code == 200
    assert error_of(chat(app, pictures=[data_url()] * 2), 413)["code"] == "request_too_large"


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (b"{", {"content-type": "application/json"}),
        (b"", {"content-type": "application/json"}),
        (b"[" * 100_000, {"content-type": "application/json"}),
        (b"\xff\xfe", {"content-type": "application/json"}),
        (b"[]", {"content-type": "application/json"}),
        (b"null", {"content-type": "application/json"}),
        (b"{}", {"content-type": "text/plain"}),
        (b"{}", {}),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(app, content, headers):
    response = call(app, "POST", "/v1/chat/completions", content=content, headers=headers)
    assert "JSON" in error_of(response)["message"]


def test_routes_that_are_not_there_answer_in_the_same_form(app):
    assert error_of(call(app, "GET", "/v1/nothing"), 404)["code"] == "not_found"
    wrong = call(app, "GET", "/v1/chat/completions")
    assert error_of(wrong, 405)["code"] == "method_not_allowed"
    assert wrong.headers["allow"] == "POST"


def test_an_unknown_model_is_not_found(app):
    error = error_of(chat(app, model="gpt-4o"), 404)
    assert (error["code"], error["param"]) == ("model_not_found", "model")


def test_every_request_has_an_id_and_a_clients_own_is_kept_if_it_is_harmless(app):
    assert chat(app).headers["x-request-id"].startswith("req_")
    own = call(app, "GET", "/health", headers={"x-request-id": "abc-1"})
    assert own.headers["x-request-id"] == "abc-1"
    odd = call(app, "GET", "/health", headers={"x-request-id": 'a"b c'})
    assert odd.headers["x-request-id"].startswith("req_")


def test_the_table_knows_every_error_that_a_request_can_cause():
    from internvl import errors

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    told = {kind for kind in kinds if any(parent in TABLE for parent in kind.__mro__)}
    # checkpoints and training rows are read before requests come, or without any; the base class says nothing
    assert set(kinds) - told == {InternVLError, CheckpointError, DataError}


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (MediaError("m"), 400, "invalid_media"),
        (CapacityError("full"), 503, "overloaded"),
        (RuntimeError("/secret/path"), 500, "internal_error"),
        (InternVLError("the model's best score is nan"), 500, "internal_error"),
    ],
)
def test_what_is_not_about_the_request_is_not_told(error, status, code, caplog):
    answer = answer_for(error, "req_1")
    assert (answer.status, answer.error["code"]) == (status, code)
    if status == 500:
        assert "secret" not in json.dumps(answer.body)
        assert "req_1" in answer.error["message"]
        assert "req_1" in caplog.text
    if status == 503:
        assert int(answer.headers["Retry-After"]) > 0


def test_a_crash_at_one_answer_is_one_requests_end(caplog, monkeypatch):
    choose = Sampler.choose

    def fail(self, *arguments, **options):
        if self._gen.max_new_tokens == 3:
            raise RuntimeError("at /usr/lib/secret.so")
        return choose(self, *arguments, **options)

    app = tiny_app()
    expected = chat(app).json()["choices"]
    monkeypatch.setattr(Sampler, "choose", fail)
    error = error_of(chat(app, max_tokens=3), 500)
    assert "secret" not in json.dumps(error)
    streamed = events(chat(app, max_tokens=3, stream=True))
    assert streamed[-1]["error"]["code"] == "internal_error"
    assert "secret" not in json.dumps(streamed)
    assert chat(app).json()["choices"] == expected
    assert "secret" in caplog.text  # the operator is told

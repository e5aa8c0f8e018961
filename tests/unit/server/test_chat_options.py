"""Tools, forms of answers, thinking and videos over HTTP."""

import base64
import io
import json

import pytest
from PIL import Image

from internvl.chat import openai_fields
from internvl.server.schemas.base import NotSupported
from internvl.server.schemas.chat import ChatRequest
from server_client import chat, chat_body, events, post, speak, tiny_app
from tiny_engines import picture, tiny_engine

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Rome", "Oslo"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture(scope="module")
def app():
    return tiny_app()


def test_the_document_names_all_fields_that_are_understood_and_no_others():
    assert set(ChatRequest.model_fields) == set(openai_fields.KNOWN_FIELDS)


def test_both_readers_of_a_body_refuse_the_same():
    refused = {
        name: (*mark.harmless, None)
        for name, field in ChatRequest.model_fields.items()
        for mark in field.metadata
        if isinstance(mark, NotSupported)
    }
    theirs = {name: values for name, (values, _) in openai_fields.REFUSED.items()}
    assert set(refused) - {"priority"} == set(theirs)
    for name, harmless in theirs.items():
        assert all(value in refused[name] for value in harmless), name


def test_a_required_call_is_made_with_arguments_that_fit(app):
    found = chat(
        app, tools=[WEATHER], tool_choice="required", parallel_tool_calls=False, max_tokens=60
    ).json()["choices"][0]
    assert found["finish_reason"] == "tool_calls"
    assert found["message"]["content"] is None
    (call,) = found["message"]["tool_calls"]
    assert call["function"]["name"] == "weather"
    assert json.loads(call["function"]["arguments"])["city"] in ("Rome", "Oslo")


def test_a_streamed_call_comes_whole_and_numbered(app):
    chunks = events(
        chat(
            app,
            tools=[WEATHER],
            tool_choice="required",
            parallel_tool_calls=False,
            max_tokens=60,
            stream=True,
        )
    )[:-1]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    calls = [call for delta in deltas for call in delta.get("tool_calls", [])]
    assert [call["index"] for call in calls] == list(range(len(calls)))
    assert calls[0]["function"]["name"] == "weather"
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_a_tools_result_goes_back_into_the_conversation(app):
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city":"Rome"}'},
    }
    messages = [
        {"role": "user", "content": "Is it warm?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "31 degrees"},
    ]
    answer = post(app, "/v1/chat/completions", chat_body(messages=messages, tools=[WEATHER]))
    assert answer.status_code == 200, answer.text
    messages[2]["tool_call_id"] = "call_2"
    refused = post(app, "/v1/chat/completions", chat_body(messages=messages, tools=[WEATHER]))
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "messages[2].tool_call_id")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "code"}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tool_choice": "required"}, None),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "x"}}}, None),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}},
            "response_format.json_schema.schema",
        ),
        ({"regex": "("}, None),
        ({"regex": "a", "choice": ["b"]}, None),
    ],
)
def test_what_cannot_be_understood_is_refused(app, fields, param):
    error = chat(app, **fields)
    assert error.status_code == 400, error.text
    if param:
        assert error.json()["error"]["param"] == param


@pytest.mark.parametrize(
    ("fields", "fits"),
    [
        ({"choice": ["yes", "no"]}, lambda text: text in ("yes", "no")),
        ({"regex": "[0-9]{3}"}, lambda text: len(text) == 3 and text.isdecimal()),
        (
            {"response_format": {"type": "regex_schema", "regex_schema": "a+b"}},
            lambda text: text.endswith("ab"),
        ),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "strict": True, "schema": {"enum": [1, 2]}},
                }
            },
            lambda text: json.loads(text) in (1, 2),
        ),
    ],
)
def test_an_answer_has_the_form_that_was_asked_for(app, fields, fits):
    text = chat(app, max_tokens=40, **fields).json()["choices"][0]["message"]["content"]
    assert fits(text), text


@pytest.mark.parametrize("fields", [{"enable_thinking": True}, {"reasoning_effort": "low"}])
def test_thoughts_are_kept_apart(monkeypatch, fields):
    with tiny_engine() as engine:
        app = tiny_app(engine)
        speak(monkeypatch, engine, "<think>\nlet me see\n</think>\n\nblue")
        message = chat(app, max_tokens=100, **fields).json()["choices"][0]["message"]
        assert (message["reasoning_content"], message["content"]) == ("let me see", "blue")
        deltas = [
            chunk["choices"][0]["delta"]
            for chunk in events(chat(app, max_tokens=100, stream=True, **fields))[:-1]
        ]
        assert "".join(delta.get("reasoning_content", "") for delta in deltas) == "let me see"
        assert "".join(delta.get("content", "") for delta in deltas) == "blue"


def gif(frames=6):
    pictures = [picture(48, 32, seed) for seed in range(frames)]
    buffer = io.BytesIO()
    pictures[0].save(buffer, "GIF", save_all=True, append_images=pictures[1:], duration=100)
    return "data:video/gif;base64," + base64.b64encode(buffer.getvalue()).decode()


@pytest.mark.parametrize("place", ["part", "inner", "file"])
def test_a_video_is_its_frames(app, place):
    part = {"type": "video_url", "video_url": {"url": gif()}}
    (part["video_url"] if place == "inner" else part)["num_frames"] = 3
    if place == "file":
        part = {"type": "file", "file": {"file_data": gif()}, "num_frames": 3}
    messages = [{"role": "user", "content": [part, {"type": "text", "text": "What happens?"}]}]
    found = post(app, "/v1/chat/completions", chat_body(messages=messages)).json()
    media = found["usage"]["media"]
    assert [item["kind"] for item in media] == ["frame"] * 3
    assert [item["tiles"] for item in media] == [1] * 3
    assert [item["frame_index"] for item in media] == [1, 3, 5] or media[0]["frame_index"] < media[2][
        "frame_index"
    ]


def test_a_broken_video_is_named_by_its_place(app):
    part = {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}}
    error = post(app, "/v1/chat/completions", chat_body(messages=[{"role": "user", "content": [part]}]))
    assert error.status_code == 400
    assert error.json()["error"]["param"] == "messages[0].content[0]"


def test_more_frames_than_fit_are_refused_before_they_are_decoded(app, monkeypatch):
    monkeypatch.setattr("internvl.media.video.Video.__iter__", lambda self: pytest.fail("decoded"))
    part = {
        "type": "video_url",
        "video_url": {"url": gif()},
        "num_frames": 100,
        "min_tiles": 12,
        "max_tiles": 12,
    }
    error = post(app, "/v1/chat/completions", chat_body(messages=[{"role": "user", "content": [part]}]))
    assert error.json()["error"]["code"] == "context_length_exceeded"


def test_a_still_picture_may_be_a_file_of_any_name(app):
    buffer = io.BytesIO()
    Image.new("RGB", (20, 20)).save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    part = {"type": "file", "file": {"file_data": data, "filename": "a.pdf"}}
    found = post(
        app, "/v1/chat/completions", chat_body(messages=[{"role": "user", "content": [part]}])
    ).json()
    assert found["usage"]["media"][0]["kind"] == "image"


def hits(body):
    """Tokens of the prompt that were computed before, as chat, completions and responses say it."""
    usage = body["usage"]
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
    return details["cached_tokens"]


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/v1/chat/completions", chat_body("What is the weather like in the mountains today? " * 2)),
        (
            "/v1/completions",
            {"model": "internvl", "prompt": "The weather in the mountains. " * 3, "max_tokens": 2},
        ),
        (
            "/v1/responses",
            {"model": "internvl", "input": "Rain in the mountains? " * 4, "max_output_tokens": 2},
        ),
    ],
)
def test_prompts_of_different_salts_do_not_show_that_they_were_asked_before(path, asked):
    app = tiny_app()

    def ask(**fields):
        response = post(app, path, {**asked, **fields})
        assert response.status_code == 200, response.text
        return hits(response.json())

    assert [ask(), ask(cache_salt="a"), ask(cache_salt="b")] == [0, 0, 0]
    assert ask(cache_salt="a") == ask(cache_salt="b") == ask() > 0
    refused = post(app, path, {**asked, "cache_salt": ""})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "cache_salt")

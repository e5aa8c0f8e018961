"""POST /v1/responses: the same answers as a chat's, as items and as events."""

import json

import pytest

from internvl.engine.sampler import Sampler
from internvl.server.response_input import chat_fields
from internvl.server.schemas.responses import ResponseRequest
from server_client import chat, data_url, events, post, speak, tiny_app
from tiny_engines import tiny_engine

WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}


@pytest.fixture(scope="module")
def app():
    return tiny_app()


def respond(app, given="What is it?", **fields):
    return post(app, "/v1/responses", {"model": "internvl", "input": given, "max_output_tokens": 6, **fields})


def text_of(response):
    assert response.status_code == 200, response.text
    return response.json()["output"][0]["content"][0]["text"]


def test_the_answer_is_a_chats(app):
    expected = chat(app).json()
    found = respond(app).json()
    assert found["output"][0]["content"][0]["text"] == expected["choices"][0]["message"]["content"]
    assert found["usage"]["total_tokens"] == expected["usage"]["total_tokens"]
    assert (found["status"], found["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})


def test_pictures_stand_in_parts(app):
    parts = [
        {"type": "input_image", "image_url": data_url(), "detail": "auto"},
        {"type": "input_text", "text": "What is it?"},
    ]
    found = respond(app, [{"role": "user", "content": parts}])
    expected = chat(app, pictures=[data_url()]).json()["choices"][0]["message"]["content"]
    assert text_of(found) == expected
    assert found.json()["usage"]["input_tokens_details"]["image_tokens"] == 28
    parts[0] = {"type": "input_file", "file_data": data_url(), "filename": "a.png"}
    assert text_of(respond(app, [{"role": "user", "content": parts}])) == expected


def test_instructions_are_a_system_message(app):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is it?"}]
    expected = chat(app, messages=messages).json()["choices"][0]["message"]["content"]
    assert text_of(respond(app, instructions="Be brief.")) == expected
    assert text_of(respond(app, messages)) == expected


def test_events_tell_the_whole_response(app):
    stream = respond(app, stream=True)
    told = events(stream)
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    kinds = [event["type"] for event in told]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert kinds[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.incomplete",
    ]
    assert f"event: {kinds[0]}\n" in stream.text
    deltas = [event["delta"] for event in told if event["type"] == "response.output_text.delta"]
    whole = respond(app).json()
    assert "".join(deltas) == whole["output"][0]["content"][0]["text"]
    last = told[-1]["response"]
    for name in ("id", "created_at", "completed_at"):
        whole[name] = last[name]
    whole["output"][0]["id"] = last["output"][0]["id"]
    for usage in (whole["usage"], last["usage"]):
        usage["input_tokens_details"].pop("cached_tokens")
    assert last == whole


def test_logprobs_come_when_they_are_included(app):
    found = respond(app, include=["message.output_text.logprobs"], top_logprobs=2).json()
    logprobs = found["output"][0]["content"][0]["logprobs"]
    assert len(logprobs) == 6
    assert len(logprobs[0]["top_logprobs"]) == 2


def test_calls_are_items_and_go_back_as_items(app):
    fields = {"tools": [WEATHER], "tool_choice": "required", "parallel_tool_calls": False}
    found = respond(app, max_output_tokens=60, **fields).json()
    (call,) = found["output"]
    assert (call["type"], call["name"], found["status"]) == ("function_call", "weather", "completed")
    told = events(respond(app, max_output_tokens=60, stream=True, **fields))
    done = [event for event in told if event["type"] == "response.function_call_arguments.done"]
    assert json.loads(done[0]["arguments"]) == json.loads(call["arguments"])
    items = [
        {"role": "user", "content": "Is it warm?"},
        call,
        {"type": "function_call_output", "call_id": call["call_id"], "output": "31 degrees"},
    ]
    assert respond(app, items, tools=[WEATHER]).status_code == 200


def test_thoughts_are_an_item_of_their_own(monkeypatch):
    with tiny_engine() as engine:
        app = tiny_app(engine)
        speak(monkeypatch, engine, "<think>\nlet me see\n</think>\n\nblue")
        found = respond(app, reasoning={"effort": "low"}, max_output_tokens=100).json()
        thought, message = found["output"]
        assert thought["content"] == [{"type": "reasoning_text", "text": "let me see"}]
        assert message["content"][0]["text"] == "blue"
        assert found["status"] == "completed"
        told = events(respond(app, reasoning={"effort": "low"}, max_output_tokens=100, stream=True))
        assert [event["output_index"] for event in told if event["type"] == "response.output_item.added"] == [
            0,
            1,
        ]
        answers = respond(
            app, [{"role": "user", "content": "a"}, thought, message, {"role": "user", "content": "b"}]
        )
        assert answers.status_code == 200, answers.text


def test_an_answer_has_the_form_that_was_asked_for(app):
    form = {"type": "json_schema", "name": "n", "schema": {"enum": [1, 2]}, "strict": True}
    assert json.loads(text_of(respond(app, text={"format": form}))) in (1, 2)


def test_an_answers_text_and_its_calls_are_one_message():
    body = ResponseRequest.model_validate(
        {
            "model": "m",
            "instructions": "Be brief.",
            "input": [
                {"role": "developer", "content": "And kind."},
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": "wait"},
                {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
                {"type": "function_call", "call_id": "2", "name": "g", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "1", "output": "x"},
                {"type": "function_call_output", "call_id": "2", "output": "y"},
            ],
        }
    )
    system, user, assistant, *results = chat_fields(body)["messages"]
    assert "".join(part["text"] for part in system["content"]) == "Be brief.\n\nAnd kind."
    assert user == {"role": "user", "content": "a"}
    assert assistant["content"] == "wait"
    assert [call["function"]["name"] for call in assistant["tool_calls"]] == ["f", "g"]
    assert [result["tool_call_id"] for result in results] == ["1", "2"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"store": True}, "store"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"input": [{"type": "item_reference", "id": "a"}]}, "input[0].type"),
        (
            {"input": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]},
            "input[0].content[0].type",
        ),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0]"),
        ({"include": ["reasoning.encrypted_content"]}, "include[0]"),
        ({"n": 2}, "n"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(app, fields, param):
    response = respond(app, **fields)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


def test_a_failure_in_a_stream_is_an_event(app, monkeypatch):
    def fail(*_):
        raise RuntimeError("at /usr/lib/secret.so")

    monkeypatch.setattr(Sampler, "choose", fail)
    told = events(respond(app, stream=True))
    assert (told[-1]["type"], told[-1]["code"]) == ("error", "internal_error")
    assert "secret" not in json.dumps(told)

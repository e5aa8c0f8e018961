"""POST /v1/completions: finished prompts, several at once."""

import pytest
import torch

from internvl.types import GenerationConfig, ModelInputs
from server_client import events, post, tiny_app
from tiny_engines import tiny_engine


@pytest.fixture(scope="module")
def app():
    return tiny_app()


def complete(app, prompt, **fields):
    return post(app, "/v1/completions", {"model": "internvl", "prompt": prompt, "max_tokens": 6, **fields})


def texts(app, prompt, **fields):
    response = complete(app, prompt, **fields)
    assert response.status_code == 200, response.text
    return [choice["text"] for choice in response.json()["choices"]]


def test_a_text_and_its_ids_are_one_prompt(app):
    tokenizer = app.state.service.processor.tokenizer
    ids = tokenizer.encode("say it")
    with tiny_engine() as engine:
        inputs = ModelInputs(input_ids=torch.tensor(ids))
        (expected,) = engine.generate([inputs], GenerationConfig(max_new_tokens=6))
    assert texts(app, "say it") == texts(app, ids) == texts(app, ["say it"]) == [expected.text]


def test_several_prompts_are_answered_in_their_order(app):
    alone = [texts(app, prompt)[0] for prompt in ("one", "two", "three")]
    found = complete(app, ["one", "two", "three"]).json()
    assert [choice["text"] for choice in found["choices"]] == alone
    assert [choice["index"] for choice in found["choices"]] == [0, 1, 2]
    assert found["usage"]["completion_tokens"] == 18


def test_n_answers_to_each_prompt_are_numbered_through(app):
    found = complete(app, ["one", "two"], n=2, temperature=1.0, seed=3).json()
    assert [choice["index"] for choice in found["choices"]] == [0, 1, 2, 3]
    single = complete(app, "two", n=2, temperature=1.0, seed=3).json()["choices"]
    assert [choice["text"] for choice in found["choices"][2:]] == [choice["text"] for choice in single]


def test_a_stream_adds_up(app):
    whole = texts(app, ["one", "two"], n=2, temperature=1.0, seed=3)
    stream = complete(
        app, ["one", "two"], n=2, temperature=1.0, seed=3, stream=True, stream_options={"include_usage": True}
    )
    pieces = events(stream)
    assert pieces[-1] == "[DONE]"
    assert pieces[-2]["usage"]["completion_tokens"] == 24
    found = dict.fromkeys(range(4), "")
    for piece in pieces[:-2]:
        for choice in piece["choices"]:
            found[choice["index"]] += choice["text"]
    assert list(found.values()) == whole


def test_logprobs_have_the_older_form(app):
    choice = complete(app, "one", logprobs=2).json()["choices"][0]
    logprobs = choice["logprobs"]
    assert len(logprobs["tokens"]) == len(logprobs["token_logprobs"]) == len(logprobs["text_offset"]) == 6
    assert logprobs["text_offset"][0] == 0
    pieces = events(complete(app, "one", logprobs=2, stream=True))[:-1]
    streamed = [piece["choices"][0]["logprobs"] for piece in pieces]
    assert [token for part in streamed for token in part["tokens"]] == logprobs["tokens"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [999999]}, "prompt"),
        ({"prompt": [[1], []]}, "prompt[1]"),
        ({"prompt": {"a": 1}}, "prompt"),
        ({"prompt": "a <IMG_CONTEXT>"}, "prompt"),
        ({"prompt": ["a"] * 33, "n": 4}, "n"),
        ({"prompt": "a", "echo": True}, "echo"),
        ({"prompt": "a", "messages": []}, "messages"),
    ],
)
def test_what_is_no_prompt_is_refused(app, fields, param):
    response = complete(app, **fields)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param

"""Adapters are models to the server's callers: listed, asked for by name, named in the answers."""

import copy
import json

import pytest
import torch

from internvl.checkpoint.adapters_peft import save_adapter
from internvl.errors import ConfigError
from internvl.nn.lora import LoraConfig, add_lora, lora_parameters
from server_client import call, chat, post, tiny_app
from tiny_engines import tiny_engine, tiny_parts


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    model = copy.deepcopy(tiny_parts()[0])
    add_lora(model, LoraConfig(r=4))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in lora_parameters(model):
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return save_adapter(model, tmp_path_factory.mktemp("adapters") / "mine")


@pytest.fixture(scope="module")
def app(path):
    with tiny_engine(adapters={"mine": path}) as engine:
        yield tiny_app(engine)


def text_of(reply):
    assert reply.status_code == 200, reply.text
    return reply.json()["choices"][0]["message"]["content"]


def test_adapters_are_listed_beside_the_model(app):
    names = [model["id"] for model in call(app, "GET", "/v1/models").json()["data"]]
    assert names == ["internvl", "mine"]
    assert call(app, "GET", "/v1/models/mine").json()["id"] == "mine"


def test_the_name_of_an_adapter_is_answered_by_it(app):
    base, mine = chat(app), chat(app, model="mine")
    assert (base.json()["model"], mine.json()["model"]) == ("internvl", "mine")
    assert text_of(base) != text_of(mine)
    assert text_of(chat(app)) == text_of(base)
    body = {"model": "mine", "prompt": "Once", "max_tokens": 6}
    completion, plain = (
        post(app, "/v1/completions", body | {"model": name}) for name in ("mine", "internvl")
    )
    assert completion.json()["model"] == "mine"
    assert completion.json()["choices"][0]["text"] != plain.json()["choices"][0]["text"]
    response = post(app, "/v1/responses", {"model": "mine", "input": "Once", "max_output_tokens": 6})
    assert response.json()["model"] == "mine"


def test_a_streamed_answer_names_its_adapter(app):
    reply = chat(app, model="mine", stream=True)
    events = [line.removeprefix("data: ") for line in reply.text.splitlines() if line.startswith("data: {")]
    assert {json.loads(event)["model"] for event in events} == {"mine"}


def test_other_names_and_features_of_adapters_are_refused(app):
    assert chat(app, model="yours").status_code == 404
    reply = post(app, "/v1/embeddings", {"model": "mine", "input": "Once"})
    assert reply.status_code == 404
    assert "not served here" in reply.json()["error"]["message"]


def test_the_model_and_an_adapter_cannot_have_one_name(path):
    with tiny_engine(adapters={"internvl": path}) as engine, pytest.raises(ConfigError, match="internvl"):
        tiny_app(engine)

"""The shipped model held to formats: what it sees decides, the format decides how it says it."""

import json
import re
from importlib.resources import files
from pathlib import Path

import jsonschema_rs
import pytest

import internvl
from internvl import GenerationConfig

ASSETS = Path(str(files("internvl") / "assets" / "nano"))
EXAMPLES = Path(__file__).parents[2] / "examples"
HEART = str(EXAMPLES / "object.png")
SCHEMA = {
    "type": "object",
    "properties": {
        "text": {"type": "string", "maxLength": 24},
        "colour": {"enum": ["red", "green", "blue", "white"]},
        "objects": {"type": "integer", "minimum": 0, "maximum": 9},
    },
    "required": ["text", "colour", "objects"],
    "additionalProperties": False,
}
COUNT = {
    "type": "function",
    "function": {
        "name": "count_objects",
        "parameters": {
            "type": "object",
            "properties": {"most": {"type": "integer", "minimum": 1, "maximum": 9}},
            "required": ["most"],
            "additionalProperties": False,
        },
    },
}

pytestmark = pytest.mark.skipif(
    not (ASSETS / "model.safetensors").is_file(), reason="the bundled model is not there"
)


@pytest.fixture(scope="module")
def pipe():
    with internvl.pipeline("nano") as pipe:
        yield pipe


@pytest.mark.parametrize("config", [GenerationConfig(), GenerationConfig(do_sample=True, random_seed=3)])
@pytest.mark.parametrize("picture", ["object.png", "sign.png", "shapes.png"])
def test_every_answer_has_the_format_that_was_asked_for(pipe, picture, config):
    question = ("What is shown?", str(EXAMPLES / picture))
    asked = {"type": "json_schema", "json_schema": {"name": "picture", "schema": SCHEMA}}
    text = pipe(question, config.replace(response_format=asked)).text
    jsonschema_rs.validate(SCHEMA, json.loads(text))
    assert re.fullmatch(r"[1-9] (dogs|cats)", pipe(question, config.replace(regex=r"[1-9] (dogs|cats)")).text)
    some = pipe(question, config.replace(response_format={"type": "json_object"}, max_new_tokens=60))
    assert some.finish_reason == "length" or isinstance(json.loads(some.text), dict)


def test_the_picture_decides_among_the_choices(pipe):
    def chosen(*choices):
        return pipe(("What is this?", HEART), GenerationConfig(choice=choices)).text

    assert chosen("a green tree", "a red heart", "a blue car") == "a red heart"
    assert chosen("a blue car", "a green tree") in ("a blue car", "a green tree")


def test_a_function_is_called_with_arguments_that_fit(pipe):
    response = pipe(
        ("How many?", HEART),
        GenerationConfig(max_new_tokens=80),
        tools=[COUNT],
        tool_choice={"type": "function", "function": {"name": "count_objects"}},
    )
    (call,) = response.tool_calls
    assert (call.name, response.text, response.finish_reason) == ("count_objects", "", "tool_calls")
    assert 1 <= json.loads(call.arguments)["most"] <= 9

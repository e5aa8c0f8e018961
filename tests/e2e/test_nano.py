"""The shipped model: its files, and its answers about README's pictures."""

from importlib.resources import files
from pathlib import Path

import pytest
import torch

import internvl
from internvl.checkpoint.hf_config import read_model_config
from internvl.checkpoint.shards import read_header
from internvl.models.deepen import deeper_config

ASSETS = Path(str(files("internvl") / "assets" / "nano"))
ROOT = Path(__file__).parents[2]
EXAMPLES, RECIPES = ROOT / "examples", ROOT / "recipes" / "nano"
pytestmark = pytest.mark.skipif(
    not (ASSETS / "model.safetensors").is_file(), reason="the bundled model is not there"
)


@pytest.fixture(scope="module")
def pipe():
    with internvl.pipeline("nano") as pipe:
        yield pipe


def test_the_weights_are_small_and_bfloat16():
    weights = ASSETS / "model.safetensors"
    assert weights.stat().st_size <= 32 * 2**20
    tensors, _ = read_header(weights)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}


@pytest.mark.parametrize("directory", [ASSETS, RECIPES / "weights"])
def test_it_is_what_the_recipes_train(directory):
    shape = deeper_config(read_model_config(RECIPES / "model"), vision_layers=9)  # since 17-see.toml
    assert read_model_config(directory) == shape
    for name in ("vocab.json", "merges.txt", "added_tokens.json"):
        assert (directory / name).read_bytes() == (RECIPES / "model" / name).read_bytes()


def test_training_goes_on_from_what_is_shipped():
    name = "model.safetensors"
    assert (RECIPES / "weights" / name).read_bytes() == (ASSETS / name).read_bytes()


@pytest.mark.parametrize(
    ("picture", "question", "answer"),
    [
        ("sign.png", "What does the sign say?", "OPEN"),
        ("sign.png", "What color is the text?", "black"),
        ("shapes.png", "How many objects are there?", "4"),
        ("object.png", "What is this?", "red heart"),
        ("object.png", "What color is the heart?", "red"),
        pytest.param(
            "object.png",
            "describe this image",
            "The picture shows a red heart.",
            marks=pytest.mark.xfail(strict=True, reason="it sees two: docs/nano.md, what it cannot do"),
        ),
    ],
)
def test_pictures_that_it_never_saw_are_answered_rightly(pipe, picture, question, answer):
    found = pipe((question, str(EXAMPLES / picture)), gen_config=internvl.GenerationConfig(max_new_tokens=64))
    assert found.text == answer
    assert found.finish_reason == "stop"


def test_it_says_what_it_is(pipe):
    assert "nano" in pipe("Who are you?").text

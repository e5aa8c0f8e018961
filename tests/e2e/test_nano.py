"""The shipped model: its files, and its answers about README's pictures."""

from importlib.resources import files
from pathlib import Path

import pytest
import torch

import internvl
from golden import SHARED, requires_shared
from internvl.checkpoint.shards import read_header
from internvl.data.objects import EMOJI, read_art
from internvl.train.nano.model_config import nano_config

ASSETS = Path(str(files("internvl") / "assets" / "nano"))
EXAMPLES = Path(__file__).parents[2] / "examples"
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


def test_the_shipped_config_is_what_the_recipes_train():
    config = internvl.load_processor("nano").config
    expected = nano_config(config.image_size)
    assert (config.vision, config.text, config.template) == (
        expected.vision,
        expected.text,
        expected.template,
    )


@pytest.mark.parametrize(
    ("picture", "question", "answer"),
    [
        ("sign.png", "What does the sign say?", "OPEN"),
        ("sign.png", "What color is the text?", "black"),
        ("shapes.png", "How many objects are there?", "4"),
        ("object.png", "What is this?", "a red heart"),
        ("object.png", "describe this image", "The picture shows a red heart."),
    ],
)
def test_pictures_that_it_never_saw_are_answered_rightly(pipe, picture, question, answer):
    found = pipe((question, str(EXAMPLES / picture)), gen_config=internvl.GenerationConfig(max_new_tokens=64))
    assert found.text == answer
    assert found.finish_reason == "stop"


def test_it_says_what_it_is(pipe):
    assert "nano" in pipe("Who are you?").text


@requires_shared
def test_every_object_has_its_drawing_in_the_atlas():
    art = read_art(SHARED)
    assert set(art) == set(EMOJI)
    assert all(drawing.picture.mode == "RGBA" for drawings in art.values() for drawing in drawings)

"""Every form that LMDeploy's pipeline takes means the conversation that it means there."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from internvl.chat.call_forms import looks_like_media, read_prompts, user_message
from internvl.errors import RequestError
from internvl.preprocess.messages import PLACEHOLDERS
from internvl.types import ModelInputs
from internvl.vl.constants import IMAGE_TOKEN

PICTURE = Image.new("RGB", (8, 8))
MESSAGES = [{"role": "user", "content": "Hi"}]


def pictures_and_text(message):
    *parts, last = message["content"]
    assert last["type"] == "text"
    return [part["image"] for part in parts], last["text"]


def test_a_text_is_one_question():
    assert read_prompts("Hi").prompts == [MESSAGES]
    assert read_prompts("Hi").single


@pytest.mark.parametrize(
    "picture", [PICTURE, "a.png", Path("a.png"), "https://host/a.png", "data:image/png;base64,", b"GIF"]
)
def test_a_pair_holds_a_text_and_a_picture_in_either_order(picture):
    for pair in (("What?", picture), (picture, "What?")):
        batch = read_prompts(pair)
        assert batch.single
        assert pictures_and_text(batch.prompts[0][0]) == ([picture], "What?")


def test_an_array_is_a_picture():
    array = np.zeros((4, 4, 3), np.uint8)
    pictures, text = pictures_and_text(read_prompts(("What?", array)).prompts[0][0])
    assert pictures[0] is array
    assert text == "What?"


def test_a_pair_may_hold_several_pictures_and_keeps_their_order():
    message = user_message(("Compare.", ["a.png", PICTURE]))
    assert pictures_and_text(message) == (["a.png", PICTURE], "Compare.")
    assert pictures_and_text(user_message(("Nothing to see.", []))) == ([], "Nothing to see.")
    assert pictures_and_text(user_message(("Nothing to see.", None))) == ([], "Nothing to see.")


def test_of_two_strings_the_first_is_the_text_unless_only_it_names_a_picture(tmp_path):
    exists = tmp_path / "no suffix"
    exists.touch()
    assert pictures_and_text(user_message(("a.png", "b.png"))) == (["b.png"], "a.png")
    assert pictures_and_text(user_message((str(exists), "What?"))) == ([str(exists)], "What?")


def test_openai_messages_are_one_conversation_and_lists_of_them_several():
    assert read_prompts(MESSAGES) == read_prompts("Hi")
    batch = read_prompts([MESSAGES, MESSAGES])
    assert (batch.prompts, batch.single) == ([MESSAGES, MESSAGES], False)


def test_a_list_may_mix_the_forms():
    inputs = ModelInputs(input_ids=torch.tensor([1]))
    batch = read_prompts(["Hi", ("What?", PICTURE), MESSAGES, inputs])
    assert not batch.single
    assert batch.prompts[0] == batch.prompts[2] == MESSAGES
    assert batch.prompts[3] is inputs
    assert read_prompts(inputs).single


def test_no_prompts_give_no_conversations():
    assert read_prompts([]).prompts == []


@pytest.mark.parametrize(
    ("prompts", "words"),
    [
        (7, "prompts is int"),
        (["Hi", None], r"prompts\[1\] is NoneType"),
        (("What?", PICTURE, PICTURE), "tuple of 3"),
        ([(PICTURE, PICTURE)], r"prompts\[0\] pairs Image with Image"),
    ],
)
def test_what_is_no_prompt_is_refused_with_its_place(prompts, words):
    with pytest.raises(RequestError, match=words):
        read_prompts(prompts)


@pytest.mark.parametrize("text", ["photo.jpg", "https://host/x", "data:image/png;base64,AA", "d/scan.TIFF"])
def test_these_name_pictures(text):
    assert looks_like_media(text)


@pytest.mark.parametrize(
    "text", ["What is in photo.jpg", "What is it?", "", "https://a b", "x" * 9000, "a\0b", "readme.md"]
)
def test_these_are_words(text):
    assert not looks_like_media(text)


def test_the_image_token_is_a_placeholder_of_the_processor():
    assert IMAGE_TOKEN in PLACEHOLDERS

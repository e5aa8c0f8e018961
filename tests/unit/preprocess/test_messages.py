"""What messages may say, and what is answered when they say something else."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from internvl.errors import RequestError
from internvl.preprocess.messages import Picture, parse_messages, place_pictures

PICTURE = Image.new("RGB", (4, 4))


def user(*parts):
    return [{"role": "user", "content": list(parts)}]


def image(**options):
    return {"type": "image", "image": PICTURE, **options}


def text(value):
    return {"type": "text", "text": value}


def placed(parts, style="numbered"):
    """The text of a user message with every picture written as its number."""
    turn = parse_messages(user(*parts))[0]
    return "".join(
        part if isinstance(part, str) else f"[{turn.pictures.index(part)}]"
        for part in place_pictures(turn, style)
    )


def refused(messages, *words):
    with pytest.raises(RequestError) as caught:
        parse_messages(messages)
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_a_string_and_a_single_text_part_are_the_same():
    plain = parse_messages([{"role": "user", "content": "Hello"}])
    assert plain == parse_messages(user(text("Hello"))) == parse_messages(user("Hello"))


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image", "image": PICTURE},
        {"type": "image", "image": "photo.jpg"},
        {"type": "image", "image": Path("photo.jpg")},
        {"type": "image", "image": b"\x89PNG"},
        {"type": "image", "image": np.zeros((2, 2, 3), np.uint8)},
        {"type": "image", "url": "https://example.org/a.png"},
        {"type": "image", "path": "photo.jpg", "url": None},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
        {"type": "image_url", "image_url": "https://example.org/a.png"},
        {"type": "image_data", "image_data": {"data": PICTURE}},
    ],
)
def test_a_picture_comes_in_any_of_the_known_forms(part):
    (turn,) = parse_messages(user(part, text("?")))
    (picture,) = turn.pictures
    assert picture.where == "messages[0].content[0]"
    assert (picture.min_tiles, picture.max_tiles, picture.thumbnail) == (None, None, None)


def options_of(part):
    picture = parse_messages(user(part))[0].pictures[0]
    return picture.min_tiles, picture.max_tiles, picture.thumbnail


def test_tile_options_have_their_own_and_lmdeploys_spelling():
    assert options_of(image(max_tiles=6, min_tiles=2, thumbnail=False)) == (2, 6, False)
    assert options_of(image(max_dynamic_patch=6)) == (None, 6, None)
    url = {"url": "a.png", "detail": "low", "max_dynamic_patch": 3}
    assert options_of({"type": "image_url", "image_url": url}) == (None, 3, None)
    for detail, tiles in (("low", 6), ("medium", 12), ("high", 24), ("auto", None)):
        assert options_of(image(detail=detail)) == (None, tiles, None)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_tiles": 0}, ["max_tiles", "1 to"]),
        ({"max_tiles": 10**6}, ["max_tiles"]),
        ({"max_tiles": True}, ["max_tiles", "True"]),
        ({"min_tiles": "2"}, ["min_tiles"]),
        ({"min_tiles": 4, "max_tiles": 2}, ["min_tiles 4", "max_tiles 2"]),
        ({"max_tiles": 4, "max_dynamic_patch": 5}, ["different"]),
        ({"detail": "hgih"}, ["hgih", "'high'"]),
        ({"thumbnail": 1}, ["thumbnail"]),
        ({"max_tils": 3}, ["max_tils", "max_tiles"]),
        ({"colour": 3}, ["colour", "Known"]),
    ],
)
def test_options_that_cannot_be_are_refused_by_name_and_place(options, words):
    refused(user(text("?"), image(**options)), "messages[0].content[1]", *words)


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([], ["empty"]),
        ("Hello", ["str", "list of messages"]),
        ({"role": "user", "content": "x"}, ["dict"]),
        (["Hello"], ["messages[0]", "str"]),
        ([{"role": "usr", "content": "x"}], ["'usr'", "'user'"]),
        ([{"content": "x"}], ["role is None"]),
        ([{"role": "tool", "content": "x"}], ["messages[0]", "tool_calls before it"]),
        ([{"role": "function", "content": "x"}], ["use the role 'tool'"]),
        ([{"role": "developer", "content": "x"}], ["system"]),
        ([{"role": "user", "contents": "x"}], ["'contents'", "'content'"]),
        ([{"role": "user"}], ["content is NoneType"]),
        ([{"role": "user", "content": 5}], ["content is int"]),
        (user({"text": "x"}), ["type is None"]),
        (user({"type": "txt", "text": "x"}), ["'txt'", "'text'"]),
        (user({"type": "text", "text": 5}), ["content[0].text is int"]),
        (user({"type": "text", "text": "x", "txt": "y"}), ["'txt'"]),
        (user({"type": "video"}), ["no video"]),
        (user({"type": "video", "video": 5}), ["the video is int"]),
        (user({"type": "video_url", "video_url": {"uri": "a.mp4"}}), ["'uri'", "'url'"]),
        (user({"type": "video", "video": "a.mp4", "num_frame": 4}), ["'num_frame'", "'num_frames'"]),
        (user({"type": "video", "video": "a.mp4", "num_frames": 2.5}), ["num_frames", "2.5"]),
        (user({"type": "video", "video": "a.mp4", "num_frames": 0}), ["num_frames"]),
        (user({"type": "video", "video": "a.mp4", "start": "1s"}), ["start", "'1s'"]),
        (user({"type": "video", "video": "a.mp4", "end": True}), ["end"]),
        ([{"role": "system", "content": [{"type": "video", "video": "a"}]}], ["video in a system message"]),
        (user({"type": "image"}), ["no picture"]),
        (user({"type": "image", "image": PICTURE, "url": "a"}), ["one of"]),
        (user({"type": "image", "image": 5}), ["the picture is int"]),
        (user({"type": "image_url", "image_url": {"uri": "a"}}), ["'uri'", "'url'"]),
        ([{"role": "assistant", "content": "x"}], ["expected a user message before"]),
        ([{"role": "system", "content": "x"}, {"role": "assistant", "content": "x"}], ["messages[1]"]),
        ([{"role": "user", "content": "x"}, {"role": "system", "content": "x"}], ["first"]),
        ([{"role": "user", "content": "x"}, {"role": "user", "content": "x"}], ["second user"]),
        ([{"role": "system", "content": [image()]}], ["picture in a system message"]),
    ],
)
def test_messages_that_make_no_conversation_are_refused_with_a_reason(messages, words):
    refused(messages, *words)


def test_empty_fields_of_clients_are_let_through():
    message = {"role": "user", "content": "x", "name": None, "tool_calls": None}
    assert parse_messages([message])[0].parts == ("x",)


def test_github_pictures_stand_before_the_text_and_are_numbered_from_two_on():
    assert placed([text("What?"), image()]) == "[0]\nWhat?"
    assert placed([image(), text("What?"), image()]) == "Image-1: [0]\nImage-2: [1]\nWhat?"
    assert placed([image()]) == "[0]\n"
    assert placed([text("a"), text("b")]) == "a\nb"


def test_transformers_pictures_stand_where_their_part_stands():
    assert placed([text("What?"), image()], "inline") == "What?[0]\n"
    assert placed([image(), text("What?"), image()], "inline") == "[0]\nWhat?[1]\n"


@pytest.mark.parametrize("style", ["numbered", "inline"])
def test_placeholders_are_filled_in_order_wherever_the_pictures_stand(style):
    assert placed([text("<image> or <IMAGE_TOKEN>?"), image(), image()], style) == "[0] or [1]?"
    assert placed([image(), text("is <image> red?")], style) == "is [0] red?"


@pytest.mark.parametrize(("placeholders", "pictures"), [(1, 0), (1, 2), (2, 1), (3, 2)])
def test_placeholders_and_pictures_that_do_not_match_are_both_counted(placeholders, pictures):
    (turn,) = parse_messages(user(text("<image>" * placeholders), *[image()] * pictures))
    with pytest.raises(RequestError, match=rf"{placeholders} placeholder.*{pictures} picture"):
        place_pictures(turn, "numbered")


def test_a_placeholder_in_an_answer_or_a_system_message_is_text():
    turns = parse_messages(
        [
            {"role": "system", "content": "Write <image>."},
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": "<image>"},
        ]
    )
    assert [place_pictures(turn, "numbered") for turn in turns] == [["Write <image>."], ["x"], ["<image>"]]


def test_every_picture_has_a_place_of_its_own():
    messages = user(image(), image())
    messages += [{"role": "assistant", "content": "ok"}, *user(image())]
    places = [picture.where for turn in parse_messages(messages) for picture in turn.pictures]
    assert places == ["messages[0].content[0]", "messages[0].content[1]", "messages[2].content[0]"]
    assert all(isinstance(turn.pictures, tuple) for turn in parse_messages(messages))
    assert isinstance(parse_messages(messages)[0].parts[0], Picture)

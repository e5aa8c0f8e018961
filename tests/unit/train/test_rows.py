"""Rows of the family's form -> checked rows, or an error that names file and line."""

import pytest
from PIL import Image

from internvl.errors import DataError
from internvl.train.rows import ClipSource, parse_row


def talk(question="Hi", answer="Hello", **row):
    return {"conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": answer}], **row}


def parse(row):
    return parse_row(row, "rows.jsonl:7", lambda name: f"/root/{name}")


def texts(row):
    return [turn.text for turn in row.turns]


def test_a_picture_without_a_place_stands_before_the_first_question():
    row = parse(talk("What?", image="a.png"))
    assert texts(row) == ["<image>\nWhat?", "Hello"]
    assert row.media == ("/root/a.png",)


def test_several_pictures_without_places_are_numbered():
    row = parse(talk("Compare.", image=["a.png", "b.png"]))
    assert texts(row)[0] == "Image-1: <image>\nImage-2: <image>\nCompare."


def test_places_are_kept_where_they_are():
    row = parse(talk("What is <image>?", image="a.png"))
    assert texts(row)[0] == "What is <image>?"


def test_the_head_goes_before_the_first_question_not_into_the_system_turn():
    row = talk("What?", image="a.png")
    row["conversations"].insert(0, {"from": "system", "value": "Be brief."})
    assert texts(parse(row))[:2] == ["Be brief.", "<image>\nWhat?"]


def test_a_video_has_a_place_and_a_part():
    row = parse(talk("What happens?", video="v.mp4", clip=[1, 2.5]))
    assert texts(row)[0] == "<video>\nWhat happens?"
    assert row.media == (ClipSource(source="/root/v.mp4", start=1.0, end=2.5),)


def test_a_list_of_pictures_as_video_is_its_frames():
    row = parse(talk("What happens?", video=["1.jpg", "2.jpg"]))
    assert row.media == (ClipSource(source=["/root/1.jpg", "/root/2.jpg"]),)


def test_pictures_with_only_a_place_for_a_video_are_its_frames():
    row = parse(talk("<video>\nWhat happens?", images=["1.jpg", "2.jpg"]))
    assert row.media == (ClipSource(source=["/root/1.jpg", "/root/2.jpg"]),)


def test_pictures_and_videos_come_in_the_order_of_their_places():
    row = parse(talk("<video> then <image>", image="a.png", video="v.mp4"))
    assert row.media == (ClipSource(source="/root/v.mp4"), "/root/a.png")


def test_bytes_open_pictures_and_hugging_face_cells_are_taken_as_they_are():
    picture = Image.new("RGB", (3, 3))
    assert parse(talk(image=picture)).media == (picture,)
    assert parse(talk(image={"bytes": b"png", "path": None})).media == (b"png",)
    assert parse(talk(images=[{"bytes": None, "path": "a.png"}])).media == ("/root/a.png",)


def test_roles_of_other_families_are_known():
    row = {"conversations": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
    assert [turn.role for turn in parse(row).turns] == ["human", "gpt"]


def test_conversations_may_be_json_in_a_column_of_text():
    row = {"conversations": '[{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]'}
    assert texts(parse(row)) == ["Hi", "Hello"]


def test_video_is_a_word_where_there_is_none():
    assert texts(parse(talk("the <video> tag")))[0] == "the <video> tag"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ([1], "the row is list"),
        ({}, "conversations is missing"),
        ({"conversations": []}, "conversations is empty"),
        ({"conversations": "[{"}, "no JSON"),
        ({"conversations": [{"from": "humen", "value": "x"}]}, "Did you mean 'human'?"),
        ({"conversations": [{"from": "human", "value": 3}]}, r"conversations\[0\].value is int"),
        ({"conversations": [{"from": "human", "value": "x"}]}, "nothing to learn"),
        (talk("<image> <image>", image="a.png"), "1 picture, but 2 <image>"),
        (talk("<image> or not"), "0 pictures, but 1 <image>"),
        (talk("<video> <video>", video="v.mp4"), "1 video, but 2 <video>"),
        (talk(image=3), "image is int"),
        (talk(image=["a.png", None]), r"image\[1\] is missing"),
        (talk(clip=[0, 1]), "clip without a video"),
        (talk(video="v.mp4", clip=[2, 1]), r"clip is \[2, 1\]"),
        (talk(video="v.mp4", clip="abc"), "clip is 'abc'"),
        (talk(video=["1.jpg", "2.jpg"], clip=[0, 1]), "no times"),
        ({"conversations": [{"from": "gpt", "value": "x"}], "image": "a.png"}, "no human turn"),
    ],
)
def test_a_row_that_cannot_be_used_says_where_and_why(row, said):
    with pytest.raises(DataError, match=said) as raised:
        parse(row)
    assert str(raised.value).startswith("rows.jsonl:7")

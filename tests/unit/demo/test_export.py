import base64
import io
import json

from PIL import Image

from internvl.chat.openai_body import read_chat_body
from internvl.demo.conversation import Conversation, Cost, Turn
from internvl.demo.export import describe_answer, to_json, to_markdown
from internvl.demo.strings import Strings
from tiny_engines import picture

HERE, GONE, CLIP = "a" * 64, "b" * 64, "c" * 64 + "v"


def png() -> bytes:
    buffer = io.BytesIO()
    picture().save(buffer, "PNG")
    return buffer.getvalue()


def data_url(picture_id):
    kind = "video/mp4" if picture_id == CLIP else "image/png"
    return None if picture_id == GONE else f"data:{kind};base64,{base64.b64encode(png()).decode()}"


def conversation(*pictures):
    cost = Cost(num_tiles=13, prompt_tokens=3400, answer_tokens=21, first_token_s=0.5, total_s=1.0)
    answer = Turn(role="assistant", text="A *cat*.", finish_reason="length", model="nano", cost=cost)
    return Conversation().asked("What is\nthis?", pictures).answered(answer)


def test_markdown_holds_the_words_the_pictures_and_the_cost():
    text = to_markdown(conversation(HERE), data_url, Strings("en"))
    assert "## You\n\n![Picture 1](data:image/png;base64," in text
    assert "What is\nthis?" in text
    assert "## nano\n\nA *cat*." in text
    assert "cut off: the longest answer was reached · Tiles: 13 · Prompt tokens: 3400" in text
    url = text.split("](data:image/png;base64,")[1].split(")")[0]
    assert Image.open(io.BytesIO(base64.b64decode(url))).size == picture().size


def test_markdown_speaks_the_readers_language_and_says_which_pictures_are_gone():
    text = to_markdown(conversation(GONE), data_url, Strings("de"))
    assert "(Bild 1: Bild nicht mehr auf dem Server)" in text
    assert "## Sie" in text


def test_json_is_a_body_that_the_api_reads_and_says_what_answers_cost():
    data = json.loads(to_json(conversation(HERE), data_url, model="nano", system="Be brief."))
    assert data["answers"][0]["cost"]["num_tiles"] == 13
    assert data["answers"][0]["finish_reason"] == "length"
    question = {"model": data["model"], "messages": data["messages"][:2]}
    assert read_chat_body(question) is not None
    assert data["messages"][0] == {"role": "system", "content": "Be brief."}
    url = data["messages"][1]["content"][0]["image_url"]["url"]
    assert base64.b64decode(url.partition(",")[2]) == png()


def test_a_video_is_a_video_in_json_and_named_so_in_markdown():
    data = json.loads(to_json(conversation(CLIP), data_url, model="nano"))
    assert data["messages"][0]["content"][0]["video_url"]["url"].startswith("data:video/mp4;base64,")
    assert "![Video 1](" in to_markdown(conversation(CLIP), data_url, Strings())


def test_json_goes_on_without_pictures_that_are_gone():
    data = json.loads(to_json(conversation(GONE, HERE), data_url, model="nano"))
    assert [part["type"] for part in data["messages"][0]["content"]] == ["text", "image_url", "text"]


def test_an_answer_that_ended_by_itself_has_no_note():
    turn = Turn(role="assistant", text="x", finish_reason="stop", cost=Cost(prompt_tokens=5, answer_tokens=1))
    assert describe_answer(turn, Strings("en")) == "Prompt tokens: 5 · Answer tokens: 1 · First token: 0.00 s"

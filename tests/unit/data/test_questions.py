"""Answers are true of the scene they are asked about."""

import random
from collections import Counter

import pytest
from PIL import Image

from internvl.data.objects import plural, with_article
from internvl.data.questions import all_phrases, ask, describe, name_all, primary_turn, small_talk
from internvl.data.scene import Scene, SceneObject

IMAGE = Image.new("RGB", (8, 8))


def objects(*names):
    found = []
    for i, name in enumerate(names):
        colour, _, shape = name.rpartition(" ")
        found.append(SceneObject(shape, colour or None, (i / 8, 0.1, i / 8 + 0.1, 0.3)))
    return found


@pytest.fixture
def scene():
    return Scene(
        image=IMAGE, background="white", objects=objects("red circle", "red circle", "blue star", "dog")
    )


def test_counts_are_the_number_of_matching_objects(scene):
    expected = {
        "circles": "2",
        "stars": "1",
        "dogs": "1",
        "objects": "4",
        "red circles": "2",
        "blue stars": "1",
    }
    rng = random.Random(0)
    asked = 0
    for _ in range(300):
        question, answer = primary_turn(rng, "count", scene)
        for name, number in expected.items():
            if f" {name} " in question.replace(".", " ") or question.rstrip(".").endswith(f" {name}"):
                if name in ("circles", "stars") and ("red " in question or "blue " in question):
                    continue
                assert answer == number, question
                asked += 1
    assert asked > 50


def test_the_numbers_that_a_picture_shows_are_asked_for_alike(scene):
    rng = random.Random(2)
    answers = Counter(primary_turn(rng, "count", scene)[1] for _ in range(2000))
    assert set(answers) == {"0", "1", "2", "4"}
    for number, share in {"0": 1 / 6, "1": 1 / 6, "2": 1 / 3, "4": 1 / 3}.items():
        assert abs(answers[number] / 2000 - share) < 0.05


def test_an_absent_thing_is_counted_as_none_and_said_not_to_be_there(scene):
    rng = random.Random(1)
    present = {item.name for item in scene.objects}
    turns = [turn for _ in range(200) for turn in ask(rng, scene, 4)]
    for question, answer in turns:
        if answer in ("yes", "no"):
            assert (answer == "yes") == any(f" {name}" in question for name in present), question


def test_everything_is_named_with_number_and_article(scene):
    assert name_all(scene) == "two red circles, a blue star and a dog"
    assert (
        describe(scene) == "The picture shows two red circles, a blue star and a dog on a white background."
    )


def test_text_is_read_out_line_by_line():
    scene = Scene(image=IMAGE, background=None, lines=("OPEN", "9:00"), text_colour="black")
    assert primary_turn(random.Random(0), "line", scene)[1] == "OPEN\n9:00"
    assert describe(scene) == 'The picture shows the text "OPEN 9:00".'


def test_no_question_is_asked_twice_in_a_conversation(scene):
    for seed in range(50):
        questions = [question for question, _ in ask(random.Random(seed), scene, 5)]
        assert len(questions) == len(set(questions)) >= 3


def test_most_conversations_begin_with_what_the_picture_was_drawn_for(scene):
    first = [ask(random.Random(seed), scene, 3, "count")[0][1] for seed in range(200)]
    other = [ask(random.Random(seed), scene, 3)[0][1] for seed in range(200)]
    assert sum(answer.isdecimal() for answer in first) > 120 > sum(answer.isdecimal() for answer in other)


def test_small_talk_says_which_model_to_use_instead():
    answers = " ".join(answer for seed in range(30) for _, answer in small_talk(random.Random(seed)))
    assert "OpenGVLab/InternVL3_5-8B" in answers
    assert "nano" in answers


def test_names_have_their_plurals_and_articles():
    assert [plural(name) for name in ("dog", "mouse", "fox", "peach")] == ["dogs", "mice", "foxes", "peaches"]
    assert [with_article(name) for name in ("apple", "red circle", "scissors")] == [
        "an apple",
        "a red circle",
        "scissors",
    ]


def test_phrases_hold_no_holes():
    assert not [phrase for phrase in all_phrases() if "{" in phrase]

"""One function knows every way to say that a thing is not there, the generator's own and a model's."""

import random

import pytest

from internvl.data.absent import says_absent
from internvl.data.documents.asking import _NOT_THERE_FORMS, NOT_THERE, ask_absent
from internvl.data.pictures.asking import absent_answer
from internvl.evaluation import results, text_metrics


@pytest.mark.parametrize("form", [NOT_THERE, *_NOT_THERE_FORMS])
def test_what_documents_answer_is_recognised(form):
    assert says_absent(form.format(what="date"))


def test_what_generated_questions_answer_is_recognised():
    rng = random.Random(0)
    for _ in range(30):
        assert says_absent(ask_absent(rng, "date of birth", "held_out").answer)
    for name, place in (("cup", "picture"), ("dogs", "clip"), ("value for 2012", "chart")):
        assert says_absent(absent_answer(name, place))


@pytest.mark.parametrize(
    "answer",
    [
        "I cannot see a cup in this image.",
        "There isn't a date.",
        "There's no cow.",
        "No such field is given.",
        "The total is not mentioned.",
        "It doesn't appear in the table.",
        "unanswerable",
        "Not applicable",
        "NOT IN THE PICTURE",
        "No date\ncan be found.",
    ],
)
def test_what_models_answer_is_recognised(answer):
    assert says_absent(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "12.50",
        "No. 18, Jalan Lake",
        "No. 253, Jalan Castle",
        "November",
        "Notting Hill",
        "no",
        "red",
        "",
        "There are 3 cups.",
    ],
)
def test_what_is_an_answer_is_not(answer):
    assert not says_absent(answer)


def test_data_and_evaluation_ask_the_same_function():
    assert text_metrics.says_absent is results.says_absent is says_absent

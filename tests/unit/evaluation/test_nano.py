"""The measurement counts what was answered, by the letter."""

import pytest

import internvl.evaluation.nano as nano
from internvl.evaluation.nano import Score, as_table, kind_of, measure, similarity
from nano_assets import plain_assets


@pytest.fixture(autouse=True)
def shapes_only(monkeypatch):
    monkeypatch.setattr(nano, "load_assets", lambda shared: plain_assets())


def test_similarity_is_one_minus_the_edits_per_letter():
    assert similarity("STOP", "STOP") == similarity("", "") == 1
    assert similarity("STOP", "SHOP") == 0.75
    assert similarity("STOP", "STOPS") == pytest.approx(0.8)
    assert similarity("ab", "") == 0


def test_one_who_knows_gets_everything_right_and_one_who_guesses_not():
    asked = []

    def remember(questions):
        asked.extend(question for question, _ in questions)
        return ["red"] * len(questions)

    scores = measure(remember, None, skills=("shape",), count=60)
    assert scores["shape"].asked == len(asked) == 60
    assert 0 < scores["shape"].right < 30
    assert sum(asked for _, asked in scores["shape"].by_kind.values()) == 60
    right, of = scores["shape"].by_kind["red"]
    assert right == of > 0


def test_the_first_mistakes_are_kept_and_the_table_has_a_row_per_skill():
    score = Score()
    for i in range(9):
        score.add("How many?", "3", str(i), kind_of("count", "How many dogs?", "3"))
    assert (score.asked, score.right) == (9, 1)
    assert len(score.mistakes) == 5
    table = as_table({"count": score, "word": score})
    assert table.count("| 9 | 11.1% |") == 2


def test_answers_to_reading_are_grouped_by_length():
    assert [kind_of("word", "Read.", text) for text in ("STOP", "bridge", "chocolates")] == [
        "1-4 letters",
        "5-8 letters",
        "9 or more",
    ]

"""Laws of figures: sums over sums, intervals by drawing samples again, the table of aims."""

import pytest

from internvl.evaluation.aims import AIMS
from internvl.evaluation.asking import Answered
from internvl.evaluation.figures import error_rate, group_rows, make_figure, make_figures, score
from internvl.evaluation.item import EvalSample, Item
from internvl.evaluation.journal import make_row
from internvl.evaluation.results import Named
from internvl.evaluation.verdict import Truth


def row(answer, expected, *, metric="cer", sample="0", turn=0, task="read", set_name="generated:lines"):
    item = Item(question="?", truth=Truth(text=expected), metric=metric, task=task)
    made = EvalSample(id=sample, media=(), items=(item,) * (turn + 1))
    return make_row(set_name, made, turn, Answered(answer, "stop"))


def test_an_error_rate_is_all_edits_over_all_letters():
    rows = [row("aaaa", "aaab", sample="0"), row("", "b" * 16, sample="1")]
    assert make_figure("CER", rows, error_rate).value == pytest.approx((1 + 16) / (4 + 16))
    by_name = {figure.name: figure for figure in make_figures(rows)}
    assert by_name["CER, mean of items"].value == pytest.approx((0.25 + 1) / 2)
    assert by_name["CER"].lower_is_better
    assert not by_name["score"].lower_is_better


def test_the_interval_holds_the_value_and_is_the_same_every_time_in_any_order():
    rows = [row("x" if n % 3 else "a", "a", sample=str(n)) for n in range(60)]
    figure = make_figure("score", rows, score)
    assert figure.low < figure.value < figure.high
    assert figure.value == pytest.approx(1 / 3)
    assert make_figure("score", rows[::-1], score) == figure
    # sqrt(p (1 - p) / n) = 0.061, and 1.96 of it on either side
    assert figure.high - figure.low == pytest.approx(4 * 0.061, abs=0.04)


def test_questions_about_one_picture_stand_or_fall_together():
    def width(samples):
        rows = [row("x" if n < 30 else "a", "a", sample=samples(n), turn=n) for n in range(60)]
        figure = make_figure("score", rows, score)
        return figure.high - figure.low

    assert width(lambda n: str(n // 10)) > 2 * width(str)


def test_a_single_sample_has_an_interval_of_no_width_and_no_rows_no_figure():
    figure = make_figure("score", [row("a", "a")], score)
    assert (figure.low, figure.value, figure.high) == (1, 1, 1)
    assert make_figure("score", [], score) is None


def test_groups_are_ordered_as_numbers_are():
    rows = [{"n": n} for n in (10, 2, None, 2)]
    assert [(name, len(some)) for name, some in group_rows(rows, lambda r: r["n"]).items()] == [
        ("2", 2),
        ("10", 1),
    ]


def measure(name, *rows):
    figure = next(aim for aim in AIMS if aim.name == name).measure(rows)
    return None if figure is None else figure.value


def test_fields_count_one_by_one_whether_asked_for_as_json_or_alone():
    rows = [
        row('{"a": "1", "b": "2"}', '{"a": "1", "b": "3"}', metric="json_kv_f1", set_name="generated:form"),
        row("1 May", "1 may", metric="anls", task="field", set_name="generated:form"),
        row("x", "x", metric="exact_norm", task="field", set_name="generated:receipt"),
        row("Not in the picture.", "Not in the picture.", metric="absent", set_name="generated:receipt"),
    ]
    assert measure("receipt, invoice and form fields, exact match", *rows) == pytest.approx(2 / 4)
    assert measure("receipt fields, exact match", *rows) == 1
    assert measure("says that it is not in the picture", *rows) == 1


def test_chart_questions_are_judged_with_five_percent_whatever_their_metric():
    rows = [
        row("104", "100", metric="number_tol1", set_name="generated:chart"),
        row("june", "June", metric="exact_ci", set_name="generated:chart"),
        row("6", "5", metric="exact_number", set_name="generated:chart"),
        row("[[0, 0, 1, 1]]", "[[5, 5, 9, 9]]", metric="iou@0.5", set_name="generated:chart"),
    ]
    assert measure("chart questions, relaxed accuracy", *rows) == pytest.approx(2 / 3)


def test_the_table_says_how_many_things_were_to_be_told_apart_in_how_many_languages():
    rows = [
        row(answer, answer, metric="any_of_names", sample=answer, set_name="generated:languages")
        for answer in ("cup", "dog", "dog")
    ]
    (aim,) = (aim for aim in AIMS if "language" in aim.name)
    named = Named.of(aim, [*rows, {**rows[0], "lang": "de"}], [])
    assert (named.classes, named.languages, named.figure.value) == (2, 2, 1)


def test_counting_is_measured_up_to_ten():
    rows = [
        row(answer, expected, metric="exact_number", task="count_kind", set_name="generated:scene")
        for answer, expected in (("3", "3"), ("4", "5"), ("11", "11"))
    ]
    assert measure("counting up to 10", *rows) == 0.5
    assert measure("colour", *rows) is None

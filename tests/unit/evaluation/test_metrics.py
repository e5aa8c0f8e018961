"""Laws of the metrics: a perfect answer is worth 1, an empty one 0, others lie between; values known by hand."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from internvl.errors import ConfigError
from internvl.evaluation.assignment import assign
from internvl.evaluation.box_metrics import iou
from internvl.evaluation.metrics import METRICS, judge
from internvl.evaluation.numbers import find_number
from internvl.evaluation.tables import read_table
from internvl.evaluation.verdict import Truth

TABLE = "| a | b |\n| --- | --- |\n| x | 1 |\n| y | 2 |"
#: An expected answer of every metric; an answer as good as it where the metric has a form of its own.
PERFECT = {
    "choice": "glass",
    "choice_letter": "B",
    "yesno": "yes",
    "exact_number": "12",
    "number_tol5": "12.5",
    "number_tol1": "-3",
    "contains_any": "glass",
    "json_kv_f1": '{"total": "3.50", "items": [{"name": "tea"}]}',
    "teds": TABLE,
    "rms_f1": TABLE,
    "iou@0.5": "<ref>cup</ref><box>[[10, 20, 200, 400]]</box>",
    "absent": "There is no cup in the picture.",
    "anls_or_number": "34.73",
}
TRUTHS = {
    name: Truth(text=PERFECT.get(name, "Two green cups"), options=("glass", "metal"))
    for name in (*METRICS, "number_tol5", "number_tol1")
}


def score(metric: str, answer: str, expected: str, **more) -> float:
    return judge(metric, answer, Truth(text=expected, **more)).score


@pytest.mark.parametrize("metric", TRUTHS)
def test_a_perfect_answer_is_worth_one_and_an_empty_one_nothing(metric):
    assert judge(metric, TRUTHS[metric].text, TRUTHS[metric]).score == 1
    assert judge(metric, f"  {TRUTHS[metric].text}\n", TRUTHS[metric]).score == 1
    assert judge(metric, "", TRUTHS[metric]).score == 0
    assert judge(metric, " \n", TRUTHS[metric]).score == 0


@pytest.mark.parametrize("metric", TRUTHS)
@given(
    answer=st.one_of(
        st.text(max_size=40),
        st.text('ab12<>td|/[]{}":, \n.-`', max_size=40),
        st.lists(
            st.sampled_from(["<td>", "</td>", "<tr>", "|", "\n", "1", "[[1,2,3,4]]", "{", "}", '"a":', "```"])
        ).map("".join),
    )
)
def test_whatever_is_answered_scores_lie_between_zero_and_one(metric, answer):
    assert 0 <= judge(metric, answer, TRUTHS[metric]).score <= 1


def test_an_unknown_metric_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match="did you mean 'exact_norm'"):
        judge("exact_nrom", "a", Truth(text="a"))


@pytest.mark.parametrize(
    ("metric", "answer", "expected", "value"),
    [
        ("exact", "left", "Left", 0),
        ("exact_ci", "Left.", "left", 1),
        ("exact_ci", '"Left"', "left", 1),
        ("exact_ci", "left half", "left", 0),
        ("exact_norm", "RM 34 .80", "RM34.80", 1),
        ("exact_norm", "34.8", "34.80", 0),
        ("contains", "A large tiger.", "tiger", 1),
        ("contains", "a category", "cat", 0),
        ("contains", "这是一只老虎。", "老虎", 1),
        ("contains_any", "He is kicking it", "juggling|kicking", 1),
        ("contains_all", "a giraffe", "giraffe|zebra", 0),
        ("yesno", "Yes, there is.", "yes", 1),
        ("yesno", "No, yes is wrong", "yes", 0),
        ("exact_number", "There are three cups.", "3", 1),
        ("exact_number", "1,234", "1234", 1),
        ("exact_number", "1.234,50", "1234.5", 1),
        ("exact_number", "٣", "3", 1),
        ("exact_number", "3 or 4", "4", 0),
        ("exact_number", "-3", "3", 0),
        ("number_tol5", "105", "100", 1),
        ("number_tol5", "105.1", "100", 0),
        ("number_tol1", "0.1", "0", 0),
        ("relaxed", "$ 1,040", "1000", 1),
        ("relaxed", "march", "March", 1),
        ("anls", "kitten", "sitting", 1 - 3 / 7),
        ("anls", "abc", "xyz", 0),
        ("anls", "KITTEN", "kitten", 1),
        ("anls_or_number", "34,73 EUR", "34.73", 1),
        ("cer", "STOP", "SHOP", 0.75),
        ("cer", "line one\nline two", "line one line two", 1),
        ("cer", "a" * 100, "b", 0),
        ("cer_ci", "shop", "SHOP", 1),
        ("ned", "kitten", "sitting", 1 - 3 / 7),
        ("word_recall", "The dog, the fox!", "the quick fox", 2 / 3),
        ("word_recall", "fox", "fox fox", 0.5),
        ("output_contains_fuzzy", "see Tabel 4: model performance here", "Table 4: model performance", 0),
        ("output_contains_fuzzy", "see Table 4: modeI performance here", "Table 4: model performance", 1),
        ("output_order", "Euler ... Pythagoras", "Euler|Pythagoras", 1),
        ("output_order", "Pythagoras, Euler", "Euler|Pythagoras", 0),
        ("absent", "I cannot see a cup in this image.", "Not in the picture.", 1),
        ("absent", "No. 253, Jalan Castle", "Not in the picture.", 0),
        ("absent", "no", "There is no cup in the picture.", 0),
        ("absent", "red", "There is no cup in the picture.", 0),
    ],
)  # fmt: skip
def test_values_known_by_hand(metric, answer, expected, value):
    assert score(metric, answer, expected) == pytest.approx(value)


def test_composed_and_decomposed_letters_are_the_same():
    assert score("exact", "cafe\u0301", "caf\u00e9") == score("cer", "cafe\u0301", "caf\u00e9") == 1


def test_an_error_rate_says_how_many_letters_are_wrong_though_the_score_ends_at_zero():
    details = judge("cer", "xxxxxx", Truth(text="ab cd")).details
    assert details["edits"] == 6
    assert details["letters"] == 5


def test_a_choice_counts_if_no_other_option_is_named():
    options = ("cardboard", "glass", "metal")
    assert score("choice", "It is made of glass.", "glass", options=options) == 1
    assert score("choice", "glass or metal", "glass", options=options) == 0


@pytest.mark.parametrize(
    "answer", ["B", "(B)", "b.", "B. $2: 3$", "The answer is B", "Answer: (B) because A is wrong"]
)
def test_a_letter_is_found_in_every_usual_form(answer):
    assert score("choice_letter", answer, "B") == 1
    assert score("choice_letter", answer, "A") == 0


def test_a_name_may_be_any_of_the_alternatives_with_an_article():
    assert score("any_of_names", "The TV.", "television", alternatives=("tv",)) == 1
    assert score("any_of_names", "a radio", "television", alternatives=("tv",)) == 0


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("about 1,234.5 km", 1234.5), ("-3,5", -3.5), ("−7", -7), ("12%", 12), ("1 234 567", 1234567),
     ("$5", 5), ("two", 2), ("none", 0), ("2e3", 2000), ("1,234,567", 1234567), ("two2", None), ("many", None),
     ("१२", 12)],
)  # fmt: skip
def test_numbers_are_read_as_people_write_them(text, value):
    assert find_number(text) == value


# -- boxes


def test_overlap_of_boxes_by_hand():
    assert iou((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert iou((0, 0, 10, 10), (10, 0, 20, 10)) == 0
    assert iou((5, 5, 5, 5), (5, 5, 5, 5)) == 0


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("[[0, 0, 100, 100]]", 1),
        ("[0, 0, 100, 51]", 1),
        ("[0, 0, 100, 49]", 0),
        ("<ref>cup</ref><box>[[100, 100, 0, 0]]</box>", 1),  # corners in the wrong order
        ("<box>[[0, 0, 100, 100], [500, 500, 600, 600]]</box>", 2 / 3),
        ("[[0, 0, 100]]", 0),
    ],
)
def test_a_box_is_right_from_half_an_overlap_on_and_more_boxes_cost(answer, value):
    assert score("iou@0.5", answer, "[0, 0, 100, 100]") == pytest.approx(value)


def test_of_several_boxes_the_names_must_fit():
    expected = "<ref>cup</ref><box>[[0, 0, 100, 100]]</box>\n<ref>dog</ref><box>[[500, 500, 900, 900]]</box>"
    swapped = expected.replace("cup", "cat").replace("dog", "cup").replace("cat", "dog")
    assert score("iou@0.5", expected, expected) == 1
    assert score("iou@0.5", swapped, expected) == 0


@given(st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), min_size=1, max_size=4))
def test_the_pairing_is_the_best_of_all(gains):
    from itertools import permutations

    pairs = assign(gains)
    rows, columns = len(gains), 3
    assert len(pairs) == min(rows, columns) == len({i for i, _ in pairs}) == len({j for _, j in pairs})
    if rows <= columns:
        best = max(
            sum(gains[i][j] for i, j in enumerate(order)) for order in permutations(range(columns), rows)
        )
    else:
        best = max(
            sum(gains[i][j] for j, i in enumerate(order)) for order in permutations(range(rows), columns)
        )
    assert sum(gains[i][j] for i, j in pairs) == best


# -- JSON


def test_fields_are_right_or_wrong_one_by_one():
    expected = json.dumps({"total": "3.50", "date": "1 May", "number": None})
    verdict = judge("json_kv_f1", '```json\n{"total": "3.50", "Date": "2 May"}\n```', Truth(text=expected))
    assert verdict.score == pytest.approx(2 * 1 / (2 + 3))
    assert verdict.details == {"right": 1, "fields": 3}


# -- tables


@pytest.mark.parametrize("form", ["html", "markdown", "csv"])
def test_a_table_is_the_same_in_every_form(form):
    forms = {
        "html": "<table><thead><tr><th>a</th><th>b</th></tr></thead><tr><td>x</td><td>1</td></tr>"
        "<tr><td> y</td><td>2<br></td></tr></table>",
        "markdown": "Here:\n\n" + TABLE,
        "csv": "```csv\na,b\nx,1\ny,2\n```",
    }
    assert read_table(forms[form]).grid() == [["a", "b"], ["x", "1"], ["y", "2"]]
    assert score("teds", forms[form], TABLE) == 1


def test_spans_take_places():
    html = '<table><tr><td rowspan="2">a</td><td colspan="2">b</td></tr><tr><td>c</td><td>d</td></tr></table>'
    assert read_table(html).grid() == [["a", "b", ""], ["", "c", "d"]]


def test_tree_distances_by_hand():
    wrong_letter = TABLE.replace("| y |", "| z |")
    # 6 cells, 3 rows, the table: 10 nodes; one cell is wholly another
    assert score("teds", wrong_letter, TABLE) == pytest.approx(1 - 1 / 10)
    # a row with its two cells is missing
    assert score("teds", "a,b\nx,1", TABLE) == pytest.approx(1 - 3 / 10)
    rows = ("<td>a</td><td>b</td>", "<td>x</td><td colspan=2>1</td>", "<td>y</td><td>2</td>")
    spanned = f"<table>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"
    assert score("teds", spanned, TABLE) == pytest.approx(1 - 1 / 10)


def test_a_missing_row_costs_its_own_cells_and_a_missing_column_all_behind_it():
    def cells(answer: str) -> float:
        return judge("teds", answer, Truth(text=TABLE)).details["cell_f1"]

    assert cells(TABLE) == 1
    assert cells("a,b\ny,2") == pytest.approx(2 * 4 / (4 + 6))
    assert cells("b\n1\n2") == 0


@given(st.lists(st.lists(st.sampled_from(["", "x", "y"]), min_size=1, max_size=3), min_size=1, max_size=4))
def test_table_scores_are_symmetric(rows):
    html = "".join(f"<tr>{''.join(f'<td>{text}</td>' for text in row)}</tr>" for row in rows)
    assert score("teds", html, TABLE) == pytest.approx(score("teds", TABLE, html))
    assert score("teds", html, html) == 1


def test_chart_values_count_in_any_order_and_by_how_far_they_are_off():
    assert score("rms_f1", "b,y,x\n", TABLE) == 0
    assert score("rms_f1", "k,y,x\nb,2,1", "k,b\nx,1\ny,2") == 1  # the transpose
    assert score("rms_f1", "k,b\ny,2\nx,1", "k,b\nx,1\ny,2") == 1
    assert score("rms_f1", "k,b\nx,1.25\ny,2", "k,b\nx,1\ny,2") == pytest.approx((0.75 + 1) / 2)
    assert score("rms_f1", "k,b\nx,9\ny,2", "k,b\nx,1\ny,2") == pytest.approx(0.5)

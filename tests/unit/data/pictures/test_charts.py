"""Charts: marks lie where the figures say, and answers are the figures."""

import csv
import io
import random

import pytest

from internvl.data.pictures.chart_data import KINDS, ChartTable, make_table, plain_number
from internvl.data.pictures.chart_pillow import draw_chart
from internvl.data.pictures.chart_style import draw_style, ticks
from internvl.data.sample import Assets
from internvl.data.skills import make_sample
from nano_assets import requires_fonts

BARE = Assets(shared=None)
pytestmark = requires_fonts


def sample(index, split="train"):
    return make_sample("chart", 5, index, split=split, assets=BARE)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("renderer", ["pillow", "matplotlib"])
def test_every_kind_has_a_mark_for_every_value(kind, renderer):
    rng = random.Random(kind)
    table = make_table(rng, kind, split="train", assets=BARE)
    style = draw_style(rng, table, "train")
    if renderer == "pillow":
        drawn = draw_chart(table, style)
    else:
        pytest.importorskip("matplotlib")
        from internvl.data.pictures.chart_matplotlib import draw_chart as draw_with_matplotlib

        drawn = draw_with_matplotlib(rng, table, style)
    assert drawn.image.size == style.size
    assert sorted(mark.value for mark in drawn.marks) == sorted(v for vs in table.series.values() for v in vs)
    for x0, y0, x1, y1 in (mark.box for mark in drawn.marks):
        assert 0 <= x0 < x1 <= style.size[0]
        assert 0 <= y0 < y1 <= style.size[1]


@pytest.mark.parametrize("renderer", ["pillow", "matplotlib"])
def test_bars_are_as_high_as_their_values_and_filled_with_their_colour(renderer):
    rng = random.Random(2)
    table = ChartTable(
        kind="bar", title="T", value_label="V", category_label="C", categories=("a", "b", "c"),
        series={"V": (10.0, 40.0, 20.0)}, decimals=0,
    )  # fmt: skip
    style = draw_style(rng, table, "train")
    if renderer == "pillow":
        drawn = draw_chart(table, style)
    else:
        pytest.importorskip("matplotlib")
        from internvl.data.pictures.chart_matplotlib import draw_chart as draw_with_matplotlib

        drawn = draw_with_matplotlib(rng, table, style)
    heights = {mark.category: mark.box[3] - mark.box[1] for mark in drawn.marks}
    assert heights["b"] / heights["a"] == pytest.approx(4, rel=0.03)
    assert heights["c"] / heights["a"] == pytest.approx(2, rel=0.03)
    for x0, y0, x1, y1 in (mark.box for mark in drawn.marks):
        assert drawn.image.getpixel((round((x0 + x1) / 2), round((y0 + y1) / 2))) == style.colours[0][1]


def test_tables_that_are_told_hold_the_figures_of_the_truth():
    told = 0
    for index in range(60):
        made = sample(index)
        for turn in made.turns:
            if turn.metric != "rms_f1":
                continue
            if turn.answer.startswith("|"):
                rows = [[c.strip() for c in line.strip("|").split("|")] for line in turn.answer.splitlines()]
                assert set(rows.pop(1)) == {"---"}
            else:
                rows = list(csv.reader(io.StringIO(turn.answer)))
            assert rows[0][1:] == list(made.truth["series"])
            assert [row[0] for row in rows[1:]] == made.truth["categories"]
            for k, values in enumerate(made.truth["series"].values()):
                assert [float(row[k + 1]) for row in rows[1:]] == pytest.approx(values)
            told += 1
    assert told > 3


def test_shares_of_a_pie_add_up_to_100():
    for seed in range(20):
        table = make_table(random.Random(seed), "pie", split="train", assets=BARE)
        assert sum(next(iter(table.series.values()))) == 100


def test_the_same_chart_comes_out_of_the_same_arguments():
    assert [sample(i).images[0].tobytes() for i in range(4)] == [
        sample(i).images[0].tobytes() for i in range(4)
    ]
    assert sample(1).turns != sample(1, "held_out").turns


def test_ticks_are_round_and_span_the_values():
    for low, high in ((0, 87), (0.1, 0.9), (1000, 1900), (13, 14)):
        marks = ticks(low, high)
        assert marks[0] <= low
        assert marks[-1] >= high
        assert 2 <= len(marks) <= 9


def test_numbers_are_written_plainly():
    assert [plain_number(v, 2) for v in (1250.5, 80.0, 0.25)] == ["1250.5", "80", "0.25"]


def test_many_years_far_apart_begin_before_1950():
    """12 points, ten years apart: once a ValueError in one of some thousand charts."""
    tables = [make_table(random.Random(seed), "line", split="train", assets=BARE) for seed in range(800)]
    years = [table.categories for table in tables if all(name.isdecimal() for name in table.categories)]
    assert any(int(each[0]) < 1950 for each in years)
    assert all(int(each[-1]) <= 2026 for each in years)


def test_values_are_only_said_to_be_written_where_they_are():
    rng = random.Random(1)
    for _ in range(200):
        table = make_table(rng, "line", split="train", assets=BARE)
        assert len(table.series) == 1 or not draw_style(rng, table, "train").value_labels

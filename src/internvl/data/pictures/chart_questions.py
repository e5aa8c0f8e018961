"""Questions about a chart: its figures, extremes, differences, sums, trends, colours, words, table and boxes.

What could not be read off the picture is not asked: small values without labels, extremes that are nearly equal.
"""

from __future__ import annotations

import csv
import io
import random
from dataclasses import dataclass
from functools import cached_property

from internvl.data.pictures.asking import NUMBER, WORD, YES_NO, Asker, phrase
from internvl.data.pictures.chart_data import ChartTable, plain_number
from internvl.data.pictures.chart_pillow import DrawnChart
from internvl.data.pictures.chart_style import ChartStyle
from internvl.data.sample import Turn, box_answer

VALUE = (
    "What is the value of {c}{s}?", "What value does {c} have{s}?", "How much is {c}{s}?",
    "Read the value of {c}{s}.",
    "What number belongs to {c}{s}?", "Give the value for {c}{s}.", "{c}{s}: what is the value?",
    "What does the chart show for {c}{s}?", "Which value is shown for {c}{s}?", "Tell me the value of {c}{s}.",
)  # fmt: skip
HIGHEST = (
    "Which {k} has the highest value{s}?", "Which {k} is highest{s}?", "What {k} has the largest value{s}?",
    "Which {k} has the maximum{s}?", "Where is the value highest{s}?", "Name the {k} with the highest value{s}.",
    "Which {k} leads{s}?", "Which {k} reaches the greatest value{s}?", "Which one is the largest{s}?",
)  # fmt: skip
LOWEST = (
    "Which {k} has the lowest value{s}?", "Which {k} is lowest{s}?", "What {k} has the smallest value{s}?",
    "Which {k} has the minimum{s}?", "Where is the value lowest{s}?", "Name the {k} with the lowest value{s}.",
    "Which {k} comes last in value{s}?", "Which {k} has the least{s}?", "Which one is the smallest{s}?",
)  # fmt: skip
EXTREME_VALUE = (
    "What is the {e} value{s}?", "What is the {e} value shown{s}?", "Give the {e} value{s}.",
    "How high is the {e} value{s}?", "Which is the {e} value{s}?", "Read off the {e} value{s}.",
    "Tell me the {e} value in the chart{s}.", "What number is the {e}{s}?",
)  # fmt: skip
DIFFERENCE = (
    "What is the difference between {a} and {b}{s}?", "How much more is {a} than {b}{s}?",
    "By how much does {a} exceed {b}{s}?", "How much larger is {a} than {b}{s}?", "{a} minus {b}{s}: how much is it?",
    "Subtract {b} from {a}{s}.", "What is the gap between {a} and {b}{s}?", "How far apart are {a} and {b}{s}?",
)  # fmt: skip
SUM = (
    "What is the sum of {a} and {b}{s}?", "How much are {a} and {b} together{s}?", "Add {a} and {b}{s}.",
    "What do {a} and {b} add up to{s}?", "{a} plus {b}{s}: how much?", "What is the total of {a} and {b}{s}?",
    "Give the combined value of {a} and {b}{s}.", "Together, {a} and {b} make how much{s}?",
)  # fmt: skip
COMPARE = (
    "Is {a} higher than {b}{s}?", "Is {a} larger than {b}{s}?", "Does {a} have a higher value than {b}{s}?",
    "Is the value of {a} greater than that of {b}{s}?", "Is {a} above {b}{s}?", "Does {a} exceed {b}{s}?",
    "Is it true that {a} is more than {b}{s}?", "Was {a} higher than {b}{s}?",
)  # fmt: skip
TREND = (
    "What is the trend{s}?", "How does the value change over time{s}?", "Does the line rise or fall{s}?",
    "Is the trend rising, falling or flat{s}?", "In which direction does the line go{s}?",
    "Does the value increase or decrease{s}?", "Describe the trend{s} in one word.",
    "What direction does the data take{s}?",
)  # fmt: skip
TITLE = (
    "What is the title of the chart?", "What is the chart's title?", "Read the title.", "What does the title say?",
    "What is the chart called?", "Which title does the chart have?", "Give the title of this figure.",
    "What is written at the top of the chart?",
)  # fmt: skip
AXIS = (
    "What is the label of the {x} axis?", "What does the {x} axis show?", "Which label does the {x} axis have?",
    "What is written on the {x} axis?", "Read the {x} axis label.", "What is plotted on the {x} axis?",
    "What is the {x}-axis title?", "Name the label of the {x} axis.",
)  # fmt: skip
KIND = (
    "What kind of chart is this?", "What type of chart is shown?", "Which chart type is this?", "What chart is this?",
    "What sort of diagram is this?", "Name the type of the chart.", "What kind of plot do you see?",
    "Which kind of graph is it?",
)  # fmt: skip
COUNT = (
    "How many {n} are shown?", "How many {n} are there?", "How many {n} does the chart have?", "Count the {n}.",
    "What is the number of {n}?", "How many {n} do you see?", "How many {n} can be seen in the chart?",
    "Tell me the number of {n}.",
)  # fmt: skip
COLOUR = (
    "What color is {x}?", "What colour is used for {x}?", "Which color shows {x}?", "What is the color of {x}?",
    "Which colour stands for {x}?", "In what color is {x} drawn?", "Tell me the color of {x}.", "How is {x} colored?",
)  # fmt: skip
WHOSE_COLOUR = (
    "What does the {c} {m} show?", "Which {k} is {c}?", "What is drawn in {c}?", "What does {c} stand for?",
    "Which {k} has the color {c}?", "Name the {k} shown in {c}.", "What is the {c} {m}?",
    "The {c} {m} belongs to which {k}?",
)  # fmt: skip
ABOVE = (
    "How many {n} are above {v}?", "How many {n} are higher than {v}?", "How many {n} have a value over {v}?",
    "Count the {n} above {v}.", "How many {n} exceed {v}?", "How many {n} are greater than {v}?",
    "How many of the {n} lie above {v}?", "For how many {n} is the value more than {v}?",
)  # fmt: skip
MARKDOWN = (
    "Convert the chart to a table.", "Convert the chart to a table in Markdown.",
    "Write the data as a Markdown table.",
    "Extract the data of the chart as a table.", "Give me the underlying data as a Markdown table.",
    "Turn this chart into a Markdown table.", "List all values in a Markdown table.", "Chart to table, please.",
)  # fmt: skip
CSV = (
    "Convert the chart to a table in CSV.", "Write the data as CSV.", "Extract the data of the chart as CSV.",
    "Give me the underlying data as CSV.", "Turn this chart into CSV.", "Export the chart's values as CSV.",
    "List all values as CSV.", "Chart to CSV, please.",
)  # fmt: skip
BOX = (
    "Please provide the bounding box coordinate of the region this sentence describes: <ref>{x}</ref>",
    "Detect the <ref>{x}</ref>.", "Where is the <ref>{x}</ref>? Give its bounding box.", "Locate the <ref>{x}</ref>.",
    "Give the bounding box of the <ref>{x}</ref>.", "Mark the <ref>{x}</ref>.",
    "Find the <ref>{x}</ref> and return its box.",
    "Ground this in the chart: <ref>{x}</ref>",
)  # fmt: skip
RELATED = (
    "Is the relation positive, negative or is there none?", "What correlation do the points show?",
    "Is the correlation positive or negative, or is there none?",
    "Do the points show a positive or a negative relation?",
    "How are the two quantities related: positive, negative or none?", "Which kind of correlation is this?",
    "Describe the correlation in one word: positive, negative or none.",
    "Is there a positive or negative trend, or none?",
)  # fmt: skip
KIND_NAMES = {
    "bar": "bar chart", "barh": "horizontal bar chart", "grouped": "grouped bar chart",
    "stacked": "stacked bar chart",
    "line": "line chart", "pie": "pie chart", "scatter": "scatter plot",
}  # fmt: skip
CLEAR = 0.04
"""Least difference, as a share of the axis, between values that are compared without labels."""


@dataclass(frozen=True)
class ChartView:
    """A chart as it is asked about."""

    table: ChartTable
    style: ChartStyle
    drawn: DrawnChart

    @property
    def labelled(self) -> bool:
        """Whether every value is written."""
        return self.style.value_labels and self.table.kind not in ("stacked", "scatter")

    @cached_property
    def clear(self) -> float:
        """Least difference of values that can be seen."""
        return 10.0**-self.table.decimals * 0.5 if self.labelled else CLEAR * self.table.top

    @property
    def metric(self) -> str:
        """How a value is judged: readings without labels may be a little off."""
        return "number_tol1" if self.labelled else "number_tol5"

    @property
    def category_word(self) -> str:
        """What categories are called."""
        word = self.table.category_label.lower()
        return word if word and self.table.kind != "pie" else "category"


def _series(rng: random.Random, view: ChartView) -> tuple[str, tuple[float, ...], str]:
    """Choose a series: its name, values, and how a question names it (not at all if it is the only one)."""
    name, values = rng.choice(list(view.table.series.items()))
    if len(view.table.series) == 1:
        return name, values, ""
    return name, values, rng.choice((f" for {name}", f" for {name}", f" in the series {name}"))


def _readable(view: ChartView, value: float) -> bool:
    if view.table.kind == "stacked" and not view.style.value_labels:
        return False
    if view.table.kind == "stacked":
        return value > 0.12 * view.table.top  # labels are left out of low segments
    if view.table.kind == "pie":
        return view.style.value_labels
    return view.labelled or value > 0.15 * view.table.top


def value(rng: random.Random, view: ChartView) -> Turn | None:
    """One value."""
    if view.table.kind == "scatter":
        return None
    _, values, told = _series(rng, view)
    i = rng.randrange(len(values))
    if not _readable(view, values[i]):
        return None
    question = phrase(rng, VALUE, NUMBER, c=view.table.categories[i], s=told)
    return Turn(question=question, answer=view.table.text(values[i]), metric=view.metric)


def extreme(rng: random.Random, view: ChartView) -> Turn | None:
    """The category of the highest or lowest value, or that value."""
    if view.table.kind == "scatter":
        return None
    _, values, told = _series(rng, view)
    highest = rng.random() < 0.5
    ordered = sorted(values, reverse=highest)
    if abs(ordered[0] - ordered[1]) < view.clear or (
        view.table.kind == "stacked" and not _readable(view, ordered[0])
    ):
        return None
    if rng.random() < 0.3 and _readable(view, ordered[0]):
        word = rng.choice(("highest", "largest", "maximum") if highest else ("lowest", "smallest", "minimum"))
        question = phrase(rng, EXTREME_VALUE, NUMBER, e=word, s=told)
        return Turn(question=question, answer=view.table.text(ordered[0]), metric=view.metric)
    kind = view.category_word if rng.random() < 0.6 else "category"
    question = phrase(rng, HIGHEST if highest else LOWEST, WORD, k=kind, s=told)
    return Turn(question=question, answer=view.table.categories[values.index(ordered[0])], metric="exact_ci")


def arithmetic(rng: random.Random, view: ChartView) -> Turn | None:
    """A difference or a sum of two values that can both be read well."""
    if view.table.kind in ("scatter", "stacked"):
        return None
    _, values, told = _series(rng, view)
    i, j = sorted(rng.sample(range(len(values)), 2), key=lambda k: -values[k])
    if not (_readable(view, values[i]) and _readable(view, values[j])):
        return None
    a, b = view.table.categories[i], view.table.categories[j]
    if rng.random() < 0.5:
        result = round(values[i] + values[j], view.table.decimals)
        question = phrase(rng, SUM, NUMBER, a=a, b=b, s=told)
    else:
        result = round(values[i] - values[j], view.table.decimals)
        if result <= 0 or (not view.labelled and result < 0.3 * view.table.top):
            return None
        question = phrase(rng, DIFFERENCE, NUMBER, a=a, b=b, s=told)
    return Turn(question=question, answer=plain_number(result, view.table.decimals), metric=view.metric)


def compare(rng: random.Random, view: ChartView) -> Turn | None:
    """Whether one value is higher than another."""
    if view.table.kind in ("scatter", "stacked"):
        return None
    _, values, told = _series(rng, view)
    i, j = rng.sample(range(len(values)), 2)
    if abs(values[i] - values[j]) < view.clear:
        return None
    question = phrase(rng, COMPARE, YES_NO, a=view.table.categories[i], b=view.table.categories[j], s=told)
    return Turn(question=question, answer="yes" if values[i] > values[j] else "no", metric="yesno")


def trend(rng: random.Random, view: ChartView) -> Turn | None:
    """Where a line goes, if it clearly goes somewhere."""
    if view.table.kind != "line":
        return None
    _, values, told = _series(rng, view)
    steps = [b - a for a, b in zip(values, values[1:], strict=False)]
    change, span = values[-1] - values[0], max(values) - min(values)
    if span == 0 or abs(change) < 0.7 * span or abs(change) < 0.15 * view.table.top:
        return None
    if sum((step > 0) == (change > 0) for step in steps) < 0.7 * len(steps):
        return None
    return Turn(
        question=phrase(rng, TREND, WORD, s=told),
        answer="increasing" if change > 0 else "decreasing",
        metric="exact_ci",
    )


def correlation(rng: random.Random, view: ChartView) -> Turn | None:
    """Of points: whether they rise, fall or neither."""
    points = view.table.points
    if len(points) < 8:
        return None
    mean_x, mean_y = (sum(axis) / len(points) for axis in zip(*points, strict=True))
    xy = sum((x - mean_x) * (y - mean_y) for x, y in points)
    xx, yy = sum((x - mean_x) ** 2 for x, _ in points), sum((y - mean_y) ** 2 for _, y in points)
    r = xy / (xx * yy) ** 0.5
    if 0.25 < abs(r) < 0.75:
        return None
    answer = "none" if abs(r) <= 0.25 else "positive" if r > 0 else "negative"
    return Turn(question=phrase(rng, RELATED), answer=answer, metric="exact_ci")


def words(rng: random.Random, view: ChartView) -> Turn | None:
    """Title, labels of axes, kind of chart."""
    table, dice = view.table, rng.random()
    if dice < 0.4:
        return Turn(question=phrase(rng, TITLE), answer=table.title, metric="anls")
    if dice < 0.75 and table.kind != "pie":
        across = rng.random() < 0.5
        label = table.category_label if across != (table.kind == "barh") else table.value_label
        question = phrase(rng, AXIS, x=rng.choice(("x", "horizontal") if across else ("y", "vertical")))
        return Turn(question=question, answer=label, metric="anls")
    return Turn(question=phrase(rng, KIND), answer=KIND_NAMES[table.kind], metric="contains")


def count(rng: random.Random, view: ChartView) -> Turn | None:
    """How many categories, series, bars, slices or points."""
    table = view.table
    number, names = {
        "line": (len(table.series), ("lines", "series", "data series")),
        "pie": (len(table.categories), ("slices", "categories", "segments")),
        "scatter": (len(table.points), ("points", "data points", "dots")),
        "bar": (len(table.categories), ("bars", "categories")),
        "barh": (len(table.categories), ("bars", "categories")),
        "grouped": (len(table.categories), ("categories", "groups of bars")),
        "stacked": (len(table.categories), ("bars", "categories")),
    }[table.kind]
    if table.kind in ("grouped", "stacked") and rng.random() < 0.5:
        number, names = len(table.series), ("data series", "series")
    if number > 15:
        return None
    return Turn(
        question=phrase(rng, COUNT, NUMBER, n=rng.choice(names)), answer=str(number), metric="exact_number"
    )


def colour(rng: random.Random, view: ChartView) -> Turn | None:
    """Which colour shows what, both ways."""
    table = view.table
    names = list(table.categories if table.kind == "pie" else table.series)
    colours = [name for name, _ in view.style.colours]
    if len(names) < 2 or len(set(colours)) < len(colours):
        return None
    i = rng.randrange(len(names))
    if rng.random() < 0.5:
        return Turn(question=phrase(rng, COLOUR, WORD, x=names[i]), answer=colours[i], metric="exact_ci")
    mark = {"pie": "slice", "line": "line", "scatter": "group of points"}.get(table.kind, "bar")
    kind = "category" if table.kind == "pie" else "series"
    question = phrase(rng, WHOSE_COLOUR, WORD, c=colours[i], m=mark, k=kind)
    return Turn(question=question, answer=names[i], metric="exact_ci")


def above(rng: random.Random, view: ChartView) -> Turn | None:
    """How many values are above a round number that none of them is close to."""
    table = view.table
    if len(table.series) != 1 or table.kind in ("scatter", "pie"):
        return None
    values = next(iter(table.series.values()))
    step = 10.0 ** (len(str(int(table.top))) - 1)
    bound = plain_number(round(rng.uniform(0.2, 0.8) * table.top / step * 2) * step / 2, 1)
    if float(bound) <= 0 or any(abs(v - float(bound)) < max(view.clear, 0.01 * table.top) for v in values):
        return None
    names = {"line": ("points", "values")}.get(table.kind, ("bars", "categories", "values"))
    question = phrase(rng, ABOVE, NUMBER, n=rng.choice(names), v=bound)
    return Turn(question=question, answer=str(sum(v > float(bound) for v in values)), metric="exact_number")


def table_turn(rng: random.Random, view: ChartView) -> Turn | None:
    """The whole table, as Markdown or CSV; asked where the values can be read."""
    table = view.table
    cells = sum(map(len, table.series.values()))
    if table.kind in ("scatter", "stacked") or cells > 24:
        return None
    if not view.labelled and any(v < 0.05 * table.top for values in table.series.values() for v in values):
        return None
    if table.kind == "pie" and not view.style.value_labels:
        return None
    rows = table.rows()
    if rng.random() < 0.55:
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        lines.insert(1, "| " + " | ".join("---" for _ in rows[0]) + " |")
        return Turn(question=phrase(rng, MARKDOWN), answer="\n".join(lines), metric="rms_f1")
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return Turn(question=phrase(rng, CSV), answer=text.getvalue().rstrip("\n"), metric="rms_f1")


def box(rng: random.Random, view: ChartView) -> Turn | None:
    """Where a bar lies."""
    if view.table.kind not in ("bar", "barh", "grouped"):
        return None
    mark = rng.choice(view.drawn.marks)
    if min(mark.box[2] - mark.box[0], mark.box[3] - mark.box[1]) < 10:
        return None
    name = f"bar of {mark.category}" + (f" for {mark.series}" if len(view.table.series) > 1 else "")
    answer = box_answer(name, [mark.box], view.drawn.image.size)
    return Turn(question=phrase(rng, BOX, x=name), answer=answer, metric="iou@0.5")


_ELSEWHERE = ("Atlantis", "Iceland", "Plutonia", "Bolivia", "Madagascar", "1899", "2047", "Walter", "Penelope", "Zinc",
              "Helicopters", "Avocados", "Submarines", "Fiji", "Category X", "Omega", "Bicycles",
              "Nepal")  # fmt: skip

_SEVERAL = ("Helicopters", "Avocados", "Submarines", "Bicycles")


def absent(rng: random.Random, view: ChartView) -> Turn | None:
    """A value of something that the chart does not show."""
    if view.table.kind == "scatter":
        return None
    name = rng.choice(_ELSEWHERE)
    if name in view.table.categories or name in view.table.series:
        return None
    told = "" if len(view.table.series) == 1 else f" for {rng.choice(list(view.table.series))}"
    return Turn(
        question=phrase(rng, VALUE, NUMBER, c=name, s=told),
        answer=f"There {'are' if name in _SEVERAL else 'is'} no {name} in the chart.",
        metric="absent",
    )


ASKERS: tuple[tuple[Asker[ChartView], float], ...] = (
    (value, 4.0), (extreme, 2.5), (arithmetic, 1.5), (compare, 0.8), (trend, 1.5), (correlation, 2.0), (words, 1.5),
    (count, 0.8), (colour, 1.0), (above, 0.6), (table_turn, 1.5), (box, 0.6), (absent, 0.8),
)  # fmt: skip

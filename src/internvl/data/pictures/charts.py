"""The skill `chart`: bars, lines, pies and points, drawn by matplotlib or our own renderer, with their figures."""

from __future__ import annotations

import random

from internvl.data.pictures.asking import ask
from internvl.data.pictures.chart_data import KINDS, make_table
from internvl.data.pictures.chart_matplotlib import check_installed
from internvl.data.pictures.chart_matplotlib import draw_chart as draw_with_matplotlib
from internvl.data.pictures.chart_pillow import draw_chart as draw_with_pillow
from internvl.data.pictures.chart_questions import ASKERS, ChartView
from internvl.data.pictures.chart_style import draw_style
from internvl.data.sample import Assets, DataSample, Split
from internvl.data.scene import wear

MATPLOTLIB_SHARE = {"train": 0.25, "held_out": 0.6}
"""matplotlib takes a quarter of a second a chart, our renderer a fiftieth."""
MAX_TURNS = 6


def make_chart(rng: random.Random, *, split: Split, assets: Assets) -> DataSample:
    """Make up figures, draw them and ask about them.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    check_installed()
    table = make_table(rng, rng.choices(KINDS, (3, 2, 2.5, 1.5, 3, 1.5, 1))[0], split=split, assets=assets)
    style = draw_style(rng, table, split)
    if not style.value_labels:
        table = table.coarse()
    if rng.random() < MATPLOTLIB_SHARE[split]:
        drawn = draw_with_matplotlib(rng, table, style)
    else:
        drawn = draw_with_pillow(table, style)
    image = wear(rng, drawn.image, 0.3) if max(drawn.image.size) < 639 and rng.random() < 0.3 else drawn.image
    turns = ask(rng, ChartView(table, style, drawn), ASKERS, rng.randint(2, MAX_TURNS))
    truth = {
        "kind": table.kind, "renderer": drawn.renderer, "title": table.title, "value_label": table.value_label,
        "category_label": table.category_label, "categories": list(table.categories),
        "series": {name: list(values) for name, values in table.series.items()},
        "points": [list(point) for point in table.points], "value_labels": style.value_labels,
        "colours": [name for name, _ in style.colours],
        "marks": [
            {"series": m.series, "category": m.category, "value": m.value, "box": [round(v, 1) for v in m.box]}
            for m in drawn.marks
        ],
    }  # fmt: skip
    return DataSample(images=[image], turns=turns, truth=truth, skill="chart")

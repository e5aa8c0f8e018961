"""How a chart looks: size, colours, fonts, grid, legend, and how numbers are written on it."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Literal

from internvl.data.colours import COLOURS, Rgb, distance, draw_colour
from internvl.data.fonts import find_fonts
from internvl.data.pictures.chart_data import ChartTable
from internvl.data.sample import Split

SIZES = ((640, 480), (560, 420), (720, 480), (512, 512), (600, 400), (800, 500), (480, 480))
#: (grouping, decimal point) of different places.
_NUMBER_FORMS = ((",", "."), ("", "."), (".", ","), (" ", ","), ("’", "."))
_NUMBER_WEIGHTS = (4, 4, 1.5, 1, 0.5)
Legend = Literal["right", "below"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartStyle:
    """The looks of one chart."""

    size: tuple[int, int]
    font: str
    text_px: int
    colours: tuple[tuple[str, Rgb], ...]
    """Name and colour of every series, or of every slice of a pie."""
    paper: Rgb
    ink: Rgb
    grid: bool
    frame: bool
    value_labels: bool
    legend: Legend
    bar_share: float
    """Width of a bar as a share of its room."""
    markers: bool
    grouping: str
    point: str

    def number(self, value: float, decimals: int) -> str:
        """A value as the chart writes it."""
        text = f"{value:,.{decimals}f}"
        return text.replace(",", "\0").replace(".", self.point).replace("\0", self.grouping)


def draw_style(rng: random.Random, table: ChartTable, split: Split) -> ChartStyle:
    """Choose the looks of a chart."""
    book = find_fonts()
    fonts = book.held_out if split == "held_out" else book.plain if rng.random() < 0.7 else book.trained
    dark = rng.random() < 0.1
    paper: Rgb = (
        (30, 32, 40) if dark else rng.choice(((255, 255, 255),) * 5 + ((247, 247, 242), (238, 242, 248)))
    )
    ink: Rgb = (235, 235, 235) if dark else rng.choice(((0, 0, 0), (40, 40, 40), (60, 60, 80)))
    size = rng.choice(SIZES)
    needed = len(table.categories) if table.kind == "pie" else max(1, len(table.series))
    grouping, point = rng.choices(_NUMBER_FORMS, _NUMBER_WEIGHTS)[0]
    legend: Legend = "below" if needed > 1 and rng.random() < 0.5 else "right"
    labelled = rng.random() < {"pie": 0.8, "scatter": 0.0}.get(table.kind, 0.45)
    labelled &= (
        table.kind != "line" or len(table.series) == 1
    )  # between several lines there is no room for figures
    return ChartStyle(
        size=size, font=rng.choice(fonts), text_px=rng.randint(12, 16) + (size[0] >= 720),
        colours=_palette(rng, needed, paper), paper=paper, ink=ink, grid=rng.random() < 0.55,
        frame=rng.random() < 0.5, value_labels=labelled,
        legend=legend, bar_share=rng.uniform(0.5, 0.88),
        markers=rng.random() < 0.7, grouping=grouping, point=point,
    )  # fmt: skip


def _palette(rng: random.Random, number: int, paper: Rgb) -> tuple[tuple[str, Rgb], ...]:
    """Different named colours, told apart from each other and from the paper."""
    if number == 1 and rng.random() < 0.5:
        return (("blue", draw_colour(rng, "blue")),)
    chosen: list[tuple[str, Rgb]] = []
    for name in rng.sample(COLOURS, len(COLOURS)):
        colour = draw_colour(rng, name)
        if all(distance(colour, other) > 0.38 for other in (paper, *(c for _, c in chosen))):
            chosen.append((name, colour))
    while len(chosen) < number:  # more slices than clear colours: shades
        name = rng.choice(COLOURS)
        chosen.append((name, draw_colour(rng, name)))
    return tuple(chosen[:number])


def ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Round numbers from at or below `low` to at or above `high`.

    >>> ticks(0, 87)
    [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]
    """
    span = max(high - low, 1e-9)
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(k * power for k in (1, 2, 2.5, 5, 10, 20) if span / (k * power) <= most)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def tick_decimals(values: list[float]) -> int:
    """Digits behind the point that the ticks need."""
    return next(n for n in range(6) if all(abs(v - round(v, n)) < 1e-9 for v in values))

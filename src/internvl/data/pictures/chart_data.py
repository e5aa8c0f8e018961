"""What charts show: tables of made-up figures under titles that could be real."""

from __future__ import annotations

import json
import lzma
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal

from internvl.data.sample import Assets, Split

ChartKind = Literal["bar", "barh", "grouped", "stacked", "line", "pie", "scatter"]
KINDS: tuple[ChartKind, ...] = ("bar", "barh", "grouped", "stacked", "line", "pie", "scatter")

_TOPICS: tuple[tuple[str, str, float, float, str], ...] = (
    # what is measured, its unit, its usual range, which categories fit
    ("Sales", "units", 20, 900, "time product"), ("Revenue", "million USD", 1, 90, "time company"),
    ("Population", "million", 1, 140, "place time"), ("Rainfall", "mm", 5, 320, "month city"),
    ("Average temperature", "°C", 2, 35, "month city"), ("Visitors", "thousand", 3, 480, "time place"),
    ("Students", "", 40, 900, "subject school"), ("Books read", "", 1, 30, "person month"),
    ("Energy use", "kWh", 50, 900, "month device"), ("Exports", "billion EUR", 2, 200, "place time"),
    ("Life expectancy", "years", 52, 85, "place"), ("Votes", "", 30, 700, "person party"),
    ("Production", "tonnes", 10, 900, "crop time"), ("Price", "EUR", 2, 95, "product time"),
    ("Score", "points", 10, 100, "person subject"), ("Employees", "", 12, 800, "department company"),
    ("Water use", "litres", 20, 400, "device month"), ("Hours worked", "h", 10, 60, "person weekday"),
    ("Downloads", "thousand", 5, 700, "time app"), ("Speed", "km/h", 20, 320, "animal"),
    ("Trees planted", "", 50, 950, "city time"), ("Wheat yield", "t/ha", 1, 9, "place time"),
    ("Unemployment rate", "%", 2, 18, "place time"), ("Internet users", "%", 20, 99, "place time"),
    ("Steps walked", "thousand", 2, 20, "weekday person"), ("Cups of coffee", "", 1, 40, "weekday department"),
    ("CO2 emissions", "Mt", 5, 600, "place time"), ("Accidents", "", 3, 120, "month city"),
    ("Goals scored", "", 5, 95, "team time"), ("Favourite fruit", "votes", 2, 60, "fruit"),
    ("Pets owned", "", 2, 70, "animal"), ("Budget", "thousand USD", 10, 400, "department"),
)  # fmt: skip
_WORDS: dict[str, str] = {
    "product": "Laptops|Phones|Tablets|Monitors|Cameras|Printers|Keyboards|Headphones|Chairs|Desks|Lamps|Shoes|"
    "Jackets|Bags|Watches|Toys|Bikes|Books",
    "company": "Acme|Northwind|Globex|Initech|Umbra|Vertex|Solaris|Helios|Zenith|Aurora|Nimbus|Orion",
    "place": "Germany|France|Spain|Italy|Poland|Norway|Brazil|Canada|Mexico|China|India|Japan|Kenya|Egypt|Nigeria|"
    "Turkey|Peru|Chile|Vietnam|Greece|Sweden|Ireland|Morocco|Ghana",
    "city": "Berlin|Paris|Madrid|Rome|Oslo|Cairo|Lima|Tokyo|Delhi|Lagos|Quito|Seoul|Hanoi|Dublin|Athens|Porto|"
    "Toronto|Boston|Sydney|Nairobi",
    "subject": "Maths|Physics|Biology|History|Art|Music|Chemistry|English|Geography|Sports|Latin|Economics",
    "school": "Hill School|Park School|West High|East High|Lake Academy|Oak College|Central|Riverside",
    "person": "Anna|Ben|Carla|David|Emma|Felix|Grace|Hugo|Ines|Jonas|Kira|Leo|Mia|Noah|Olga|Paul|Rosa|Sam|Tina|Victor",
    "party": "Party A|Party B|Party C|Party D|Greens|Liberals|Labour|Centre|Union",
    "crop": "Wheat|Rice|Maize|Barley|Oats|Soy|Potatoes|Cotton|Rye|Beans",
    "device": "Heating|Fridge|Oven|Washer|Dryer|Lights|Computer|TV|Shower|Dishwasher",
    "department": "Sales|Marketing|Research|Finance|Support|Design|Legal|Logistics|IT|HR",
    "app": "Maps|Chat|Music|Photos|Mail|Notes|Games|Weather|Fitness|Bank",
    "animal": "Dog|Cat|Horse|Rabbit|Cheetah|Lion|Zebra|Elephant|Fish|Hamster|Bird|Fox|Deer|Camel",
    "team": "Reds|Blues|Tigers|Eagles|Rovers|United|City|Wolves|Hawks|Sharks",
    "fruit": "Apples|Bananas|Cherries|Grapes|Lemons|Mangos|Oranges|Peaches|Pears|Plums|Kiwis|Melons",
    "weekday": "Mon|Tue|Wed|Thu|Fri|Sat|Sun",
}  # fmt: skip
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TITLES = (
    "{what} by {by}", "{what} per {by}", "{what}", "{what}, {year}", "{what} in {year}", "Comparison of {what_low}",
    "{what} ({unit})", "Annual {what_low}", "{what}: an overview", "{what} by {by}, {year}",
)  # fmt: skip
_HELD_OUT_TITLES = (
    "Figure {n}: {what_low} by {by}",
    "{year} report: {what_low}",
    "How {what_low} compare",
    "{what} at a glance",
)
_BY = {"time": "year", "place": "country", "person": "person", "app": "app", "school": "school"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartTable:
    """The figures of a chart."""

    kind: ChartKind
    title: str
    value_label: str
    """What the numbers are, with their unit: "Rainfall (mm)"."""
    category_label: str
    categories: tuple[str, ...]
    series: dict[str, tuple[float, ...]]
    """Values by series, one per category; a chart of one series names what is measured."""
    decimals: int
    points: tuple[tuple[float, float], ...] = ()
    """Of a scatter chart, (x, y)."""
    groups: tuple[int, ...] = field(default=())
    """Of a scatter chart: which series each point belongs to."""

    @property
    def top(self) -> float:
        """The largest value that an axis has to show."""
        if self.kind == "stacked":
            return max(sum(column) for column in zip(*self.series.values(), strict=True))
        return max(value for values in self.series.values() for value in values)

    def coarse(self) -> ChartTable:
        """The same figures, rounded to what can be read off an axis: about a sixtieth of it."""
        if self.kind in ("pie", "scatter"):
            return self
        power = 10.0 ** math.floor(math.log10(self.top / 60))
        step = next(k * power for k in (1, 2, 5, 10) if k * power >= self.top / 60)
        decimals = max(0, -math.floor(math.log10(step)))
        series = {
            name: tuple(round(max(1, round(value / step)) * step, decimals) for value in values)
            for name, values in self.series.items()
        }
        return replace(self, series=series, decimals=decimals)

    def text(self, value: float) -> str:
        """A value as answers write it: a decimal point, no grouping, no trailing zeros."""
        return plain_number(value, self.decimals)

    def rows(self) -> list[list[str]]:
        """Head and rows of the table."""
        head = [self.category_label.lower() or "category", *self.series]
        return [head] + [
            [name, *(self.text(values[i]) for values in self.series.values())]
            for i, name in enumerate(self.categories)
        ]


def plain_number(value: float, decimals: int) -> str:
    """A number without grouping and trailing zeros.

    >>> plain_number(1250.50, 2), plain_number(80.0, 1)
    ('1250.5', '80')
    """
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def make_table(rng: random.Random, kind: ChartKind, *, split: Split, assets: Assets) -> ChartTable:
    """Make up the figures of a chart."""
    what, unit, low, high, fields = rng.choice(_TOPICS)
    if kind == "scatter":
        return _scatter(rng, split)
    field_ = rng.choice(fields.split())
    if kind == "line":
        field_ = rng.choice(("time", "time", "month", "weekday"))
    most = {"bar": 9, "barh": 9, "grouped": 6, "stacked": 6, "line": 12, "pie": 6, "scatter": 0}[kind]
    number = rng.randint(4 if kind == "line" else 3, most)
    categories = _categories(rng, field_, number, assets)
    by = _BY.get(field_, field_)
    several = kind in ("grouped", "stacked") or (kind == "line" and rng.random() < 0.6)
    names = _series_names(rng, field_, rng.randint(2, 4 if kind != "line" else 3)) if several else (what,)
    scale = 10 ** rng.choice((0, 0, 0, 0, 1, -1)) if unit not in ("%", "years", "°C", "h", "points") else 1
    low, high = low * scale, high * scale
    top = (
        high
        if rng.random() < 0.3
        else math.exp(rng.uniform(math.log(low + (high - low) * 0.2), math.log(high)))
    )
    decimals = 0 if top >= 60 else rng.choice((0, 1, 1)) if top > 10 else rng.choice((1, 2))
    series = {name: _values(rng, kind, len(categories), low, top, decimals) for name in names}
    if kind == "pie":
        shares = _percentages(rng, len(categories))
        series, decimals, unit = {what: shares}, 0, "%"
    title = _title(rng, split, what, by, unit)
    label = f"{what} ({unit})" if unit and rng.random() < 0.8 else what
    return ChartTable(
        kind=kind, title=title, value_label=label, category_label=by.capitalize(), categories=categories,
        series=series, decimals=decimals,
    )  # fmt: skip


def _title(rng: random.Random, split: Split, what: str, by: str, unit: str) -> str:
    forms: tuple[str, ...] = _TITLES if split == "train" else _HELD_OUT_TITLES
    if not unit:
        forms = tuple(form for form in forms if "{unit}" not in form)
    low = what if what.isupper() or what[:2] == "CO" else what[0].lower() + what[1:]
    return rng.choice(forms).format(
        what=what, what_low=low, by=by, unit=unit, year=rng.randint(1990, 2026), n=rng.randint(1, 12)
    )


def _categories(rng: random.Random, field_: str, number: int, assets: Assets) -> tuple[str, ...]:
    if field_ == "time":
        step = rng.choice((1, 1, 1, 2, 5, 10))
        latest = 2026 - step * number
        first = rng.randint(min(1950, latest), latest) if rng.random() < 0.5 else latest
        return tuple(str(first + step * i) for i in range(number))
    if field_ in ("month", "weekday"):
        names: Sequence[str] = _MONTHS if field_ == "month" else _WORDS["weekday"].split("|")
        translated = _latin_calendars(assets)
        if translated and rng.random() < 0.25:
            names = rng.choice(translated)[field_]
        first = rng.randrange(max(1, len(names) - number + 1))
        return tuple(names[first : first + number])
    words = _WORDS[field_].split("|")
    return tuple(rng.sample(words, min(number, len(words))))


@lru_cache(maxsize=2)
def _latin_calendars(assets: Assets) -> list[dict[str, list[str]]]:
    """Short names of months and days in languages of the Latin script."""
    if assets.text is None or not (assets.text / "cldr_locales.jsonl.xz").is_file():
        return []
    calendars = []
    with lzma.open(assets.text / "cldr_locales.jsonl.xz", "rt", encoding="utf8") as file:
        for row in map(json.loads, file):
            names = [*row.get("months_abbr", ()), *row.get("days", ())]
            if (
                len(names) == 19
                and len(set(names)) == 19
                and all(name.isascii() or max(name) < "\u017f" for name in names)
            ):
                calendars.append({"month": row["months_abbr"], "weekday": row["days"]})
    return calendars


def _series_names(rng: random.Random, field_: str, number: int) -> tuple[str, ...]:
    if field_ != "time" and rng.random() < 0.4:
        first = rng.randint(2005, 2023)
        return tuple(str(first + i) for i in range(number))
    pool = rng.choice(
        [key for key in ("place", "product", "city", "company", "team", "crop") if key != field_]
    )
    return tuple(rng.sample(_WORDS[pool].split("|"), number))


def _values(
    rng: random.Random, kind: ChartKind, number: int, low: float, top: float, decimals: int
) -> tuple[float, ...]:
    low = min(low, top * 0.3)
    if kind == "line" and rng.random() < 0.75:
        return _walk(rng, number, low, top, decimals)
    step = rng.choice((1, 1, 5, 10)) if decimals == 0 and top > 60 else 10**-decimals
    values = [round(rng.uniform(low, top) / step) * step for _ in range(number)]
    return tuple(round(max(value, step), decimals) for value in values)


def _walk(rng: random.Random, number: int, low: float, top: float, decimals: int) -> tuple[float, ...]:
    """A series with a direction, or without one."""
    drift = rng.choice((-1.0, 1.0, 0.0)) * (top - low) * 0.8 / max(1, number - 1)
    value = low + (top - low) * (0.1 if drift > 0 else 0.9 if drift < 0 else rng.uniform(0.3, 0.7))
    noise = (top - low) * (0.06 if drift else 0.25)
    values = []
    for _ in range(number):
        values.append(round(min(top, max(low, value + rng.uniform(-noise, noise))), decimals))
        value += drift
    return tuple(values)


def _percentages(rng: random.Random, number: int) -> tuple[float, ...]:
    """Whole percentages of at least four that add up to 100, all different where that is likely."""
    for _ in range(20):
        cuts = sorted(rng.sample(range(1, 100), number - 1))
        shares = [b - a for a, b in zip([0, *cuts], [*cuts, 100], strict=True)]
        if min(shares) >= 4 and len(set(shares)) == number:
            return tuple(map(float, shares))
    return tuple(float(100 // number + (i < 100 % number)) for i in range(number))


_PAIRS = (
    ("Height (cm)", "Weight (kg)", 140, 200, 40, 110), ("Hours of study", "Score", 0, 12, 20, 100),
    ("Age (years)", "Income (thousand USD)", 18, 70, 10, 120), ("Temperature (°C)", "Ice creams sold", 5, 38, 10, 400),
    ("Distance (km)", "Price (EUR)", 1, 60, 3, 120), ("Horsepower", "Fuel use (l/100 km)", 60, 300, 4, 16),
    ("Area (m²)", "Rent (EUR)", 20, 160, 300, 2500), ("Speed (km/h)", "Braking distance (m)", 20, 140, 5, 110),
)  # fmt: skip


def _scatter(rng: random.Random, split: Split) -> ChartTable:
    x_label, y_label, x0, x1, y0, y1 = rng.choice(_PAIRS)
    slope, spread = rng.choice((1, -1, 0)), rng.uniform(0.04, 0.12)
    number = rng.randint(5, 24)
    groups = tuple(rng.randrange(2) for _ in range(number)) if rng.random() < 0.4 else (0,) * number
    names = _series_names(rng, "time", 2) if any(groups) else (y_label,)
    points: list[tuple[float, float]] = []
    while len(points) < number:
        u = rng.random()
        v = (
            rng.random()
            if slope == 0
            else (u if slope > 0 else 1 - u) * 0.85 + 0.075 + rng.uniform(-spread, spread)
        )
        if 0 <= v <= 1 and all(
            abs(u - p) + abs(v - q) > 0.05 for p, q in points
        ):  # two points on a spot cannot be counted
            points.append((u, v))
    title = rng.choice(
        ("{y} against {x}", "{x} and {y}", "{y} vs. {x}")
        if split == "train"
        else ("Does {x} matter for {y}?",)
    )
    strip = [label.split(" (")[0].lower() for label in (x_label, y_label)]
    scaled = tuple((round(x0 + u * (x1 - x0), 1), round(y0 + v * (y1 - y0), 1)) for u, v in points)
    text = title.format(x=strip[0], y=strip[1])
    series = {
        name: tuple(y for (_, y), group in zip(scaled, groups, strict=True) if group == i)
        for i, name in enumerate(names)
    }
    return ChartTable(
        kind="scatter", title=text[0].upper() + text[1:], value_label=y_label, category_label=x_label, categories=(),
        series=series,
        decimals=1, points=scaled, groups=groups,
    )  # fmt: skip

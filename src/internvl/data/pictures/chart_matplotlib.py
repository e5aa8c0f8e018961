"""Charts drawn with matplotlib, the look that most charts in papers have. Figures only, no pyplot, no global state."""

from __future__ import annotations

import random
from functools import cache
from importlib.util import find_spec
from typing import Any

from PIL import Image

from internvl.data.colours import Rgb
from internvl.data.pictures.chart_data import ChartTable
from internvl.data.pictures.chart_pillow import DrawnChart, Mark
from internvl.data.pictures.chart_style import ChartStyle
from internvl.errors import MissingDependencyError

DPI = 100


@cache
def check_installed() -> None:
    """Say at once what some charts would need, not at the first that does.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise MissingDependencyError("drawing charts needs matplotlib: pip install 'internvl[data]'")


def draw_chart(rng: random.Random, table: ChartTable, style: ChartStyle) -> DrawnChart:
    """Draw a chart of any kind.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    check_installed()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties

    w, h = style.size
    figure = Figure(figsize=(w / DPI, h / DPI), dpi=DPI, facecolor=_hex(style.paper), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot(facecolor=_hex(style.paper))
    points = style.text_px * 72 / DPI
    font = FontProperties(fname=style.font, size=points)
    axes.set_title(
        table.title, fontproperties=FontProperties(fname=style.font, size=points * 1.2), color=_hex(style.ink)
    )
    # not every font has a minus sign or a narrow space
    artists = _pie(axes, table, style, font) if table.kind == "pie" else _plot(axes, table, style, rng)
    if table.kind != "pie":
        _dress_axes(axes, table, style, font)
    names = table.categories if table.kind == "pie" else tuple(table.series)
    if len(names) > 1:
        _legend(axes, artists, names, style, font)
    canvas.draw()
    width, height = canvas.get_width_height()
    image = Image.frombuffer("RGBA", (width, height), canvas.buffer_rgba(), "raw", "RGBA", 0, 1).convert(
        "RGB"
    )
    return DrawnChart(image=image, marks=_marks(axes, artists, table, height), renderer="matplotlib")


def _plot(axes: Any, table: ChartTable, style: ChartStyle, rng: random.Random) -> list[Any]:
    """Draw bars, lines or points; returns one artist per series."""
    colours = [_hex(colour) for _, colour in style.colours]
    places = list(range(len(table.categories)))
    artists: list[Any] = []
    if table.kind == "scatter":
        for i in range(len(table.series)):
            xy = [point for point, group in zip(table.points, table.groups, strict=True) if group == i]
            marker = rng.choice("osD^") if style.markers else "o"
            artists.append(
                axes.scatter([x for x, _ in xy], [y for _, y in xy], s=40, color=colours[i], marker=marker)
            )
        return artists
    base = [0.0] * len(places)
    count = len(table.series) if table.kind == "grouped" else 1
    bar = style.bar_share / count
    for k, values in enumerate(table.series.values()):
        if table.kind == "line":
            marker = rng.choice("os^D") if style.markers else ""
            artists += axes.plot(
                places, values, color=colours[k], marker=marker, linewidth=rng.choice((1.5, 2, 2.5))
            )
        elif table.kind == "barh":
            artists.append(axes.barh(places, values, height=bar, color=colours[k]))
        else:
            shift = (k - (count - 1) / 2) * bar if count > 1 else 0.0
            at = [place + shift for place in places]
            artists.append(axes.bar(at, values, width=bar, color=colours[k], bottom=base))
            if table.kind == "stacked":
                base = [b + v for b, v in zip(base, values, strict=True)]
    return artists


def _dress_axes(axes: Any, table: ChartTable, style: ChartStyle, font: Any) -> None:
    from matplotlib.ticker import FuncFormatter

    ink, flat = _hex(style.ink), table.kind == "barh"
    places = list(range(len(table.categories)))
    number = FuncFormatter(lambda value, _: _tick_text(style, value))
    value_axis, name_axis = (axes.xaxis, axes.yaxis) if flat else (axes.yaxis, axes.xaxis)
    value_axis.set_major_formatter(number)
    if table.kind == "scatter":
        name_axis.set_major_formatter(number)
    else:
        name_axis.set_ticks(places, table.categories)
        if flat:
            axes.invert_yaxis()
        if table.kind != "line":
            (axes.set_xlim if flat else axes.set_ylim)(0, None)
    value_axis.set_label_text(table.value_label, fontproperties=font, color=ink)
    name_axis.set_label_text(table.category_label, fontproperties=font, color=ink)
    crowded = not flat and sum(map(len, table.categories)) * style.text_px * 0.62 > style.size[0] * 0.62
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_fontproperties(font)
        label.set_color(ink)
    if crowded:
        for label in axes.get_xticklabels():
            label.set(rotation=40, ha="right", rotation_mode="anchor")
    axes.tick_params(colors=ink)
    axes.set_axisbelow(True)
    if style.grid:
        axes.grid(axis="both" if table.kind in ("line", "scatter") else "x" if flat else "y", alpha=0.35)
    for side, spine in axes.spines.items():
        spine.set_color(ink)
        spine.set_visible(style.frame or side in ("left", "bottom"))
    if style.value_labels:
        _write_values(axes, table, style, font)


def _tick_text(style: ChartStyle, value: float) -> str:
    decimals = next((n for n in range(4) if abs(value - round(value, n)) < 1e-6), 3)
    return style.number(value, decimals)


def _write_values(axes: Any, table: ChartTable, style: ChartStyle, font: Any) -> None:
    small = font.copy()
    small.set_size(font.get_size() * 0.8)
    for container in axes.containers:
        inside = table.kind == "stacked"
        axes.bar_label(
            container, labels=[style.number(value, table.decimals) for value in container.datavalues],
            label_type="center" if inside else "edge", fontproperties=small, color=_hex(style.ink) if not inside else
            ("black" if sum(container.patches[0].get_facecolor()[:3]) > 1.3 else "white"), padding=0 if inside else 2,
        )  # fmt: skip
    if table.kind == "line" and len(table.series) == 1:
        for place, value in enumerate(next(iter(table.series.values()))):
            axes.annotate(
                style.number(value, table.decimals), (place, value), xytext=(0, 5), textcoords="offset points",
                ha="center", fontproperties=small, color=_hex(style.ink),
            )  # fmt: skip
    axes.margins(y=0.12) if table.kind != "barh" else axes.margins(x=0.12)


def _pie(axes: Any, table: ChartTable, style: ChartStyle, font: Any) -> list[Any]:
    values = next(iter(table.series.values()))
    colours = [_hex(colour) for _, colour in style.colours]
    wedges = axes.pie(
        values, colors=colours, startangle=90, counterclock=False, wedgeprops={"edgecolor": _hex(style.paper)}
    )[0]
    if style.value_labels:
        import math

        begin = 90.0
        for wedge, value in zip(wedges, values, strict=True):
            angle = math.radians(begin - value * 1.8)
            axes.text(
                0.68 * math.cos(angle), 0.68 * math.sin(angle), f"{style.number(value, 0)}%", ha="center", va="center",
                fontproperties=font, color="black" if sum(wedge.get_facecolor()[:3]) > 1.3 else "white",
            )  # fmt: skip
            begin -= value * 3.6
    return list(wedges)


def _legend(axes: Any, artists: list[Any], names: tuple[str, ...], style: ChartStyle, font: Any) -> None:
    where: dict[str, Any] = (
        {"loc": "upper center", "bbox_to_anchor": (0.5, -0.16), "ncols": len(names)}
        if style.legend == "below" and sum(map(len, names)) < 40
        else {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
    )
    handles = [artist[0] if hasattr(artist, "patches") else artist for artist in artists]
    axes.legend(
        handles,
        names,
        prop=font,
        labelcolor=_hex(style.ink),
        frameon=style.frame,
        facecolor=_hex(style.paper),
        **where,
    )


def _marks(axes: Any, artists: list[Any], table: ChartTable, height: int) -> list[Mark]:
    """Boxes of all marks; matplotlib counts pixels from below."""
    marks: list[Mark] = []
    if table.kind == "pie":
        boxes = [wedge.get_window_extent() for wedge in artists]
        values = next(iter(table.series.values()))
        return [
            Mark(next(iter(table.series)), name, value, (b.x0, height - b.y1, b.x1, height - b.y0))
            for name, value, b in zip(table.categories, values, boxes, strict=True)
        ]
    for (series, values), artist in zip(table.series.items(), artists, strict=True):
        if hasattr(artist, "patches"):
            for name, value, patch in zip(table.categories, values, artist.patches, strict=True):
                b = patch.get_window_extent()
                marks.append(Mark(series, name, value, (b.x0, height - b.y1, b.x1, height - b.y0)))
            continue
        xy = artist.get_offsets() if table.kind == "scatter" else artist.get_xydata()
        names = ("",) * len(values) if table.kind == "scatter" else table.categories
        for (x, y), name, value in zip(axes.transData.transform(xy), names, values, strict=True):
            marks.append(Mark(series, name, value, (x - 5, height - y - 5, x + 5, height - y + 5)))
    return marks


def _hex(colour: Rgb) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)

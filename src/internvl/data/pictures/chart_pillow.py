"""Charts drawn with Pillow: our own renderer, several times faster than matplotlib and of another look.

`draw_chart(table, style) -> DrawnChart`; everything is drawn twice as large and halved, which smooths edges.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from PIL import Image, ImageDraw, ImageFont

from internvl.data.colours import Rgb, luminance
from internvl.data.fonts import load_font
from internvl.data.pictures.chart_data import ChartTable
from internvl.data.pictures.chart_style import ChartStyle, tick_decimals, ticks

SCALE = 2
PixelBox = tuple[float, float, float, float]
Scale = Callable[[float], float]
"""From a value to pixels along an axis."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Something drawn for one value: a bar, a slice, a point."""

    series: str
    category: str
    value: float
    box: PixelBox
    """Pixels of the picture, xyxy."""


@dataclass(slots=True, kw_only=True)
class DrawnChart:
    """A picture of a chart and where its marks lie."""

    image: Image.Image
    marks: list[Mark] = field(default_factory=list)
    renderer: str


def draw_chart(table: ChartTable, style: ChartStyle) -> DrawnChart:
    """Draw a chart of any kind."""
    return _Painter(table, style).draw()


class _Painter:
    def __init__(self, table: ChartTable, style: ChartStyle) -> None:
        self.table, self.style = table, style
        self.width, self.height = style.size[0] * SCALE, style.size[1] * SCALE
        self.image = Image.new("RGB", (self.width, self.height), style.paper)
        self.pen = ImageDraw.Draw(self.image)
        self.px = style.text_px * SCALE
        self.faint: Rgb = _mix(style.ink, style.paper, 0.8)
        self.marks: list[Mark] = []
        self.area: PixelBox = (0, 0, 0, 0)
        """Of the plot: x0, y0, x1, y1."""

    # text

    def font(self, share: float = 1.0) -> ImageFont.FreeTypeFont:
        return load_font(self.style.font, round(self.px * share))

    def write(
        self, xy: tuple[float, float], text: str, anchor: str, share: float = 1.0, ink: Rgb | None = None
    ) -> None:
        self.pen.text(xy, text, font=self.font(share), fill=ink or self.style.ink, anchor=anchor)

    def write_upright(self, xy: tuple[float, float], text: str, share: float = 1.0) -> None:
        """Text turned by 90 degrees, its middle at xy."""
        font = self.font(share)
        box = font.getbbox(text)
        strip = Image.new("L", (round(box[2] - box[0]) + 4, round(box[3] - box[1]) + 4))
        ImageDraw.Draw(strip).text((2 - box[0], 2 - box[1]), text, font=font, fill=255)
        strip = strip.transpose(Image.Transpose.ROTATE_90)
        corner = (round(xy[0] - strip.width / 2), round(xy[1] - strip.height / 2))
        self.image.paste(Image.new("RGB", strip.size, self.style.ink), corner, strip)

    def write_slanted(self, xy: tuple[float, float], text: str, share: float = 1.0) -> None:
        """Text that climbs to its end at xy."""
        font = self.font(share)
        box = font.getbbox(text)
        strip = Image.new("L", (round(box[2] - box[0]) + 4, round(box[3] - box[1]) + 4))
        ImageDraw.Draw(strip).text((2 - box[0], 2 - box[1]), text, font=font, fill=255)
        strip = strip.rotate(35, Image.Resampling.BICUBIC, expand=True)
        corner = (round(xy[0] - strip.width + self.px * 0.3), round(xy[1]))
        self.image.paste(Image.new("RGB", strip.size, self.style.ink), corner, strip)

    def length(self, text: str, share: float = 1.0) -> float:
        return self.font(share).getlength(text)

    # the whole

    def draw(self) -> DrawnChart:
        top = self._title()
        right, bottom = self._legend(top)
        if self.table.kind == "pie":
            self._pie(top, right, bottom)
        else:
            self._axes_chart(top, right, bottom)
        self.image = self.image.resize(self.style.size, Image.Resampling.BOX)
        marks = [
            Mark(m.series, m.category, m.value, tuple(v / SCALE for v in m.box))  # type: ignore[arg-type]
            for m in self.marks
        ]
        return DrawnChart(image=self.image, marks=marks, renderer="pillow")

    def _title(self) -> float:
        """Write the title, smaller if it is long; returns where the rest begins."""
        share = min(1.3, 0.94 * self.width / max(1.0, self.length(self.table.title)))
        self.write((self.width / 2, self.px * 0.6), self.table.title, "mt", share)
        return self.px * 2.5

    def _legend(self, top: float) -> tuple[float, float]:
        """Draw the legend; returns where the plot has to end on the right and at the bottom."""
        pie = self.table.kind == "pie"
        names = list(self.table.categories if pie else self.table.series)
        right, bottom = self.width - self.px, self.height - self.px
        if len(names) < 2:
            return right, bottom
        box, share = self.px * 0.8, 0.9
        lengths = [self.length(name, share) + box * 2.2 for name in names]
        if self.style.legend == "below" and sum(lengths) < self.width * 0.92:
            x, y = (self.width - sum(lengths)) / 2, self.height - 1.5 * self.px
            for (_, colour), name, length in zip(self.style.colours, names, lengths, strict=True):
                self._legend_entry(x, y, box, colour, name, share)
                x += length
            return right, y - self.px * 0.6
        x, y = self.width - max(lengths) - self.px * 0.4, top + self.px
        for (_, colour), name in zip(self.style.colours, names, strict=True):
            self._legend_entry(x, y, box, colour, name, share)
            y += self.px * 1.5
        return x - self.px * 0.8, bottom

    def _legend_entry(self, x: float, y: float, box: float, colour: Rgb, name: str, share: float) -> None:
        if self.table.kind in ("bar", "grouped", "stacked", "barh", "pie"):
            self.pen.rectangle((x, y - box / 2, x + box, y + box / 2), fill=colour, outline=self.faint)
        elif self.table.kind == "line":
            self.pen.line((x - box * 0.3, y, x + box * 1.2, y), fill=colour, width=3 * SCALE)
        else:
            self.pen.ellipse((x, y - box / 2, x + box, y + box / 2), fill=colour)
        self.write((x + box * 1.5, y), name, "lm", share)

    # bars, lines, points

    def _axes_chart(self, top: float, right: float, bottom: float) -> None:
        table, flat = self.table, self.table.kind == "barh"
        if table.kind == "scatter":
            xs, ys = zip(*table.points, strict=True)
            x_ticks, y_ticks = ticks(min(xs), max(xs)), ticks(min(ys), max(ys))
        else:
            values = [value for series in table.series.values() for value in series]
            close = table.kind == "line" and min(values) > 0.6 * max(values)
            head = 1.08 if self.style.value_labels else 1.0
            y_ticks = ticks(min(values) * 0.98 if close else 0, table.top * head)
            x_ticks = []
        numbers = self._numbers(y_ticks)
        names = list(table.categories)
        side_labels = names if flat else numbers
        left = self.px * 2.2 + max(self.length(text, 0.9) for text in side_labels)
        room = (right - left) / max(1, len(names))
        slanted = not flat and bool(names) and max(self.length(name, 0.9) for name in names) > room * 0.95
        below = self.px * 3.0
        if slanted:
            below += (
                max(self.length(name, 0.9) for name in names) * math.sin(math.radians(35)) - self.px * 0.4
            )
        self.area = (left, top, right, bottom - below)
        x0, y0, x1, y1 = self.area
        vertical = lambda v: y1 - (v - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * (y1 - y0)  # noqa: E731
        horizontal = lambda v: x0 + (v - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * (x1 - x0)  # noqa: E731
        for value, text in zip(y_ticks, numbers, strict=True):
            self._tick(horizontal(value) if flat else vertical(value), text, across=not flat)
        if table.kind == "scatter":
            across = lambda v: x0 + (v - x_ticks[0]) / (x_ticks[-1] - x_ticks[0]) * (x1 - x0)  # noqa: E731
            for value, text in zip(x_ticks, self._numbers(x_ticks), strict=True):
                self._tick(across(value), text, across=False)
            self._points(across, vertical)
        elif flat:
            self._bars_flat(horizontal)
        elif table.kind == "line":
            self._lines(vertical)
        else:
            self._bars(vertical)
        self._frame()
        if table.kind != "scatter":
            self._category_names(slanted)
        value_axis, category_axis = table.value_label, table.category_label
        lower, upright = (value_axis, category_axis) if flat else (category_axis, value_axis)
        self.write(((x0 + x1) / 2, bottom - self.px * 0.1), lower, "ms", 0.95)
        self.write_upright((self.px * 0.9, (y0 + y1) / 2), upright, 0.95)

    def _numbers(self, values: list[float]) -> list[str]:
        decimals = tick_decimals(values)
        return [self.style.number(value, decimals) for value in values]

    def _tick(self, at: float, text: str, *, across: bool) -> None:
        x0, y0, x1, y1 = self.area
        if across:
            if self.style.grid:
                self.pen.line((x0, at, x1, at), fill=self.faint, width=SCALE)
            self.pen.line((x0 - 4 * SCALE, at, x0, at), fill=self.style.ink, width=SCALE)
            self.write((x0 - 6 * SCALE, at), text, "rm", 0.9)
        else:
            if self.style.grid:
                self.pen.line((at, y0, at, y1), fill=self.faint, width=SCALE)
            self.pen.line((at, y1, at, y1 + 4 * SCALE), fill=self.style.ink, width=SCALE)
            self.write((at, y1 + 6 * SCALE), text, "mt", 0.9)

    def _frame(self) -> None:
        x0, y0, x1, y1 = self.area
        if self.style.frame:
            self.pen.rectangle(self.area, outline=self.style.ink, width=SCALE)
        else:
            self.pen.line((x0, y0, x0, y1), fill=self.style.ink, width=SCALE)
            self.pen.line((x0, y1, x1, y1), fill=self.style.ink, width=SCALE)

    def _middle(self, i: int) -> float:
        """Where category `i` stands along its axis."""
        x0, y0, x1, y1 = self.area
        share = (i + 0.5) / len(self.table.categories)
        return y0 + share * (y1 - y0) if self.table.kind == "barh" else x0 + share * (x1 - x0)

    def _category_names(self, slanted: bool) -> None:
        x0, _, _, y1 = self.area
        for i, name in enumerate(self.table.categories):
            if self.table.kind == "barh":
                self.write((x0 - 6 * SCALE, self._middle(i)), name, "rm", 0.9)
            elif slanted:
                self.write_slanted((self._middle(i), y1 + 6 * SCALE), name, 0.9)
            else:
                self.write((self._middle(i), y1 + 6 * SCALE), name, "mt", 0.9)

    def _bars(self, vertical: Scale) -> None:
        x0, _, x1, y1 = self.area
        room = (x1 - x0) / len(self.table.categories) * self.style.bar_share
        count = 1 if self.table.kind == "stacked" else len(self.table.series)
        for i, category in enumerate(self.table.categories):
            base = 0.0
            for k, (name, values) in enumerate(self.table.series.items()):
                colour, value = self.style.colours[k][1], values[i]
                left = self._middle(i) - room / 2 + (0 if count == 1 else k * room / count)
                low = vertical(base) if self.table.kind == "stacked" else y1
                high = vertical(base + value)
                box = (left, high, left + room / count - (SCALE if count > 1 else 0), low)
                self.pen.rectangle(box, fill=colour)
                self.marks.append(Mark(name, category, value, box))
                if self.style.value_labels:
                    text = self.style.number(value, self.table.decimals)
                    share = min(0.85, 0.85 * (room / count) / max(1.0, self.length(text, 0.85)) * 1.25)
                    middle = (box[0] + box[2]) / 2
                    if self.table.kind == "stacked":
                        if low - high > self.px * 0.9:
                            self.write((middle, (high + low) / 2), text, "mm", share, _on(colour))
                    else:
                        self.write((middle, high - 3 * SCALE), text, "mb", share)
                base += value if self.table.kind == "stacked" else 0.0

    def _bars_flat(self, horizontal: Scale) -> None:
        x0, y0, _, y1 = self.area
        room = (y1 - y0) / len(self.table.categories) * self.style.bar_share
        (name, values), *_ = self.table.series.items()
        for i, (category, value) in enumerate(zip(self.table.categories, values, strict=True)):
            middle, end = self._middle(i), horizontal(value)
            box = (x0, middle - room / 2, end, middle + room / 2)
            self.pen.rectangle(box, fill=self.style.colours[0][1])
            self.marks.append(Mark(name, category, value, box))
            if self.style.value_labels:
                self.write(
                    (end + 4 * SCALE, middle), self.style.number(value, self.table.decimals), "lm", 0.85
                )

    def _lines(self, vertical: Scale) -> None:
        radius = 4 * SCALE
        for k, (name, values) in enumerate(self.table.series.items()):
            colour = self.style.colours[k][1]
            points = [(self._middle(i), vertical(value)) for i, value in enumerate(values)]
            self.pen.line(points, fill=colour, width=3 * SCALE, joint="curve")
            for (x, y), category, value in zip(points, self.table.categories, values, strict=True):
                box = (x - radius, y - radius, x + radius, y + radius)
                self.marks.append(Mark(name, category, value, box))
                if self.style.markers:
                    self.pen.ellipse(box, fill=colour)
                if self.style.value_labels and len(self.table.series) == 1:
                    self.write((x, y - 7 * SCALE), self.style.number(value, self.table.decimals), "mb", 0.8)

    def _points(self, across: Scale, vertical: Scale) -> None:
        names, radius = list(self.table.series), 5 * SCALE
        for (x, y), group in zip(self.table.points, self.table.groups, strict=True):
            at = (across(x), vertical(y))
            box = (at[0] - radius, at[1] - radius, at[0] + radius, at[1] + radius)
            self.pen.ellipse(box, fill=self.style.colours[group][1])
            self.marks.append(Mark(names[group], "", y, box))

    def _pie(self, top: float, right: float, bottom: float) -> None:
        side = min(right - self.px, bottom - top - self.px) * 0.94
        cx, cy = (self.px + right) / 2, (top + bottom) / 2
        box = (cx - side / 2, cy - side / 2, cx + side / 2, cy + side / 2)
        (name, values), *_ = self.table.series.items()
        begin = -90.0
        for k, (category, value) in enumerate(zip(self.table.categories, values, strict=True)):
            end = begin + value * 3.6
            colour = self.style.colours[k][1]
            self.pen.pieslice(box, begin, end, fill=colour, outline=self.style.paper, width=SCALE)
            angle, far = math.radians((begin + end) / 2), side * 0.34
            x, y = cx + far * math.cos(angle), cy + far * math.sin(angle)
            self.marks.append(Mark(name, category, value, _slice_box(cx, cy, side / 2, begin, end)))
            if self.style.value_labels:
                self.write((x, y), f"{self.style.number(value, 0)}%", "mm", 0.9, _on(colour))
            begin = end


def _slice_box(cx: float, cy: float, radius: float, begin: float, end: float) -> PixelBox:
    corners = [begin, end, *(a for a in (-90, 0, 90, 180, 270) if begin < a < end)]
    xs = [cx, *(cx + radius * math.cos(math.radians(a)) for a in corners)]
    ys = [cy, *(cy + radius * math.sin(math.radians(a)) for a in corners)]
    return min(xs), min(ys), max(xs), max(ys)


def _mix(a: Rgb, b: Rgb, share: float) -> Rgb:
    r, g, blue = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return r, g, blue


def _on(colour: Rgb) -> Rgb:
    """Ink that can be read on a colour."""
    return (0, 0, 0) if luminance(colour) > 0.45 else (255, 255, 255)

"""Skill `table`: tables from plain to merged, to be turned into Markdown, HTML or CSV, or asked about cell by cell."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from internvl.data.colours import Rgb
from internvl.data.documents.finish import finish
from internvl.data.documents.language import Language, drawable, pick_language, typefaces_of
from internvl.data.documents.sheet import Align, Sheet, Styles
from internvl.data.documents.table_grid import Cell, Table
from internvl.data.documents.table_questions import ask_about
from internvl.data.documents.values import Values
from internvl.data.sample import Assets, DataSample, Json, Split

_LOOKS = ("grid", "grid", "lines", "header", "zebra", "book")
_HELD_OUT_LOOKS = ("grid", "zebra", "boxed_header", "plain")


def make_table(rng: random.Random, *, split: Split, assets: Assets) -> DataSample:
    """Make a table and ask for it, or about it."""
    language = pick_language(rng, assets, split, english=0.65, other=0.0)
    values = Values(rng, split, language)
    faces = typefaces_of(language, split)
    size = rng.randint(15, 22)
    styles = Styles.of(rng.choice(faces), size, (rng.choice((0, 20, 50)),) * 3)
    table = _content(rng, values, language, styles)
    sheet, caption = _draw(rng, table, styles, values, split)
    truth: dict[str, Json] = {
        "caption": caption, "html": table.html(), "markdown": table.markdown(), "csv": table.csv(),
        "rows": table.num_rows, "columns": table.num_columns, "header_rows": table.num_header_rows,
        "cells": [
            {"row": c.row, "column": c.column, "rowspan": c.rowspan, "colspan": c.colspan, "text": c.text,
             "role": "header" if c.header else "cell", "box": c.box}
            for c in table.cells
        ],
    }  # fmt: skip
    return finish(
        rng, sheet, skill="table", language=language.code, turns=ask_about(rng, table, split), truth=truth,
        split=split, looks=(0.5, 0.35, 0.15),
    )  # fmt: skip


def _content(rng: random.Random, values: Values, language: Language, styles: Styles) -> Table:
    """Fill a table: row names, then columns of one kind each."""
    path = styles.text.path

    def word() -> str:
        text = drawable(values.word(), path)
        return text[:1].upper() + text[1:]

    rows, columns = rng.randint(2, 10), rng.randint(2, 6)
    kinds = [
        "name",
        *rng.choices(
            ("number", "number", "decimal", "percent", "money", "word", "date", "code", "yesno"),
            k=columns - 1,
        ),
    ]
    money = values.money()
    decimals = rng.choice((1, 2, 3))
    names: Callable[[], str] = rng.choice(
        (
            word,
            word,
            lambda: values.pick("city"),
            lambda: values.pick("country"),
            values.person,
            lambda: values.pick("product").capitalize(),
        )
    )
    group = "," if money.group == " " else money.group
    makers: dict[str, Callable[[], str]] = {
        "number": lambda: f"{rng.randint(0, 10 ** rng.randint(1, 5)):,}".replace(",", group),
        "decimal": lambda: f"{rng.uniform(0, 100):.{decimals}f}".replace(".", money.decimal),
        "percent": lambda: f"{rng.randint(0, 100)}%", "money": lambda: money.number(rng.randint(50, 900000)),
        "word": word,
        "date": lambda: values.date(values.day()), "code": values.code, "yesno": lambda: rng.choice(("yes", "no")),
        "name": names,
    }  # fmt: skip
    heads: list[str] = []
    while len(heads) < columns:
        head = word() + (f" {word().lower()}" if rng.random() < 0.25 else "")
        if rng.random() < 0.15 and heads:
            head = str(rng.randint(1990, 2030))
        if head not in heads:
            heads.append(head)
    first: list[str] = []
    tries = 0
    while len(first) < rows:
        tries += 1
        # a held-out list may hold fewer cities than the table has rows
        name = makers["name"]() if tries < 20 * rows else word()
        first += [name] if name not in first else []
    body = [[name, *(makers[kind]() for kind in kinds[1:])] for name in first]
    for row in body:
        for c in range(1, columns):
            if rng.random() < 0.03:
                row[c] = rng.choice(("", "-", "n/a"))
    cells = [Cell(0, c, text, header=True) for c, text in enumerate(heads)]
    cells += [Cell(r + 1, c, text) for r, row in enumerate(body) for c, text in enumerate(row)]
    numeric = frozenset(
        c for c, kind in enumerate(kinds) if kind in ("number", "decimal", "percent", "money")
    )
    table = Table(rows + 1, columns, cells, 1, numeric)
    if rng.random() < 0.4:
        table = _merge(rng, table, word)
    return table


def _merge(rng: random.Random, table: Table, word: object) -> Table:
    """Give the table a second header row over groups of columns, or groups of rows in a new first column, or both."""
    assert callable(word)
    cells, rows, columns, heads = table.cells, table.num_rows, table.num_columns, table.num_header_rows
    numeric = table.numeric
    if columns >= 3 and rng.random() < 0.65:
        for cell in cells:
            cell.row += 1
        new, c = [], 1
        corner = next(cell for cell in cells if cell.row == 1 and cell.column == 0)
        corner.row, corner.rowspan = 0, 2
        while c < columns:
            span = min(columns - c, rng.choice((1, 2, 2, 3)))
            if span == 1:
                below = next(cell for cell in cells if cell.row == 1 and cell.column == c)
                below.row, below.rowspan = 0, 2
            else:
                new.append(Cell(0, c, word(), header=True, colspan=span))
            c += span
        cells, rows, heads = cells + new, rows + 1, 2
    if rows - heads >= 3 and rng.random() < 0.55:
        for cell in cells:
            cell.column += 1
        new, r = [Cell(0, 0, word(), header=True, rowspan=heads)], heads
        while r < rows:
            span = min(rows - r, rng.choice((1, 2, 3, 4)))
            new.append(Cell(r, 0, word(), rowspan=span))
            r += span
        cells, columns = cells + new, columns + 1
        numeric = frozenset(c + 1 for c in numeric)
    cells.sort(key=lambda cell: (cell.row, cell.column))
    return Table(rows, columns, cells, heads, numeric)


def _draw(
    rng: random.Random, table: Table, styles: Styles, values: Values, split: Split
) -> tuple[Sheet, str]:
    """Draw the table and note the cells' boxes; returns the sheet and the caption above the table."""
    size = styles.text.size
    pad_x, pad_y = size * rng.uniform(0.5, 1.1), size * rng.uniform(0.25, 0.6)
    widths = [size * 1.5] * table.num_columns
    for cell in table.cells:
        style = styles.bold if cell.header else styles.text
        if cell.colspan == 1:
            widths[cell.column] = max(widths[cell.column], style.width(cell.text) + 2 * pad_x)
    for cell in table.cells:
        if cell.colspan > 1:
            covered = range(cell.column, cell.column + cell.colspan)
            lack = styles.bold.width(cell.text) + 2 * pad_x - sum(widths[c] for c in covered)
            for c in covered:
                widths[c] += max(0.0, lack / cell.colspan)
    height = size * 1.2 + 2 * pad_y
    margin = size * rng.uniform(0.5, 2.5)
    tone = rng.randint(236, 255)
    caption = ""
    top = margin
    if rng.random() < 0.25:
        caption = drawable(
            f"{rng.randint(1, 20)}. {values.word().capitalize()} {values.word()}", styles.text.path
        )
        top += size * 2
    total = round(sum(widths) + 2 * margin), round(top + table.num_rows * height + margin)
    sheet = Sheet(total, paper=(tone, tone, tone - rng.randint(0, 8)), rng=rng)
    if caption:
        sheet.text(margin, margin + size, caption, styles.italic, role="caption")
    look = rng.choice(_HELD_OUT_LOOKS if split == "held_out" else _LOOKS)
    xs = [margin]
    for width in widths:
        xs.append(xs[-1] + width)
    dark = look in ("header", "boxed_header") and rng.random() < 0.5
    ink = styles.text.ink
    gray = (130, 130, 130) if rng.random() < 0.5 else ink
    band = (40, 70, 110) if dark else (218, 224, 232)
    if look in ("header", "boxed_header", "zebra"):
        sheet.frame((xs[0], top, xs[-1], top + table.num_header_rows * height), ink=None, fill=band)
    for r in range(table.num_header_rows, table.num_rows):
        if look == "zebra" and r % 2:
            sheet.frame(
                (xs[0], top + r * height, xs[-1], top + (r + 1) * height), ink=None, fill=(tone - 14,) * 3
            )
        if look == "lines":
            _rule_above(sheet, table, r, xs, top + r * height, gray)
    if look == "book":
        for r in (0, table.num_header_rows, table.num_rows):
            sheet.rule(
                xs[0], round(top + r * height), xs[-1], ink=ink, width=2 if r != table.num_header_rows else 1
            )
    middle: Align = rng.choice(("left", "center"))
    for cell in table.cells:
        x0, x1 = xs[cell.column], xs[cell.column + cell.colspan]
        y0, y1 = top + cell.row * height, top + (cell.row + cell.rowspan) * height
        cell.box = [round(v, 1) for v in (x0, y0, x1, y1)]
        if look in ("grid", "boxed_header") and (look == "grid" or cell.header):
            sheet.frame((round(x0), round(y0), round(x1), round(y1)), ink=gray)
        elif table.merged and cell.rowspan > 1 and not cell.header:
            _rule_above(sheet, table, cell.row, xs, y0, (190, 190, 190), cell.column)
        style = styles.bold if cell.header else styles.text
        style = style.inked((255, 255, 255)) if cell.header and dark else style
        align: Align = "center" if cell.colspan > 1 else "right" if cell.column in table.numeric else middle
        x = {"left": x0 + pad_x, "center": (x0 + x1) / 2, "right": x1 - pad_x}[align]
        if cell.text:
            sheet.text(x, (y0 + y1) / 2 + size * 0.35, cell.text, style, role="cell", align=align)
    return sheet, caption


def _rule_above(
    sheet: Sheet, table: Table, row: int, xs: Sequence[float], y: float, ink: Rgb, first: int = 0
) -> None:
    """Draw a line above a row from column `first` on, but not through cells that reach over it from above."""
    crossed = {
        column
        for cell in table.cells
        if cell.row < row < cell.row + cell.rowspan
        for column in range(cell.column, cell.column + cell.colspan)
    }
    for column in range(first, table.num_columns):
        if column not in crossed:
            sheet.rule(xs[column], round(y), xs[column + 1], ink=ink)

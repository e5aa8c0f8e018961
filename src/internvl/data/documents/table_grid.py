"""A table as cells, and as Markdown, HTML and CSV."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from html import escape


@dataclass(slots=True)
class Cell:
    """A cell; `row` and `column` count from the upper left of what it covers."""

    row: int
    column: int
    text: str
    header: bool = False
    rowspan: int = 1
    colspan: int = 1
    box: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Table:
    """Cells in reading order; covered places have none."""

    num_rows: int
    num_columns: int
    cells: list[Cell]
    num_header_rows: int = 1
    numeric: frozenset[int] = frozenset()
    """Columns whose cells are numbers that can be compared."""

    @property
    def merged(self) -> bool:
        """Whether any cell covers several places."""
        return any(cell.rowspan > 1 or cell.colspan > 1 for cell in self.cells)

    def grid(self) -> list[list[str]]:
        """Return the texts by place; a merged cell's text stands at its upper left, the rest is empty."""
        grid = [[""] * self.num_columns for _ in range(self.num_rows)]
        for cell in self.cells:
            grid[cell.row][cell.column] = cell.text
        return grid

    def markdown(self) -> str:
        """Return the table as Markdown, first row as header.

        >>> Table(2, 1, [Cell(0, 0, "a|b", True), Cell(1, 0, "1")]).markdown()
        '| a\\\\|b |\\n| --- |\\n| 1 |'
        """
        lines = ["| " + " | ".join(text.replace("|", "\\|") for text in row) + " |" for row in self.grid()]
        return "\n".join([lines[0], "| " + " | ".join(["---"] * self.num_columns) + " |", *lines[1:]])

    def html(self) -> str:
        """Return the table as HTML in one line, with spans and without attributes of looks."""
        rows: list[str] = []
        for number in range(self.num_rows):
            cells = []
            for cell in (cell for cell in self.cells if cell.row == number):
                tag = "th" if cell.header else "td"
                spans = f' rowspan="{cell.rowspan}"' if cell.rowspan > 1 else ""
                spans += f' colspan="{cell.colspan}"' if cell.colspan > 1 else ""
                cells.append(f"<{tag}{spans}>{escape(cell.text, quote=False)}</{tag}>")
            rows.append(f"<tr>{''.join(cells)}</tr>")
        return f"<table>{''.join(rows)}</table>"

    def csv(self) -> str:
        """Return the table as CSV, without the last line end."""
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows(self.grid())
        return buffer.getvalue().rstrip("\n")

"""Tables in answers: HTML, Markdown or CSV -> cells with their places and spans."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from html.parser import HTMLParser

from internvl.evaluation.text_metrics import plain

MAX_SPAN = 1000
"""As in HTML's own rule for colspan; a larger one is a slip of the pen."""


@dataclass(slots=True)
class Cell:
    """One cell of a table's row."""

    text: str
    rowspan: int = 1
    colspan: int = 1


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells, as they are written: a cell that spans rows stands in its first row only."""

    rows: list[list[Cell]]

    def grid(self) -> list[list[str]]:
        """Return the texts by row and column; a cell with spans has its text at the first place, "" at the others."""
        grid: list[list[str]] = [[] for _ in self.rows]
        taken: dict[tuple[int, int], str] = {}
        for y, row in enumerate(self.rows):
            x = 0
            for cell in row:
                while (y, x) in taken:
                    x += 1
                for dy in range(cell.rowspan):
                    for dx in range(cell.colspan):
                        taken[y + dy, x + dx] = "" if dy or dx else cell.text
                x += cell.colspan
        for (y, x), text in sorted(taken.items()):
            if y < len(grid):
                grid[y] += [""] * (x + 1 - len(grid[y]))
                grid[y][x] = text
        return grid


class _Reader(HTMLParser):
    """Rows and cells; whatever else stands in a cell is text (line breaks are spaces)."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.rows: list[list[Cell]] = []
        self._cell: Cell | None = None
        self._ended = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._ended:
            return
        if tag == "tr":
            self._close()
            self.rows.append([])
        elif tag in ("td", "th"):
            self._close()
            if not self.rows:
                self.rows.append([])
            spans = {name: _span(value) for name, value in attrs if name in ("rowspan", "colspan")}
            self._cell = Cell("", **spans)
            self.rows[-1].append(self._cell)
        elif tag in ("br", "p", "div", "li") and self._cell is not None:
            self._cell.text += " "

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th", "tr", "table"):
            self._close()
        self._ended |= tag == "table"  # one table: the first

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.text += data

    def _close(self) -> None:
        if self._cell is not None:
            self._cell.text = plain(self._cell.text)
        self._cell = None


def _span(value: str | None) -> int:
    digits = (value or "").strip()
    return min(max(1, int(digits)), MAX_SPAN) if digits.isdecimal() else 1


_RULE = re.compile(r"^\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$")
_FENCE = re.compile(r"```[a-z]*\n?(.*?)(?:```|$)", re.DOTALL)


def read_table(text: str) -> Table | None:
    """Return the first table of a text: HTML if it has cells, Markdown if it has |, else CSV; None: none.

    >>> read_table("| a | b |\\n| --- | --- |\\n| 1 | 2 |").grid()
    [['a', 'b'], ['1', '2']]
    """
    if re.search(r"<t[dh]\b", text, re.IGNORECASE):
        reader = _Reader()
        reader.feed(text)
        reader.close()
        reader._close()
        return Table([row for row in reader.rows if row])
    fenced = _FENCE.search(text)
    lines = [line for line in (fenced[1] if fenced else text).splitlines() if line.strip()]
    if any("|" in line for line in lines):
        rows = [_markdown_row(line) for line in lines if "|" in line and not _RULE.match(line)]
    else:
        mark = "\t" if any("\t" in line for line in lines) else ","
        try:
            read = list(csv.reader(io.StringIO("\n".join(lines)), delimiter=mark, skipinitialspace=True))
        except csv.Error:  # a quote that never ends, a field beyond all measure: no table
            return None
        rows = [[plain(field) for field in row] for row in read]
    return Table([[Cell(text) for text in row] for row in rows]) if rows else None


def _markdown_row(line: str) -> list[str]:
    line = line.strip().removeprefix("|")
    if line.endswith("|") and not line.endswith("\\|"):
        line = line[:-1]
    cells = re.split(r"(?<!\\)\|", line)
    return [plain(re.sub(r"<br\s*/?>", " ", cell).replace("\\|", "|").strip(" *")) for cell in cells]

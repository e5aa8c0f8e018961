"""How commands print: tables and colours on a terminal, plain aligned columns into a pipe, JSON when asked.

Into a pipe nothing is coloured, boxed or cut to a width, so that `grep` and `awk` see all of it.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

#: Wider than any table: rich cuts and wraps to the width it is told.
_PIPE_WIDTH = 2000


def console() -> Console:
    """Return the console for results."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, width=_PIPE_WIDTH, no_color=True)


def table(*headers: str, right: tuple[str, ...] = (), title: str | None = None) -> Table:
    """Return an empty table; the columns named in `right` hold numbers."""
    terminal = sys.stdout.isatty()
    made = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD if terminal else None,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0) if terminal else (0, 2, 0, 0),
        header_style="bold",
    )
    for header in headers:
        made.add_column(header, justify="right" if header in right else "left", overflow="fold")
    return made


def print_table(out: Console, made: Table) -> None:
    """Print a table; into a pipe without the blanks that pad its lines."""
    if out.is_terminal:
        out.print(made)
        return
    with out.capture() as capture:
        out.print(made)
    out.file.write("".join(f"{line.rstrip()}\n" for line in capture.get().splitlines()))


def print_json(data: Any) -> None:
    """Print data as JSON, one document, readable by people too."""
    print(json.dumps(data, indent=2, ensure_ascii=False))


def plain(text: str, style: str = "") -> Text:
    """Return text in which brackets are no markup: paths and messages may hold anything."""
    return Text(text, style=style)


def amount(size_bytes: float) -> str:
    """Return "16.2 GB"; 1 GB = 10^9 bytes. Small sizes in MB or kB."""
    if size_bytes >= 0.95e9:
        return f"{size_bytes / 1e9:.1f} GB"
    if size_bytes >= 0.95e6:
        return f"{size_bytes / 1e6:.0f} MB"
    return f"{size_bytes / 1e3:.1f} kB"


def duration(seconds: float) -> str:
    """Seconds as people read them: "0.25 s", "4:05", "2:04:05"."""
    if seconds < 60:
        return f"{seconds:.2g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"

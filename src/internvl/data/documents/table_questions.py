"""Questions about a table: all of it as Markdown, HTML or CSV, cells, counts, headers, highest and lowest."""

from __future__ import annotations

import random
from collections.abc import Sequence

from internvl.data.documents.asking import ask_absent, choose
from internvl.data.documents.table_grid import Table
from internvl.data.sample import Split, Turn

_MARKDOWN_QUESTIONS = (
    "Convert the table in this image to Markdown.", "Give me this table as Markdown.", "Table to Markdown.",
    "Write the table in Markdown.", "Transcribe the table as a Markdown table.",
    "Turn the picture into a Markdown table.",
    "Read the table; answer in Markdown.", "Markdown of the table, please.", "Reproduce this table in Markdown.",
    "Extract the table as Markdown.",
)  # fmt: skip
_HTML_QUESTIONS = (
    "Convert the table in this image to HTML.", "Give me this table as HTML.", "Table to HTML.",
    "Write the table in HTML.", "Transcribe the table as HTML, merged cells included.",
    "Turn the table into HTML code.",
    "Read the table; answer in HTML.", "HTML of the table, please.", "Extract the table as HTML.",
    "Reproduce this table in HTML.",
)  # fmt: skip
_CSV_QUESTIONS = (
    "Convert the table in this image to CSV.", "Give me this table as CSV.", "Table to CSV.", "Write the table as CSV.",
    "Transcribe the table as comma-separated values.", "Extract the table as CSV.", "Read the table; answer in CSV.",
    "CSV of the table, please.",
)  # fmt: skip
_CELL_QUESTIONS = (
    'What is the value of "{column}" for "{row}"?', 'What stands in the row "{row}" under "{column}"?',
    "{row}: what is the {column}?", "Look up {column} for {row}.", 'Which entry belongs to "{row}" and "{column}"?',
    "What is the {column} of {row}?", 'Read the cell in row "{row}", column "{column}".', "Give the {column} of {row}.",
    'In the column "{column}", what does the row "{row}" say?', "Find {row} and tell me its {column}.",
)  # fmt: skip
_ROWS_QUESTIONS = (
    "How many rows does the table have, without the header? Answer with a number.",
    "How many rows of data are there? Answer with a number.",
    "Count the data rows. Answer with a number.",
)
_COLUMNS_QUESTIONS = (
    "How many columns does the table have? Answer with a number.",
    "Count the columns. Answer with a number.",
)
_HEADER_QUESTIONS = (
    "List the column headers, separated by commas.",
    "What are the columns called? Separate them by commas.",
)
_HIGHEST_QUESTIONS = ("Which row has the highest {column}?", 'Which row has the largest value in "{column}"?')
_LOWEST_QUESTIONS = ("Which row has the lowest {column}?", 'Which row has the smallest value in "{column}"?')


def ask_about(rng: random.Random, table: Table, split: Split) -> list[Turn]:
    """Ask for the table in one form, or about it, or both; at least one question."""
    turns = []
    chance = rng.random()
    if chance < 0.2 or (chance < 0.4 and not table.merged):
        turns.append(
            Turn(question=choose(rng, _MARKDOWN_QUESTIONS, split), answer=table.markdown(), metric="teds")
        )
    elif chance < 0.55:
        turns.append(Turn(question=choose(rng, _HTML_QUESTIONS, split), answer=table.html(), metric="teds"))
    elif chance < 0.65 and not table.merged:
        turns.append(Turn(question=choose(rng, _CSV_QUESTIONS, split), answer=table.csv(), metric="teds"))
    grid = table.grid()
    heads = [
        next((grid[r][c] for r in range(table.num_header_rows - 1, -1, -1) if grid[r][c]), "")
        for c in range(table.num_columns)
    ]
    # the column that names the rows: behind the groups of rows, where there are some
    key = (
        1
        if any(c.rowspan > 1 and c.column == 0 and not c.header for c in table.cells) or grid[0][0] == ""
        else 0
    )
    key = min(key, table.num_columns - 1)
    body = grid[table.num_header_rows :]
    names = [row[key] for row in body]
    cells = [
        (row[key], heads[c], row[c])
        for row in body
        for c in range(key + 1, table.num_columns)
        if row[c] and heads.count(heads[c]) == 1 and names.count(row[key]) == 1
    ]
    for name, column, text in rng.sample(cells, min(len(cells), rng.choice((0, 1, 2)))):
        question = choose(rng, _CELL_QUESTIONS, split).format(row=name, column=column)
        turns.append(Turn(question=question, answer=text, metric="exact_norm"))
    if rng.random() < 0.15:
        turns.append(Turn(question=rng.choice(_ROWS_QUESTIONS), answer=str(len(body)), metric="exact_number"))
    if rng.random() < 0.1:
        turns.append(
            Turn(
                question=rng.choice(_COLUMNS_QUESTIONS), answer=str(table.num_columns), metric="exact_number"
            )
        )
    if rng.random() < 0.08 and table.num_header_rows == 1 and not table.merged:
        turns.append(Turn(question=rng.choice(_HEADER_QUESTIONS), answer=", ".join(heads), metric="anls"))
    if rng.random() < 0.2:
        turns += _extreme(rng, table, heads, names, body)
    if (rng.random() < 0.15 or not turns) and "Price of the ticket" not in heads:
        missing = rng.choice(
            ("price of the ticket", "height in feet", "shoe size", "favourite colour", "boiling point")
        )
        row = rng.choice([name for name in names if name] or ["the first row"])
        turns.append(ask_absent(rng, f"{missing} of {row}", split))
    rng.shuffle(turns)
    return turns


def _extreme(
    rng: random.Random,
    table: Table,
    heads: Sequence[str],
    names: Sequence[str],
    body: Sequence[Sequence[str]],
) -> list[Turn]:
    """Ask for the row with the highest or lowest number of a column, if there is exactly one."""
    columns = [c for c in table.numeric if heads.count(heads[c]) == 1 and len(set(names)) == len(names)]
    if not columns:
        return []
    column = rng.choice(columns)
    numbers = {name: _number(row[column]) for name, row in zip(names, body, strict=True)}
    known = sorted((n, name) for name, n in numbers.items() if n is not None)
    if len(known) < 2 or len(known) < len(names):
        return []
    highest = rng.random() < 0.5
    best, second = (known[-1], known[-2]) if highest else (known[0], known[1])
    if best[0] == second[0]:
        return []
    question = rng.choice(_HIGHEST_QUESTIONS if highest else _LOWEST_QUESTIONS).format(column=heads[column])
    return [Turn(question=question, answer=best[1], metric="exact_ci")]


def _number(text: str) -> float | None:
    """Return the digits of a number; None without any.

    A column holds one kind of number with equally many decimals, so that its numbers compare as their digits do.
    """
    digits = "".join(c for c in text if c.isdigit())
    return float(digits) if digits else None

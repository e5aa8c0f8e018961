"""The skill `board`: things in rows and columns, to be named in order: what dense captions are to clip art.

Questions about scattered things ask for one name in a hundred letters; here all are named, each from its own place, as
the letters of a page are.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from internvl.data.colours import COLOURS
from internvl.data.objects import SHAPES
from internvl.data.pictures import scene_questions as scene
from internvl.data.pictures.art import find_art
from internvl.data.pictures.asking import WORD, Asker, ask, phrase
from internvl.data.pictures.grounds import Ground, draw_ground
from internvl.data.pictures.scene import absent_names, choose_kinds, fitting_ground, spread
from internvl.data.pictures.scene_view import View, full_name, name_metric, say
from internvl.data.pictures.shapes import COLOURS_ALIKE, SHAPES_ALIKE, absent_shapes, apart
from internvl.data.pictures.things import Kind, Layout, Thing, draw_thing
from internvl.data.sample import Assets, DataSample, Split, Turn
from internvl.data.scene import wear

SIZES = ((224, 224), (336, 336), (448, 448), (448, 448), (448, 300), (300, 448))
MOST_ROWS = 4
MAX_TURNS = 4
SHAPES_SHARE = 0.35
"""How often a board shows coloured shapes."""
_ALL = (
    "Name everything in the picture, row by row.", "What is in each row? Name the things from left to right.",
    "List all objects in reading order.", "Read the picture like a page: name what you see, line by line.",
    "Go through the rows and name each object.", "Write down what is shown, one row per line.",
    "Name all of them, from left to right and top to bottom.", "List the objects row by row.",
)  # fmt: skip
_ROW = (
    "What is in row {n}?", "Name the things in row {n}.", "List row {n} from left to right.",
    "Which objects are in row {n}?", "What does row {n} show?", "Tell me what is in row {n}.",
    "Row {n}: what is there?", "Name everything in row {n}.",
)  # fmt: skip
_CELL = (
    "What is in row {n}, column {m}?", "Name the object in row {n}, column {m}.",
    "Which thing is in row {n}, column {m}?",
    "What does the picture show in column {m} of row {n}?", "What is number {m} in row {n}?",
    "Row {n}, column {m}: what is it?", "Tell me what is in column {m} of row {n}.",
    "What can be seen in row {n}, column {m}?",
)  # fmt: skip
_FIND = (
    "In which row and column is the {x}?", "Give the row and the column of the {x}.",
    "Find the {x}: which row and column?",
    "Which row and column hold the {x}?", "Where in the grid is the {x}? Answer with row and column.",
    "Tell me the row and column of the {x}.", "The {x} is in which row and column?",
    "At which row and column do you see the {x}?",
)  # fmt: skip


@dataclass(frozen=True)
class Board(View):
    """A view whose things lie in rows."""

    rows: Sequence[Sequence[Thing]]


def make_board(rng: random.Random, *, split: Split, assets: Assets) -> DataSample:
    """Lay things out in rows and ask what is where."""
    columns, rows = rng.randint(1, MOST_ROWS), rng.randint(1, MOST_ROWS)
    size, number = rng.choice(SIZES), columns * rows
    book = find_art(assets)
    if book is None or rng.random() < SHAPES_SHARE:
        shapes, colours = apart(rng, SHAPES, 5, SHAPES_ALIKE), apart(rng, COLOURS, 5, COLOURS_ALIKE)
        kinds = [Kind(rng.choice(shapes), colour=rng.choice(colours)) for _ in range(number)]
        ground, absent = draw_ground(rng, size, split=split), absent_shapes(rng, shapes, colours)
    else:
        few = choose_kinds(rng, book, split, min(number, rng.choice((2, 4, number))))
        kinds = spread(rng, few, number)
        rng.shuffle(kinds)
        ground, absent = fitting_ground(rng, size, few, split), absent_names(rng, book, few, split)
    board = _lay_out(rng, ground, kinds, columns, split, absent)
    turns = ask(rng, board, ASKERS, rng.randint(1, MAX_TURNS))
    return DataSample(
        images=[board.layout.image],
        turns=turns,
        truth={**board.layout.truth(), "rows": [[full_name(thing) for thing in row] for row in board.rows]},
        skill="board",
        things=[board.layout.marks()],
    )


def _lay_out(
    rng: random.Random,
    ground: Ground,
    kinds: Sequence[Kind],
    columns: int,
    split: Split,
    absent: Sequence[str],
) -> Board:
    image = ground.image.copy()
    rows = -(-len(kinds) // columns)
    wide, high = image.width / columns, image.height / rows
    side = min(wide, high)
    share = rng.uniform(0.55, 0.85)
    things = []
    for n, kind in enumerate(kinds):
        row, column = divmod(n, columns)
        extent = max(12, int(side * min(0.9, share * rng.uniform(0.85, 1.1))))
        picture = draw_thing(rng, kind, extent, ground, split=split)
        x = round(column * wide + (wide - picture.width) * rng.uniform(0.4, 0.6))
        y = round(row * high + (high - picture.height) * rng.uniform(0.4, 0.6))
        image.paste(picture, (x, y), picture)
        things.append(Thing(kind=kind, box=(x, y, x + picture.width, y + picture.height), picture=picture))
    layout = Layout(image=wear(rng, image, 0.6), ground=ground, things=things)
    in_rows = [things[start : start + columns] for start in range(0, len(things), columns)]
    return Board(layout, absent, "object", in_rows)


def name_all(rng: random.Random, view: Board) -> Turn | None:
    """All names, a row on a line."""
    return Turn(question=phrase(rng, _ALL), answer="\n".join(map(_listed, view.rows)), metric="anls")


def name_row(rng: random.Random, view: Board) -> Turn | None:
    """The names in one row."""
    n = rng.randrange(len(view.rows))
    return Turn(question=phrase(rng, _ROW, n=n + 1), answer=_listed(view.rows[n]), metric="anls")


def name_cell(rng: random.Random, view: Board) -> Turn | None:
    """The name in one place."""
    n, m = rng.randrange(len(view.rows)), rng.randrange(len(view.rows[0]))
    thing = view.rows[n][m]
    question = phrase(rng, _CELL, WORD, n=n + 1, m=m + 1)
    return Turn(question=question, answer=full_name(thing), metric=name_metric(thing))


def find(rng: random.Random, view: Board) -> Turn | None:
    """The row and column of the only one of its name."""
    if not view.unique:
        return None
    thing = rng.choice(view.unique)
    n, m = next((n, row.index(thing)) for n, row in enumerate(view.rows) if thing in row)
    question = phrase(rng, _FIND, x=say(rng, thing))
    return Turn(question=question, answer=f"row {n + 1}, column {m + 1}", metric="exact_ci")


def _listed(row: Sequence[Thing]) -> str:
    return ", ".join(map(full_name, row))


ASKERS: tuple[tuple[Asker[Board], float], ...] = (
    (name_all, 4.0), (name_row, 1.0), (name_cell, 1.5), (find, 1.0), (scene.count_kind, 1.0), (scene.count_all, 0.5),
    (scene.exists, 1.0), (scene.absent, 0.5), (scene.colour, 0.5), (scene.name_one, 1.0),
)  # fmt: skip

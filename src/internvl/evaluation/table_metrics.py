"""Metrics of tables: TEDS and cell F1, whatever form the table is written in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from internvl.evaluation.edit_distance import normalised_distance
from internvl.evaluation.tables import Table, read_table
from internvl.evaluation.verdict import Truth, Verdict


class _Node(NamedTuple):
    """A node of a table's tree, in post-order."""

    label: tuple[str, int, int]
    """Tag, rowspan, colspan."""
    text: str
    first_leaf: int
    """Number of its leftmost leaf, in post-order."""


def teds(answer: str, truth: Truth) -> Verdict:
    """Tree-edit-distance similarity of tables: 1 - distance / nodes of the larger tree.

    Source: Zhong et al., "Image-based table recognition", arXiv:1911.10683, section 4.

    Trees are table > rows > cells; head and body, and th and td, are not told apart, so that Markdown and CSV can be
    compared with HTML. Inserting and deleting a node costs 1; replacing a cell by one with other spans costs 1, else
    the normalised edit distance of the texts. Details: `cell_f1`.
    """
    expected, given = read_table(truth.text), read_table(answer)
    if expected is None or given is None:
        return Verdict(0.0, {"cell_f1": 0.0})
    a, b = _nodes(expected), _nodes(given)
    similarity = 1 - _tree_distance(a, b) / max(len(a), len(b))
    return Verdict(max(0.0, similarity), {"cell_f1": cell_f1(expected, given)})


def _nodes(table: Table) -> list[_Node]:
    nodes: list[_Node] = []
    for row in table.rows:
        first = len(nodes)
        for cell in row:
            nodes.append(_Node(("td", cell.rowspan, cell.colspan), cell.text, len(nodes)))
        nodes.append(_Node(("tr", 1, 1), "", first))
    nodes.append(_Node(("table", 1, 1), "", 0))
    return nodes


def _replace(a: _Node, b: _Node) -> float:
    if a.label != b.label:
        return 1.0
    return 0.0 if a.text == b.text else normalised_distance(a.text, b.text)


def _tree_distance(a: Sequence[_Node], b: Sequence[_Node]) -> float:
    """Zhang and Shasha, "Simple fast algorithms for the editing distance between trees", SIAM J. Comput. 18, 1989."""
    distance = [[0.0] * len(b) for _ in a]
    texts: dict[tuple[int, int], float] = {}
    for i in _key_roots(a):
        for j in _key_roots(b):
            _forests(a, b, i, j, distance, texts)
    return distance[-1][-1]


def _key_roots(nodes: Sequence[_Node]) -> list[int]:
    """The highest node of each leftmost leaf."""
    return sorted({node.first_leaf: i for i, node in enumerate(nodes)}.values())


def _forests(
    a: Sequence[_Node],
    b: Sequence[_Node],
    i: int,
    j: int,
    distance: list[list[float]],
    replaced: dict[tuple[int, int], float],
) -> None:
    """Fill in the distances of all subtrees whose leftmost leaves are those of `i` and `j`."""
    low_a, low_b = a[i].first_leaf, b[j].first_leaf
    above = [float(n) for n in range(j - low_b + 2)]
    rows = [above]
    for x in range(low_a, i + 1):
        row = [above[0] + 1]
        whole_a = a[x].first_leaf == low_a
        for y in range(low_b, j + 1):
            column = y - low_b + 1
            best = min(above[column], row[-1]) + 1
            if whole_a and b[y].first_leaf == low_b:
                cost = replaced.get((x, y))
                if cost is None:
                    cost = replaced[x, y] = _replace(a[x], b[y])
                best = min(best, above[column - 1] + cost)
                distance[x][y] = best
            else:
                before = rows[a[x].first_leaf - low_a][b[y].first_leaf - low_b]
                best = min(best, before + distance[x][y])
            row.append(best)
        rows.append(row)
        above = row


def cell_f1(expected: Table, given: Table) -> float:
    """F1 of the cells that are not empty: a cell is right if its text stands in the right column of the right row.

    Rows are matched in order so that most cells are right: a row that is missing, or too many, costs its own cells
    only. White space is as `plain` leaves it. A merged cell counts once, at its first place.
    """
    wanted, found = expected.grid(), given.grid()
    total = sum(bool(text) for row in (*wanted, *found) for text in row)
    above = [0] * (len(found) + 1)
    for want in wanted:
        line = [0]
        for column, row in enumerate(found, 1):
            same = sum(bool(text) and text == other for text, other in zip(want, row, strict=False))
            line.append(max(above[column], line[-1], above[column - 1] + same))
        above = line
    return 2 * above[-1] / total if total else 0.0

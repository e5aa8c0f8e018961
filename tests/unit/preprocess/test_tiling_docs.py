"""The cost table in docs/images.md is what the code computes, and the published values are in it."""

import importlib.util
from pathlib import Path

DOCS = Path(__file__).resolve().parents[3] / "docs"


def generated_table() -> str:
    spec = importlib.util.spec_from_file_location("figures_tiles", DOCS / "figures" / "tiles.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script.table()


def test_the_table_in_the_docs_is_up_to_date():
    assert generated_table() in (DOCS / "images.md").read_text(), "run docs/figures/tiles.py --table"


def test_the_table_holds_the_published_costs():
    rows = {row.split("|")[2].strip(): row for row in generated_table().splitlines()[2:]}
    published = {
        "640 x 480": ["3x2 = 7 / 1792", "4x3 = 13 / 3328"],
        "3840 x 2160": ["2x1 = 3 / 768", "4x2 = 9 / 2304", "5x3 = 16 / 4096", "7x4 = 29 / 7424"],
        "2480 x 3508": ["2x3 = 7 / 1792", "2x3 = 7 / 1792", "4x6 = 25 / 6400", "5x7 = 36 / 9216"],
        "1242 x 2688": ["1x2 = 3 / 768", "2x4 = 9 / 2304", "3x7 = 22 / 5632", "4x9 = 37 / 9472"],
        "5000 x 300": ["6x1 = 7 / 1792", "12x1 = 13 / 3328", "17x1 = 18 / 4608"],
    }
    for size, cells in published.items():
        assert [cell.strip() for cell in rows[size].split("|")[3:]][: len(cells)] == cells

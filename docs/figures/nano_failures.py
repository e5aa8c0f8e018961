"""Draws the failures of docs/nano.md: wrong answers of an evaluation, the worst of each kind of question first.

    python docs/figures/nano_failures.py runs/eval/nano docs/figures/nano-failures.jpg --shared ../shared

Which ones is not chosen by hand: they are the first of the evaluation's own report, in English.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from internvl.evaluation.gallery import GOOD, choose
from internvl.evaluation.journal import read_rows
from internvl.evaluation.sets import open_sets

SETS = ("lines", "words", "scene", "shape")
EACH = 4
"""Failures of a set."""


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("evaluation", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--shared", type=Path)
    args = parser.parse_args()
    rows = read_rows(args.evaluation / "answers.jsonl")
    seed = json.loads((args.evaluation / "run.json").read_text())["seed"]
    names = [f"generated:{name}" for name in SETS]
    figure = Figure(figsize=(3.2 * EACH, 3.9 * len(SETS)), layout="constrained")
    for row_of_panels, source in zip(
        figure.subplots(len(SETS), EACH, squeeze=False),
        open_sets(names, shared=args.shared, count=1, seed=seed),
        strict=True,
    ):
        of_set = [row for row in rows if row["set"] == source.name and row["lang"] == "en"]
        failed = [row for row in choose(of_set) if row["score"] < GOOD]
        for axes, row in zip(row_of_panels, failed, strict=False):
            axes.imshow(source.make(row["sample"]).media[0].convert("RGB"))
            told = ("question", row["question"]), ("expected", row["expected"]), ("answer", row["answer"])
            lines = [textwrap.shorten(f"{name}: {text}", 130, placeholder=" …") for name, text in told]
            axes.set_title("\n".join(textwrap.fill(line, 40) for line in lines), fontsize=8, loc="left")
        for axes in row_of_panels:
            axes.axis("off")
    FigureCanvasAgg(figure).print_jpg(args.picture, pil_kwargs={"quality": 80})


if __name__ == "__main__":
    main()

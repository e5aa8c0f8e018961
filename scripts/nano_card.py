"""Write the figures of evaluations into nano's card.

    python scripts/nano_card.py runs/eval/nano runs/eval/nano-more --before runs/eval/first

What stands between the two marks of docs/nano.md is replaced. `--before`: the same sets, answered by the nano before.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from internvl.evaluation.report import percent
from internvl.evaluation.shared_sets import PREFIX as REAL

CARD = Path(__file__).parents[1] / "docs" / "nano.md"
BEGIN, END = "<!-- figures: scripts/nano_card.py -->", "<!-- end of figures -->"


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "evaluations", type=Path, nargs="+", help="of a figure that several have the first counts"
    )
    parser.add_argument("--before", type=Path)
    args = parser.parse_args()
    text = CARD.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    if not tail:
        raise SystemExit(f"nano_card: {CARD} lacks the marks {BEGIN} and {END}")
    before = read([args.before]) if args.before else {}
    table = make_table(read(args.evaluations), before)
    real = make_real_table(args.evaluations)
    CARD.write_text(f"{head}{BEGIN}\n\n{table}\n{real}{END}{tail}", encoding="utf-8")


def read(evaluations: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Return the figures that a model is held to, by name, in the order of their first folder."""
    found: dict[str, dict[str, Any]] = {}
    for evaluation in evaluations:
        figures = json.loads((evaluation / "figures.json").read_text(encoding="utf-8"))
        for figure in (*figures["table"], figures["false_absent"]):
            if figure:
                found.setdefault(figure["name"], figure)
    return found


def make_table(figures: dict[str, dict[str, Any]], before: dict[str, dict[str, Any]]) -> str:
    """Return the table: floor and aim, the value with its interval, Tesseract's and that of the nano before."""
    lines = [
        "| skill | floor | aim | nano, [95 % interval] | questions | Tesseract 5 | the first nano |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, figure in figures.items():
        sign = "≤ " if figure["lower_is_better"] else "≥ "
        goals = [f"{sign}{goal:.0%}" if (goal := figure.get(key)) else "" for key in ("floor", "aim")]
        others = [
            percent(other["value"]) if other else "" for other in (figure.get("tesseract"), before.get(name))
        ]
        value = f"**{percent(figure['value'])}** [{percent(figure['low'])}, {percent(figure['high'])}]"
        lines.append(
            f"| {name} | {' | '.join(goals)} | {value} | {figure['questions']:,} | {' | '.join(others)} |"
        )
    return "\n".join(lines) + "\n"


def make_real_table(evaluations: Sequence[Path]) -> str:
    """Return the table of the sets that nobody generated, which have no floors; empty: none was asked."""
    head = ["| real set | score, [95 % interval] | questions | CER, mean of items |", "|---|---|---|---|"]
    lines = list[str]()
    for evaluation in evaluations:
        figures = json.loads((evaluation / "figures.json").read_text(encoding="utf-8"))
        for name, measured in figures["sets"].items():
            if not name.startswith(REAL):
                continue
            own = {figure["name"]: figure for figure in measured["figures"]}
            score, cer = own["score"], own.get("CER, mean of items")
            value = f"{percent(score['value'])} [{percent(score['low'])}, {percent(score['high'])}]"
            wrong = f"{percent(cer['value'])} of {cer['questions']:,}" if cer else ""
            lines.append(f"| `{name.removeprefix(REAL)}` | {value} | {score['questions']:,} | {wrong} |")
    return "\n".join([*head, *lines, "", ""]) if lines else ""


if __name__ == "__main__":
    main()

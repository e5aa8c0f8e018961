"""All figures of a run: the table of aims, and every set by task and by what is known of its samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from internvl.data.absent import says_absent
from internvl.evaluation.aims import AIMS, Aim
from internvl.evaluation.figures import Figure, group_rows, make_figure, make_figures
from internvl.evaluation.item import EvalSet
from internvl.evaluation.journal import Row

MAX_GROUPS = 130
"""Most values of a fact that a set is parted by."""


@dataclass(frozen=True, slots=True)
class Named:
    """A line of the table of aims, measured."""

    aim: Aim
    figure: Figure
    classes: int
    """Different expected answers: what was to be told apart."""
    languages: int
    beside: Figure | None = None
    """Tesseract's, over the same questions."""

    @classmethod
    def of(cls, aim: Aim, rows: Sequence[Row], theirs: Sequence[Row]) -> Named | None:
        """Measure; None where nothing was asked that counts."""
        figure = aim.measure(rows)
        if figure is None:
            return None
        chosen = aim.rows(rows)
        classes, languages = ({row[key] for row in chosen} for key in ("expected", "lang"))
        return cls(aim, figure, len(classes), len(languages), aim.measure(theirs) if aim.beside else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetResults:
    """What came out for one set."""

    name: str
    rows: Sequence[Row]
    """Answers that count."""
    figures: Sequence[Figure]
    tasks: dict[str, list[Figure]]
    parts: dict[str, dict[str, list[Figure]]]
    """Fact (language, objects, look ...) -> its value -> figures."""
    skipped: dict[str, int]
    """Reason -> questions that were not asked, or whose picture cannot be opened."""
    finish_reasons: dict[str, int]
    seconds: float
    """Mean from submission to the end of an answer, beside others."""
    beside: Sequence[Figure] = ()
    """Tesseract's figures over the questions that ask for all the text."""
    same: Sequence[Figure] = ()
    """The model's over the same questions."""
    beside_rows: Sequence[Row] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """What came out for all sets."""

    model: str
    table: Sequence[Named]
    sets: Sequence[SetResults]
    false_absent: Figure | None
    """Share of answerable questions that were answered with "not in the picture"."""

    @classmethod
    def of(
        cls, model: str, sets: Sequence[EvalSet], rows: Sequence[Row], theirs: Sequence[Row] = ()
    ) -> Results:
        """Count the answers to these sets, the model's and Tesseract's; others are left aside."""
        by_set, their_sets = (group_rows(some, lambda row: row["set"]) for some in (rows, theirs))
        made = [
            _set_results(source, by_set.get(source.name, []), their_sets.get(source.name, []))
            for source in sets
        ]
        counted = [row for each in made for row in each.rows]
        beside = [row for each in made for row in each.beside_rows]
        table = [named for aim in AIMS if (named := Named.of(aim, counted, beside)) is not None]
        return cls(model=model, table=table, sets=made, false_absent=_false_absent(counted))

    def as_json(self) -> dict[str, Any]:
        """The content of figures.json."""
        return {
            "model": self.model,
            "table": [
                {
                    **named.figure.as_json(),
                    "floor": named.aim.floor,
                    "aim": named.aim.aim,
                    "classes": named.classes,
                    "languages": named.languages,
                    **({"tesseract": named.beside.as_json()} if named.beside else {}),
                }
                for named in self.table
            ],
            "false_absent": self.false_absent.as_json() if self.false_absent else None,
            "sets": {each.name: _set_json(each) for each in self.sets},
        }


def _set_results(source: EvalSet, rows: Sequence[Row], theirs: Sequence[Row]) -> SetResults:
    wanted = set(source.sample_ids)
    rows = [row for row in rows if row["sample"] in wanted]
    skipped = Counter(source.skipped)
    skipped.update(row["message"] for row in rows if row["finish_reason"] == "media")
    counted = [row for row in rows if row["finish_reason"] != "media"]
    facts = dict.fromkeys(key for row in counted for key in row.get("facts", {}))
    parts = {"language": group_rows(counted, lambda row: row["lang"])}
    for fact in facts:
        parts[fact] = group_rows(counted, lambda row, fact=fact: row.get("facts", {}).get(fact))  # type: ignore[misc]
    answered = {row["id"] for row in counted}
    theirs = [row for row in theirs if row["id"] in answered]
    read = {row["id"] for row in theirs}
    return SetResults(
        name=source.name,
        rows=counted,
        figures=make_figures(counted),
        tasks={task: make_figures(some) for task, some in group_rows(counted, _task).items()},
        parts={
            fact: {value: make_figures(some) for value, some in groups.items()}
            for fact, groups in parts.items()
            if 1 < len(groups) <= MAX_GROUPS
        },
        skipped=dict(skipped),
        finish_reasons=dict(Counter(row["finish_reason"] for row in counted)),
        seconds=sum(row["seconds"] for row in counted) / max(1, len(counted)),
        beside=make_figures(theirs),
        same=make_figures([row for row in counted if row["id"] in read]) if theirs else (),
        beside_rows=theirs,
    )


def _task(row: Row) -> str:
    return f"{row['task']} ({row['metric']})"


def _false_absent(rows: Sequence[Row]) -> Figure | None:
    def refuses(row: Row) -> tuple[float, float] | None:
        if row["metric"] == "absent" or row["task"] == "absent" or says_absent(row["expected"]):
            return None
        return float(says_absent(row["answer"])), 1

    generated = [row for row in rows if row["set"].startswith("generated:")]
    name = "says so although it is in the picture"
    return make_figure(name, generated, refuses, lower_is_better=True)


def _set_json(each: SetResults) -> dict[str, Any]:
    beside = {
        "tesseract": {
            "figures": [figure.as_json() for figure in each.beside],
            "model_on_the_same": [figure.as_json() for figure in each.same],
        }
    }
    return {
        "figures": [figure.as_json() for figure in each.figures],
        "tasks": {task: [figure.as_json() for figure in some] for task, some in each.tasks.items()},
        "by": {
            fact: {value: [figure.as_json() for figure in some] for value, some in groups.items()}
            for fact, groups in each.parts.items()
        },
        "skipped": each.skipped,
        "finish_reasons": each.finish_reasons,
        "seconds_per_answer": round(each.seconds, 3),
        **(beside if each.beside else {}),
    }

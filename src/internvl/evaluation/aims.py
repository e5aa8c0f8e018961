"""The figures that a model of this project is held to: what each counts, its floor and its aim.

The skills are those of `data.skills`; the numbers stand in nano's card (docs/nano.md).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from internvl.evaluation import figures
from internvl.evaluation.figures import Figure, Ratio, make_figure
from internvl.evaluation.journal import Row
from internvl.evaluation.metrics import judge
from internvl.evaluation.verdict import Truth

Choose = Callable[[Row], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """One line of the table."""

    name: str
    choose: Choose
    """Which answers count."""
    ratio: Ratio = figures.score
    floor: float | None = None
    aim: float | None = None
    lower_is_better: bool = False
    beside: bool = False
    """Whether Tesseract is asked the same."""

    def rows(self, rows: Sequence[Row]) -> list[Row]:
        """Return the answers that count."""
        return [row for row in rows if self.choose(row)]

    def measure(self, rows: Sequence[Row]) -> Figure | None:
        """Return the figure; None where nothing was asked that counts."""
        return make_figure(self.name, self.rows(rows), self.ratio, lower_is_better=self.lower_is_better)


def _of(*skills: str, metrics: str = "", tasks: str = "") -> Choose:
    """Answers of some sets (short names) whose metric and task match an expression wholly."""
    names = {f"generated:{skill}" if ":" not in skill else skill for skill in skills}

    def choose(row: Row) -> bool:
        return (
            (not names or row["set"] in names)
            and (not metrics or re.fullmatch(metrics, row["metric"]) is not None)
            and (not tasks or re.fullmatch(tasks, row["task"]) is not None)
        )

    return choose


def _relaxed(row: Row) -> tuple[float, float]:
    """Chart questions: numbers within 5 %, words equal, whatever stricter metric the question names."""
    return judge("relaxed", row["answer"], Truth(text=row["expected"])).score, 1


def _count_up_to_ten(row: Row) -> bool:
    return _COUNT(row) and row["expected"].isdecimal() and int(row["expected"]) <= 10


_COUNT = _of("scene", "shape", metrics="exact_number")
_COLOUR = _of("scene", "shape", tasks="colour|ground_colour")
_PLACE = _of("scene", "shape", tasks="half|where|extreme|relation|what_beside|larger", metrics="(?!absent).*")
_FIELDS = "anls|exact.*|json_kv_f1"
_CER = {"ratio": figures.error_rate, "lower_is_better": True, "beside": True}

AIMS: tuple[Aim, ...] = (
    Aim(name="printed line, CER", choose=_of("lines", tasks="read"), floor=0.05, aim=0.01, **_CER),  # type: ignore[arg-type]
    Aim(name="printed page, CER", choose=_of("page", tasks="read"), floor=0.15, aim=0.03, **_CER),  # type: ignore[arg-type]
    *(  # answers that run on can push the figures above over 100 %; here each counts as wholly wrong at most
        Aim(
            name=f"printed {what}, CER, mean of items", choose=_of(skill, tasks="read"),
            ratio=figures.clipped_error_rate, lower_is_better=True, beside=True,
        )
        for what, skill in (("word", "words"), ("line", "lines"), ("page", "page"))
    ),
    *(
        Aim(
            name=f"{what} fields, exact match",
            choose=_of(*skills, metrics=_FIELDS), ratio=figures.exact_fields, floor=0.7, aim=0.95,
        )
        for what, skills in (
            ("receipt, invoice and form", ("receipt", "invoice", "form")),
            ("receipt", ("receipt",)), ("invoice", ("invoice",)), ("form", ("form",)), ("ID card", ("id_card",)),
        )
    ),
    Aim(
        name="real receipt fields (SROIE), exact match",
        choose=_of("shared:sroie_receipts"), ratio=figures.exact_fields, floor=0.6,
    ),
    Aim(name="table to text, cell F1", choose=_of("table", metrics="teds"), ratio=figures.cell_f1, floor=0.7, aim=0.95),
    Aim(
        name="chart questions, relaxed accuracy",
        choose=_of("chart", metrics="number_tol.*|exact.*|yesno|anls|contains"), ratio=_relaxed, floor=0.6, aim=0.9,
    ),
    Aim(name="object naming", choose=_of("scene", metrics="any_of_names"), floor=0.7, aim=0.9),
    Aim(name="counting up to 10", choose=_count_up_to_ten, floor=0.8, aim=0.97),
    Aim(name="colour", choose=_COLOUR, floor=0.8, aim=0.97),
    Aim(name="place and relation", choose=_PLACE, floor=0.8, aim=0.97),
    Aim(name="boxes, accuracy at IoU 0.5", choose=_of("scene", "shape", metrics="iou@0.5"), floor=0.7, aim=0.95),
    Aim(name="two pictures", choose=_of("pair"), floor=0.7, aim=0.95),
    Aim(name="clips of 8 frames", choose=_of("clip"), floor=0.7, aim=0.95),
    Aim(name="object named in the language asked for", choose=_of("languages"), floor=0.6, aim=0.95),
    Aim(name="says that it is not in the picture", choose=_of(metrics="absent"), floor=0.8, aim=0.97),
)  # fmt: skip

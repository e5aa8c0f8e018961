"""The fields of a document that is looked things up in, and the questions about them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from internvl.data.documents.asking import ask_absent, ask_field, ask_json, ask_read, choose
from internvl.data.documents.sheet import enclose
from internvl.data.sample import DataSample, Json, Split, Turn, box_answer

_WHERE_QUESTIONS = (
    "Where does the {ref} stand?",
    "Please provide the bounding box coordinate of the region this sentence describes: {ref}",
    "Mark the {ref}.",
    "Where is the {ref}?",
    "Find the {ref} and give its box.",
    "Locate the {ref}.",
    "Give the position of the {ref}.",
    "Box of the {ref}?",
    "Show me where the {ref} is.",
    "Point to the {ref}.",
)
EMPTY = "The field is empty."


@dataclass(frozen=True, slots=True)
class Field:
    """One fact of a document."""

    key: str
    """Its key in JSON."""
    what: str
    """What it is, in a question: "total amount"."""
    value: str
    """As it is written; empty if the field is there and nothing is in it."""
    box: Sequence[float]
    """Around the value; around the field if nothing is in it."""
    label: str = ""
    """What is printed beside it."""


class Record:
    """Fields in the order of the document."""

    def __init__(self) -> None:
        self.fields: list[Field] = []

    def add(
        self,
        key: str,
        what: str,
        runs: Sequence[Mapping[str, Json]],
        *,
        label: str = "",
        value: str | None = None,
    ) -> None:
        """Note a field that is written as `runs`; its value is their text."""
        text = " ".join(run["text"] for run in runs) if value is None else value
        box = [round(v, 1) for v in enclose([run["box"] for run in runs])]
        self.fields.append(Field(key, what, text, box, label))

    def truth(self) -> list[dict[str, Json]]:
        """Return the fields for a truth."""
        return [{"key": f.key, "label": f.label, "value": f.value, "box": list(f.box)} for f in self.fields]

    def values(self) -> dict[str, Json]:
        """Return key -> value; None where nothing is filled in."""
        return {field.key: field.value or None for field in self.fields}

    def turns(
        self,
        rng: random.Random,
        sample: DataSample,
        split: Split,
        *,
        kind: str,
        absent: Sequence[tuple[str, str]],
        more: Sequence[Turn] = (),
        nested: Mapping[str, Json] | None = None,
    ) -> list[Turn]:
        """Ask about the fields of a finished sample, one to five turns.

        Args:
            rng: All chance.
            sample: With `fields` and `text` in its truth, moved by the photograph.
            split: Phrasings.
            kind: "receipt", in questions for JSON.
            absent: (what, label) of fields that this document could have and has not.
            more: Questions of the skill's own; some are taken.
            nested: Further keys for JSON, e.g. the items.
        """
        turns = []
        for field in rng.sample(self.fields, min(len(self.fields), rng.choice((1, 1, 2, 3)))):
            if field.value:
                turns.append(ask_field(rng, field.what, field.value, split, label=field.label))
            else:
                turn = ask_field(rng, field.what, EMPTY, split, label=field.label, metric="exact_ci")
                turns.append(turn)
        if absent and rng.random() < 0.35:
            what, label = rng.choice(absent)
            turns.append(ask_absent(rng, what, split, label=label))
        if rng.random() < 0.3:
            values = {**self.values(), **(nested or {})}
            turns.append(ask_json(rng, kind, values, split))
        if more:
            turns += rng.sample(list(more), min(len(more), rng.choice((0, 0, 1, 2))))
        if rng.random() < 0.08:
            turns.append(ask_read(rng, sample.truth["text"], split))
        if rng.random() < 0.12:
            turns.append(self._where(rng, sample, split))
        rng.shuffle(turns)
        return turns[:5]

    def _where(self, rng: random.Random, sample: DataSample, split: Split) -> Turn:
        number = rng.randrange(len(self.fields))
        what, place = self.fields[number].what, sample.truth["fields"][number]["box"]
        question = choose(rng, _WHERE_QUESTIONS, split).format(ref=f"<ref>{what}</ref>")
        return Turn(
            question=question, answer=box_answer(what, [place], sample.images[0].size), metric="iou@0.5"
        )


def reading_text(runs: Sequence[Mapping[str, Json]]) -> str:
    """Return the text of runs line by line: those on one height are one line, from left to right."""
    lines: list[list[Mapping[str, Json]]] = []
    for run in sorted(runs, key=lambda run: (run["box"][1] + run["box"][3]) / 2):
        x0, y0, x1, y1 = run["box"]
        if lines:
            last = lines[-1][-1]["box"]
            if (y0 + y1) / 2 < (last[1] + last[3]) / 2 + 0.4 * run["size"]:
                lines[-1].append(run)
                continue
        lines.append([run])
    return "\n".join(
        " ".join(run["text"] for run in sorted(line, key=lambda run: run["box"][0])) for line in lines
    )

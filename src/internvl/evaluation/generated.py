"""Held-out sets of the data engine: sample `index` of a skill, drawn on the fly by (seed, index)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from internvl.data.pictures.english import everyday
from internvl.data.sample import Assets, DataSample, Split
from internvl.data.skills import load_skill, make_sample
from internvl.errors import ConfigError, MissingDependencyError
from internvl.evaluation.item import EvalSample, Item
from internvl.evaluation.metrics import find_metric
from internvl.evaluation.verdict import Truth

PREFIX = "generated:"

_TASK_OF_METRIC = {
    "cer": "part", "ned": "markdown", "teds": "table", "rms_f1": "table", "json_kv_f1": "json", "iou@0.5": "box",
    "exact_number": "number", "any_of_names": "name", "exact": "text", "exact_norm": "cell", "exact_ci": "choice",
    "anls": "text",
}  # fmt: skip
"""For questions whose skill does not say what kind they are."""
_FACTS = ("look", "kind", "event", "change", "merged", "value_labels", "columns", "font_kind")


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedSet:
    """Samples 0 .. count of a skill."""

    skill: str
    count: int
    seed: int
    split: Split = "held_out"
    shared: Path | None = None
    """The folder that holds `data/`: word lists, drawings."""
    missing: str = ""
    """What this machine lacks to draw the skill; then there are no samples."""

    def __post_init__(self) -> None:
        load_skill(self.skill)  # a wrong name shows before any work

    @property
    def name(self) -> str:
        """E.g. "generated:lines"."""
        return PREFIX + self.skill

    @property
    def sample_ids(self) -> Sequence[str]:
        """The indices, with leading zeros."""
        return [] if self.missing else [f"{index:06d}" for index in range(self.count)]

    @property
    def skipped(self) -> Mapping[str, int]:
        """All samples, if something is missing."""
        return {self.missing: self.count} if self.missing else {}

    def or_skipped(self) -> GeneratedSet:
        """Return this set, or where its first sample cannot be drawn here one that says why it has none."""
        try:
            self.make(self.sample_ids[0])
        except (ConfigError, MissingDependencyError) as error:
            return replace(self, missing=str(error))
        return self

    @property
    def costly(self) -> bool:
        """Drawing a page takes a third of a second."""
        return True

    def make(self, sample_id: str) -> EvalSample:
        """Draw a sample.

        Raises:
            ConfigError: This machine lacks what the skill draws with (fonts).
            MissingDependencyError: Or a package.
        """
        assets = Assets(shared=self.shared)
        sample = make_sample(self.skill, self.seed, int(sample_id), split=self.split, assets=assets)
        return read_sample(sample, sample_id)


def read_sample(sample: DataSample, sample_id: str) -> EvalSample:
    """Return the questions of a generated sample."""
    items = []
    for number, turn in enumerate(sample.turns):
        find_metric(turn.metric)
        names = _alternatives(sample, number, turn.answer) if turn.metric == "any_of_names" else ()
        truth = Truth(text=turn.answer, alternatives=names)
        languages = sample.truth.get("languages")
        items.append(
            Item(
                question=turn.question,
                truth=truth,
                metric=turn.metric,
                task=turn.task or _TASK_OF_METRIC.get(turn.metric, turn.metric),
                language=languages[number] if languages else sample.language,
            )
        )
    return EvalSample(
        id=sample_id,
        media=tuple(sample.images),
        items=tuple(items),
        clip=sample.video,
        facts=_facts(sample.truth),
    )


def _alternatives(sample: DataSample, number: int, answer: str) -> tuple[str, ...]:
    """Other names that are right: a list per turn, or per name, as the skill's truth has them."""
    per_turn = sample.truth.get("alternatives")
    if per_turn is not None:
        names = per_turn[number]
    else:
        names = (*sample.truth.get("names", {}).get(answer, ()), everyday(answer))
    return tuple(name for name in dict.fromkeys(names) if name != answer)


def _facts(truth: Mapping[str, Any]) -> dict[str, Any]:
    facts = {name: truth[name] for name in _FACTS if isinstance(truth.get(name), str | int | bool)}
    if isinstance(truth.get("objects"), list):
        facts["objects"] = len(truth["objects"])
    smallest = truth.get("min_text_px_tiled")
    if isinstance(smallest, int | float):
        # how small the smallest letters are once the picture is cut into tiles of 448 pixels
        limits = (8, 12, 16, 24)
        facts["text_px"] = next((f"< {limit}" for limit in limits if smallest < limit), f">= {limits[-1]}")
    return facts

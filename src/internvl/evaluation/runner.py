"""`evaluate`: a model and the names of sets -> answers, figures and a report in a folder.

Called by `internvl eval`. Everything goes through one engine, greedily, many questions at once.
"""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from internvl.chat.pipeline import Pipeline, pipeline
from internvl.data.sample import Split
from internvl.engine.config import EngineConfig
from internvl.errors import ConfigError
from internvl.evaluation.ahead import make_ahead
from internvl.evaluation.asking import Answered, ask_all
from internvl.evaluation.fingerprint import fingerprint
from internvl.evaluation.item import EvalSample, EvalSet, Item
from internvl.evaluation.journal import Journal, Row, check_same, digest, make_row
from internvl.evaluation.metrics import LONG
from internvl.evaluation.progress import EvalProgress, OnProgress
from internvl.evaluation.report import write_report
from internvl.evaluation.results import Results
from internvl.evaluation.sets import open_sets
from internvl.evaluation.tesseract import Tesseract, read_beside
from internvl.types import LOOP_GUARD, GenerationConfig, Message

SEED = 20_000
"""Of the samples measured; training uses small seeds, and another split."""
LONG_ANSWER, SHORT_ANSWER = 2048, 128
"""Most new tokens where a page may be asked for, and elsewhere."""

Asked = tuple[EvalSet, EvalSample, int]
"""A set, one of its samples, and the number of the question about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalConfig:
    """What is measured, and where it is written."""

    sets: Sequence[str] = ("generated",)
    """Names as `sets.open_sets` takes them; in one text they are parted by commas."""
    count: int = 1000
    """Samples of each generated set; the most of each real one."""
    seed: int = SEED
    split: Split = "held_out"
    shared: Path | None = None
    """The folder that holds `data/`."""
    out: Path
    """Answers, figures and report; answers that are there already are kept."""
    workers: int | None = None
    """Processes that draw samples; None: one per core but one; 0: drawn in this one."""
    beside: Literal["tesseract"] | None = None
    """Another program that reads the same pictures."""
    long_answer: int = LONG_ANSWER
    short_answer: int = SHORT_ANSWER
    loop_guard: bool = True
    """Whether answers that go in circles are ended (`types.LOOP_GUARD`), as in conversations."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "out", Path(self.out))
        object.__setattr__(self, "shared", None if self.shared is None else Path(self.shared))
        if isinstance(self.sets, str):
            object.__setattr__(self, "sets", tuple(name for name in self.sets.split(",") if name))
        if self.count < 1:
            raise ConfigError(f"count is {self.count}; expected 1 or more samples of each set")


def evaluate(
    model: str | Path | Pipeline = "nano",
    config: EvalConfig | None = None,
    *,
    engine: EngineConfig | None = None,
    on_progress: OnProgress | None = None,
    **options: Any,
) -> Results:
    """Ask a model the questions of some sets and write answers, figures and a report.

    Args:
        model: What `pipeline` takes, or a pipeline (which stays open).
        config: What to measure. Fields may be given as keywords instead: sets, count, seed, out ...
        engine: How the model is run.
        on_progress: Told at the beginning and after every answer.
        options: Fields of `EvalConfig`.

    Returns:
        The figures, as they stand in OUT/figures.json.

    Raises:
        ConfigError: An unknown set; a folder that holds answers of another model or other settings.
        CheckpointError: The model cannot be read.
    """
    on_progress = on_progress or (lambda progress: None)
    name = "pipeline" if isinstance(model, Pipeline) else str(model)
    if config is None:
        config = EvalConfig(**{"out": default_out(name), **options})
    elif options:
        raise ConfigError(f"give config, or fields of it ({', '.join(options)}), not both")
    sets = open_sets(
        config.sets, count=config.count, seed=config.seed, split=config.split, shared=config.shared
    )
    reader = Tesseract() if config.beside else None  # what is not installed shows before the long work, too
    # what cannot be made here shows before the long work
    digests = {source.name: digest(source.make(source.sample_ids[0])) for source in sets if source.sample_ids}
    pipe = model if isinstance(model, Pipeline) else pipeline(model, engine)
    try:
        check_same(config.out, _settings(name, config, pipe), digests)
        with Journal(config.out / "answers.jsonl") as journal:
            _Run(sets, config, pipe, journal, on_progress).run()
            rows = journal.rows
    finally:
        if pipe is not model:
            pipe.close()
    theirs = read_beside(reader, sets, rows, config.out, on_progress) if reader else []
    return conclude(name, sets, rows, config.out, theirs)


def default_out(model: str) -> Path:
    """Return runs/eval/NAME."""
    return Path("runs") / "eval" / (Path(model).name or "model")


def conclude(
    model: str, sets: Sequence[EvalSet], rows: Sequence[Row], out: Path, theirs: Sequence[Row] = ()
) -> Results:
    """Write figures.json and report.html about what was answered, by the model and by Tesseract."""
    results = Results.of(model, sets, rows, theirs)
    text = json.dumps(results.as_json(), ensure_ascii=False, indent=1)
    (out / "figures.json").write_text(text + "\n", encoding="utf8")
    write_report(out / "report.html", results, sets)
    return results


def _settings(model: str, config: EvalConfig, pipe: Pipeline) -> dict[str, Any]:
    engine = pipe.engine.config
    return {
        "model": model,
        "weights": fingerprint(pipe.engine.model),
        "seed": config.seed,
        "split": config.split,
        "shared": config.shared is not None,
        "long_answer": config.long_answer,
        "short_answer": config.short_answer,
        "loop_guard": config.loop_guard,
        "dtype": str(next(pipe.engine.model.parameters()).dtype).removeprefix("torch."),
        "quantize": engine.quantize,
        "max_tiles": engine.max_tiles,
        "min_tiles": engine.min_tiles,
        "tile_policy": engine.tile_policy,
    }


class _Run:
    """One run through the sets: what is there is kept, the rest is asked."""

    def __init__(
        self,
        sets: Sequence[EvalSet],
        config: EvalConfig,
        pipe: Pipeline,
        journal: Journal,
        on_progress: OnProgress,
    ) -> None:
        self.sets, self.config, self.pipe, self.journal = sets, config, pipe, journal
        self.on_progress = on_progress
        self.turns: dict[tuple[str, str], set[int]] = defaultdict(set)
        """(set, sample) -> questions that are answered."""
        complete = set()
        for row in journal.rows:
            key = row["set"], row["sample"]
            self.turns[key].add(row["turn"])
            if len(self.turns[key]) == row["turns"]:
                complete.add(key)
        self.todo = [
            (source, sample_id)
            for source in sets
            for sample_id in source.sample_ids
            if (source.name, sample_id) not in complete
        ]
        total = sum(len(source.sample_ids) for source in sets)
        before = total - len(self.todo)
        left = Counter(source.name for source, _ in self.todo)
        self.progress = EvalProgress(total=total, done=before, done_before=before, left=dict(left))

    def run(self) -> None:
        """Ask everything that is not answered yet."""
        self.on_progress(self.progress)
        if not self.todo:
            return
        for asked, answer in ask_all(self.pipe.engine, self._questions()):
            self._write(asked, answer)

    def _questions(self) -> Iterator[tuple[Asked, Message, GenerationConfig]]:
        workers = self.config.workers
        if workers is None:
            workers = max(1, (os.cpu_count() or 2) - 1)
        if not any(source.costly for source, _ in self.todo):
            workers = 0
        for source, sample in make_ahead(self.todo, workers):
            answered = self.turns[source.name, sample.id]
            for number, item in enumerate(sample.items):
                if number not in answered:
                    yield (source, sample, number), sample.message(item), self._gen_config(item)

    def _gen_config(self, item: Item) -> GenerationConfig:
        long = item.metric in LONG
        most = self.config.long_answer if long else self.config.short_answer
        return GenerationConfig(max_new_tokens=most, **(LOOP_GUARD if self.config.loop_guard else {}))

    def _write(self, asked: Asked, answer: Answered) -> None:
        source, sample, number = asked
        self.journal.append(make_row(source.name, sample, number, answer))
        answered = self.turns[source.name, sample.id]
        answered.add(number)
        progress = self.progress
        progress.set = source.name
        progress.questions += 1
        progress.tokens += answer.num_tokens
        progress.failed += answer.finish_reason in ("error", "media")
        if len(answered) == len(sample.items):
            progress.done += 1
            progress.left[source.name] -= 1
        self.on_progress(progress)

"""Several recipes of one command: which run is complete, which goes on from which, and what cannot follow.

A stage goes on from another's trained model by naming it: `model.path = "runs/one/final"`, where the other's `output`
is `runs/one`. Everything that would stop a later stage is looked for before the first one trains.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from internvl.checkpoint.load import resolve_directory
from internvl.errors import CheckpointError, ConfigError
from internvl.train.checkpointing import Checkpoints
from internvl.train.config import ExportSection, TrainConfig
from internvl.train.recipes import read_recipe, to_tree
from internvl.train.run_data import make_processor, with_steps
from internvl.train.setup import FINAL_NAME, HEADS_NAME, RECIPE_NAME, check_output


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One recipe of a command."""

    recipe: Path
    config: TrainConfig
    follows: Stage | None = None
    """The stage before it whose trained model it goes on from."""

    @property
    def final(self) -> Path:
        """The trained model that it leaves."""
        return Path(self.config.output) / FINAL_NAME

    @property
    def begun(self) -> bool:
        """Whether its output holds a run, complete or not."""
        return (Path(self.config.output) / RECIPE_NAME).exists()

    def shape(self) -> TrainConfig:
        """The config with a model that is there already and has the shape of the one that it will begin with."""
        if self.follows is None or _is_model(self.follows.final):
            return self.config
        path = self.follows.shape().model.path
        return replace(self.config, model=replace(self.config.model, path=path))


def read_stages(recipes: Sequence[Path], overrides: Sequence[str] = ()) -> list[Stage]:
    """Read the recipes of a command in their order; `overrides` apply to each.

    Raises:
        ConfigError: A recipe cannot be read, two have one output, or they ask for different devices.
    """
    stages: list[Stage] = []
    for recipe in recipes:
        config = read_recipe(recipe, overrides)
        for other in stages:
            if _same(other.config.output, config.output):
                raise ConfigError(
                    f"{other.recipe} and {recipe} have one output, {config.output}; give each its own "
                    "(without --set output)"
                )
            if other.config.run.device != config.run.device:
                raise ConfigError(
                    f"{other.recipe} runs on {other.config.run.device!r}, {recipe} on {config.run.device!r}; the "
                    "recipes of one command share a device: add --set run.device=..."
                )
        before = [stage for stage in stages if _same(stage.final, config.model.path)]
        stages.append(Stage(recipe=recipe, config=config, follows=before[-1] if before else None))
    return stages


def completed(config: TrainConfig, num_ranks: int = 1) -> int | None:
    """Return the step at which the run of this recipe was completed; None while there is something left to do.

    Complete: trained for all steps of the recipe or to the end of its data, and exported as it says.

    Raises:
        CheckpointError: The output directory holds another run.
    """
    output = Path(config.output)
    check_output(output, config)
    final = output / FINAL_NAME
    if not (output / RECIPE_NAME).exists() or not (_is_model(final) or _is_adapter(final)):
        return None
    if config.objective.asks_places and not (final / HEADS_NAME).is_file():
        return None
    then = json.loads((output / RECIPE_NAME).read_text(encoding="utf-8"))
    if config.counts_rows:
        if _missing(config.model.path):
            return None
        config = with_steps(config, make_processor(config), num_ranks)
    if to_tree(ExportSection()) | then.get("export", {}) != to_tree(config.export):
        return None
    checkpoints = Checkpoints(output / "checkpoints")
    steps = checkpoints.steps()
    # somebody who removed the checkpoints keeps a model of as many steps as the recipe said
    done = steps[-1] if steps else then["run"]["steps"]
    data_ended = bool(steps) and checkpoints.facts(done).get("data_ended", False)
    return done if done >= config.run.steps or data_ended else None


def check_stages(stages: Sequence[Stage], num_ranks: int = 1) -> list[int | None]:
    """Look at every stage before the first one trains; return `completed` of each.

    Raises:
        CheckpointError: A stage has begun from a model that is to be trained (again) now, or its model neither is there
            nor is left by a stage before it.
        ConfigError: A stage goes on from another's adapters alone.
    """
    done: list[int | None] = []
    for number, stage in enumerate(stages):
        found = completed(stage.config, num_ranks)
        before = stage.follows
        done.append(found)
        if before is None:
            if found is None:
                _check_model(stage, stages[number + 1 :])
            continue
        if before.config.lora is not None and not before.config.export.merge_lora:
            raise ConfigError(
                f"{stage.recipe} goes on from {before.final}, but {before.recipe} leaves adapters alone there; set "
                "export.merge_lora = true in it"
            )
        if stage.begun and done[stages.index(before)] is None:
            raise CheckpointError(
                f"{stage.config.output} holds a run that began with {before.final}, which {before.recipe} has still to "
                f"train; remove {stage.config.output}, or leave {before.recipe} out"
            )
    return done


def _check_model(stage: Stage, later: Sequence[Stage]) -> None:
    path = stage.config.model.path
    for other in later:
        if _same(other.final, path) and _missing(path):
            raise CheckpointError(
                f"{stage.recipe} goes on from {path}, which {other.recipe} leaves; name that one before it"
            )
    if _is_adapter(Path(path)):
        raise ConfigError(
            f"{stage.recipe} goes on from {path}, which holds adapters alone; train with export.merge_lora = true, or "
            "merge them: internvl convert"
        )
    try:
        resolve_directory(path, None)
    except CheckpointError as error:
        raise CheckpointError(f"{stage.recipe}: model.path: {error}") from None


def _missing(path: str) -> bool:
    try:
        resolve_directory(path, None)
    except CheckpointError:
        return True
    return False


def _is_model(path: Path) -> bool:
    return (path / "config.json").is_file()


def _is_adapter(path: Path) -> bool:
    return (path / "adapter_config.json").is_file() and not _is_model(path)


def _same(one: str | Path, other: str | Path) -> bool:
    return Path(one).expanduser().resolve() == Path(other).expanduser().resolve()

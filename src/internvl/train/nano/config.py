"""What a training stage is, and how it is read from a recipe (TOML)."""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from internvl.data.generate import SKILLS, Difficulty
from internvl.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class StageConfig:
    """One stage: one tile size, one mixture, one schedule."""

    name: str
    steps: int
    image_size: int = 112
    batch_size: int = 64
    pages: int = 0
    """Pages of text beside each batch that only the vision tower and its dense heads see: letters are learnt there,
    and the decoder takes two thirds of a step."""
    turns: int = 4
    """Questions asked about a picture."""
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    decay_share: float = 0.15
    """Last share of the steps, over which the rate falls linearly to a tenth."""
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    language_weight: float = 1.0
    """0: only the dense heads are trained, and the decoder does not run."""
    dense_weight: float = 1.0
    seed: int = 0
    mixture: dict[str, float] = field(default_factory=dict)
    """Weight of each skill."""
    difficulty: Difficulty = Difficulty()

    def __post_init__(self) -> None:
        unknown = set(self.mixture) - {*SKILLS, "page", "chat"}
        if unknown or not self.mixture:
            raise ConfigError(
                f"stage {self.name}: mixture names {sorted(unknown)}; known: {', '.join(SKILLS)}, chat"
            )

    @property
    def items_per_step(self) -> int:
        """Conversations and silent pages of one update."""
        return self.batch_size + self.pages

    def learning_rate_at(self, step: int) -> float:
        """Warm up, stay, decay (WSD): the rate of update number `step`, from 0."""
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        left = (self.steps - step) / max(1.0, self.decay_share * self.steps)
        return self.learning_rate * warm * max(0.1, min(1.0, left))


def read_stage(path: Path) -> StageConfig:
    """Read a recipe.

    Raises:
        ConfigError: A key is unknown; the message has the nearest one.
    """
    with path.open("rb") as file:
        values = tomllib.load(file)
    difficulty = _build(Difficulty, values.pop("difficulty", {}), f"{path} [difficulty]")
    return _build(StageConfig, {"name": path.stem, **values, "difficulty": difficulty}, str(path))


def _build(kind: type, values: dict[str, Any], where: str) -> Any:
    known = [f.name for f in dataclasses.fields(kind)]
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ConfigError(f"{where}: unknown key {key!r}.{hint} Known: {', '.join(known)}")
    return kind(**values)

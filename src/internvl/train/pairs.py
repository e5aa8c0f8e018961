"""Rows with two answers -> `PreferencePair`s -> batches: {image, question, chosen, rejected}, as MMPR has them.

Files are JSONL, named by a meta file or one by one, as [data] of a recipe does it for other rows. Each epoch goes
through all rows in an order drawn from the seed; rank r takes every world_size-th.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

from internvl.errors import CheckpointError, ConfigError, DataError
from internvl.preprocess.processor import Processor
from internvl.train.config import TrainConfig
from internvl.train.dataset import DataConfig
from internvl.train.meta import SourceSpec, read_sources
from internvl.train.preference import PreferenceBatch, PreferencePair, pack_pairs
from internvl.train.rows import parse_row
from internvl.train.samples import make_sample
from internvl.train.sources import resolver

_ANSWERS = ("chosen", "rejected")


def make_pair_batches(
    config: TrainConfig, processor: Processor, *, rank: int = 0, world_size: int = 1
) -> PairBatches:
    """Batches of `run.micro_batch_size` pairs of this rank."""
    return PairBatches(
        config.data,
        processor,
        pairs_per_batch=config.run.micro_batch_size,
        rank=rank,
        world_size=world_size,
        seed=config.seed,
    )


class PairBatches:
    """An iterator of `PreferenceBatch`es; its state is the epoch and the place in it."""

    def __init__(
        self,
        config: DataConfig,
        processor: Processor,
        *,
        pairs_per_batch: int = 1,
        rank: int = 0,
        world_size: int = 1,
        seed: int = 0,
    ) -> None:
        """Find the rows.

        Raises:
            ConfigError: A file is no JSONL, or there is no row.
        """
        self.config, self.processor, self.pairs_per_batch = config, processor, pairs_per_batch
        self.rank, self.world_size, self.seed = rank, world_size, seed
        self.rows: list[tuple[SourceSpec, str, Mapping[str, Any], Any]] = []
        for spec in read_sources(config.meta, config.sources, root=config.root):
            self.rows += _read(spec)
        if not self.rows:
            raise ConfigError("there is no row of answers to learn from; set data.meta")
        self.epoch = self.place = 0
        self._order: tuple[int, list[int]] = (-1, [])
        self.bad_rows: list[str] = []

    def __iter__(self) -> PairBatches:
        return self

    def __next__(self) -> PreferenceBatch:
        pairs: list[PreferencePair] = []
        misses = 0
        while len(pairs) < self.pairs_per_batch:
            pair = self._pair(self._draw())
            misses = 0 if pair else misses + 1
            if pair is not None:
                pairs.append(pair)
            elif misses > len(self.rows):
                raise DataError(f"no row can be used; the last one: {self.bad_rows[-1]}")
        return pack_pairs(pairs)

    def state_dict(self) -> dict[str, Any]:
        """Where it stands, behind the last batch."""
        return {
            "epoch": self.epoch,
            "place": self.place,
            "rows": len(self.rows),
            "bad_rows": list(self.bad_rows),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there. Raises CheckpointError where the files hold other rows now."""
        if state["rows"] != len(self.rows):
            raise CheckpointError(
                f"the run stood in {state['rows']} rows; the files hold {len(self.rows)} now. Start anew"
            )
        self.epoch, self.place = state["epoch"], state["place"]
        self.bad_rows = list(state["bad_rows"])

    def load_states_of(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Go on where another number of ranks stood; with unusable rows some may come twice."""
        self.load_state_dict(min(states, key=lambda state: (state["epoch"], state["place"])))
        number = self.epoch * len(self.rows) + self.place
        if number:  # ranks that are even have all drawn up to the next multiple of their number
            self.epoch, last = divmod(-(-number // len(states)) * len(states) - 1, len(self.rows))
            self.place = last + 1

    def _draw(self) -> int:
        """The number of the next row of this rank."""
        while True:
            if self.place >= len(self.rows):
                self.epoch, self.place = self.epoch + 1, 0
                if self.config.num_epochs is not None and self.epoch >= self.config.num_epochs:
                    raise StopIteration
            order = self._order_of(self.epoch)
            place, self.place = self.place, self.place + 1
            if (self.epoch * len(self.rows) + place) % self.world_size == self.rank:
                return order[place]

    def _order_of(self, epoch: int) -> list[int]:
        """The rows of an epoch, shuffled once."""
        if self._order[0] != epoch:
            order = list(range(len(self.rows)))
            random.Random(f"{self.seed}/{epoch}").shuffle(order)
            self._order = (epoch, order)
        return self._order[1]

    def _pair(self, number: int) -> PreferencePair | None:
        spec, where, row, resolve = self.rows[number]
        try:
            samples = {}
            for answer in _ANSWERS:
                # both sides draw alike: frames and JPEG qualities are the same
                chance = random.Random(f"{self.seed}/{self.epoch}/{number}")
                parsed = parse_row(_conversation(row, answer, where), where, resolve)
                samples[answer] = make_sample(parsed, spec, self.config, self.processor, chance)
            return PreferencePair(**samples)
        except DataError as error:
            if self.config.on_bad_row == "stop":
                raise
            self.bad_rows.append(str(error))
            return None


def _read(spec: SourceSpec) -> list[tuple[SourceSpec, str, Mapping[str, Any], Any]]:
    rows: list[tuple[SourceSpec, str, Mapping[str, Any], Any]] = []
    if spec.format != "jsonl":
        raise ConfigError(f"{spec.name}: pairs of answers are read from .jsonl files, not {spec.format}")
    for path in spec.files:
        resolve = resolver(spec.root, path)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if not line.strip():
                continue
            where = f"{path}:{number}"
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(f"{where}: no JSON ({error})") from error
            rows.append((spec, where, row, resolve))
    return rows


def _conversation(row: Any, answer: str, where: str) -> dict[str, Any]:
    """The row as a conversation that ends with one of its answers."""
    missing = [
        key
        for key in ("question", *_ANSWERS)
        if not isinstance(row, Mapping) or not isinstance(row.get(key), str)
    ]
    if missing:
        raise DataError(
            f"{where}: {missing[0]} is missing or no text; a row of pairs has question, chosen, rejected"
        )
    kept = {key: row[key] for key in ("image", "images", "video", "clip", "system") if key in row}
    turns = [{"from": "human", "value": row["question"]}, {"from": "gpt", "value": row[answer]}]
    if isinstance(row.get("system"), str):
        turns.insert(0, {"from": "system", "value": row["system"]})
    return {**kept, "conversations": turns}

"""Rows with two answers -> `PreferencePair`s -> batches: {image, question, chosen, rejected}, as MMPR has them.

Files, mixing, order, workers and rows that cannot be used are those of other rows (`train.dataset`).
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from internvl.errors import DataError
from internvl.preprocess.processor import Processor
from internvl.train.batches import Drawn, TrainBatches
from internvl.train.dataset import DataConfig, open_dataset
from internvl.train.packing import LengthGrouper
from internvl.train.preference import PreferenceBatch, PreferencePair, pack_pairs
from internvl.train.rows import parse_row
from internvl.train.samples import Maker, make_sample
from internvl.train.sources import RawRow, Source

_ANSWERS = ("chosen", "rejected")

PairBatches = TrainBatches[PreferencePair, PreferenceBatch]


class PairMaker(Maker[PreferencePair]):
    """Makes pairs of rows with two answers."""

    def make(self, source: Source, number: int, key: str) -> PreferencePair:
        """Return the pair of a row; both sides draw alike: frames and JPEG qualities are the same."""
        raw = source.find(number)
        samples = {}
        for answer in _ANSWERS:
            parsed = parse_row(conversation(raw, answer), raw.where, raw.resolve)
            samples[answer] = make_sample(
                parsed, source.spec, self.config, self.processor, random.Random(key)
            )
        return PreferencePair(**samples)


def make_pair_batches(
    config: DataConfig,
    processor: Processor,
    *,
    pairs_per_batch: int = 1,
    rank: int = 0,
    world_size: int = 1,
    seed: int = 0,
) -> PairBatches:
    """Return batches of pairs; arguments and errors as of `open_dataset`."""
    dataset = open_dataset(config, processor, PairMaker, rank=rank, world_size=world_size, seed=seed)
    packer: LengthGrouper[Drawn[PreferencePair]] = LengthGrouper(
        pairs_per_batch,
        look_ahead=config.packing_buffer,
        grouped=config.group_by_length,
        seed=seed + rank,
    )
    return TrainBatches(
        dataset, packer, pack_pairs, max_tokens=2 * config.max_tokens, max_tiles=config.max_packed_tiles
    )


def conversation(raw: RawRow, answer: str = "chosen") -> dict[str, Any]:
    """Return a row of a pair as a conversation that ends with one of its answers.

    Raises:
        DataError: It is no row of a pair.
    """
    row = raw.row
    for key in ("question", *_ANSWERS):
        if not isinstance(row, Mapping) or not isinstance(row.get(key), str):
            raise DataError(
                f"{raw.where}: {key} is missing or no text; a row of pairs has question, chosen, rejected"
            )
    kept = {key: row[key] for key in ("image", "images", "video", "clip", "system") if key in row}
    turns = [{"from": "human", "value": row["question"]}, {"from": "gpt", "value": row[answer]}]
    if isinstance(row.get("system"), str):
        turns.insert(0, {"from": "system", "value": row["system"]})
    return {**kept, "conversations": turns}

"""What a run reads: its batches, those that it is measured on, and how many updates the rows make."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch

from internvl.checkpoint.load import load_processor
from internvl.errors import ConfigError
from internvl.preprocess.processor import Processor
from internvl.train.batches import TrainBatches, make_batches
from internvl.train.config import TrainConfig
from internvl.train.dataset import make_dataset
from internvl.train.pairs import make_pair_batches
from internvl.train.parallel import Ranks, sum_over_ranks

Batches = TrainBatches[Any, Any]
"""Of conversations or of pairs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCounts:
    """What became of the rows, over all ranks."""

    bad: int
    """Left out, by earlier calls of the run too."""
    listed: list[str]
    """The first of the first rank: file, line and what is wrong."""
    truncated: int
    """Cut off at `max_tokens`; as `packing_efficiency`, since this call began."""
    packing_efficiency: float | None
    """Share of the places of packed rows that hold tokens; None: nothing was packed."""


def count_rows(batches: Batches, where: Ranks) -> RowCounts:
    """Add up the reports of all ranks, which call together."""
    rows, packed = batches.dataset.report, batches.report
    counts = {
        "bad": rows.num_bad_rows,
        "truncated": rows.num_truncated,
        "tokens": packed.num_tokens,
        "places": packed.num_rows * packed.max_tokens,
    }
    total = sum_over_ranks({name: torch.tensor(float(n)) for name, n in counts.items()}, where)
    return RowCounts(
        bad=round(total["bad"]),
        listed=rows.bad_rows,
        truncated=round(total["truncated"]),
        packing_efficiency=total["tokens"] / total["places"] if batches.packing and total["places"] else None,
    )


def make_processor(config: TrainConfig) -> Processor:
    """What cuts and tokenizes rows, with the tile size of the recipe."""
    processor = load_processor(config.model.path)
    size = config.data.tile_size
    if size is None:
        return processor
    vision = processor.config.vision
    if size % (vision.patch_size * processor.config.projector.factor) or size > vision.image_size:
        raise ConfigError(
            f"data.tile_size is {size}; expected a multiple of {vision.patch_size * processor.config.projector.factor} "
            f"pixels, at most the model's {vision.image_size}"
        )
    return Processor(replace(processor.config, image_size=size), processor.tokenizer)


def make_source(config: TrainConfig, processor: Processor, where: Ranks) -> Batches:
    """Training batches of this rank."""
    if not config.data.meta and not config.data.sources:
        raise ConfigError(
            "the recipe names no data: set data.meta to a meta JSON or to row files, e.g. --set data.meta=rows.jsonl"
        )
    if config.objective.asks_places and not config.data.dense:
        raise ConfigError(
            "objective.dense_weight (or its kind) asks what lies where; set data.dense = true to know it"
        )
    data, rank, size = config.data, where.data_rank, where.data_size
    if config.run.epochs:  # drawn by what is left, every row comes once an epoch, whatever data set it is of
        data = replace(data, num_epochs=math.ceil(config.run.epochs))
    count = config.run.micro_batch_size
    if config.objective.is_preference:
        return make_pair_batches(
            data, processor, pairs_per_batch=count, rank=rank, world_size=size, seed=config.seed
        )
    dataset = make_dataset(data, processor, rank=rank, world_size=size, seed=config.seed)
    return make_batches(dataset, micro_batch_size=count)


class ValidationRows:
    """Batches over the validation rows, from the first one each time that it is called.

    Raises:
        ConfigError: A file is missing or an entry says something impossible: before any training.
    """

    def __init__(self, config: TrainConfig, processor: Processor, where: Ranks) -> None:
        self.config = replace(config, data=config.validation_data(), run=replace(config.run, epochs=0.0))
        self.processor, self.where = processor, where
        self.batches = make_source(self.config, processor, where)
        """Of the last time."""

    def __call__(self) -> Batches:
        """Begin anew."""
        self.batches = make_source(self.config, self.processor, self.where)
        return self.batches


def with_steps(config: TrainConfig, processor: Processor, num_ranks: int) -> TrainConfig:
    """The config with `run.steps` as `run.epochs` or `data.num_epochs` say, where that can be known before."""
    if not config.counts_rows:
        return config
    dataset = make_dataset(replace(config.data, num_epochs=1), processor)  # rows are counted, not read
    assert dataset.num_rows is not None
    return config.with_steps(dataset.num_rows, num_ranks)

"""Samples -> batches, in an order that is resumed exactly: what the training loop iterates over.

The state holds which rows wait to be put together; their samples are made again when a run goes on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import Any, Generic, TypeVar

from internvl.errors import ConfigError
from internvl.train.batch import TrainBatch, TrainSample
from internvl.train.collate import collate, collate_packed
from internvl.train.dataset import TrainDataset
from internvl.train.mixing import Draw
from internvl.train.packing import BestFitPacker, LengthGrouper, Packer, PackingReport, ReferencePacker
from internvl.train.samples import Made

Batch = TypeVar("Batch")


@dataclass(frozen=True, slots=True)
class Drawn(Generic[Made]):
    """A sample and what it was drawn as."""

    draw: Draw
    sample: Made

    @property
    def num_tokens(self) -> int:
        """Of the sample."""
        return self.sample.num_tokens

    @property
    def num_tiles(self) -> int:
        """Of the sample."""
        return self.sample.num_tiles


class TrainBatches(Generic[Made, Batch]):
    """An iterator of batches; `make_batches` makes it of conversations."""

    def __init__(
        self,
        dataset: TrainDataset[Made],
        packer: Packer[Drawn[Made]],
        join: Callable[[list[Made]], Batch],
        *,
        max_tokens: int,
        max_tiles: int,
        packing: bool = False,
    ) -> None:
        """Let `join` put samples of `dataset` together as `packer` groups them; `packing`: into one row."""
        self.dataset, self.packing = dataset, packing
        self.report = PackingReport(max_tokens, max_tiles)
        """How full the rows are; without packing, a row is one sample."""
        self._packer, self._join = packer, join
        self._ready: deque[list[Drawn[Made]]] = deque()
        self._inherited: deque[Draw] = deque()
        self._ended = False

    def __iter__(self) -> TrainBatches[Made, Batch]:
        return self

    def __next__(self) -> Batch:
        while not self._ready:
            if self._ended:
                raise StopIteration
            try:
                drawn = self._draw()
            except StopIteration:
                self._ended = True
                self._ready.extend(self._packer.flush())
                continue
            self._ready.extend(self._packer.add(drawn))
        group = self._ready.popleft()
        for row in [group] if self.packing else [[drawn] for drawn in group]:
            self.report.note(row)
        return self._join([drawn.sample for drawn in group])

    def _draw(self) -> Drawn[Made]:
        while self._inherited:
            draw = self._inherited.popleft()
            sample = self.dataset.instead(draw)
            if sample is not None:
                return Drawn(draw, sample)
        return Drawn(*self.dataset.draw())

    def state_dict(self) -> dict[str, Any]:
        """Return what a later run needs to go on behind the last batch, as JSON takes it."""
        return {
            "dataset": self.dataset.state_dict(),
            "waiting": [[list(drawn.draw) for drawn in group] for group in self._packer.waiting],
            "ready": [[list(drawn.draw) for drawn in group] for group in self._ready],
            "num_shuffled": self._packer.num_shuffled,
            "inherited": [list(draw) for draw in self._inherited],
            "ended": self._ended,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another iterator of the same configuration stood.

        Raises:
            CheckpointError: Other data, another seed.
            ConfigError: Another number of ranks.
            DataError: A row that waited cannot be read any more.
        """
        self.dataset.load_state_dict(state["dataset"])
        self._packer.restore([self._again(group) for group in state["waiting"]], state["num_shuffled"])
        self._ready = deque(self._again(group) for group in state["ready"])
        self._inherited = deque(Draw(*draw) for draw in state["inherited"])
        self._ended = state["ended"]

    def load_states_of(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Go on where iterators on another number of ranks stood: no row is lost, none comes twice.

        What they had drawn and not given out is shared out first, in about the order in which it was drawn.

        Raises:
            CheckpointError: Other data, another seed.
        """
        dataset = self.dataset
        states = list({state["dataset"]["rank"]: state for state in states}.values())  # groups draw alike
        kept = [
            [
                *(Draw(*draw) for group in (*state["ready"], *state["waiting"]) for draw in group),
                *(Draw(*draw) for draw in state["inherited"]),
            ]
            for state in states
        ]
        in_turn = [draw for together in zip_longest(*kept) for draw in together if draw is not None]
        missed = dataset.load_states_of([state["dataset"] for state in states])
        self._inherited = deque([*in_turn, *missed][dataset.rank :: dataset.world_size])
        self._ended = False

    def _again(self, draws: list[list[Any]]) -> list[Drawn[Made]]:
        return [Drawn(Draw(*draw), self.dataset.again(Draw(*draw))) for draw in draws]


def make_batches(
    dataset: TrainDataset[TrainSample],
    *,
    micro_batch_size: int = 1,
    packing: bool | None = None,
    max_tokens: int | None = None,
    max_tiles: int | None = None,
) -> TrainBatches[TrainSample, TrainBatch]:
    """Return the batches of a data set.

    Args:
        dataset: From `make_dataset`; its configuration says what is not said here.
        micro_batch_size: Rows of a padded batch. A packed batch is one row.
        packing: Several conversations in one row.
        max_tokens: Of a packed row.
        max_tiles: Of a packed row.

    Raises:
        ConfigError: A combination that means nothing.
    """
    config = dataset.config
    packing = config.packing if packing is None else packing
    max_tokens = max_tokens or config.max_tokens
    max_tiles = max_tiles or config.max_packed_tiles
    if packing and micro_batch_size != 1:
        raise ConfigError(
            f"micro_batch_size is {micro_batch_size} with packing; a packed batch is one row of {max_tokens} tokens. "
            "Raise data.max_tokens for a larger one"
        )
    if packing and (max_tokens < config.max_tokens or max_tiles < config.max_packed_tiles):
        raise ConfigError(
            "a packed row must hold the longest conversation: set data.max_tokens, max_packed_tiles"
        )
    packer: Packer[Drawn[TrainSample]]
    if not packing:
        packer = LengthGrouper(
            micro_batch_size,
            look_ahead=config.packing_buffer,
            grouped=config.group_by_length,
            seed=dataset.seed + dataset.rank,
        )
    elif config.packer == "reference":
        packer = ReferencePacker(max_tokens, max_tiles, buffer=config.packing_buffer)
    else:
        packer = BestFitPacker(max_tokens, max_tiles, look_ahead=config.packing_buffer)
    pad_id = dataset.processor.tokenizer.pad_token_id or 0
    join: Callable[[list[TrainSample]], TrainBatch] = partial(
        collate, averaging=config.averaging, pad_id=pad_id
    )
    if packing:
        length = max_tokens if config.pad_packed else None
        join = partial(collate_packed, averaging=config.averaging, pad_id=pad_id, length=length)
    return TrainBatches(dataset, packer, join, max_tokens=max_tokens, max_tiles=max_tiles, packing=packing)

"""Rows -> tokenized samples, in an order that is resumed exactly: what training reads.

`make_dataset(config, processor, rank=..., world_size=..., seed=...)` gives an iterator of `TrainSample`s with
`state_dict`; `packing.make_batches` makes batches of them. Pictures are opened, cut and turned into tokens by the
`Processor` that chat uses. A row that cannot be used stops the run with its file and line, or is counted and listed;
it is never replaced by another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal

from internvl.config.model import TilePolicy
from internvl.data.sample import Assets
from internvl.errors import ConfigError, DataError
from internvl.preprocess.processor import Processor
from internvl.train.batch import TrainSample
from internvl.train.loading import draw_samples
from internvl.train.meta import SourceSpec, read_sources
from internvl.train.mixing import Draw, Mixture, Share
from internvl.train.samples import BadRow, Made, Maker, SampleMaker
from internvl.train.sources import Source, open_source

Averaging = Literal["token", "sample", "square"]
#: Bad rows whose places are kept; all are counted.
LISTED_BAD_ROWS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """Rows, how they are cut and how they become batches."""

    meta: tuple[str, ...] = ()
    """Meta JSON files of the family ({name: {root, annotation, ...}}, see `train.meta`), or row files (.jsonl,
    .parquet, .tar; `*` and `{000..012}` stand for several)."""
    sources: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """More data sets, in the form of a meta file: {name: {annotation or generated, ...}}."""
    root: str = ""
    """Where the pictures of row files lie; "": beside each file. A meta file has roots of its own."""
    assets: str = ""
    """The folder below which generated data finds `data/` (word lists, emoji); "": what the package brings."""
    max_tokens: int = 4096
    """Longest conversation; also the length of a packed row."""
    over_long: Literal["bad_row", "truncate"] = "bad_row"
    """A conversation of more tokens is a bad row, or is cut off as the reference does (never inside a picture)."""
    min_tiles: int | None = None
    """Of one picture; None: the checkpoint's. A data set's own min_dynamic_patch counts more."""
    max_tiles: int | None = None
    """Of one picture, the overview not counted; shared by the pictures of a row. None: the checkpoint's. A data
    set's own max_dynamic_patch counts more."""
    tile_size: int | None = None
    """Side of a tile in pixels; None: the checkpoint's. Smaller ones are windows of the trained grid: the same
    patches and positions, fewer of them."""
    dense: bool = False
    """Make targets for [objective] dense_weight, of generated data that knows what lies where."""
    tile_policy: TilePolicy | None = None
    """How pictures are cut, see `preprocess.tile_policy`; None: as the checkpoint says."""
    min_frames: int = 8
    """Frames of a video: each time a random number from here ..."""
    max_frames: int = 32
    """... to here."""
    frame_sampling: Literal["rand", "middle"] = "rand"
    """Which frame of each of the equal intervals of a video."""
    jpeg_augment: bool | None = None
    """Compress tiles as JPEG of random quality; None: as each data set says (data_augment)."""
    weighting: Literal["rows", "sqrt_rows", "listed"] = "rows"
    """Share of each data set in an endless mixture: its rows, their square root, or the weight in its entry. Weights
    that every data set lists are used in any case."""
    num_epochs: int | None = None
    """End after so many epochs of all data sets together; None: never."""
    packing: bool = True
    """Documents one after the other in one row with attention within each; False: padded rows."""
    packer: Literal["best_fit", "reference"] = "best_fit"
    """How packed rows are filled, see `train.packing`."""
    pad_packed: bool = False
    """Fill packed rows up to `max_tokens`, so that every step has the same shape."""
    max_packed_tiles: int = 48
    """Tiles in one packed row."""
    packing_buffer: int = 64
    """Conversations that are looked ahead, at least, to fill a row or to group by length."""
    averaging: Averaging = "square"
    """Weight of a label: 1 (token), 1 / labels of its sample (sample), or the square root of that (square)."""
    group_by_length: bool = False
    """Padded rows of similar length go together."""
    on_bad_row: Literal["stop", "skip"] = "stop"
    """A row that cannot be used stops the run with its file and line, or is counted and listed."""
    num_workers: int = 0
    """Processes that read and cut rows; 0: the training process itself. The order does not depend on it."""

    def __post_init__(self) -> None:
        for name in ("max_tokens", "max_packed_tiles", "packing_buffer", "min_frames"):
            if getattr(self, name) < 1:
                raise ConfigError(f"data.{name} is {getattr(self, name)}; expected at least 1")
        if self.num_workers < 0:
            raise ConfigError(f"data.num_workers is {self.num_workers}; expected 0 or more")
        if self.num_epochs is not None and self.num_epochs < 1:
            raise ConfigError(
                f"data.num_epochs is {self.num_epochs}; expected at least 1, or none for an endless run"
            )
        if self.max_frames < self.min_frames:
            raise ConfigError(f"data.max_frames {self.max_frames} is below data.min_frames {self.min_frames}")
        if self.max_tiles is not None and self.max_tiles < (self.min_tiles or 1):
            raise ConfigError(
                f"data.max_tiles {self.max_tiles} is below data.min_tiles {self.min_tiles or 1}"
            )
        choices = {
            "over_long": ("bad_row", "truncate"),
            "frame_sampling": ("rand", "middle"),
            "weighting": ("rows", "sqrt_rows", "listed"),
            "packer": ("best_fit", "reference"),
            "averaging": ("token", "sample", "square"),
            "on_bad_row": ("stop", "skip"),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ConfigError(f"data.{name} is {getattr(self, name)!r}; expected {' or '.join(known)}")


@dataclass(slots=True, kw_only=True)
class DataReport:
    """What happened to the rows so far, on this rank."""

    num_rows: int = 0
    """Rows that became samples."""
    num_tokens: int = 0
    num_tiles: int = 0
    num_truncated: int = 0
    """Conversations that were cut off at `max_tokens`."""
    num_bad_rows: int = 0
    bad_rows: list[str] = field(default_factory=list)
    """The first of them: file, line and what is wrong."""
    rows_by_source: dict[str, int] = field(default_factory=dict)


class TrainDataset(Generic[Made]):
    """An iterator of what a maker makes of the rows; its state is where the order stands, a few numbers."""

    def __init__(
        self,
        config: DataConfig,
        sources: Mapping[str, Source],
        processor: Processor,
        maker: type[Maker[Made]],
        *,
        rank: int = 0,
        world_size: int = 1,
        seed: int = 0,
    ) -> None:
        """Draw from opened data sets; `open_dataset` opens them."""
        if not 0 <= rank < world_size:
            raise ConfigError(f"rank is {rank} of {world_size}; expected 0 to {world_size - 1}")
        self.config, self.sources, self.processor = config, dict(sources), processor
        self.rank, self.world_size, self.seed = rank, world_size, seed
        self.report = DataReport()
        self._maker = maker(config, self.sources, processor, seed=seed)
        self._mixture = self._new_mixture()
        self._samples: Iterator[tuple[Draw, Made | BadRow]] | None = None

    @property
    def num_rows(self) -> int | None:
        """Rows until the end, on all ranks together; None: endless."""
        return self._mixture.total

    def __iter__(self) -> Iterator[Made]:
        return self

    def __next__(self) -> Made:
        return self.draw()[1]

    def draw(self) -> tuple[Draw, Made]:
        """Return the next sample and what it was drawn as.

        Raises:
            DataError: A row cannot be used and `on_bad_row` is "stop", or no row can.
            StopIteration: The epochs are over.
        """
        if self._samples is None:
            ahead = self._new_mixture()
            ahead.load_state_dict(self._mixture.state_dict())
            self._samples = draw_samples(self._maker, self._own(ahead), self.config.num_workers)
        reason = ""
        patience = 10 + sum(len(source) for source in self.sources.values())
        for _ in range(patience):
            draw, sample = next(self._samples)
            next(self._own(self._mixture))  # what was read ahead does not count as seen
            if not isinstance(sample, BadRow):
                self._note(draw, sample)
                return draw, sample
            self._note_bad(sample)
            reason = sample.reason
        raise DataError(f"none of {patience} rows in a row can be used; the last: {reason}")

    def again(self, draw: Draw) -> Made:
        """Return the sample of a draw once more; the order does not move."""
        sample = self._maker(draw)
        if isinstance(sample, BadRow):
            raise DataError(sample.reason)
        return sample

    def instead(self, draw: Draw) -> Made | None:
        """Return the sample of what another rank should have drawn; None: the row cannot be used and is left out.

        Raises:
            DataError: The same, and `on_bad_row` is "stop".
        """
        sample = self._maker(draw)
        if isinstance(sample, BadRow):
            self._note_bad(sample)
            return None
        self._note(draw, sample)
        return sample

    def state_dict(self) -> dict[str, Any]:
        """Return what a later run needs to go on after the last sample, as JSON takes it."""
        return {
            "mixture": self._mixture.state_dict(),
            "rank": self.rank,
            "world_size": self.world_size,
            "num_bad_rows": self.report.num_bad_rows,
            "bad_rows": list(self.report.bad_rows),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another data set of the same configuration stood.

        Raises:
            CheckpointError: Other data, another seed.
            ConfigError: Another number of ranks, each of which has a state of its own.
        """
        if (state["rank"], state["world_size"]) != (self.rank, self.world_size):
            raise ConfigError(
                f"this is the data order of rank {state['rank']} of {state['world_size']}, not of rank {self.rank} of "
                f"{self.world_size}. Resume with as many ranks, or start the data anew (leave its state out)"
            )
        self._mixture.load_state_dict(state["mixture"])
        self.report.num_bad_rows = state["num_bad_rows"]
        self.report.bad_rows = list(state["bad_rows"])
        self._samples = None

    def load_states_of(self, states: Sequence[Mapping[str, Any]]) -> list[Draw]:
        """Go on behind the furthest of other ranks; return what was drawn for the others before that, but not by them.

        Raises:
            CheckpointError: Other data, another seed.
        """
        furthest = max((state["mixture"] for state in states), key=lambda mixture: int(mixture["num_drawn"]))
        missed = []
        for state in states:
            behind = self._new_mixture()
            behind.load_state_dict(state["mixture"])
            while behind.num_drawn < furthest["num_drawn"]:
                draw = next(behind)
                if (behind.num_drawn - 1) % state["world_size"] == state["rank"]:
                    missed.append((behind.num_drawn, draw))
        self._mixture.load_state_dict(furthest)
        # one of the new ranks goes on telling of the rows that were left out
        told = states if self.rank == 0 else ()
        self.report.num_bad_rows = sum(state["num_bad_rows"] for state in told)
        self.report.bad_rows = [row for state in told for row in state["bad_rows"]][:LISTED_BAD_ROWS]
        self._samples = None
        return [draw for _, draw in sorted(missed)]

    def _new_mixture(self) -> Mixture:
        shares = [_share(source, self.config, self.sources) for source in self.sources.values()]
        return Mixture(shares, seed=self.seed, num_epochs=self.config.num_epochs)

    def _own(self, mixture: Mixture) -> Iterator[Draw]:
        """Yield the draws of this rank."""
        for draw in mixture:
            if (mixture.num_drawn - 1) % self.world_size == self.rank:
                yield draw

    def _note(self, draw: Draw, sample: Made) -> None:
        report = self.report
        report.num_rows += 1
        report.num_tokens += sample.num_tokens
        report.num_tiles += sample.num_tiles
        report.num_truncated += sample.truncated
        report.rows_by_source[draw.source] = report.rows_by_source.get(draw.source, 0) + 1

    def _note_bad(self, row: BadRow) -> None:
        if self.config.on_bad_row == "stop":
            raise DataError(f'{row.reason} (on_bad_row = "skip" would leave such rows out and list them)')
        self.report.num_bad_rows += 1
        if len(self.report.bad_rows) < LISTED_BAD_ROWS:
            self.report.bad_rows.append(row.reason)


def make_dataset(
    config: DataConfig, processor: Processor, *, rank: int = 0, world_size: int = 1, seed: int = 0
) -> TrainDataset[TrainSample]:
    """Open the data sets of a configuration, whose rows are conversations; as `open_dataset`."""
    return open_dataset(config, processor, SampleMaker, rank=rank, world_size=world_size, seed=seed)


def open_dataset(
    config: DataConfig,
    processor: Processor,
    maker: type[Maker[Made]],
    *,
    rank: int = 0,
    world_size: int = 1,
    seed: int = 0,
) -> TrainDataset[Made]:
    """Open the data sets of a configuration.

    Args:
        config: What to draw from.
        processor: Of the checkpoint that is trained.
        maker: What makes samples of rows.
        rank: Of this process; takes every `world_size`-th row, from `rank`.
        world_size: Processes that train together.
        seed: Of the order, of the frames of videos and of the augmentation; the same on all ranks.

    Raises:
        ConfigError: A file is missing or an entry says something impossible.
    """
    specs = read_sources(config.meta, config.sources, root=config.root)
    lacking = config.assets and not (Path(config.assets) / "data").is_dir()
    if lacking and any(spec.generated for spec in specs):
        raise ConfigError(
            f"data.assets is {config.assets!r}, which holds no folder data/: the word lists, texts and drawings that "
            'generated rows are made of. Name the folder of the data pack, or set it to "": rows are then made of what '
            "the package brings, which is other data"
        )
    assets = Assets(shared=Path(config.assets) if config.assets else None)
    sources = {spec.name: open_source(spec, assets) for spec in specs}
    _check_weights(config, specs)
    return TrainDataset(config, sources, processor, maker, rank=rank, world_size=world_size, seed=seed)


def _check_weights(config: DataConfig, specs: tuple[SourceSpec, ...]) -> None:
    without = [spec.name for spec in specs if spec.weight is None]
    if without and (config.weighting == "listed" or len(without) < len(specs)):
        raise ConfigError(f"these data sets list no weight, while others do: {', '.join(without)}")


def _share(source: Source, config: DataConfig, sources: Mapping[str, Source]) -> Share:
    spec = source.spec
    rows_per_epoch = max(1, round(len(source) * spec.repeat_time))
    weight = spec.weight
    if weight is None:
        weight = rows_per_epoch**0.5 if config.weighting == "sqrt_rows" else float(rows_per_epoch)
    return Share(
        name=spec.name,
        num_rows=len(source),
        weight=weight,
        rows_per_epoch=rows_per_epoch,
        blocks=tuple(source.blocks),
        endless=source.endless,
    )

"""One drawn row -> one `TrainSample`: media opened and cut, conversation encoded, limits checked.

A pure function of the draw and the seed, so that a sample can be made again after a restart, in any process.
Shapes: `N` tiles, `S` side of a tile.
"""

from __future__ import annotations

import io
import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from internvl.errors import DataError, InternVLError, MediaError, RequestError
from internvl.media.frame_sampling import frame_at
from internvl.media.video import Video, load_video
from internvl.preprocess.frames import Frame
from internvl.preprocess.messages import Picture
from internvl.preprocess.processor import Processor, TileLimits
from internvl.train.batch import IGNORE_INDEX, TrainSample
from internvl.train.dense import tile_targets, unasked
from internvl.train.labels import IMAGE_PLACEHOLDER, RowTurn, encode_turns, truncated
from internvl.train.meta import SourceSpec
from internvl.train.mixing import Draw
from internvl.train.rows import VIDEO_PLACEHOLDER, ClipSource, Row
from internvl.train.sources import Source
from internvl.types import MediaUsage

if TYPE_CHECKING:
    from internvl.train.dataset import DataConfig

#: The reference's choice of JPEG qualities.
JPEG_QUALITIES = range(75, 101)


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be used."""

    reason: str
    """Begins with its file and line."""


class Learnable(Protocol):
    """What a row becomes; a `TrainSample` is one."""

    @property
    def num_tokens(self) -> int:
        """Tokens, those of pictures among them."""
        ...

    @property
    def num_tiles(self) -> int:
        """Tiles of all its pictures."""
        ...

    @property
    def truncated(self) -> bool:
        """Whether its end was cut off."""
        ...


Made = TypeVar("Made", bound=Learnable)


class Maker(ABC, Generic[Made]):
    """Makes of a draw what is learnt; kinds of rows differ in `make`."""

    def __init__(
        self, config: DataConfig, sources: Mapping[str, Source], processor: Processor, *, seed: int
    ) -> None:
        self.config, self.sources, self.processor, self.seed = config, sources, processor, seed

    def __call__(self, draw: Draw) -> Made | BadRow:
        """Return what is learnt, or what is wrong with the row."""
        try:
            return self.make(self.sources[draw.source], draw.row, f"{self.seed}/{'/'.join(map(str, draw))}")
        except DataError as error:
            return BadRow(str(error))

    @abstractmethod
    def make(self, source: Source, number: int, key: str) -> Made:
        """Return what is learnt of a row; `key` seeds what is left to chance in it.

        Raises:
            DataError: The row cannot be used.
        """


class SampleMaker(Maker[TrainSample]):
    """Makes samples of conversations."""

    def make(self, source: Source, number: int, key: str) -> TrainSample:
        """Return the sample of a row."""
        return make_sample(source.read(number), source.spec, self.config, self.processor, random.Random(key))


def make_sample(
    row: Row, spec: SourceSpec, config: DataConfig, processor: Processor, chance: random.Random
) -> TrainSample:
    """Return a row as it is learnt.

    Args:
        row: Checked, its media not opened yet.
        spec: The data set's own tile limits and augmentation.
        config: Limits.
        processor: Opens, cuts and tokenizes.
        chance: Chooses frames and JPEG qualities.

    Returns:
        A sample whose `pixel_values` are uint8, not normalised yet.

    Raises:
        DataError: The row cannot be used; begins with its file and line.
    """
    turns, pictures = place_media(row, spec, config, processor, chance)
    try:
        usages, tiles = processor.cut(pictures, tile_limits=TileLimits(policy=config.tile_policy))
    except (MediaError, RequestError) as error:
        raise DataError(_at(row, error)) from error
    augment = spec.data_augment if config.jpeg_augment is None else config.jpeg_augment
    if augment:
        tiles = compress(tiles, chance)
    encoded = encode_turns(turns, processor, [usage.num_tokens for usage in usages], where=row.where)
    num_tokens = len(encoded.input_ids)
    if num_tokens > config.max_tokens:
        if config.over_long == "bad_row":
            shown = sum(usage.num_tokens for usage in usages)
            raise DataError(
                f"{row.where}: {num_tokens} tokens, {shown} of them for pictures; max_tokens is "
                f'{config.max_tokens}. Raise it, lower max_tiles, or set over_long = "truncate"'
            )
        encoded = truncated(encoded, config.max_tokens)
    num_image_tokens = encoded.input_ids.count(processor.image_token_id)
    if num_image_tokens != sum(usage.num_tokens for usage in usages):
        raise DataError(
            f"{row.where}: a picture lies beyond max_tokens ({config.max_tokens}). Raise it, or lower max_tiles"
        )
    if config.packing and len(tiles) > config.max_packed_tiles:
        raise DataError(
            f"{row.where}: {len(tiles)} tiles, but a packed row holds {config.max_packed_tiles} (max_packed_tiles). "
            "Raise it, or lower max_tiles or max_frames"
        )
    if all(label == IGNORE_INDEX for label in encoded.labels[1:]):
        raise DataError(
            f"{row.where}: nothing to learn: no answer, or it lies beyond max_tokens ({config.max_tokens})"
        )
    return TrainSample(
        input_ids=torch.tensor(encoded.input_ids, dtype=torch.int64),
        labels=torch.tensor(encoded.labels, dtype=torch.int64),
        pixel_values=torch.from_numpy(np.ascontiguousarray(tiles.transpose(0, 3, 1, 2)))
        if len(tiles)
        else None,
        dense=_dense(row, usages, config, processor) if config.dense and len(tiles) else None,
        num_image_tokens=num_image_tokens,
        where=row.where,
        truncated=num_tokens > config.max_tokens,
    )


def _dense(
    row: Row, usages: Sequence[MediaUsage], config: DataConfig, processor: Processor
) -> dict[str, torch.Tensor]:
    """Return what the places of all tiles of a row show; nothing is asked of pictures that nobody marked."""
    vision, factor = processor.config.vision, processor.config.projector.factor
    grid = processor.config.image_size // vision.patch_size
    found = []
    for n, usage in enumerate(usages):
        glyphs = row.glyphs[n] if n < len(row.glyphs) else None
        things = row.things[n] if n < len(row.things) else None
        if glyphs is None and things is None:
            found.append(unasked(usage.num_tiles, grid**2, (grid // factor) ** 2))
            continue
        found.append(
            tile_targets(
                glyphs,
                things,
                (usage.width, usage.height),
                columns=usage.grid.columns,
                rows=usage.grid.rows,
                fit=processor.keeps_shape(TileLimits(policy=config.tile_policy)),
                extra=int(usage.thumbnail),
                grid=grid,
                factor=factor,
                patch_size=vision.patch_size,
            )
        )
    return {name: torch.from_numpy(np.concatenate([tile[name] for tile in found])) for name in found[0]}


def place_media(
    row: Row, spec: SourceSpec, config: DataConfig, processor: Processor, chance: random.Random
) -> tuple[list[RowTurn], list[Picture]]:
    """Return the turns with one `<image>` for each picture and frame, and these in order.

    A video is written as the family's training does it: a line "Frame-1: <image>" and so on for each frame.

    Raises:
        DataError: A video cannot be read.
    """
    most = spec.max_tiles or config.max_tiles
    if most is None:
        most = processor.config.max_tiles if processor.config.dynamic_tiling else 1
    most = max(1, most // max(1, row.num_pictures))  # the pictures of a row share the tiles
    least = spec.min_tiles or config.min_tiles
    pictures: list[Picture] = []
    frame_counts: list[int] = []
    for number, medium in enumerate(row.media):
        where = f"{row.where}: media[{number}]"
        if isinstance(medium, ClipSource):
            frames = _frames(medium, where, config, processor, chance)
            frame_counts.append(len(frames))
            pictures += frames
        else:
            fewest = None if least is None else min(least, most)
            pictures.append(Picture(source=medium, where=where, max_tiles=most, min_tiles=fewest))
    counts = iter(frame_counts)
    turns = [
        _with_frames(turn, counts) if frame_counts and turn.role in ("human", "pretrain") else turn
        for turn in row.turns
    ]
    return turns, pictures


def _with_frames(turn: RowTurn, counts: Any) -> RowTurn:
    texts = turn.text.split(VIDEO_PLACEHOLDER)
    filled = texts[0]
    for after in texts[1:]:
        lines = [f"Frame-{n}: {IMAGE_PLACEHOLDER}" for n in range(1, next(counts) + 1)]
        filled += "\n".join(lines) + after
    return RowTurn(turn.role, filled)


def _frames(
    clip: ClipSource, where: str, config: DataConfig, processor: Processor, chance: random.Random
) -> list[Picture]:
    """Choose frames, each cut as one tile."""
    try:
        limits, policy = processor.limits, processor.policy
        if isinstance(clip.source, list):
            video = load_video(clip.source, limits=limits, policy=policy)
        else:
            opened = load_video(clip.source, num_frames=1, limits=limits, policy=policy)
            wanted = chance.randint(config.min_frames, config.max_frames)
            indices = choose_frames(opened, clip.start, clip.end, wanted, config.frame_sampling, chance)
            video = Video(opened.source, tuple(indices), opened.limits)
    except MediaError as error:
        raise DataError(f"{where}: {error}") from error
    return [
        Picture(
            source=Frame(video, n, 0), where=f"{where}, frame {n}", max_tiles=1, min_tiles=1, thumbnail=False
        )
        for n in range(len(video))
    ]


def choose_frames(
    video: Video, start: float | None, end: float | None, wanted: int, sampling: str, chance: random.Random
) -> list[int]:
    """Return the frames of equal intervals of a video, or of its part from `start` to `end` seconds.

    Raises:
        MediaError: The frames have no times, or the video ends before `start`.
    """
    first, count = 0, video.num_source_frames
    if start is not None and end is not None:
        times, rate = video.source.timestamps, video.fps
        if times is None or rate is None:
            raise MediaError(f"{video.name}: its pictures have no times, so clip means nothing")
        first = frame_at(start, rate, times)
        if first >= count:
            raise MediaError(f"{video.name}: clip begins at {start:g} s, beyond the end")
        count = max(1, min(frame_at(end, rate, times), count) - first)
    # intervals of whole frames as in `interval_indices`; a short video is filled up with its last choice
    edges = np.linspace(0, count, min(wanted, count) + 1).astype(int).tolist()
    spans = list(zip(edges, edges[1:], strict=False))
    if sampling == "middle":
        chosen = [(a + b - 1) // 2 for a, b in spans]
    else:
        chosen = [chance.randrange(a, b) for a, b in spans]
    chosen += chosen[-1:] * (wanted - len(chosen))
    return [first + index for index in chosen]


def compress(tiles: npt.NDArray[np.uint8], chance: random.Random) -> npt.NDArray[np.uint8]:
    """Return tiles (N, S, S, 3) as they are after being stored as JPEG, each at a quality of its own."""
    worn = np.empty_like(tiles)
    for n, tile in enumerate(tiles):
        buffer = io.BytesIO()
        Image.fromarray(tile).save(buffer, "JPEG", quality=chance.choice(JPEG_QUALITIES))
        worn[n] = np.asarray(Image.open(buffer))
    return worn


def _at(row: Row, error: InternVLError) -> str:
    text = str(error)
    return text if text.startswith(row.where) else f"{row.where}: {text}"

"""Which conversations go together: into one packed row, or into one padded batch. Only sizes are looked at here.

A packer is given samples one by one and gives back groups. `BestFitPacker` is ours: it looks ahead, and fills rows
to the last percent. `ReferencePacker` is the reference's PackedDataset. `LengthGrouper` makes padded batches.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

from internvl.errors import ConfigError


class Sized(Protocol):
    """What a packer looks at; `TrainSample` is one, `samples.Learnable` all of them."""

    @property
    def num_tokens(self) -> int:
        """Tokens, those of pictures among them."""
        ...

    @property
    def num_tiles(self) -> int:
        """Tiles of all its pictures."""
        ...


Item = TypeVar("Item", bound=Sized)


class Size(NamedTuple):
    """A conversation's tokens and tiles."""

    num_tokens: int
    num_tiles: int


class Packer(ABC, Generic[Item]):
    """Samples in, groups out."""

    @abstractmethod
    def add(self, item: Item) -> list[list[Item]]:
        """Take a sample; return the groups that are ready now."""

    @abstractmethod
    def flush(self) -> list[list[Item]]:
        """Return groups of everything that is left: no sample comes any more."""

    num_shuffled = 0
    """How often chance was asked."""

    @property
    @abstractmethod
    def waiting(self) -> list[list[Item]]:
        """Samples that were given back in no group yet, and which of them are together already."""

    @abstractmethod
    def restore(self, waiting: Sequence[Sequence[Item]], num_shuffled: int) -> None:
        """Go on where another packer of the same settings stood."""


@dataclass(slots=True)
class PackingReport:
    """How full the packed rows are."""

    max_tokens: int
    max_tiles: int
    num_rows: int = 0
    num_documents: int = 0
    num_tokens: int = 0
    num_tiles: int = 0
    squared_tiles: int = 0
    """Sum over rows of tiles squared, for `tiles_std`."""
    most_tiles: int = 0

    def note(self, group: Sequence[Sized]) -> None:
        """Count one row."""
        tiles = sum(item.num_tiles for item in group)
        self.num_rows += 1
        self.num_documents += len(group)
        self.num_tokens += sum(item.num_tokens for item in group)
        self.num_tiles += tiles
        self.squared_tiles += tiles * tiles
        self.most_tiles = max(self.most_tiles, tiles)

    @property
    def efficiency(self) -> float:
        """Share of the rows' places that hold tokens, 0 to 1."""
        return self.num_tokens / (self.num_rows * self.max_tokens) if self.num_rows else 0.0

    @property
    def tiles_mean(self) -> float:
        """Tiles of a row on average."""
        return self.num_tiles / max(1, self.num_rows)

    @property
    def tiles_std(self) -> float:
        """Standard deviation of the tiles of a row: what ranks wait for each other."""
        mean_square = self.squared_tiles / max(1, self.num_rows)
        return max(0.0, mean_square - self.tiles_mean**2) ** 0.5


class BestFitPacker(Packer[Item]):
    """Looks ahead over many samples and takes the group that fills a row best, the oldest sample always in it.

    Among groups that fill a row nearly as well, it takes the one whose tiles are nearest to their share of what
    waits: so rows, and with them ranks, cost the vision tower about the same.
    """

    #: How many groups are tried for a row.
    TRIES = 24
    #: A score that needs no more tries.
    ENOUGH = 0.998
    #: What a row of the wrong tiles costs, against what an unfilled place costs.
    BALANCE = 0.03

    def __init__(self, max_tokens: int, max_tiles: int, *, look_ahead: int = 64) -> None:
        """Fill rows of `max_tokens` and at most `max_tiles`.

        `look_ahead` samples wait at least, and more while together they have less than three rows' tokens.
        """
        self.max_tokens, self.max_tiles, self.look_ahead = max_tokens, max_tiles, look_ahead
        self._waiting: list[Item] = []
        self._sum = Size(0, 0)

    @property
    def waiting(self) -> list[list[Item]]:
        """Samples in no row yet, oldest first, each by itself."""
        return [[item] for item in self._waiting]

    def restore(self, waiting: Sequence[Sequence[Item]], num_shuffled: int) -> None:
        """Wait with these samples."""
        self._keep([item for (item,) in waiting])

    def add(self, item: Item) -> list[list[Item]]:
        """Take a sample; return at most a few rows."""
        _check_fits(item, self.max_tokens, self.max_tiles)
        self._keep([*self._waiting, item])
        groups = []
        while len(self._waiting) > self.look_ahead and self._enough():
            groups.append(self._take())
        return groups

    def flush(self) -> list[list[Item]]:
        """Return rows of everything that waits."""
        groups = []
        while self._waiting:
            groups.append(self._take())
        return groups

    def _keep(self, items: list[Item]) -> None:
        self._waiting = items
        self._sum = Size(sum(item.num_tokens for item in items), sum(item.num_tiles for item in items))

    def _enough(self) -> bool:
        return self._sum.num_tokens >= 3 * self.max_tokens or self._sum.num_tiles >= 3 * self.max_tiles

    def _take(self) -> list[Item]:
        chosen = self._choose([Size(item.num_tokens, item.num_tiles) for item in self._waiting])
        group = [item for n, item in enumerate(self._waiting) if n in chosen]
        self._keep([item for n, item in enumerate(self._waiting) if n not in chosen])
        return group

    def _choose(self, sizes: Sequence[Size]) -> set[int]:
        """Return the samples of the next row, the first one among them."""
        share = min(1.0, self.max_tokens / max(1, self._sum.num_tokens))
        target = min(self.max_tiles, share * self._sum.num_tiles)
        order = sorted(range(1, len(sizes)), key=lambda n: (-sizes[n].num_tokens, n))
        best: set[int] = {0}
        best_score = float("-inf")
        for start in range(min(self.TRIES, len(order) + 1)):
            # the same greedy filling, without the largest few: other sums come out
            group = self._fill(sizes, order[start:], target if start % 2 else float(self.max_tiles))
            score = self._score(sizes, group, target)
            if score > best_score:
                best, best_score = group, score
            if best_score > self.ENOUGH:
                break
        return best

    def _fill(self, sizes: Sequence[Size], order: Sequence[int], target: float) -> set[int]:
        """Take the first sample, then the largest that still fits, again and again; tiles up to about `target`."""
        tokens, tiles = sizes[0]
        group = {0}
        # what the target left free is filled as well
        for most in (min(float(self.max_tiles), max(target, tiles)), float(self.max_tiles)):
            for n in order:
                size = sizes[n]
                if (
                    tokens + size.num_tokens <= self.max_tokens
                    and tiles + size.num_tiles <= most
                    and n not in group
                ):
                    group.add(n)
                    tokens += size.num_tokens
                    tiles += size.num_tiles
        return group

    def _score(self, sizes: Sequence[Size], group: set[int], target: float) -> float:
        tokens = sum(sizes[n].num_tokens for n in group)
        tiles = sum(sizes[n].num_tiles for n in group)
        return tokens / self.max_tokens - self.BALANCE * abs(tiles - target) / self.max_tiles


class ReferencePacker(Packer[Item]):
    """The reference's PackedDataset: unfinished rows wait, those with most tiles first, for a sample that fits.

    A row is finished when it has exactly `max_tiles` tiles or `max_tokens` tokens, or when more than `buffer` rows
    wait. A conversation without pictures counts as one tile there: it carries a dummy.
    """

    def __init__(self, max_tokens: int, max_tiles: int, *, buffer: int = 20) -> None:
        self.max_tokens, self.max_tiles, self.buffer = max_tokens, max_tiles, buffer
        self._rows: list[list[Item]] = []

    @property
    def waiting(self) -> list[list[Item]]:
        """Unfinished rows."""
        return [list(row) for row in self._rows]

    def restore(self, waiting: Sequence[Sequence[Item]], num_shuffled: int) -> None:
        """Wait with these rows."""
        self._rows = [list(row) for row in waiting]

    def add(self, item: Item) -> list[list[Item]]:
        """Take a sample; return the rows that are finished."""
        _check_fits(item, self.max_tokens, self.max_tiles)
        row = [*self._fitting(item), item]
        if _tokens(row) >= self.max_tokens:
            return [row]
        # behind rows with as many tiles
        insort(self._rows, row, key=lambda waiting: -_tiles(waiting))
        finished = []
        while self._rows and (_tiles(self._rows[0]) == self.max_tiles or len(self._rows) > self.buffer):
            finished.append(self._rows.pop(0))
        return finished

    def flush(self) -> list[list[Item]]:
        """Return the unfinished rows, those with most tiles first."""
        rows, self._rows = self._rows, []
        return rows

    def _fitting(self, item: Item) -> list[Item]:
        for n, row in enumerate(self._rows):
            tiles, tokens = _tiles(row) + _tiles([item]), _tokens(row) + item.num_tokens
            if tiles <= self.max_tiles and tokens <= self.max_tokens:
                return self._rows.pop(n)
        return []


def _check_fits(item: Sized, max_tokens: int, max_tiles: int) -> None:
    if item.num_tokens > max_tokens or item.num_tiles > max_tiles:
        raise ConfigError(
            f"a conversation of {item.num_tokens} tokens and {item.num_tiles} tiles does not fit into a packed row of "
            f"{max_tokens} tokens and {max_tiles} tiles"
        )


def _tiles(row: Sequence[Sized]) -> int:
    return sum(max(1, item.num_tiles) for item in row)


def _tokens(row: Sequence[Sized]) -> int:
    return sum(item.num_tokens for item in row)


class LengthGrouper(Packer[Item]):
    """Batches of `batch_size` samples of similar length, in random order: the reference's length-grouped sampler.

    `look_ahead` samples are sorted, cut into batches and shuffled. With `grouped` False: batches as samples come.
    """

    def __init__(self, batch_size: int, *, look_ahead: int = 64, grouped: bool = True, seed: int = 0) -> None:
        self.batch_size, self.seed = batch_size, seed
        self.look_ahead = max(1, look_ahead // batch_size) * batch_size if grouped else batch_size
        self._waiting: list[Item] = []

    @property
    def waiting(self) -> list[list[Item]]:
        """Samples in no batch yet, each by itself."""
        return [[item] for item in self._waiting]

    def restore(self, waiting: Sequence[Sequence[Item]], num_shuffled: int) -> None:
        """Wait with these samples."""
        self._waiting, self.num_shuffled = [item for (item,) in waiting], num_shuffled

    def add(self, item: Item) -> list[list[Item]]:
        """Take a sample; return batches when enough wait."""
        self._waiting.append(item)
        return self.flush() if len(self._waiting) == self.look_ahead else []

    def flush(self) -> list[list[Item]]:
        """Return batches of everything that waits; the last one may be short."""
        items, self._waiting = self._waiting, []
        if self.look_ahead > self.batch_size:
            items.sort(key=lambda item: -item.num_tokens)
        batches = [items[n : n + self.batch_size] for n in range(0, len(items), self.batch_size)]
        if self.look_ahead > self.batch_size:
            random.Random(f"{self.seed}/{self.num_shuffled}").shuffle(batches)
            self.num_shuffled += 1
        return batches

"""In which order the rows of several data sets are drawn: a pure function of the seed and the number of the draw.

So a run goes on exactly where it stopped, whatever read ahead of it: the state is one count for each data set. Every
rank computes the same order and takes every `world_size`-th draw.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple

from internvl.errors import CheckpointError

_ROUNDS = 6
_MASK = (1 << 64) - 1


class Draw(NamedTuple):
    """One row that was drawn."""

    source: str
    epoch: int
    """How often this data set had been gone through before."""
    row: int
    """Number of the row in its data set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What the mixture knows about one data set."""

    name: str
    num_rows: int
    weight: float
    """Share in an endless mixture, relative to the others."""
    rows_per_epoch: int
    """What an epoch of the run draws from it; more than `num_rows` repeats rows."""
    blocks: Sequence[int] = ()
    """Rows that lie together: blocks are shuffled, then the rows in each. Empty: all rows are one block."""
    endless: bool = False
    """Rows never repeat: number n is drawn as the n-th."""


class Mixture:
    """An iterator of draws.

    Endless: data sets are drawn by weight, each shuffled anew whenever it is used up. With `num_epochs`: every data
    set gives `num_epochs * rows_per_epoch` rows, in a random order of all of them, and then it ends.
    """

    def __init__(self, shares: Sequence[Share], *, seed: int, num_epochs: int | None = None) -> None:
        self.shares = {share.name: share for share in shares}
        self.seed, self.num_epochs = seed, num_epochs
        self.num_drawn = 0
        self.counts = {share.name: 0 for share in shares}
        self._orders: dict[str, tuple[int, _Order]] = {}

    @property
    def total(self) -> int | None:
        """Draws until the end; None: endless."""
        if self.num_epochs is None:
            return None
        return self.num_epochs * sum(share.rows_per_epoch for share in self.shares.values())

    def __iter__(self) -> Mixture:
        return self

    def __next__(self) -> Draw:
        names = list(self.shares)
        weights = [self._weight(name) for name in names]
        if not any(weights):
            raise StopIteration
        chance = random.Random(f"{self.seed}/mix/{self.num_drawn}")
        (name,) = chance.choices(names, weights)
        share, count = self.shares[name], self.counts[name]
        self.counts[name] += 1
        self.num_drawn += 1
        if share.endless:
            return Draw(name, 0, count)
        epoch, place = divmod(count, share.num_rows)
        known, order = self._orders.get(name, (-1, None))
        if order is None or known != epoch:
            order = _Order(share.blocks or (share.num_rows,), f"{self.seed}/{name}/{epoch}")
            self._orders[name] = epoch, order
        return Draw(name, epoch, order[place])

    def _weight(self, name: str) -> float:
        share = self.shares[name]
        if self.num_epochs is None:
            return share.weight
        # by what is left, drawing is the same as shuffling everything together
        return self.num_epochs * share.rows_per_epoch - self.counts[name]

    def state_dict(self) -> dict[str, Any]:
        """Return where the order stands, as JSON takes it."""
        return {
            "seed": self.seed,
            "num_drawn": self.num_drawn,
            "counts": dict(self.counts),
            "rows": self._rows(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another mixture of the same data sets and seed stood.

        Raises:
            CheckpointError: It was another seed, or the data sets have changed.
        """
        for key, now in (("seed", self.seed), ("rows", self._rows())):
            if state[key] != now:
                raise CheckpointError(
                    f"the data order cannot go on: {key} was {state[key]}, now it is {now}. Train with the same data, "
                    "or start the data anew (leave its state out)"
                )
        self.num_drawn = int(state["num_drawn"])
        self.counts = {name: int(count) for name, count in state["counts"].items()}

    def _rows(self) -> dict[str, int]:
        return {name: share.num_rows for name, share in self.shares.items()}


class _Order:
    """Place in an epoch -> number of the row: blocks in random order, rows within a block too."""

    def __init__(self, blocks: Sequence[int], key: str) -> None:
        self.key = key
        starts = [0, *accumulate(blocks)]
        shuffle = Shuffle(len(blocks), f"{key}/blocks")
        self.order = [shuffle[n] for n in range(len(blocks))]
        self.starts = [starts[block] for block in self.order]
        self.sizes = [blocks[block] for block in self.order]
        self.ends = list(accumulate(self.sizes))
        self._shuffle: tuple[int, Shuffle] | None = None

    def __getitem__(self, place: int) -> int:
        number = bisect_right(self.ends, place)
        if self._shuffle is None or self._shuffle[0] != number:
            self._shuffle = number, Shuffle(self.sizes[number], f"{self.key}/{self.order[number]}")
        return self.starts[number] + self._shuffle[1][place - (self.ends[number] - self.sizes[number])]


class Shuffle:
    """A random permutation of 0 .. n - 1 that needs no memory: a Feistel network over the next even power of two.

    Values outside are sent through again until they are inside (cycle walking).
    """

    def __init__(self, n: int, key: str) -> None:
        self.n = n
        self.half = max(2, ((n - 1).bit_length() + 1) // 2)
        chance = random.Random(key)
        self.keys = [chance.getrandbits(64) for _ in range(_ROUNDS)]

    def __getitem__(self, index: int) -> int:
        if not 0 <= index < self.n:
            raise IndexError(f"{index} of {self.n}")
        index = self._pass(index)
        while index >= self.n:
            index = self._pass(index)
        return index

    def _pass(self, index: int) -> int:
        mask = (1 << self.half) - 1
        left, right = index >> self.half, index & mask
        for key in self.keys:
            mixed = (right ^ key) * 0x9E3779B97F4A7C15 & _MASK
            mixed = (mixed ^ mixed >> 29) * 0xBF58476D1CE4E5B9 & _MASK
            left, right = right, left ^ ((mixed ^ mixed >> 32) & mask)
        return left << self.half | right

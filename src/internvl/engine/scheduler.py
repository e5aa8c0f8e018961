"""Which answer is computed next, and in which cache row. Plain Python: no torch, no threads, no clock.

The policy: prompts are taken in order of arrival, one at a time, in chunks; after each chunk all running
answers get one token, so that a long prompt does not stall them. A finished answer's row keeps its keys
and values until somebody needs the row, and a prompt that goes on from there (the next turn of a
conversation) computes only its new part.

The engine asks `next_step`, computes it, and reports with `stored` and `finish`. Nothing here knows how a
row is kept in memory, so that paged blocks can take the place of rows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

from internvl.engine.request import Generation, Request


@dataclass(frozen=True, slots=True)
class Prefill:
    """Compute prompt tokens [start, end) of one generation into its row."""

    generation: Generation
    start: int
    end: int

    @property
    def first(self) -> bool:
        """Whether this is the generation's first chunk."""
        return self.start == self.generation.num_cached_tokens

    @property
    def last(self) -> bool:
        """Whether the prompt is complete after this chunk."""
        return self.end == len(self.generation.prompt_ids)


@dataclass(frozen=True, slots=True)
class Decode:
    """Compute the next token of each of these generations together."""

    generations: list[Generation]


@dataclass(slots=True)
class _Row:
    """One conversation's place in the cache."""

    index: int
    keys: list[Hashable] = field(default_factory=list)
    """What a free row still holds."""
    freed_at: int = 0


class Scheduler:
    """Gives cache rows to waiting generations and orders the work."""

    def __init__(
        self,
        *,
        num_rows: int,
        chunk_tokens: int,
        reuse_prefixes: bool = True,
        position_limit: int | None = None,
    ) -> None:
        """`position_limit`: past this length a token's rotation depends on how long its prompt is (dynamic
        NTK, longrope), so that another prompt cannot go on from what is stored."""
        self._chunk_tokens = chunk_tokens
        self._reuse_prefixes = reuse_prefixes
        self._position_limit = position_limit
        self._free = [_Row(index) for index in range(num_rows)]
        self._waiting: deque[Generation] = deque()
        self._prefilling: Generation | None = None
        self._decoding: list[Generation] = []
        self._decode_next = False
        self._ticks = 0

    @property
    def num_waiting(self) -> int:
        """Generations without a row."""
        return len(self._waiting)

    @property
    def num_running(self) -> int:
        """Generations with a row."""
        return len(self._decoding) + (self._prefilling is not None)

    @property
    def num_free_rows(self) -> int:
        """Rows that no generation holds."""
        return len(self._free)

    def add(self, generation: Generation) -> None:
        """Put a generation at the end of the queue."""
        self._waiting.append(generation)

    def generations(self) -> Iterator[Generation]:
        """Iterate over all that is not finished."""
        yield from [*self._waiting, *self._decoding]
        if self._prefilling is not None:
            yield self._prefilling

    def of(self, request: Request) -> list[Generation]:
        """Return the request's unfinished generations."""
        return [generation for generation in self.generations() if generation.request is request]

    def next_step(self) -> Prefill | Decode | None:
        """Return what to compute next; None when there is nothing to do."""
        if self._decode_next and self._decoding:
            self._decode_next = False
            return Decode(list(self._decoding))
        if self._prefilling is None and self._waiting and self._free:
            self._prefilling = self._admit(self._waiting.popleft())
        if (generation := self._prefilling) is not None:
            self._decode_next = True
            start = generation.num_stored_tokens
            return Prefill(generation, start, min(start + self._chunk_tokens, len(generation.prompt_ids)))
        return Decode(list(self._decoding)) if self._decoding else None

    def stored(self, step: Prefill | Decode) -> None:
        """Note that the step's tokens are in their rows."""
        if isinstance(step, Decode):
            for generation in step.generations:
                generation.num_stored_tokens += 1
            return
        step.generation.num_stored_tokens = step.end
        if step.last:
            self._prefilling = None
            self._decoding.append(step.generation)

    def finish(self, generation: Generation, *, keep: bool = True) -> None:
        """Take a generation out, wherever it is; its row is free again (and forgotten unless `keep`)."""
        if generation in self._waiting:
            self._waiting.remove(generation)
            return
        if generation is self._prefilling:
            self._prefilling = None
        else:
            self._decoding.remove(generation)
        self._ticks += 1
        keep = keep and self._reuse_prefixes and not self._is_stretched(generation.num_stored_tokens)
        keys = generation.stored_keys() if keep else []
        self._free.append(_Row(generation.row, keys, self._ticks))

    def _admit(self, generation: Generation) -> Generation:
        """Give the generation a row: the one it continues, else an empty one, else the one idle for
        longest."""
        keys = [] if self._is_stretched(len(generation.prompt_ids)) else generation.prompt_keys
        shared = {row.index: shared_prefix(row.keys, keys) for row in self._free}
        # A row of which less than half fits belongs to another conversation: a common system message is not
        # worth its loss while another row is free.
        continued = [row for row in self._free if 0 < len(row.keys) <= 2 * shared[row.index]]
        if continued:
            row = max(continued, key=lambda row: shared[row.index])
        else:
            row = min(self._free, key=lambda row: (bool(row.keys), row.freed_at))
        self._free.remove(row)
        generation.row = row.index
        generation.num_cached_tokens = generation.num_stored_tokens = shared[row.index]
        return generation

    def _is_stretched(self, num_tokens: int) -> bool:
        return self._position_limit is not None and num_tokens > self._position_limit


def shared_prefix(stored: list[Hashable], prompt: list[Hashable]) -> int:
    """Return how many leading prompt tokens need not be computed again.

    At least one is left to compute (its logits start the answer), and the new part never starts inside a
    picture.
    """
    limit = min(len(stored), len(prompt) - 1)
    if limit <= 0:
        return 0
    size = next((i for i in range(limit) if stored[i] != prompt[i]), limit)
    key = prompt[size]
    # An image token's key is (picture, place in it): go back to the picture's first token.
    return size - key[1] if isinstance(key, tuple) else size

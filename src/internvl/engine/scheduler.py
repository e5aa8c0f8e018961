"""Which tokens and tiles are computed next, and in which cache blocks. Plain Python: no torch, no threads, no
clock.

One step computes a chunk of tokens for each of several generations: one token where an answer is being decoded,
more where a prompt is unfinished, together at most `chunk_tokens` of the latter so that running answers are not
stalled. Steps that would compute prompts alternate with steps that encode a few tiles, for the same reason.

Blocks are taken as tokens come. When none is left, the generation that came last among those of the lowest
priority gives up its own (preemption); it waits in front, and later computes prompt and answer so far again,
or finds them still there. Whoever has a row is never overtaken by an equal, so everybody finishes.

The engine asks `next_step`, computes it, and reports with `stored` and `finish`.
"""

from __future__ import annotations

import itertools
import secrets
from bisect import insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from internvl.engine.blocks import BlockManager, block_digest
from internvl.engine.request import Generation
from internvl.engine.stats import Counters
from internvl.engine.waiting import WaitingQueue


@dataclass(frozen=True, slots=True)
class Chunk:
    """Compute tokens [start, end) of a generation."""

    generation: Generation
    start: int
    end: int

    @property
    def last(self) -> bool:
        """Whether the answer's next token follows from this chunk."""
        return self.end == self.generation.num_tokens


@dataclass(frozen=True, slots=True)
class Step:
    """What to compute together."""

    chunks: list[Chunk] = field(default_factory=list)
    """Single tokens first."""
    tiles: dict[Generation, int] = field(default_factory=dict)
    """How many tiles to encode, and for whom."""


class Scheduler:
    """Gives rows and blocks to waiting generations and orders the work."""

    def __init__(
        self,
        blocks: BlockManager,
        *,
        num_rows: int,
        chunk_tokens: int,
        chunk_tokens_beside: int | None = None,
        tiles_per_step: int = 1,
        share_prefixes: bool = True,
        position_limit: int | None = None,
        on_start: Callable[[Generation], None] = lambda generation: None,
        counters: Counters | None = None,
    ) -> None:
        """Start with nothing to do.

        Args:
            blocks: The cache.
            num_rows: Generations that may run together.
            chunk_tokens: Prompt tokens per step.
            chunk_tokens_beside: The same while answers are being decoded, which wait for it.
            tiles_per_step: Tiles per step.
            share_prefixes: Whether requests share equal beginnings; the `n` answers of one request always do.
            position_limit: Past this length a token's rotation depends on how long its prompt is (dynamic
                NTK, longrope), so that only prompts of equal length can share anything.
            on_start: Called when a generation gets a row, first or again.
            counters: Where to count; others may count there too.
        """
        self.counters = counters or Counters()
        self._blocks = blocks
        self._chunk_tokens = chunk_tokens
        self._chunk_tokens_beside = min(chunk_tokens, chunk_tokens_beside or chunk_tokens)
        self._tiles_per_step = tiles_per_step
        self._share_prefixes = share_prefixes
        self._position_limit = position_limit
        self._on_start = on_start
        self._free_rows = list(range(num_rows))
        self._waiting = WaitingQueue()
        self._running: list[Generation] = []
        """Best first: by priority, then by arrival of the row."""
        self._numbers = itertools.count()
        self._secret = secrets.token_bytes(16)
        self._encode_next = True
        self._odd = False

    @property
    def num_waiting(self) -> int:
        """Generations without a row."""
        return len(self._waiting)

    @property
    def num_running(self) -> int:
        """Generations with a row."""
        return len(self._running)

    def generations(self) -> Iterator[Generation]:
        """Iterate over all that is not finished."""
        yield from self._waiting
        yield from self._running

    def add(self, generation: Generation) -> None:
        """Let a new generation wait for its turn."""
        generation.number = next(self._numbers)
        self._waiting.open(generation)

    def next_step(self) -> Step | None:
        """Return what to compute next; None when there is nothing to do."""
        self._start_waiting()
        unseen = {each: count for each in self._running if (count := each.num_missing_tiles)}
        prefills = self._prefills(unseen)
        encode = bool(unseen) and (self._encode_next or not prefills)
        self._encode_next = not encode
        tiles = self._shares(unseen, self._tiles_per_step) if encode else {}
        answering = any(each.num_left == 1 for each in self._running)
        budget = self._chunk_tokens_beside if answering else self._chunk_tokens
        counts = {} if encode else self._shares(prefills, budget)
        chunks = []
        for each in list(self._running):
            count = 1 if each.num_left == 1 and each not in unseen else counts.get(each, 0)
            # Who was preempted for an earlier one has no row any more.
            if count and each.row >= 0 and (chunk := self._chunk(each, count)):
                chunks.append(chunk)
        chunks.sort(key=lambda chunk: chunk.end - chunk.start > 1)
        tiles = {each: count for each, count in tiles.items() if each.row >= 0}
        return Step(chunks, tiles) if chunks or tiles else None

    def stored(self, chunk: Chunk) -> None:
        """Note that a chunk's tokens are in their blocks."""
        generation, num_new = chunk.generation, chunk.end - chunk.start
        if chunk.start >= len(generation.prompt_ids) and num_new == 1:
            self.counters.decode_tokens += 1
        else:
            self.counters.prefill_tokens += num_new
        self._waiting.serve(generation, num_new)
        generation.num_stored_tokens = chunk.end
        while generation.num_published < chunk.end // self._blocks.block_size:
            index = generation.num_published
            self._blocks.publish(generation.blocks[index], self._digest(generation, index))
            generation.num_published += 1

    def finish(self, generation: Generation, *, trusted: bool = True) -> None:
        """Take a generation out, wherever it is; its blocks are free again (and forgotten unless `trusted`)."""
        if generation.row < 0:
            self._waiting.remove(generation)
        else:
            self._stop(generation, trusted=trusted)
        self._waiting.close(generation)

    # -- rows: who runs

    def _start_waiting(self) -> None:
        """Give rows to waiting generations in their order, as long as rows and blocks last."""
        while (first := self._waiting.first()) is not None and self._make_room(first):
            self._waiting.remove(first)
            self._start(first)

    def _make_room(self, generation: Generation) -> bool:
        """Return whether a generation can start now, if need be in the place of lower priorities."""
        lower = [each for each in self._running if each.request.priority < generation.request.priority]
        own = sum(self._blocks.num_exclusive(each.blocks) for each in lower)
        if not (self._free_rows or lower) or not self._fits(generation, extra=own):
            return False
        while not (self._free_rows and self._fits(generation)):
            if not lower:
                return False
            self._preempt(lower.pop())
        return True

    def _fits(self, generation: Generation, *, extra: int = 0) -> bool:
        """Whether the free blocks, and `extra` ones, hold the generation next to what the others still need."""
        num_full = (generation.num_tokens - 1) // self._blocks.block_size
        matched, idle = self._blocks.match(self._digest(generation, index) for index in range(num_full))
        needed = self._blocks.num_for(generation.num_tokens) - matched + idle
        # What was started and is not computed yet, and a block more for each, so that the new one is not
        # preempted at once.
        claimed = sum(self._blocks.num_for(each.num_tokens) - len(each.blocks) + 1 for each in self._running)
        return needed + claimed <= self._blocks.num_free + extra

    def _start(self, generation: Generation) -> None:
        if not generation.num_preemptions:
            self.counters.prompt_tokens += len(generation.prompt_ids)
        generation.row = self._free_rows.pop()
        insort(self._running, generation, key=lambda each: (-each.request.priority, each.number))
        self._share(generation)
        self._on_start(generation)

    def _stop(self, generation: Generation, *, trusted: bool = True) -> None:
        self._running.remove(generation)
        self._blocks.release(generation.blocks, trusted=trusted)
        self._free_rows.append(generation.row)
        generation.row = -1
        generation.blocks = []
        generation.num_stored_tokens = generation.num_published = 0

    def _preempt(self, generation: Generation) -> None:
        """Take a generation's row and blocks away; what it has said stays said."""
        self._stop(generation)
        generation.num_preemptions += 1
        self.counters.preemptions += 1
        self._waiting.push(generation)

    # -- steps: who computes how much

    def _prefills(self, unseen: dict[Generation, int]) -> dict[Generation, int]:
        """Return whose prompts can go on, and how many tokens are left of each.

        Of those that would compute the same block only the first goes on; the others find it done.
        """
        prefills: dict[Generation, int] = {}
        begun: set[bytes] = set()
        for each in self._running:
            if each in unseen or each.num_left == 1:
                continue
            self._share(each)
            index, offset = divmod(each.num_stored_tokens, self._blocks.block_size)
            if not offset and (index + 1) * self._blocks.block_size <= each.num_tokens:
                digest = self._digest(each, index)
                if digest in begun:
                    continue
                begun.add(digest)
            prefills[each] = each.num_left
        return prefills

    def _shares(self, left: dict[Generation, int], budget: int) -> dict[Generation, int]:
        """Divide a step's work: half for who comes first, the rest for those who are done soonest.

        So a short prompt does not wait for a long one, nor a long one for ever more short ones.
        """
        if not left:
            return {}
        self._odd = not self._odd
        first = next(iter(left))
        shares = dict.fromkeys(left, 0)
        if half := min(left[first], (budget + self._odd) // 2):
            shares[first] = half
        for each in [*sorted(left, key=lambda each: (-each.request.priority, left[each])), first]:
            shares[each] += min(left[each] - shares[each], budget - sum(shares.values()))
        return {each: share for each, share in shares.items() if share}

    def _chunk(self, generation: Generation, count: int) -> Chunk | None:
        """Return a generation's next tokens, `count` or fewer, with blocks to store them in.

        None when it had to give up its own.
        """
        start, size = generation.num_stored_tokens, self._blocks.block_size
        end = start + count
        if end < generation.num_tokens and end // size * size > start:
            end = end // size * size  # where others can go on
        needed = self._blocks.num_for(end) - len(generation.blocks)
        if needed > 0:
            while self._blocks.num_free < needed:
                self._preempt(victim := self._running[-1])
                if victim is generation:
                    return None
            after = generation.blocks[-1] if generation.blocks else None
            rest = self._blocks.num_for(generation.num_tokens_at_most) - len(generation.blocks) - needed
            generation.blocks += self._blocks.take(needed, after=after, room=max(0, rest))
        return Chunk(generation, start, end)

    # -- blocks: what is shared

    def _share(self, generation: Generation) -> None:
        """Go on from blocks that others have filled, as far as there are any; one token stays to compute."""
        size = self._blocks.block_size
        while (end := generation.num_stored_tokens + size) < generation.num_tokens:
            if generation.num_stored_tokens % size:
                return
            block = self._blocks.share(self._digest(generation, len(generation.blocks)))
            if block is None:
                return
            generation.blocks.append(block)
            generation.num_published += 1
            generation.num_stored_tokens = end
            if not generation.num_preemptions:
                generation.num_cached_tokens += size
                self.counters.prefix_hit_tokens += size

    def _digest(self, generation: Generation, index: int) -> bytes:
        """Return the digest of a generation's full block."""
        digests, size = generation.digests, self._blocks.block_size
        while len(digests) <= index:
            start = len(digests) * size
            parent = digests[-1] if digests else self._salt(generation)
            digests.append(block_digest(parent, generation.keys(start, start + size)))
        return digests[index]

    def _salt(self, generation: Generation) -> bytes:
        """Return what must be equal besides the tokens for two generations to share blocks."""
        length = len(generation.prompt_ids)
        stretched = self._position_limit is not None and length > self._position_limit
        owner = None if self._share_prefixes else id(generation.request)
        request = generation.request
        shared = length if stretched else None, owner, request.adapter, request.cache_salt
        return self._secret + repr(shared).encode()

"""Which cache blocks are whose, and what the free ones still hold. Plain Python: no torch.

A block is room for `block_size` tokens in every layer; one block may have several owners. A full block can be
*published* under a digest of everything up to its end, so that a sequence with the same beginning shares it
instead of computing it. A published block without owners is idle: it keeps its content until the room is
needed, the one idle for longest goes first, and the end of a sequence before its beginning.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence

from internvl.errors import CapacityError

_EMPTY, _TAKEN = 1, 0


def block_digest(parent: bytes, keys: Sequence[Hashable]) -> bytes:
    """Return what tells a block from all others: what its tokens are, and all that stands before it.

    `keys` are numbers, texts and tuples of them, whose `repr` is unambiguous. A cryptographic hash, as a
    collision would show one user what another asked.
    """
    return hashlib.sha256(parent + repr(tuple(keys)).encode()).digest()


class BlockManager:
    """Gives blocks out, shares them, and takes them back."""

    def __init__(self, num_blocks: int, block_size: int, *, keep_idle: bool = True) -> None:
        """`keep_idle`: whether published blocks outlive their last owner."""
        self.num_blocks = num_blocks
        self.block_size = block_size
        self._keep_idle = keep_idle
        self._num_owners = [0] * num_blocks
        self._published: dict[bytes, int] = {}
        self._digests: dict[int, bytes] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()
        """Published blocks without an owner, the next to give up first."""
        self._empty = bytearray([_EMPTY]) * num_blocks
        """One byte per block, so that places for several blocks in a row are found at C's speed."""
        self._num_empty = num_blocks
        self._cursor = 0

    @property
    def num_free(self) -> int:
        """Blocks without an owner: what can be taken."""
        return self._num_empty + len(self._idle)

    @property
    def num_idle(self) -> int:
        """Free blocks that still hold a published content."""
        return len(self._idle)

    def num_for(self, num_tokens: int) -> int:
        """Return how many blocks hold this many tokens."""
        return -(-num_tokens // self.block_size)

    def num_exclusive(self, blocks: Iterable[int]) -> int:
        """Return how many of an owner's blocks nobody else owns."""
        return sum(self._num_owners[block] == 1 for block in blocks)

    def is_published(self, digest: bytes) -> bool:
        """Whether a block with this digest can be shared."""
        return digest in self._published

    def match(self, digests: Iterable[bytes]) -> tuple[int, int]:
        """Return how many leading digests are published, and how many of their blocks are idle."""
        num_matched = num_idle = 0
        for digest in digests:
            block = self._published.get(digest)
            if block is None:
                break
            num_matched += 1
            num_idle += not self._num_owners[block]
        return num_matched, num_idle

    def share(self, digest: bytes) -> int | None:
        """Own the block with this digest together with its other owners; None when there is none."""
        block = self._published.get(digest)
        if block is not None:
            if not self._num_owners[block]:
                del self._idle[block]
            self._num_owners[block] += 1
        return block

    def take(self, count: int, *, after: int | None = None, room: int = 0) -> list[int]:
        """Own `count` free blocks; what they held is forgotten.

        They lie one after the other where that is possible (attention on a CPU then reads them where they
        are), behind the block `after`, or else where `room` more are empty for what will come.
        Raises CapacityError when there are not so many.
        """
        if count > self.num_free:
            raise CapacityError(f"{count} cache blocks are needed, {self.num_free} are free")
        while self._num_empty < count:
            self._forget(next(iter(self._idle)))
        blocks: list[int] = []
        while after is not None and len(blocks) < count and self._is_empty(after + 1):
            after += 1
            self._own(after, blocks)
        if len(blocks) < count:
            run = self._find_run(count - len(blocks), room)
            if run is not None:
                for block in range(run, run + count - len(blocks)):
                    self._own(block, blocks)
        while len(blocks) < count:
            self._own(self._empty.find(_EMPTY), blocks)
        return blocks

    def publish(self, block: int, digest: bytes) -> None:
        """Let others share a full block. The first block with a digest is the one that is shared."""
        if digest not in self._published and block not in self._digests:
            self._published[digest] = block
            self._digests[block] = digest

    def release(self, blocks: Sequence[int], *, trusted: bool = True) -> None:
        """Give up one ownership of each of a sequence's blocks.

        Not `trusted`: what they hold may be wrong, so nobody new may share them.
        """
        for block in reversed(blocks):
            assert self._num_owners[block] > 0, f"block {block} is released without an owner"
            self._num_owners[block] -= 1
            if not trusted:
                self._unpublish(block)
            if self._num_owners[block]:
                continue
            if block in self._digests and self._keep_idle:
                self._idle[block] = None
            else:
                self._unpublish(block)
                self._set_empty(block)

    # -- inside

    def _is_empty(self, block: int) -> bool:
        return block < self.num_blocks and self._empty[block] == _EMPTY

    def _own(self, block: int, blocks: list[int]) -> None:
        self._empty[block] = _TAKEN
        self._num_empty -= 1
        self._num_owners[block] = 1
        blocks.append(block)

    def _find_run(self, count: int, room: int) -> int | None:
        """Return the first of `count` empty blocks in a row, or None.

        The search goes on where the last one ended, so that sequences keep room to grow behind them.
        """
        for size in (count + room, count):
            pattern = bytes([_EMPTY]) * size
            start = self._empty.find(pattern, self._cursor)
            if start < 0:
                start = self._empty.find(pattern)
            if start >= 0:
                self._cursor = start + size
                return start
        return None

    def _forget(self, block: int) -> None:
        """Make an idle block empty."""
        del self._idle[block]
        self._unpublish(block)
        self._set_empty(block)

    def _set_empty(self, block: int) -> None:
        self._empty[block] = _EMPTY
        self._num_empty += 1

    def _unpublish(self, block: int) -> None:
        digest = self._digests.pop(block, None)
        if digest is not None:
            del self._published[digest]

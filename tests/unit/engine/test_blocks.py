"""Laws of the block manager: nothing leaks, nothing is owned twice, the oldest content goes first."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from internvl.engine.blocks import BlockManager, block_digest
from internvl.errors import CapacityError

SIZE = 4


def digests(text, parent=b""):
    """The digests of the full blocks of a text, one token a letter."""
    found = []
    for start in range(0, len(text) - SIZE + 1, SIZE):
        parent = block_digest(parent, text[start : start + SIZE])
        found.append(parent)
    return found


def store(blocks, text):
    """Own what is published of a text and take the rest, as a sequence does."""
    owned = []
    for digest in digests(text):
        if (block := blocks.share(digest)) is None:
            break
        owned.append(block)
    owned += blocks.take(blocks.num_for(len(text)) - len(owned), after=owned[-1] if owned else None)
    for block, digest in zip(owned, digests(text), strict=False):
        blocks.publish(block, digest)
    return owned


class Sequences(RuleBasedStateMachine):
    """Sequences come, grow and go in any order; the model of the truth is who owns what."""

    def __init__(self):
        super().__init__()
        self.blocks = BlockManager(12, SIZE)
        self.owned: list[list[int]] = []

    @rule(text=st.text("ab", max_size=20), room=st.integers(0, 4))
    def come(self, text, room):
        found = self.blocks.match(digests(text))
        need = self.blocks.num_for(len(text)) - found[0] + found[1]
        if need > self.blocks.num_free:
            return
        free = self.blocks.num_free
        self.owned.append(store(self.blocks, text))
        assert free - self.blocks.num_free == need

    @precondition(lambda self: self.owned and self.blocks.num_free)
    @rule(data=st.data(), count=st.integers(1, 4))
    def grow(self, data, count):
        owned = data.draw(st.sampled_from(self.owned))
        count = min(count, self.blocks.num_free)
        new = self.blocks.take(count, after=owned[-1] if owned else None)
        assert len(set(new)) == count
        assert not set(new) & {block for each in self.owned for block in each}
        owned += new

    @precondition(lambda self: self.owned)
    @rule(data=st.data(), trusted=st.booleans())
    def go(self, data, trusted):
        owned = self.owned.pop(data.draw(st.integers(0, len(self.owned) - 1)))
        self.blocks.release(owned, trusted=trusted)

    @invariant()
    def every_block_is_owned_or_free(self):
        used = {block for owned in self.owned for block in owned}
        assert self.blocks.num_free == self.blocks.num_blocks - len(used)
        assert 0 <= self.blocks.num_idle <= self.blocks.num_free
        for owned in self.owned:
            assert len(set(owned)) == len(owned)

    def teardown(self):
        for owned in self.owned:
            self.blocks.release(owned)
        assert self.blocks.num_free == self.blocks.num_blocks
        assert sorted(self.blocks.take(12)) == list(range(12))


TestSequences = Sequences.TestCase


def test_equal_beginnings_share_their_full_blocks():
    blocks = BlockManager(8, SIZE)
    one, other = store(blocks, "aaaabbbbcc"), store(blocks, "aaaabbbbdd")
    assert one[:2] == other[:2]
    assert one[2] != other[2]
    assert blocks.num_free == 4
    blocks.release(one)
    assert blocks.num_free == 5
    blocks.release(other)
    assert (blocks.num_free, blocks.num_idle) == (8, 2)


def test_a_block_is_found_only_behind_the_same_beginning():
    assert digests("aaaabbbb")[1] != digests("ccccbbbb")[1]
    assert digests("aaaabbbb")[0] == digests("aaaacccc")[0]
    assert block_digest(b"", [("picture", 1)]) != block_digest(b"", [("picture", 2)])
    assert block_digest(b"", [1, 2]) != block_digest(b"", [12])


def test_room_is_made_by_what_is_idle_for_longest_and_by_ends_before_beginnings():
    blocks = BlockManager(4, SIZE)
    for text in ("aaaabbbb", "ccccdddd"):
        blocks.release(store(blocks, text))
    blocks.take(1)
    assert [blocks.is_published(digest) for digest in digests("aaaabbbb")] == [True, False]
    blocks.take(1)
    assert [blocks.is_published(digest) for digest in digests("aaaabbbb")] == [False, False]
    assert [blocks.is_published(digest) for digest in digests("ccccdddd")] == [True, True]


def test_what_is_shared_again_stays_longer():
    blocks = BlockManager(4, SIZE)
    for text in ("aaaabbbb", "ccccdddd", "aaaabbbb"):
        blocks.release(store(blocks, text))
    blocks.take(2)
    assert blocks.match(digests("aaaabbbb")) == (2, 2)
    assert blocks.match(digests("ccccdddd")) == (0, 0)


def test_what_is_not_trusted_is_not_shared_even_while_it_is_used():
    blocks = BlockManager(4, SIZE)
    one, other = store(blocks, "aaaabbbb"), store(blocks, "aaaabbbb")
    blocks.release(one, trusted=False)
    assert blocks.match(digests("aaaabbbb")) == (0, 0)
    assert blocks.num_free == 2
    blocks.release(other)
    assert (blocks.num_free, blocks.num_idle) == (4, 0)


def test_without_idle_blocks_only_those_who_run_together_share():
    blocks = BlockManager(4, SIZE, keep_idle=False)
    one, other = store(blocks, "aaaabbbb"), store(blocks, "aaaabbbb")
    assert one == other
    blocks.release(one)
    blocks.release(other)
    assert (blocks.num_free, blocks.num_idle) == (4, 0)
    assert not blocks.is_published(digests("aaaa")[0])


def test_blocks_lie_one_after_the_other_where_they_can():
    blocks = BlockManager(16, SIZE)
    first = blocks.take(3, room=3)
    second = blocks.take(3, room=3)
    assert first == [0, 1, 2]
    assert second == [6, 7, 8]
    assert blocks.take(2, after=first[-1]) == [3, 4]
    blocks.release(second)
    assert blocks.take(2, after=4) == [5, 6]


def test_scattered_blocks_are_taken_when_there_is_no_place_in_a_row():
    blocks = BlockManager(6, SIZE)
    singles = [blocks.take(1) for _ in range(6)]
    for single in singles[::2]:
        blocks.release(single)
    assert sorted(blocks.take(3)) == [0, 2, 4]


def test_more_than_there_is_is_refused_and_nothing_is_taken():
    blocks = BlockManager(3, SIZE)
    with pytest.raises(CapacityError, match="4 cache blocks are needed, 3 are free"):
        blocks.take(4)
    assert blocks.num_free == 3

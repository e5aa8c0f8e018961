"""Which samples go together: nothing lost, no row too full, rows full, tiles even."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from internvl.errors import ConfigError
from internvl.train.packing import BestFitPacker, LengthGrouper, PackingReport, ReferencePacker, Size

TOKENS, TILES = 400, 10
SIZES = st.lists(st.builds(Size, st.integers(1, TOKENS), st.integers(0, TILES)), max_size=60)
PACKERS = [
    lambda: BestFitPacker(TOKENS, TILES, look_ahead=8),
    lambda: ReferencePacker(TOKENS, TILES, buffer=5),
]


def mixed(count, seed=0):
    """Chat, documents of several tiles, and clips, 64 tokens a tile."""
    chance = random.Random(seed)
    for _ in range(count):
        kind = chance.random()
        if kind < 0.35:
            yield Size(20 + int(min(1500, chance.lognormvariate(4.8, 0.8))), 0)
        elif kind < 0.8:
            tiles = chance.choice([1, 1, 3, 5, 7, 7, 9, 13])
            yield Size(64 * tiles + chance.randrange(40, 300), tiles)
        else:
            frames = chance.randrange(8, 17)
            yield Size(73 * frames + chance.randrange(30, 200), frames)


def pack(packer, items):
    rows = [row for item in items for row in packer.add(item)]
    return rows, packer.flush()


@pytest.mark.parametrize("make", PACKERS)
@settings(max_examples=40, deadline=None)
@given(sizes=SIZES)
def test_every_sample_is_in_one_row_and_no_row_is_too_full(make, sizes):
    rows, rest = pack(make(), sizes)
    assert sorted(item for row in [*rows, *rest] for item in row) == sorted(sizes)
    for row in [*rows, *rest]:
        assert row
        assert sum(item.num_tokens for item in row) <= TOKENS
        assert sum(item.num_tiles for item in row) <= TILES


@pytest.mark.parametrize("make", PACKERS)
@settings(max_examples=40, deadline=None)
@given(sizes=SIZES, stop=st.integers(0, 60))
def test_a_packer_goes_on_where_another_stood(make, sizes, stop):
    whole = pack(make(), sizes)
    first, second = make(), make()
    before = [row for item in sizes[:stop] for row in first.add(item)]
    second.restore(first.waiting, first.num_shuffled)
    after, rest = pack(second, sizes[stop:])
    assert (before + after, rest) == whole


def packed(packer, tokens, tiles, count):
    report = PackingReport(tokens, tiles)
    for row in pack(packer, mixed(count))[0]:
        report.note(row)
    return report


@pytest.mark.parametrize(("tokens", "tiles"), [(2048, 24), (4096, 48), (16384, 192)])
def test_rows_of_a_mixed_set_are_98_percent_full(tokens, tiles):
    report = packed(BestFitPacker(tokens, tiles), tokens, tiles, 1500)
    assert report.num_rows > 20
    assert report.efficiency >= 0.98
    assert report.most_tiles <= tiles


def test_rows_are_fuller_and_more_alike_in_tiles_than_the_references():
    ours = packed(BestFitPacker(4096, 48), 4096, 48, 1000)
    theirs = packed(ReferencePacker(4096, 48), 4096, 48, 1000)
    assert ours.efficiency > theirs.efficiency
    assert ours.tiles_std < theirs.tiles_std


def test_no_sample_waits_for_ever():
    packer = BestFitPacker(100, 5, look_ahead=8)
    awkward = Size(61, 5)
    rows = packer.add(awkward)
    for _ in range(40):
        rows += packer.add(Size(50, 1))
    assert any(awkward in row for row in rows)


def test_what_cannot_fit_is_refused():
    for make in PACKERS:
        with pytest.raises(ConfigError, match="401 tokens and 0 tiles does not fit"):
            make().add(Size(401, 0))


def test_a_row_of_exactly_the_most_tokens_is_done_at_once():
    packer = ReferencePacker(100, 9, buffer=5)
    assert packer.add(Size(60, 1)) == []
    assert packer.add(Size(40, 0)) == [[Size(60, 1), Size(40, 0)]]


def test_batches_of_similar_length_differ_little_inside_and_come_in_random_order():
    sizes = [Size(n, 0) for n in random.Random(0).sample(range(1, 1000), 64)]
    grouped, rest = pack(LengthGrouper(4, look_ahead=64), sizes)
    assert not rest
    assert sorted(item for batch in grouped for item in batch) == sorted(sizes)
    spreads = [batch[0].num_tokens - batch[-1].num_tokens for batch in grouped]
    assert max(spreads) < 200
    lengths = [batch[0].num_tokens for batch in grouped]
    assert lengths != sorted(lengths)
    assert lengths != sorted(lengths, reverse=True)


def test_ungrouped_batches_keep_the_order_and_the_last_is_short():
    sizes = [Size(n, 0) for n in (5, 1, 9, 3, 7)]
    batches, rest = pack(LengthGrouper(2, grouped=False), sizes)
    assert batches + rest == [sizes[0:2], sizes[2:4], sizes[4:]]

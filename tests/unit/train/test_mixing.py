"""The order of draws: a function of the seed alone, that goes on where it stopped."""

from collections import Counter
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from internvl.errors import CheckpointError
from internvl.train.mixing import Mixture, Share, Shuffle


def share(name, rows, weight=None, epoch=None, **more):
    weight = float(rows) if weight is None else weight
    return Share(name=name, num_rows=rows, weight=weight, rows_per_epoch=epoch or rows, **more)


SHARES = [share("a", 7), share("b", 20, blocks=(5, 12, 3)), share("c", 4, weight=9.0, endless=True)]


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 3000), st.text(max_size=3))
def test_a_shuffle_is_a_permutation(n, key):
    shuffle = Shuffle(n, key)
    assert sorted(shuffle[i] for i in range(n)) == list(range(n))


def test_shuffles_of_other_keys_differ_and_leave_the_order():
    orders = [[Shuffle(500, key)[i] for i in range(500)] for key in "ab"]
    assert orders[0] != orders[1]
    fixed = sum(a == n for n, a in enumerate(orders[0]))
    assert fixed < 10
    neighbours = sum(abs(a - b) == 1 for a, b in zip(orders[0], orders[0][1:], strict=False))
    assert neighbours < 20


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 80))
def test_a_resumed_order_is_the_uninterrupted_one(stop):
    whole = list(islice(Mixture(SHARES, seed=3), 120))
    first = Mixture(SHARES, seed=3)
    seen = list(islice(first, stop))
    second = Mixture(SHARES, seed=3)
    second.load_state_dict(first.state_dict())
    assert seen + list(islice(second, 120 - stop)) == whole


def test_weights_are_shares_and_every_row_comes_once_an_epoch():
    draws = list(islice(Mixture(SHARES, seed=0), 4000))
    counts = Counter(draw.source for draw in draws)
    assert counts["b"] / 4000 == pytest.approx(20 / 36, abs=0.03)
    for name, rows in (("a", 7), ("b", 20)):
        for epoch in range(3):
            seen = [draw.row for draw in draws if (draw.source, draw.epoch) == (name, epoch)]
            assert sorted(seen) == list(range(rows))
    assert [draw.row for draw in draws if draw.source == "c"] == list(range(counts["c"]))


def test_blocks_stay_together():
    draws = [draw.row for draw in islice(Mixture([SHARES[1]], seed=1), 20)]
    block = [0 if row < 5 else 1 if row < 17 else 2 for row in draws]
    assert len([1 for a, b in zip(block, block[1:], strict=False) if a != b]) == 2


def test_epochs_hold_each_row_as_often_as_it_repeats():
    shares = [share("a", 6), share("b", 4, epoch=10), share("c", 8, epoch=4)]
    draws = list(Mixture(shares, seed=5, num_epochs=2))
    assert len(draws) == Mixture(shares, seed=5, num_epochs=2).total == 40
    counts = Counter((draw.source, draw.row) for draw in draws)
    assert {counts["a", n] for n in range(6)} == {2}
    assert {counts["b", n] for n in range(4)} == {5}
    assert {counts["c", n] for n in range(8)} == {1}


def test_another_seed_or_other_data_is_another_order():
    state = Mixture(SHARES, seed=0).state_dict()
    with pytest.raises(CheckpointError, match="seed was 0, now it is 1"):
        Mixture(SHARES, seed=1).load_state_dict(state)
    with pytest.raises(CheckpointError, match="rows was"):
        Mixture(SHARES[:2], seed=0).load_state_dict(state)

"""Where numbers fall, against walking along the tokens one by one."""

import math

import numpy as np
import pytest

from internvl.engine.draws import Cuts, Lines


def walk(number, scores, temperature, top_p, min_p):
    """Return the place of the token that `number` falls on, of scores that are all there are."""
    weights = [math.exp((score - scores[0]) / temperature) for score in scores]
    total, kept, mass = sum(weights), [], 0.0
    for weight in weights:
        if kept and (mass >= top_p * total or weight < min_p):
            break
        kept.append(weight)
        mass += weight
    passed = 0.0
    for place, weight in enumerate(kept):
        passed += weight
        if number * mass < passed:
            return place
    return len(kept) - 1


CUTS = [
    Cuts(temperature, top_p, min_p)
    for temperature in (1e-30, 0.5, 1.0, 2.0, 1e30)
    for top_p, min_p in ((1.0, 0.0), (0.8, 0.0), (1.0, 0.4), (0.7, 0.2), (1e-9, 0.0), (1.0, 1.0))
]


def scores_of(count):
    """A row for each of CUTS, largest first."""
    return -np.sort(np.random.default_rng(0).normal(size=(len(CUTS), count)).astype(np.float32), axis=1)


NUMBERS = [0.0, 0.3, 0.61, 0.9, 1 - 2**-53]


def places(lines, number):
    return [lines.place(row, number) for row in range(len(CUTS))]


@pytest.mark.parametrize("number", NUMBERS)
def test_each_number_falls_where_a_walk_along_its_row_ends(number):
    scores, counts = scores_of(5), [1 + n % 5 for n in range(len(CUTS))]
    expected = [
        walk(number, row[:count].tolist(), cuts.temperature, cuts.top_p, cuts.min_p)
        for row, count, cuts in zip(scores, counts, CUTS, strict=True)
    ]
    assert places(Lines(scores, counts, CUTS), number) == expected


@pytest.mark.parametrize("number", NUMBERS)
def test_what_stands_behind_a_rows_own_means_nothing(number):
    scores, counts = scores_of(9), [1 + n % 5 for n in range(len(CUTS))]
    expected = places(Lines(scores, counts, CUTS), number)
    scores[np.arange(9) >= np.array(counts)[:, None]] = np.nan
    assert places(Lines(scores, counts, CUTS), number) == expected


@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_falls_on_the_same_token_alone_and_among_others(number):
    scores = scores_of(41)
    alone = [Lines(scores[n : n + 1], [41], [cuts]).place(0, number) for n, cuts in enumerate(CUTS)]
    assert places(Lines(scores, [41] * len(CUTS), CUTS), number) == alone


@pytest.mark.parametrize("cuts", [(1.0, 1.0, 0.0), (1.0, 0.7, 0.0), (1.0, 1.0, 0.5), (1.0, 0.9, 0.1)])
def test_a_place_is_sure_where_whatever_follows_leaves_it(cuts):
    scores = [3.0, 2.0, 0.5]
    lines = Lines(np.array([scores], np.float32), [3], [Cuts(*cuts)])
    num_sure = 0
    for number in np.linspace(0, 0.999, 60).tolist():
        sure = lines.sure_place(0, number, 4)
        num_sure += sure < 3
        for last in (-math.inf, -2.0, 0.0, 0.5):
            assert sure in (walk(number, [*scores, *[last] * 4], *cuts), 3)
    assert num_sure > 10


def test_nothing_is_sure_of_tokens_that_were_not_seen():
    lines = Lines(np.zeros((1, 2), np.float32), [2], [Cuts(1.0, 1.0, 0.0)])
    assert lines.sure_place(0, 0.9, 1000) == 2
    assert lines.sure_place(0, 0.9, 0) == 1

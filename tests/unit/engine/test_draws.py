"""Where numbers fall, against walking along the tokens one by one."""

import math

import numpy as np
import pytest

from internvl.engine.draws import Cuts, lines


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


def shown(laid_out):
    return [(line.weights.tolist(), line.ends.tolist()) for line in laid_out]


@pytest.mark.parametrize("number", [0.0, 0.3, 0.61, 0.9, 1 - 2**-53])
def test_each_number_falls_where_a_walk_along_its_row_ends(number):
    scores, counts = scores_of(5), [1 + n % 5 for n in range(len(CUTS))]
    for line, row, count, cuts in zip(lines(scores, counts, CUTS), scores, counts, CUTS, strict=True):
        expected = walk(number, row[:count].tolist(), cuts.temperature, cuts.top_p, cuts.min_p)
        assert line.place(number) == expected


def test_what_stands_behind_a_rows_own_means_nothing():
    scores, counts = scores_of(9), [1 + n % 5 for n in range(len(CUTS))]
    expected = shown(lines(scores, counts, CUTS))
    scores[np.arange(9) >= np.array(counts)[:, None]] = np.nan
    assert shown(lines(scores, counts, CUTS)) == expected


def test_a_row_is_laid_out_the_same_alone_and_among_others():
    scores = scores_of(41)
    together = shown(lines(scores, [41] * len(CUTS), CUTS))
    alone = [lines(scores[n : n + 1], [41], [cuts])[0] for n, cuts in enumerate(CUTS)]
    assert shown(alone) == together


@pytest.mark.parametrize("cuts", [(1.0, 1.0, 0.0), (1.0, 0.7, 0.0), (1.0, 1.0, 0.5), (1.0, 0.9, 0.1)])
def test_a_place_is_sure_where_whatever_follows_leaves_it(cuts):
    scores = [3.0, 2.0, 0.5]
    line = lines(np.array([scores], np.float32), [3], [Cuts(*cuts)])[0]
    num_sure = 0
    for number in np.linspace(0, 0.999, 60).tolist():
        sure = line.sure_place(number, 4)
        num_sure += sure < 3
        for last in (-math.inf, -2.0, 0.0, 0.5):
            assert sure in (walk(number, [*scores, *[last] * 4], *cuts), 3)
    assert num_sure > 10


def test_nothing_is_sure_of_tokens_that_were_not_seen():
    line = lines(np.zeros((1, 2), np.float32), [2], [Cuts(1.0, 1.0, 0.0)])[0]
    assert line.sure_place(0.9, 1000) == 2
    assert line.sure_place(0.9, 0) == 1

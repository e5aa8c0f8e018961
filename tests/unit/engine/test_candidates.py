"""The likeliest tokens of a batch, against plain sorting."""

import math

import pytest
import torch

from internvl.engine.candidates import find_candidates, ranked


def expected(row, size):
    """By score, then by id."""
    scores = row.float().tolist()
    ids = sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:size]
    return ids, [scores[i] for i in ids]


def same(found, row, size):
    ids, scores = expected(row, size)
    assert found.token_ids.tolist() == ids
    assert found.scores.tolist() == scores
    assert (found.best_token_id, found.best_score) == (ids[0], scores[0])


@pytest.mark.parametrize("vocab", [1, 5, 512, 777, 2047, 2048, 2575, 5121, 20_000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_each_row_gets_as_many_of_its_largest_as_it_asks_for(vocab, dtype):
    logits = torch.randn(12, vocab, generator=torch.Generator().manual_seed(0)).to(dtype)
    logits[0, -1], logits[1, 0], logits[2, vocab // 2] = 50.0, 50.0, 50.0
    logits[3] = logits[3].round()  # many equals
    logits[4] = -logits[4].abs()
    logits[5] = 1.0
    logits[6, ::2] = -torch.inf
    logits[7] = -torch.inf
    for sizes in ([1] * 12, [1, 2, 3, 4] * 3, [9] * 12, [39, 1] * 6, [1, 600] * 6, [30_000] * 12):
        if vocab == 20_000 and max(sizes) > 1000:
            continue  # that only repeats what smaller ones show
        for row, size, found in zip(logits, sizes, find_candidates(logits, sizes), strict=True):
            same(found, row, size)


def test_others_in_the_batch_make_no_difference():
    logits = torch.randn(8, 6000, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    together = find_candidates(logits, [1, 2, 3, 4, 5, 6, 7, 11])
    for n, size in enumerate([1, 2, 3, 4, 5, 6, 7, 11]):
        for others in ([], [0, 1, 2]):
            rows = logits[[n, *others]]
            alone = find_candidates(rows, [size, *[9] * len(others)])[0]
            assert alone.token_ids.tolist() == together[n].token_ids.tolist()


@pytest.mark.parametrize("vocab", [5, 700, 2575, 5121])
def test_what_is_no_number_shows_wherever_it_stands(vocab):
    for place in {0, vocab // 2, vocab * 15 // 16, vocab - 1}:
        logits = torch.zeros(2, vocab)
        logits[1, place] = math.nan
        for size in (1, 2, vocab):
            fine, broken = find_candidates(logits, [size, size])
            assert math.isnan(broken.best_score)
            assert fine.best_score == 0


@pytest.mark.parametrize("size", [1, 50, 4000, 9000])
def test_all_of_a_row_is_ranked_in_the_same_order(size):
    row = torch.randn(4000, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    row[7::11] = -torch.inf
    row[5::13], row[6::13] = 0.0, -0.0
    same(ranked(row, size), row, size)

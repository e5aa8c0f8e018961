import math

import pytest
import torch

from internvl.nn import products
from internvl.nn.attention import attend, attend_with_sinks, causal_mask
from internvl.nn.products import attend_by_products


def plain(q, k, v, mask):
    """Softmax attention written out, one key per query head."""
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    scores = (q @ k.transpose(-1, -2)) / math.sqrt(q.shape[-1])
    return scores.masked_fill(~mask, float("-inf")).softmax(-1) @ v


def qkv(batch, heads, groups, new, keys, generator):
    shapes = (batch, heads, new, 8), (batch, groups, keys, 8), (batch, groups, keys, 8)
    return [torch.randn(shape, generator=generator) for shape in shapes]


@pytest.mark.parametrize(("heads", "groups"), [(4, 4), (4, 2), (6, 1)])
@pytest.mark.parametrize(("new", "keys"), [(5, 5), (1, 7), (3, 7)])
@pytest.mark.parametrize("batch", [1, 2])
def test_grouped_attention_equals_attention_with_repeated_keys(heads, groups, new, keys, batch):
    q, k, v = qkv(batch, heads, groups, new, keys, torch.Generator().manual_seed(0))
    mask = causal_mask(new, keys, None, torch.device("cpu"))
    expected = plain(q, k, v, mask)
    torch.testing.assert_close(attend(q, k, v, mask=mask), expected)
    if new == keys:
        torch.testing.assert_close(attend(q, k, v, is_causal=True), expected)
    if new == 1:
        torch.testing.assert_close(attend(q, k, v), expected)


@pytest.mark.parametrize("groups", [4, 2])
def test_a_mask_per_sequence_reaches_every_head(groups):
    q, k, v = qkv(2, 4, groups, 3, 3, torch.Generator().manual_seed(0))
    mask = causal_mask(3, 3, None, torch.device("cpu")).expand(2, 1, 3, 3).clone()
    mask[1, :, 1:, 0] = False
    torch.testing.assert_close(attend(q, k, v, mask=mask), plain(q, k, v, mask))


def test_a_sink_is_one_more_key_without_a_value():
    q, k, v = qkv(2, 4, 2, 3, 3, torch.Generator().manual_seed(0))
    sinks = torch.tensor([0.3, -1.0, 2.0, 0.0])
    mask = causal_mask(3, 3, None, torch.device("cpu"))
    # A zero key scores 0 for every query, so a head whose sink is 0 can be checked with plain attention.
    zero = torch.zeros(2, 2, 1, 8)
    wider = torch.cat([mask, torch.ones(3, 1, dtype=torch.bool)], dim=1)
    expected = plain(q, torch.cat([k, zero], dim=2), torch.cat([v, zero], dim=2), wider)
    found = attend_with_sinks(q, k, v, sinks, mask=mask)
    torch.testing.assert_close(found[:, 3], expected[:, 3])
    assert not torch.allclose(found[:, 2], expected[:, 2])


def test_a_very_low_sink_changes_nothing():
    q, k, v = qkv(1, 4, 2, 5, 5, torch.Generator().manual_seed(0))
    mask = causal_mask(5, 5, None, torch.device("cpu"))
    found = attend_with_sinks(q, k, v, torch.full((4,), -1e4), mask=mask)
    torch.testing.assert_close(found, plain(q, k, v, mask))


def test_the_window_counts_the_token_itself():
    mask = causal_mask(4, 4, 2, torch.device("cpu"))
    assert mask.int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]


def test_new_tokens_stand_behind_the_stored_ones():
    assert causal_mask(2, 4, None, torch.device("cpu")).int().tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]


@pytest.mark.parametrize("masked", [True, False])
def test_sinks_in_blocks_of_queries_equal_sinks_at_once(monkeypatch, masked):
    q, k, v = qkv(2, 4, 2, 7, 7, torch.Generator().manual_seed(0))
    mask = causal_mask(7, 7, 3, torch.device("cpu")) if masked else None
    at_once = attend_with_sinks(q, k, v, torch.ones(4), mask=mask)
    monkeypatch.setattr("internvl.nn.attention.SINK_SCORES", 2 * 4 * 7 * 3)
    torch.testing.assert_close(attend_with_sinks(q, k, v, torch.ones(4), mask=mask), at_once)


#: bfloat16 keeps 8 bits: what two ways of rounding may differ by.
BF16 = {"rtol": 2e-2, "atol": 2e-2}


@pytest.fixture
def bfloat16_kernels(monkeypatch):
    """As if this CPU multiplied in bfloat16: the numbers are the same where it does not."""
    monkeypatch.setattr(products, "has_fast_kernels", lambda dtype, device: True)


@pytest.mark.parametrize("groups", [4, 2])
@pytest.mark.parametrize(("new", "keys"), [(600, 600), (300, 700), (40, 41)])
@pytest.mark.parametrize("window", [None, 50])
def test_products_in_blocks_give_what_attention_written_out_gives(
    bfloat16_kernels, groups, new, keys, window
):
    q, k, v = qkv(2, 4, groups, new, keys, torch.Generator().manual_seed(0))
    mask = causal_mask(new, keys, window, torch.device("cpu"))
    expected = plain(q, k, v, mask)
    found = attend(*(x.bfloat16() for x in (q, k, v)), mask=mask)
    torch.testing.assert_close(found.float(), expected, **BF16)
    if new == keys and window is None:
        found = attend(*(x.bfloat16() for x in (q, k, v)), is_causal=True)
        torch.testing.assert_close(found.float(), expected, **BF16)


@pytest.mark.parametrize("groups", [4, 2])
@pytest.mark.parametrize("scores", [1, 300 * 300 * 4, 2 * 300 * 300 * 4, 2**22])
def test_without_a_mask_products_look_everywhere(bfloat16_kernels, monkeypatch, groups, scores):
    monkeypatch.setattr(products, "WHOLE_SCORES", scores)  # one head at a time, one sequence, two, all
    q, k, v = qkv(3, 4, groups, 300, 300, torch.Generator().manual_seed(0))
    expected = plain(q, k, v, torch.ones(300, 300, dtype=torch.bool))
    torch.testing.assert_close(attend(*(x.bfloat16() for x in (q, k, v))).float(), expected, **BF16)


def test_a_mask_per_sequence_reaches_every_head_of_a_product(bfloat16_kernels):
    q, k, v = qkv(2, 4, 2, 40, 40, torch.Generator().manual_seed(0))
    mask = causal_mask(40, 40, None, torch.device("cpu")).expand(2, 1, 40, 40).clone()
    mask[1, :, 1:, 0] = False
    found = attend(*(x.bfloat16() for x in (q, k, v)), mask=mask)
    torch.testing.assert_close(found.float(), plain(q, k, v, mask), **BF16)


@pytest.mark.parametrize("groups", [4, 2])
@pytest.mark.parametrize("scores", [1, 2**24])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("sequences", "length"), [(1, 300), (3, 60)])
def test_gradients_through_products_are_those_of_attention_written_out(
    bfloat16_kernels, monkeypatch, groups, scores, causal, sequences, length
):
    monkeypatch.setattr(products, "TRAINED_SCORES", scores)  # one sequence at a time, or all
    monkeypatch.setattr(products, "CAUSAL_ROWS", 128)  # several blocks of queries
    drawn = qkv(sequences, 4, groups, length, length, torch.Generator().manual_seed(0))
    inputs = [x.requires_grad_() for x in drawn]
    mask = causal_mask(length, length, None, torch.device("cpu"))
    expected = plain(*inputs, mask if causal else torch.ones_like(mask))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = attend(*inputs, is_causal=causal)
    torch.testing.assert_close(found.float(), expected, **BF16)
    assert_same_gradients(found, expected, inputs)


@pytest.mark.parametrize("lengths", [(300,), (7, 1, 40, 252), (150, 150)])
def test_documents_of_a_row_do_not_see_each_other_in_products(bfloat16_kernels, lengths):
    drawn = qkv(1, 4, 2, 300, 300, torch.Generator().manual_seed(0))
    inputs = [x.requires_grad_() for x in drawn]
    number = torch.repeat_interleave(torch.tensor(lengths))
    mask = causal_mask(300, 300, None, torch.device("cpu")) & (number[:, None] == number)
    expected = plain(*inputs, mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = attend_by_products(*inputs, is_causal=True, lengths=lengths)
        with torch.no_grad():
            without = attend_by_products(*inputs, is_causal=True, lengths=lengths)
    torch.testing.assert_close(found.float(), expected, **BF16)
    torch.testing.assert_close(without.float(), expected, **BF16)
    assert_same_gradients(found, expected, inputs)


def assert_same_gradients(found, expected, inputs):
    grads = [torch.autograd.grad(out.float().square().sum(), inputs) for out in (found, expected)]
    for one, other in zip(*grads, strict=True):
        assert one.dtype == other.dtype
        assert (one - other).norm() < 0.02 * other.norm()


def test_float32_never_goes_by_rounded_products(bfloat16_kernels):
    q, k, v = qkv(1, 4, 4, 64, 64, torch.Generator().manual_seed(0))
    mask = torch.ones(64, 64, dtype=torch.bool)
    torch.testing.assert_close(attend(q, k, v), plain(q, k, v, mask))

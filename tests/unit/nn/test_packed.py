"""Packed linear layers give what the plain one gives, within what their precision allows."""

import pytest
import torch
from torch import nn

from internvl.nn.packed import (
    GROUP,
    MANY_ROWS,
    Int4Linear,
    Int8Linear,
    PackedEmbedding,
    PackedLinear,
    can_pack,
    nibble_rows,
)

#: Largest share of the output's norm that rounding the weights (and int8 activations) may take.
TOLERANCE = {PackedLinear: 1e-5, Int8Linear: 0.03, Int4Linear: 0.1}


def linear(K=64, N=128, bias=True, dtype=torch.float32):
    torch.manual_seed(0)
    return nn.Linear(K, N, bias=bias).requires_grad_(False).to(dtype)


def error(found, expected):
    assert found.shape == expected.shape
    return float((found.float() - expected.float()).norm() / expected.float().norm().clamp(min=1e-9))


@pytest.mark.parametrize("kind", TOLERANCE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1,), (3,), (2, 8), (MANY_ROWS,), (0,)])
def test_a_packed_layer_gives_what_the_plain_one_gives(kind, dtype, bias, shape):
    if kind is PackedLinear and not can_pack(dtype):
        pytest.skip(f"no kernels for {dtype} on this CPU")
    plain = linear(bias=bias, dtype=dtype)
    x = torch.randn(*shape, 64, dtype=dtype)
    found = kind(plain)(x)
    assert found.shape == (*shape, 128)
    assert found.dtype == dtype
    assert error(found, plain(x)) < TOLERANCE[kind]


def test_int8_products_are_exact_and_do_not_depend_on_the_batch():
    plain = linear(K=256)
    packed = Int8Linear(plain)
    x = torch.randn(5, 256)
    x[2] *= 1000  # each token has a scale of its own
    together = packed(x)
    assert torch.equal(together, torch.cat([packed(row[None]) for row in x]))
    # extreme values, the largest sums the kernel can meet
    plain.weight.fill_(1.0)
    plain.bias.zero_()
    assert torch.allclose(Int8Linear(plain)(torch.ones(1, 256)), torch.full((1, 128), 256.0), rtol=1e-6)


def test_int4_gives_the_same_for_few_rows_and_for_many():
    packed = Int4Linear(linear())
    x = torch.randn(MANY_ROWS, 64).bfloat16().float()
    few = torch.cat([packed(row[None]) for row in x])
    assert error(packed(x), few) < 0.01


def test_int4_weights_unpack_to_the_nearest_of_sixteen_values():
    plain = linear()
    unpacked = Int4Linear(plain).unpacked(torch.float32)
    groups = plain.weight.view(128, -1, GROUP)
    step = (groups.amax(2) - groups.amin(2)) / 15
    wrong = (unpacked - plain.weight).view(128, -1, GROUP).abs().amax(2)
    assert bool((wrong <= 0.6 * step + 0.01 * groups.abs().amax(2)).all())


def test_sizes_that_the_int4_kernel_does_not_take_are_known():
    assert Int4Linear.fits(linear(K=GROUP))
    assert not Int4Linear.fits(linear(K=GROUP + 2))


@pytest.mark.parametrize("rows", [1, MANY_ROWS])
def test_a_vocabulary_need_not_fill_the_blocks_of_int4(rows):
    block = nibble_rows().numel()
    whole = linear(N=2 * block)
    part = nn.Linear(64, block + 3)
    part.weight, part.bias = nn.Parameter(whole.weight[: block + 3]), nn.Parameter(whole.bias[: block + 3])
    x = torch.randn(rows, 64)
    assert torch.equal(Int4Linear(part)(x), Int4Linear(whole)(x)[:, : block + 3])


def test_silence_stays_silence():
    zeros = torch.zeros(2, 64)
    for kind in (Int8Linear, Int4Linear):
        assert torch.isfinite(kind(linear())(zeros)).all()


def test_an_embedding_table_that_came_in_half_precision_is_kept_in_half_the_memory():
    table = nn.Embedding(10, 4).requires_grad_(False)
    assert not PackedEmbedding.fits(table, torch.float32)
    table.weight.copy_(table.weight.bfloat16().float())
    assert PackedEmbedding.fits(table, torch.float32)
    packed, ids = PackedEmbedding(table, torch.float32), torch.tensor([[3, 1], [9, 3]])
    assert torch.equal(packed(ids), table(ids))
    assert packed.weight_bytes == table.weight.nbytes // 2

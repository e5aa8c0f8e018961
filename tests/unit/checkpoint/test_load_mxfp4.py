import pytest
import torch

from internvl.checkpoint.mxfp4 import packed_shape, unpack_expert


def test_two_numbers_a_byte_low_half_first():
    blocks = torch.zeros(1, 1, 16, dtype=torch.uint8)
    blocks[0, 0, 0] = 0x2 | 0xF << 4  # 1.0 and -6.0
    found = unpack_expert(blocks, torch.tensor([[127]], dtype=torch.uint8))
    assert found.shape == (32, 1)
    assert found[:3, 0].tolist() == [1.0, -6.0, 0.0]


@pytest.mark.parametrize(("scale", "factor"), [(127, 1.0), (130, 8.0), (125, 0.25)])
def test_a_block_shares_a_power_of_two(scale, factor):
    blocks = torch.full((1, 2, 16), 0x22, dtype=torch.uint8)
    found = unpack_expert(blocks, torch.tensor([[scale, 127]], dtype=torch.uint8))
    assert found[:, 0].tolist() == [factor] * 32 + [1.0] * 32


def test_the_weight_is_input_major():
    assert packed_shape((4, 10, 3, 16)) == (4, 96, 10)

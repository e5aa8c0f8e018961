import pytest
import torch

from fakes import tiny_text_config
from internvl.errors import CapacityError
from internvl.nn.kv_cache import KVCache


@pytest.fixture
def cache():
    return KVCache.allocate(tiny_text_config(), batch_size=3, max_length=8, dtype=torch.float32)


def test_rows_fill_on_their_own(cache):
    cache.advance([0, 2], [3, 3])
    cache.advance([2], [2])
    assert cache.lengths.tolist() == [3, 0, 5]


def test_a_full_row_is_refused_with_its_numbers(cache):
    cache.advance([1], [7])
    cache.check_room(1, 1)
    with pytest.raises(CapacityError, match="row 1 holds 7 tokens and cannot take 2 more.*max_length=8"):
        cache.check_room(1, 2)


def test_reset_forgets_a_row_and_what_was_expected_of_it(cache):
    cache.expect(1, 6)
    cache.advance([1], [4])
    cache.reset(1)
    assert cache.lengths[1] == 0
    assert cache.prompt_lengths[1] == 0


def test_size_is_what_keys_and_values_take(cache):
    config = tiny_text_config()
    expected = 2 * config.num_layers * 3 * config.num_kv_heads * 8 * config.head_dim * 4
    assert cache.size_bytes == expected


def test_rows_are_refused_when_their_blocks_are_full():
    cache = KVCache.paged(tiny_text_config(), num_blocks=4, block_size=4, num_rows=2, dtype=torch.float32)
    with pytest.raises(CapacityError, match="row 0 holds 0 tokens and cannot take 1 more"):
        cache.check_room(0, 1)
    cache.open(0, [3, 1], length=4, prompt_length=6)
    cache.check_room(0, 4)
    assert cache.slots(0, 2, 6) == [14, 15, 4, 5]
    assert (cache.lengths.tolist(), cache.prompt_lengths.tolist()) == ([4, 0], [6, 0])

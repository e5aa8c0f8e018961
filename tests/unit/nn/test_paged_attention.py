"""Sequences in scattered, shared blocks give what each gives alone, packed into one call or not."""

import pytest
import torch

from fakes import FAMILIES, tiny_model
from internvl.nn import attention
from internvl.nn.kv_cache import KVCache

SIZE = 4
LENGTHS = (9, 30, 17, 4)
"""Tokens stored per row: some within the tiny windows and trained lengths of `fakes`, some past them."""


@pytest.fixture(autouse=True)
def inference():
    with torch.inference_mode():
        yield


@pytest.fixture(params=FAMILIES, scope="module")
def decoder(request):
    return tiny_model(request.param).decoder


@pytest.fixture(params=["together", "each"])
def way(request, monkeypatch):
    """Both ways of attending single tokens."""
    choose = {"together": lambda segments, cache: count_singles(segments), "each": lambda segments, cache: 0}
    monkeypatch.setattr(attention, "_attended_together", choose[request.param])


def count_singles(segments):
    return next((i for i, each in enumerate(segments) if each.num_new > 1), len(segments))


def embeds(length, seed):
    return torch.randn(1, length, 32, generator=torch.Generator().manual_seed(seed))


def scattered_cache(decoder, num_rows=4, poison=0.0):
    """Blocks in an order of their own, interleaved over the rows, and filled with what was there before."""
    num_blocks = num_rows * 16
    cache = KVCache.paged(
        decoder.config, num_blocks=num_blocks, block_size=SIZE, num_rows=num_rows, dtype=torch.float32
    )
    cache.keys.fill_(poison)
    cache.values.fill_(poison)
    order = torch.randperm(num_blocks, generator=torch.Generator().manual_seed(3)).tolist()
    for row in range(num_rows):
        cache.open(row, order[row::num_rows], length=0, prompt_length=0)
    return cache


def alone(decoder, sequence, split):
    """The hidden states behind a prompt of `split` tokens, computed in a cache of its own."""
    cache = KVCache.allocate(decoder.config, batch_size=1, max_length=64, dtype=torch.float32)
    decoder(sequence[:, :split], kv_cache=cache)
    return torch.cat([decoder(token, kv_cache=cache) for token in sequence[:, split:].split(1, dim=1)], dim=1)


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-5)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("poison", [0.0, float("nan")])
def test_rows_in_scattered_blocks_decode_together_as_alone(decoder, poison):
    cache = scattered_cache(decoder, poison=poison)
    sequences = [embeds(length + 6, seed) for seed, length in enumerate(LENGTHS)]
    for row, (sequence, length) in enumerate(zip(sequences, LENGTHS, strict=True)):
        decoder(sequence[:, :length], kv_cache=cache, rows=[row])
    steps = []
    for step in range(6):
        new = [sequence[:, length + step] for sequence, length in zip(sequences, LENGTHS, strict=True)]
        steps.append(decoder(torch.stack(new, dim=1), kv_cache=cache, rows=[0, 1, 2, 3], num_new=[1] * 4))
    for row, (sequence, length) in enumerate(zip(sequences, LENGTHS, strict=True)):
        close(torch.cat(steps)[None, :, row], alone(decoder, sequence, length))


@pytest.mark.usefixtures("way")
def test_decodes_and_chunks_of_prompts_share_a_call(decoder):
    cache = scattered_cache(decoder)
    sequences = [embeds(length + 3, seed) for seed, length in enumerate(LENGTHS)]
    for row in (1, 3):  # already decoding
        decoder(sequences[row][:, : LENGTHS[row]], kv_cache=cache, rows=[row])
    cache.expect(2, LENGTHS[2])
    decoder(sequences[2][:, :6], kv_cache=cache, rows=[2])  # in the middle of its prompt
    chunks = [(1, 30, 31), (3, 4, 5), (0, 0, 9), (2, 6, 17)]
    packed = torch.cat([sequences[row][:, start:stop] for row, start, stop in chunks], dim=1)
    counts = [stop - start for _, start, stop in chunks]
    found = decoder(packed, kv_cache=cache, rows=[row for row, _, _ in chunks], num_new=counts)
    found = dict(zip((1, 3, 0, 2), found.split(counts, dim=1), strict=True))
    for row in (1, 3):
        close(found[row], alone(decoder, sequences[row], LENGTHS[row])[:, :1])
    for row in (0, 2):  # the prompts' last tokens, and that decoding goes on from there
        whole = KVCache.allocate(decoder.config, batch_size=1, max_length=64, dtype=torch.float32)
        close(found[row][:, -1:], decoder(sequences[row][:, : LENGTHS[row]], kv_cache=whole)[:, -1:])
        after = decoder(sequences[row][:, LENGTHS[row] : LENGTHS[row] + 1], kv_cache=cache, rows=[row])
        close(after, alone(decoder, sequences[row], LENGTHS[row])[:, :1])
    assert cache.lengths.tolist() == [10, 31, 18, 5]


def test_a_sequence_goes_on_from_blocks_that_another_filled(decoder):
    """Both prompts are as long, so that rotations that depend on the length agree too."""
    cache = scattered_cache(decoder)
    first, second = embeds(20, 0), embeds(20, 1)
    second[:, :8] = first[:, :8]
    decoder(first, kv_cache=cache, rows=[0])
    shared = cache.rows[0].blocks[:2] + cache.rows[1].blocks
    cache.open(1, shared, length=8, prompt_length=20)
    found = decoder(second[:, 8:], kv_cache=cache, rows=[1])
    whole = KVCache.allocate(decoder.config, batch_size=1, max_length=64, dtype=torch.float32)
    close(found, decoder(second, kv_cache=whole)[:, 8:])


def test_blocks_in_a_row_are_read_where_they_lie_and_others_are_copied():
    cache = KVCache.paged(
        tiny_model().decoder.config, num_blocks=12, block_size=SIZE, num_rows=1, dtype=torch.float32
    )
    cache.keys.copy_(torch.arange(48.0)[None, None, :, None].expand_as(cache.keys))
    blocks = [7, 3, 4]
    cache.open(0, blocks, length=0, prompt_length=0)

    def tokens(start, stop):
        keys, _ = cache.read(1, cache.span(0, start, stop))
        return keys[
            0, 0, :, 0
        ].tolist(), keys.untyped_storage().data_ptr() == cache.keys.untyped_storage().data_ptr()

    assert tokens(2, 6) == ([30.0, 31.0, 12.0, 13.0], False)
    assert tokens(5, 11) == ([13.0, 14.0, 15.0, 16.0, 17.0, 18.0], True)
    blocks.append(9)  # the list's owner gives the row another block
    assert tokens(11, 13) == ([19.0, 36.0], False)
    assert tokens(12, 14) == ([36.0, 37.0], True)


def test_few_long_sequences_are_attended_each_by_itself_and_small_ones_together(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    cache = scattered_cache(tiny_model().decoder)
    together = attention._attended_together

    def segments(*stops, new=1):
        return [attention.Segment(row, stop - new, new) for row, stop in enumerate(stops)]

    assert together(segments(20, 20), cache) == 2
    assert together(segments(20), cache) == 0
    assert together(segments(20, 20, new=2), cache) == 0
    assert together([*segments(20, 30, 40), *segments(9, new=9)], cache) == 3
    assert together(segments(10, 10, 10, 100), cache) == 0
    assert together(segments(100_000, 100_000), cache) == 0
    monkeypatch.setattr(torch, "get_num_threads", lambda: 16)
    assert together(segments(100_000, 100_000), cache) == 2
    assert together(segments(10_000_000, 10_000_000), cache) == 0  # the copies have a bound

"""Laws that hold for the decoder of every family."""

import pytest
import torch

from fakes import FAMILIES, tiny_model, tiny_text_config
from internvl.errors import CapacityError, MissingDependencyError
from internvl.models.decoder import Decoder, set_attention
from internvl.models.init import init_weights
from internvl.nn.kv_cache import KVCache

T = 33  # past the tiny windows and trained lengths of `fakes`


@pytest.fixture(autouse=True)
def inference():
    with torch.inference_mode():
        yield


@pytest.fixture(params=FAMILIES)
def decoder(request):
    return tiny_model(request.param).decoder


def embeds(batch=1, length=T, seed=0):
    return torch.randn(batch, length, 32, generator=torch.Generator().manual_seed(seed))


def empty_cache(decoder, rows=3):
    return KVCache.allocate(decoder.config, batch_size=rows, max_length=T + 4, dtype=torch.float32)


def depends_on_length(decoder):
    return decoder.rope.length_limit is not None


def test_token_by_token_equals_the_whole(decoder):
    x, cache = embeds(), empty_cache(decoder)
    cache.expect(1, T)
    rows = torch.tensor([1])
    parts = [decoder(x[:, t : t + 1], kv_cache=cache, rows=rows) for t in range(T)]
    torch.testing.assert_close(torch.cat(parts, dim=1), decoder(x), rtol=1e-4, atol=2e-5)
    assert cache.lengths.tolist() == [0, T, 0]


def test_prefill_in_chunks_equals_the_whole(decoder):
    x, cache = embeds(), empty_cache(decoder)
    cache.expect(2, T)
    parts = [decoder(chunk, kv_cache=cache, rows=torch.tensor([2])) for chunk in x.split(10, dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), decoder(x), rtol=1e-4, atol=2e-5)


def test_an_answer_written_again_with_its_prompt_equals_the_first_time(decoder):
    """Preemption: prompt of 20, 13 generated; later all 33 in one call."""
    x = embeds()
    first, again = empty_cache(decoder), empty_cache(decoder)
    rows = torch.tensor([0])
    decoder(x[:, :20], kv_cache=first, rows=rows)
    steps = [decoder(x[:, t : t + 1], kv_cache=first, rows=rows) for t in range(20, T)]
    again.expect(0, 20)
    whole = decoder(x, kv_cache=again, rows=rows)
    torch.testing.assert_close(whole[:, 20:], torch.cat(steps, dim=1), rtol=1e-4, atol=2e-5)


def test_rows_of_different_lengths_decode_together_as_alone(decoder):
    x, cache = embeds(batch=2), empty_cache(decoder)
    lengths = (5, 28)
    for row, length in enumerate(lengths):
        decoder(x[row : row + 1, :length], kv_cache=cache, rows=torch.tensor([row + 1]))
    new = torch.stack([x[row, length] for row, length in enumerate(lengths)])[:, None]
    together = decoder(new, kv_cache=cache, rows=torch.tensor([1, 2]))
    for row, length in enumerate(lengths):
        alone = empty_cache(decoder)
        decoder(x[row : row + 1, :length], kv_cache=alone, rows=torch.tensor([0]))
        expected = decoder(new[row : row + 1], kv_cache=alone, rows=torch.tensor([0]))
        torch.testing.assert_close(together[row : row + 1], expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_equals_unpadded(decoder, side):
    # Length-dependent rotations go by the longest row of an uncached batch, as the references do, so the
    # law is for sequences within the trained length.
    length = 14 if depends_on_length(decoder) else T
    x, mask = embeds(batch=2, length=length + 4), torch.ones(2, length + 4, dtype=torch.long)
    real = slice(4, None) if side == "left" else slice(0, length)
    mask[0] = 0
    mask[0, real] = 1
    found = decoder(x, attention_mask=mask)
    torch.testing.assert_close(found[:1, real], decoder(x[:1, real]), rtol=1e-4, atol=2e-5)
    torch.testing.assert_close(found[1:], decoder(x[1:]), rtol=1e-4, atol=2e-5)
    assert found.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near_float32(decoder, dtype):
    expected = decoder.lm_head(decoder(embeds()))
    half = decoder.to(dtype)
    found = half.lm_head(half(embeds().to(dtype)))
    assert found.dtype == dtype
    assert torch.nn.functional.cosine_similarity(found.float(), expected, dim=-1).min() > 0.98


def test_later_tokens_do_not_reach_back(decoder):
    x = embeds()
    changed = x.clone()
    changed[:, 20:] += 1
    torch.testing.assert_close(decoder(changed)[:, :20], decoder(x)[:, :20])


def test_a_full_cache_is_refused_before_anything_is_written():
    decoder = tiny_model().decoder
    cache = KVCache.allocate(decoder.config, batch_size=1, max_length=4, dtype=torch.float32)
    decoder(embeds(length=3), kv_cache=cache)
    with pytest.raises(CapacityError):
        decoder(embeds(length=2), kv_cache=cache)
    assert cache.lengths.tolist() == [3]


def test_padding_and_a_cache_exclude_each_other():
    decoder = tiny_model().decoder
    mask = torch.tensor([[0, 1, 1]])
    with pytest.raises(ValueError, match="prefill rows one by one"):
        decoder(embeds(length=3), attention_mask=mask, kv_cache=empty_cache(decoder))


@pytest.mark.parametrize("cached", [False, True])
def test_a_sliding_layer_sees_its_window_and_no_more(cached):
    decoder = Decoder(tiny_text_config("llama", num_layers=1, sliding_window=6))
    init_weights(decoder, torch.Generator().manual_seed(0))
    x = embeds(length=20)
    changed = x.clone()
    changed[:, 10] += 1
    cache = {"kv_cache": empty_cache(decoder)} if cached else {}
    other = {"kv_cache": empty_cache(decoder)} if cached else {}
    reached = (decoder(x, **cache) - decoder(changed, **other)).abs().amax(-1)[0] > 1e-6
    assert reached.nonzero().flatten().tolist() == list(range(10, 16))


def test_every_expert_of_a_mixture_can_be_chosen():
    model = tiny_model("qwen3_moe")
    mixture = model.decoder.layers[0].mlp
    x = embeds(length=64)
    used = mixture.router(x).topk(2).indices.unique()
    assert len(used) == 4
    assert mixture(x).shape == x.shape


def test_flash_names_what_to_install():
    try:
        import flash_attn  # noqa: F401
    except ImportError:
        decoder = tiny_model().decoder
        set_attention(decoder, "flash")
        with pytest.raises(MissingDependencyError, match="pip install flash-attn"):
            decoder(embeds())
    else:
        pytest.skip("flash-attn is installed")


def test_tied_embeddings_are_one_tensor():
    decoder = Decoder(tiny_text_config(tie_embeddings=True))
    assert decoder.lm_head.weight is decoder.embed.weight

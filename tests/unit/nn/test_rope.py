import math

import pytest
import torch

from fakes import tiny_text_config
from internvl.config.model import RopeConfig
from internvl.errors import ConfigError
from internvl.nn.rope import Rope, rotate


def rope_of(max_position=512, head_dim=8, **fields):
    return Rope(
        tiny_text_config("llama", head_dim=head_dim, max_position=max_position, rope=RopeConfig(**fields))
    )


def inv_freq(rope, length=1):
    """The frequencies that a token of a sequence this long goes by."""
    cos, sin = rope.cos_sin(torch.tensor([[1]]), torch.tensor([[length]]))
    return torch.atan2(sin, cos).flatten()


def test_scores_depend_only_on_the_distance():
    rope, generator = rope_of(), torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 1, 1, 8, generator=generator)

    def score(query, key):
        return (
            rotate(q, *rope.cos_sin(torch.tensor([[query]])))
            * rotate(k, *rope.cos_sin(torch.tensor([[key]])))
        ).sum()

    torch.testing.assert_close(score(9, 4), score(105, 100), rtol=1e-4, atol=1e-5)
    assert not torch.isclose(score(9, 4), score(9, 5))


def test_linear_scaling_divides_positions():
    torch.testing.assert_close(inv_freq(rope_of(kind="linear", factor=4.0)), inv_freq(rope_of()) / 4)


def test_dynamic_scaling_begins_past_the_trained_length():
    plain, dynamic = rope_of(max_position=16), rope_of(max_position=16, kind="dynamic", factor=2.0)
    torch.testing.assert_close(inv_freq(dynamic, length=16), inv_freq(plain))
    base = 10000.0 * (2.0 * 32 / 16 - 1) ** (8 / 6)
    expected = torch.tensor([base ** (-i / 8) for i in (0, 2, 4, 6)])
    torch.testing.assert_close(inv_freq(dynamic, length=32), expected)


def test_each_token_goes_by_its_own_length():
    rope = rope_of(max_position=16, kind="dynamic", factor=2.0)
    positions, lengths = torch.tensor([[5, 5]]), torch.tensor([[10, 40]])
    cos, _ = rope.cos_sin(positions, lengths)
    alone, _ = rope.cos_sin(positions[:, :1], lengths[:, :1])
    torch.testing.assert_close(cos[:, :, :1], alone)
    assert not torch.allclose(cos[:, :, 0], cos[:, :, 1])


def test_longrope_switches_factors_past_the_original_length():
    factors = {"short_factor": (1.0, 1.0, 1.0, 1.0), "long_factor": (2.0, 4.0, 8.0, 16.0)}
    rope = rope_of(
        max_position=64, kind="longrope", original_max_position=16, attention_factor=1.0, **factors
    )
    torch.testing.assert_close(inv_freq(rope, length=16), inv_freq(rope_of()))
    torch.testing.assert_close(
        inv_freq(rope, length=17), inv_freq(rope_of()) / torch.tensor([2.0, 4.0, 8.0, 16.0])
    )


def test_longrope_scales_by_how_far_it_stretches():
    rope = rope_of(
        max_position=64,
        kind="longrope",
        original_max_position=16,
        short_factor=(1.0,) * 4,
        long_factor=(1.0,) * 4,
    )
    assert rope.attention_factor == pytest.approx(math.sqrt(1 + math.log(4) / math.log(16)))


def test_longrope_needs_a_factor_per_pair_of_channels():
    with pytest.raises(ConfigError, match="short_factor holds 2 numbers"):
        rope_of(kind="longrope", short_factor=(1.0, 1.0), long_factor=(1.0, 1.0))


@pytest.mark.parametrize("kind", ["yarn", "llama3"])
def test_yarn_and_llama3_keep_high_frequencies_and_divide_low_ones(kind):
    rope = rope_of(head_dim=64, kind=kind, factor=8.0, original_max_position=4096)
    plain = rope_of(head_dim=64)
    cos, sin = rope.cos_sin(torch.tensor([[1]]))
    found, expected = torch.atan2(sin, cos).flatten(), inv_freq(plain)
    torch.testing.assert_close(found[0], expected[0])
    torch.testing.assert_close(found[-1], expected[-1] / 8)
    assert (found <= expected + 1e-7).all()
    assert rope.attention_factor == pytest.approx(0.1 * math.log(8) + 1 if kind == "yarn" else 1.0)

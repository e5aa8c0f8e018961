"""A tower that begins locally: what its weights do before anything is learnt."""

import pytest
import torch

from internvl.config.model import VisionConfig
from internvl.errors import ConfigError
from internvl.models.init import init_weights
from internvl.models.local_init import STEPS, cosine_filters, init_local_tower
from internvl.models.vit import InternViT

SHAPE = {"hidden_size": 96, "intermediate_size": 96, "num_layers": 3, "num_heads": 6, "image_size": 56}


def tower(**changes):
    model = InternViT(VisionConfig(**(SHAPE | changes)))
    generator = torch.Generator().manual_seed(0)
    init_weights(model, generator)
    init_local_tower(model, generator)
    return model.eval()


@pytest.mark.parametrize("layer", range(3))
@torch.no_grad()
def test_the_first_heads_look_at_their_neighbours(layer):
    model = tower(image_size=112)  # 8 x 8 patches
    grid = model.config.grid_size
    tokens = model.embed(torch.zeros(1, 3, 112, 112))
    block = model.layers[layer]
    q, k, _ = block.attention.qkv(block.norm1(tokens)).chunk(3, dim=-1)
    q, k = (x.unflatten(-1, (6, -1)).transpose(1, 2)[0, :, 1:] for x in (q, k))  # (H, P, Dh)
    looked_at = (q @ k.transpose(-1, -2)).argmax(-1).view(6, grid, grid)
    for head, (down, right) in enumerate(STEPS[layer]):
        for row in range(2, grid - 2):
            for column in range(2, grid - 2):
                assert looked_at[head, row, column] == (row + down) * grid + column + right


def test_filters_are_independent_and_see_brightness_before_colour():
    filters = cosine_filters(160, 14)
    assert torch.linalg.matrix_rank(filters.flatten(1)) == 160
    grey = torch.ones(1, 3, 14, 14)
    answers = (filters * grey).sum((1, 2, 3))
    assert answers.abs().argmax() == 0


def test_more_filters_than_pixels_have_waves_stay_empty():
    filters = cosine_filters(700, 14)
    assert filters.shape == (700, 3, 14, 14)
    assert not filters[-1].any()


def test_the_same_generator_gives_the_same_tower():
    one, other = tower().state_dict(), tower().state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("changes", [{"num_heads": 48}, {"image_size": 42}])
def test_heads_too_narrow_for_the_grid_are_refused(changes):
    with pytest.raises(ConfigError, match="begin locally"):
        tower(**changes)

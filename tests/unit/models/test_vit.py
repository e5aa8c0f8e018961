import pytest
import torch

from internvl.config.model import VisionConfig
from internvl.errors import RequestError
from internvl.models.init import init_weights
from internvl.models.vit import InternViT

LAYER = {"hidden_size": 24, "intermediate_size": 40, "num_layers": 2, "num_heads": 3, "image_size": 56}
LARGE = {"norm": "rms_norm", "qkv_bias": False, "qk_norm": True}


def tower(**changes):
    model = InternViT(VisionConfig(**(LAYER | changes)))
    init_weights(model, torch.Generator().manual_seed(0))
    return model.eval()


def pixels(n=2, h=56, w=56):
    return torch.randn(n, 3, h, w, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("variant", [{}, LARGE])
def test_one_row_per_patch_behind_the_class_token(variant):
    model = tower(**variant)
    assert model(pixels()).shape == (2, 17, 24)
    assert model(pixels(h=42, w=84)).shape == (2, 1 + 3 * 6, 24)
    assert len(model.hidden_states(pixels())) == 3


def test_hidden_states_are_the_towers_of_fewer_layers():
    model = tower()
    for num_layers, state in enumerate(model.hidden_states(pixels())):
        torch.testing.assert_close(model(pixels(), num_layers=num_layers), state)


def test_tiles_do_not_see_each_other():
    model = tower()
    torch.testing.assert_close(model(pixels())[1:], model(pixels()[1:]))


def test_positions_at_the_trained_size_are_the_trained_ones():
    model = tower()
    assert model.positions(4, 4) is model.position_embedding


def test_the_class_token_keeps_its_position_at_any_size():
    model = tower()
    torch.testing.assert_close(model.positions(3, 7)[:, 0], model.position_embedding[:, 0])


@pytest.mark.parametrize("origin", [(0, 0), (1, 2), (2, 0)])
@pytest.mark.parametrize(("rows", "columns"), [(2, 2), (1, 2)])
def test_a_window_has_the_positions_that_its_place_in_the_whole_tile_has(origin, rows, columns):
    model = tower()
    with torch.no_grad():
        model.position_embedding.normal_(generator=torch.Generator().manual_seed(5))
    top, left = origin
    whole = pixels()
    window = whole[:, :, 14 * top : 14 * (top + rows), 14 * left : 14 * (left + columns)]
    grid = model.embed(whole)[:, 1:].unflatten(1, (4, 4))
    expected = grid[:, top : top + rows, left : left + columns].flatten(1, 2)
    found = model.embed(window, origin)
    torch.testing.assert_close(found[:, 1:], expected)
    torch.testing.assert_close(found[:, 0], model.embed(whole)[:, 0])
    scaled = model.embed(window)  # without a place its positions are those of the whole grid, scaled
    assert not torch.allclose(scaled[:, 1:], found[:, 1:])


def test_a_window_of_the_whole_tile_is_the_tile():
    model = tower()
    torch.testing.assert_close(model(pixels(), origin=(0, 0)), model(pixels()))


def test_sides_off_the_patch_grid_are_refused():
    with pytest.raises(RequestError, match="60x56 pixels.*patch size 14"):
        tower()(pixels(h=60))


def test_q_and_k_are_normalised_over_the_full_width():
    """One loud head lowers all others: they share one variance."""
    attention = tower(**LARGE).layers[0].attention
    x = torch.randn(1, 5, 24, generator=torch.Generator().manual_seed(2))
    q = attention.qkv(x).chunk(3, dim=-1)[0]
    expected = q / q.square().mean(-1, keepdim=True).add(1e-6).sqrt()
    torch.testing.assert_close(attention.q_norm(q), expected)


def test_paths_drop_only_while_training_and_more_in_deeper_layers():
    model = tower(drop_path_rate=0.5)
    assert [layer.drop_path for layer in model.layers] == [0.0, 0.5]
    torch.testing.assert_close(model(pixels()), model(pixels()))
    model.train()
    torch.manual_seed(0)
    assert not torch.allclose(model(pixels(8)), model(pixels(8)))

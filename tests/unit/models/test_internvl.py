import pytest
import torch

from fakes import FAMILIES, IMAGE_TOKEN_ID, tiny_model, tiny_model_config
from internvl.errors import ConfigError, RequestError
from internvl.models.internvl import InternVLModel


def inputs(batch=1, tiles=1, length=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    input_ids = torch.randint(6, 80, (batch, length), generator=generator)
    input_ids[:, 3 : 3 + 4 * tiles] = IMAGE_TOKEN_ID
    return input_ids, torch.randn(batch * tiles, 3, 56, 56, generator=generator)


def test_shapes_along_the_way():
    model = tiny_model()
    input_ids, pixel_values = inputs(batch=2)
    with torch.inference_mode():
        assert model.vision_features(pixel_values).shape == (2, 16, 24)
        assert model.image_embeds(pixel_values).shape == (2, 4, 32)
        assert model(input_ids, pixel_values).shape == (2, 16, 80)


def test_image_tokens_take_the_embeddings_in_order():
    model = tiny_model()
    input_ids, _ = inputs(tiles=2)
    image_embeds = torch.arange(2 * 4 * 32).float().view(2, 4, 32)
    merged = model.merge(input_ids, image_embeds)
    assert torch.equal(merged[0, 3:11], image_embeds.flatten(0, 1))
    assert torch.equal(merged[0, :3], model.text_embeds(input_ids)[0, :3])


@pytest.mark.parametrize("tiles", [0, 1, 3])
def test_a_wrong_number_of_image_tokens_is_never_cut_or_filled(tiles):
    model = tiny_model()
    input_ids, _ = inputs(tiles=2)
    with pytest.raises(RequestError, match="8 image tokens"):
        model.merge(input_ids, torch.zeros(tiles, 4, 32))


def test_image_tokens_without_pictures_are_refused():
    with pytest.raises(RequestError, match="no tiles"):
        tiny_model()(inputs()[0])


@pytest.mark.parametrize(
    ("input_ids", "pixel_values"),
    [((16,), (1, 3, 56, 56)), ((1, 16), (3, 56, 56)), ((1, 16), (1, 1, 56, 56))],
)
def test_inputs_of_a_wrong_shape_are_named(input_ids, pixel_values):
    with pytest.raises(RequestError, match="expected"):
        tiny_model()(torch.full(input_ids, 7), torch.zeros(pixel_values))


def test_tiles_in_groups_equal_tiles_at_once(monkeypatch):
    model = tiny_model()
    pixel_values = inputs(tiles=3)[1]
    with torch.inference_mode():
        at_once = model.vision_features(pixel_values)
        monkeypatch.setattr("internvl.models.internvl.CPU_PATCHES", 16)
        torch.testing.assert_close(model.vision_features(pixel_values), at_once)


@pytest.mark.parametrize(("select_layer", "layers"), [(-1, 2), (-2, 1), (-3, 0), (1, 1)])
def test_the_selected_layer_ends_the_tower(select_layer, layers):
    model = tiny_model(select_layer=select_layer)
    pixel_values = inputs()[1]
    expected = model.vision.hidden_states(pixel_values)[layers][:, 1:]
    torch.testing.assert_close(model.vision_features(pixel_values), expected)


def test_a_layer_that_does_not_exist_is_refused():
    with pytest.raises(ConfigError, match=r"select_layer -4.*\[-3, 2\]"):
        tiny_model(select_layer=-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_reach_every_parameter(family):
    model = tiny_model(family).train()
    input_ids, pixel_values = inputs(batch=2, length=32)
    model(input_ids, pixel_values).logsumexp(-1).sum().backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert idle == []


def test_initial_weights_follow_the_generator():
    def weights(seed):
        generator = torch.Generator().manual_seed(seed)
        model = InternVLModel(tiny_model_config("gpt_oss"), image_token_id=5, generator=generator)
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))
    assert weights(1).isfinite().all()


def test_a_fresh_model_is_uncertain():
    """Untrained logits are nearly flat, so that the first loss is near log(V)."""
    model = InternVLModel(tiny_model_config("qwen3"), image_token_id=IMAGE_TOKEN_ID).eval()
    with torch.inference_mode():
        assert model(*inputs()).std() < 0.5

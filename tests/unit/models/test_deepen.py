"""A model that was given more layers: it says what it said before, and its new layers can learn."""

import pytest
import torch

from fakes import FAMILIES, IMAGE_TOKEN_ID, tiny_model
from internvl.errors import ConfigError
from internvl.models.deepen import deepen, deeper_config, source_layer


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(0)
    input_ids = torch.randint(6, 80, (1, 16), generator=generator)
    input_ids[:, 3:7] = IMAGE_TOKEN_ID
    return input_ids, torch.randn(1, 3, 56, 56, generator=generator)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("vision_layers", "decoder_layers"), [(5, 0), (0, 4), (3, 6)])
def test_a_deeper_model_says_the_same(family, vision_layers, decoder_layers, inputs):
    model = tiny_model(family)
    deep = deepen(model, vision_layers=vision_layers, decoder_layers=decoder_layers)
    assert len(deep.vision.layers) == (vision_layers or model.config.vision.num_layers)
    assert len(deep.decoder.layers) == (decoder_layers or model.config.text.num_layers)
    with torch.inference_mode():
        torch.testing.assert_close(deep(*inputs), model(*inputs))


def test_new_layers_get_gradients(inputs):
    deep = deepen(tiny_model(), vision_layers=5, decoder_layers=3)
    deep(*inputs).square().sum().backward()
    for layer in (*deep.vision.layers, *deep.decoder.layers):
        assert any(parameter.grad.abs().max() > 0 for parameter in layer.parameters())


@pytest.mark.parametrize(("old", "new"), [(1, 4), (4, 6), (6, 9), (5, 5), (3, 7)])
def test_every_old_layer_is_kept_in_order(old, new):
    sources = [source_layer(layer, old, new) for layer in range(new)]
    assert sources == sorted(sources)
    assert set(sources) == set(range(old))


def test_fewer_layers_are_refused():
    with pytest.raises(ConfigError, match="expected more"):
        deeper_config(tiny_model().config, vision_layers=1)


def test_a_tower_that_is_read_before_its_end_is_refused():
    model = tiny_model()
    model.num_vision_layers = 1
    with pytest.raises(ConfigError, match="its last layer"):
        deepen(model, vision_layers=5)

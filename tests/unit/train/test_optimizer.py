import dataclasses

import pytest
import torch

from fakes import tiny_model
from internvl.errors import ConfigError
from internvl.train.config import FreezeSection, OptimizerSection
from internvl.train.freezing import apply_freezing, set_drop_path, train_mode
from internvl.train.optimizer import WeightAverage, make_optimizer, parameter_groups, set_rates


def rates(model, **changes):
    found = {}
    for group in parameter_groups(model, OptimizerSection(**changes)):
        found |= dict.fromkeys(group["names"], (group["lr"], group["weight_decay"]))
    return found


def test_every_trained_parameter_is_in_exactly_one_group():
    model = tiny_model()
    groups = parameter_groups(model, OptimizerSection(vision_layer_decay=0.5))
    names = [name for group in groups for name in group["names"]]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())


def test_parts_have_rates_of_their_own():
    found = rates(tiny_model(), learning_rate=1e-3, vision_learning_rate=1e-4, projector_learning_rate=2e-3)
    assert found["vision.layers.0.mlp.fc1.weight"][0] == 1e-4
    assert found["projector.fc1.weight"][0] == 2e-3
    assert found["decoder.lm_head.weight"][0] == 1e-3


def test_lower_vision_layers_learn_slower():
    found = rates(tiny_model(vision={"num_layers": 3}), learning_rate=1.0, vision_layer_decay=0.5)
    by_layer = [found[f"vision.layers.{layer}.mlp.fc1.weight"][0] for layer in range(3)]
    assert by_layer == [0.25, 0.5, 1.0]
    assert found["vision.patch_embedding.weight"][0] == 0.125


def test_vectors_and_embeddings_are_not_decayed():
    found = rates(tiny_model(), weight_decay=0.1)
    assert found["decoder.layers.0.mlp.down.weight"][1] == 0.1
    for name in (
        "decoder.norm.weight",
        "decoder.embed.weight",
        "vision.class_embedding",
        "projector.fc1.bias",
    ):
        assert found[name][1] == 0.0
    assert set(rates(tiny_model(), weight_decay=0.1, decay_vectors=True).values()) == {(4e-5, 0.1)}


def test_set_rates_scales_each_group():
    optimizer = make_optimizer(tiny_model(), OptimizerSection(learning_rate=1.0, vision_learning_rate=0.5))
    assert set_rates(optimizer, 0.1) == pytest.approx(0.1)
    assert {group["lr"] for group in optimizer.param_groups} == {0.1, 0.05}


@pytest.mark.parametrize(
    ("freeze", "trained"),
    [
        ({"vision": True, "decoder": True}, {"projector"}),
        ({"decoder": True}, {"projector", "vision"}),
        ({"vision": True}, {"projector", "decoder"}),
        ({}, {"projector", "vision", "decoder"}),
    ],
)
def test_stages_train_their_parts(freeze, trained):
    model = tiny_model()
    apply_freezing(model, FreezeSection(**freeze))
    assert {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad} == trained


def test_the_last_layers_of_a_frozen_tower_can_be_trained():
    model = tiny_model(vision={"num_layers": 3}, select_layer=-2)
    apply_freezing(model, FreezeSection(vision=True, decoder=True, projector=True, train_vision_layers=1))
    names = {name for name, p in model.named_parameters() if p.requires_grad}
    # layer 2 is never run: the last one that is, is layer 1
    assert names
    assert all(name.startswith("vision.layers.1.") for name in names)
    with pytest.raises(ConfigError, match="runs 2 layers"):
        apply_freezing(model, FreezeSection(vision=True, train_vision_layers=3))


def test_nothing_to_train_is_refused():
    with pytest.raises(ConfigError, match="frozen"):
        make_optimizer(tiny_model().requires_grad_(False), OptimizerSection())


def test_frozen_parts_do_not_drop_paths():
    model = tiny_model()
    set_drop_path(model, 0.3)
    assert [layer.drop_path for layer in model.vision.layers] == [0.0, 0.3]
    apply_freezing(model, FreezeSection(vision=True))
    train_mode(model)
    assert not model.vision.training
    assert model.decoder.training


def test_the_average_of_constant_weights_is_those_weights_and_can_be_resumed():
    model = tiny_model()
    average = WeightAverage(model.named_parameters(), 0.9)
    before = model.projector.fc1.weight.detach().clone()
    average.update()
    with torch.no_grad():
        model.projector.fc1.weight.add_(1.0)
    for _ in range(3):
        average.update()
    state = {**average.state_dict(), "averages": {k: v.clone() for k, v in average.averages.items()}}
    with average.applied():
        inside = model.projector.fc1.weight.detach().clone()
    assert ((inside > before) & (inside < before + 1.0)).all()
    torch.testing.assert_close(model.projector.fc1.weight, before + 1.0)
    other = WeightAverage(model.named_parameters(), 0.9)
    other.load_state_dict(state)
    other.update()
    average.update()
    torch.testing.assert_close(
        other.averages["projector.fc1.weight"], average.averages["projector.fc1.weight"]
    )


def test_the_optimizer_section_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        OptimizerSection().learning_rate = 1.0

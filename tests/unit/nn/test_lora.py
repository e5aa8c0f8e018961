"""Laws of adapters: a fresh one changes nothing, merged equals unmerged, only adapters learn."""

import pytest
import torch

from fakes import IMAGE_TOKEN_ID, tiny_model
from internvl.errors import ConfigError
from internvl.nn.lora import (
    LoraConfig,
    add_lora,
    has_lora,
    lora_layers,
    lora_parameters,
    merge_lora,
    merged_lora,
)
from internvl.nn.lora_linear import LoraLinear, LoraPart, plain_linear

EVERYWHERE = {"decoder": "all-linear", "vision": "all-linear", "projector": "all-linear"}
FAMILIES = ("qwen2", "internlm2", "phi3", "gpt_oss", "qwen3_moe")


def asked():
    generator = torch.Generator().manual_seed(3)
    input_ids = torch.randint(6, 80, (2, 12), generator=generator)
    input_ids[:, 2:6] = IMAGE_TOKEN_ID
    return input_ids, torch.randn(2, 3, 56, 56, generator=generator)


def adapted(family="qwen2", *, changed=True, **config):
    """A model with adapters, random ones if `changed`."""
    model = tiny_model(family)
    add_lora(model, LoraConfig(**{"r": 4, "alpha": 8, **EVERYWHERE, **config}))
    if changed:
        generator = torch.Generator().manual_seed(4)
        with torch.no_grad():
            for parameter in lora_parameters(model):
                parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


@pytest.mark.parametrize("use_dora", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_fresh_adapter_changes_nothing(family, use_dora):
    expected = tiny_model(family)(*asked())
    model = adapted(family, changed=False, use_dora=use_dora)
    torch.testing.assert_close(model(*asked()), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("use_dora", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_merged_equals_unmerged_and_is_a_plain_model(family, use_dora):
    model, plain = adapted(family, use_dora=use_dora), tiny_model(family)
    with torch.no_grad():
        expected, base = model(*asked()), plain(*asked())
        merge_lora(model)
        found = model(*asked())
    assert (expected - base).abs().max() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert not has_lora(model)
    assert {name: p.shape for name, p in model.named_parameters()} == {
        name: p.shape for name, p in plain.named_parameters()
    }


def test_a_model_merged_for_a_while_is_itself_again_afterwards():
    model = adapted()
    before = {name: parameter.clone() for name, parameter in model.state_dict().items()}
    with torch.no_grad():
        expected = model(*asked())
        with merged_lora(model):
            assert not has_lora(model)
            torch.testing.assert_close(model(*asked()), expected, rtol=1e-4, atol=1e-4)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_part_changes_its_own_outputs_only_and_by_alpha_over_r():
    generator = torch.Generator().manual_seed(0)
    weight, a, b = (torch.randn(*shape, generator=generator) for shape in ((10, 6), (2, 6), (3, 2)))
    layer = LoraLinear(plain_linear(weight, None), {"k": LoraPart(a, b, start=4, alpha=6)})
    x = torch.randn(5, 6, generator=generator)
    expected = x @ weight.T
    expected[:, 4:7] += 3.0 * (x @ a.T @ b.T)
    torch.testing.assert_close(layer(x), expected)


def test_rank_stabilised_adapters_count_alpha_over_the_root_of_r():
    part = LoraPart(torch.zeros(16, 4), torch.zeros(4, 16), start=0, alpha=8, use_rslora=True)
    assert part.scale == 2.0


def test_dora_gives_each_output_the_length_that_its_magnitude_says():
    model = adapted(use_dora=True)
    for layer in lora_layers(model).values():
        merged = layer.merged().weight
        for part in layer.ordered_parts():
            lengths = merged[part.start : part.stop].norm(dim=1)
            torch.testing.assert_close(lengths, part.magnitude.abs(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("use_dora", [False, True])
def test_dropout_is_for_training_only(use_dora):
    model = adapted(dropout=0.5, use_dora=use_dora)
    with torch.no_grad():
        assert torch.equal(model(*asked()), model(*asked()))
        model.train()
        torch.manual_seed(0)
        assert not torch.equal(model(*asked()), model(*asked()))


@pytest.mark.parametrize("use_dora", [False, True])
def test_only_adapters_require_gradients_and_all_of_them_get_one(use_dora):
    model = adapted(use_dora=use_dora).train()
    model(*asked()).square().mean().backward()
    mine = {id(parameter) for parameter in lora_parameters(model)}
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (id(parameter) in mine), name
        assert (parameter.grad is not None) == (id(parameter) in mine), name
        assert parameter.grad is None or parameter.grad.abs().sum() > 0, name


def test_the_gradient_is_that_of_the_merged_weight():
    """d loss / dA = scale * B^T (d loss / dW), and for B alike."""
    model, plain = adapted(decoder=["k"], vision=(), projector=()), None
    model(*asked()).square().mean().backward()
    layer = model.decoder.layers[0].attention.qkv
    plain = adapted(decoder=["k"], vision=(), projector=())
    merge_lora(plain)
    weight = plain.decoder.layers[0].attention.qkv.weight.requires_grad_()
    plain(*asked()).square().mean().backward()
    part = layer.parts["k"]
    rows = weight.grad[part.start : part.stop]
    torch.testing.assert_close(part.lora_a.grad, part.scale * part.lora_b.T @ rows, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(part.lora_b.grad, part.scale * rows @ part.lora_a.T, rtol=1e-3, atol=1e-5)


def test_the_same_generator_gives_the_same_adapter_and_leaves_the_global_one_alone():
    first, second = tiny_model("qwen2"), tiny_model("qwen2")
    state = torch.random.get_rng_state()
    for model in (first, second):
        add_lora(model, LoraConfig(**EVERYWHERE))
    assert torch.equal(torch.random.get_rng_state(), state)
    pairs = zip(lora_parameters(first), lora_parameters(second), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def places(**config):
    model = tiny_model("qwen2")
    add_lora(model, LoraConfig(decoder=config.pop("decoder", ()), **config))
    return {f"{name}:{part}" for name, layer in lora_layers(model).items() for part in layer.parts}


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (["q", "v"], {"attention.qkv:q", "attention.qkv:v"}),
        (["q_proj", "o_proj"], {"attention.qkv:q", "attention.out:out"}),
        (["attention.qkv"], {"attention.qkv:q", "attention.qkv:k", "attention.qkv:v"}),
        (["mlp.*"], {"mlp.gate_up:gate", "mlp.gate_up:up", "mlp.down:down"}),
        (r".*\.(gate|down)_proj", {"mlp.gate_up:gate", "mlp.down:down"}),
    ],
)
def test_targets_are_understood_in_our_names_and_in_those_of_others(targets, expected):
    assert places(decoder=targets) == {f"decoder.layers.{n}.{place}" for n in range(2) for place in expected}


def test_a_single_layer_can_be_named_and_other_sections_too():
    assert places(decoder=["layers.1.attention.out"]) == {"decoder.layers.1.attention.out:out"}
    assert places(vision=["fc1"], projector="all-linear") == {
        "vision.layers.0.mlp.fc1:fc1",
        "vision.layers.1.mlp.fc1:fc1",
        "projector.fc1:fc1",
        "projector.fc2:fc2",
    }


def test_parts_of_the_model_may_have_ranks_of_their_own_and_count_alike():
    model = adapted(ranks={"vision": 2})
    parts = {name: layer.ordered_parts()[0] for name, layer in lora_layers(model).items()}
    for name, part in parts.items():
        assert part.rank == (2 if name.startswith("vision.") else 4)
        assert part.scale == 2.0


def test_phi3_has_one_adapter_for_its_fused_weights_as_its_files_do():
    model = adapted("phi3")
    assert list(model.decoder.layers[0].attention.qkv.parts) == ["qkv"]
    assert list(model.decoder.layers[0].mlp.gate_up.parts) == ["gate_up"]
    assert list(model.vision.layers[0].attention.qkv.parts) == ["q", "k", "v"]


def test_layers_behind_the_selected_one_get_no_adapter():
    model = tiny_model("qwen2", select_layer=-2)
    add_lora(model, LoraConfig(**EVERYWHERE))
    assert not any(name.startswith("vision.layers.1.") for name in lora_layers(model))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"decoder": ["q_prj"]}, "q_proj"),
        ({"decoder": ()}, "names no layer"),
        ({"decoder": ["lm_head"]}, "shares"),
    ],
)
def test_a_target_that_cannot_be_adapted_is_refused_by_name(config, words):
    model = tiny_model("qwen2", text={"tie_embeddings": True})
    with pytest.raises(ConfigError, match=words):
        add_lora(model, LoraConfig(**config))
    assert not has_lora(model)


@pytest.mark.parametrize(
    "config", [{"r": 0}, {"ranks": {"tower": 4}}, {"alpha": 0}, {"dropout": 1.0}, {"quantize": "int3"}]
)
def test_a_configuration_that_cannot_be_right_is_refused(config):
    with pytest.raises(ConfigError, match=next(iter(config))):
        LoraConfig(**config)


def test_adapters_are_not_put_on_twice():
    with pytest.raises(ConfigError, match="merge"):
        add_lora(adapted(), LoraConfig())

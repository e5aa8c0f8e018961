"""QLoRA's base: the numbers of the serving kernel's format, and gradients that are those of the unpacked weight."""

import pytest
import torch
from torch import nn

from fakes import IMAGE_TOKEN_ID, tiny_model
from internvl.errors import ConfigError
from internvl.nn.int4_base import Int4Base
from internvl.nn.lora import LoraConfig, add_lora, lora_parameters, merge_lora
from internvl.nn.packed import Int4Linear


def linear(K=64, N=128, dtype=torch.float32):
    torch.manual_seed(0)
    return nn.Linear(K, N).requires_grad_(False).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_stored_weight_is_the_one_that_is_served(dtype):
    plain = linear(dtype=dtype)
    assert torch.equal(Int4Base(plain).dense(), Int4Linear(plain).unpacked(dtype))


def test_the_product_and_its_gradient_are_those_of_the_unpacked_weight():
    base = Int4Base(linear())
    x = torch.randn(3, 5, 64, requires_grad=True)
    other = x.detach().clone().requires_grad_()
    found, expected = base(x), base.to_linear()(other)
    torch.testing.assert_close(found, expected)
    direction = torch.randn_like(found)
    found.backward(direction)
    expected.backward(direction)
    torch.testing.assert_close(x.grad, other.grad)


def test_the_weight_takes_five_bits_and_travels_with_the_module():
    base = Int4Base(linear(K=256, N=256, dtype=torch.bfloat16))
    size = sum(buffer.nbytes for name, buffer in base.named_buffers() if name != "bias")
    assert size * 8 == 256 * 256 * 5
    assert not list(base.parameters())
    other = Int4Base(nn.Linear(256, 256, dtype=torch.bfloat16))
    other.load_state_dict(base.state_dict())
    assert torch.equal(other.dense(), base.dense())


def asked():
    input_ids = torch.arange(6, 18)[None].clone()
    input_ids[:, 2:6] = IMAGE_TOKEN_ID
    return input_ids, torch.randn(1, 3, 56, 56, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("use_dora", [False, True])
def test_adapters_learn_what_they_would_on_the_unpacked_base(use_dora):
    config = {"r": 4, "use_dora": use_dora, "dropout": 0.0}
    quantised = tiny_model("qwen2")
    add_lora(quantised, LoraConfig(**config, quantize="int4"))
    base = tiny_model("qwen2")
    for name, module in quantised.named_modules():  # the same numbers in full
        if isinstance(module, Int4Base):
            base.get_submodule(name.removesuffix(".base")).weight.data = module.dense()
    add_lora(base, LoraConfig(**config))
    for model in (quantised, base):
        generator = torch.Generator().manual_seed(2)
        with torch.no_grad():
            for parameter in lora_parameters(model):
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
        model(*asked()).square().mean().backward()
    for one, other in zip(lora_parameters(quantised), lora_parameters(base), strict=True):
        assert one.grad.abs().sum() > 0
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-6)


def test_a_merged_model_is_plain_and_gives_the_same():
    model = tiny_model("qwen2")
    add_lora(model, LoraConfig(r=4, decoder=["q", "down"], quantize="int4"))
    with torch.no_grad():
        for parameter in lora_parameters(model):
            parameter += 0.1
        expected = model(*asked())
        merge_lora(model)
        torch.testing.assert_close(model(*asked()), expected, rtol=1e-4, atol=1e-4)
    plain = tiny_model("qwen2")
    assert model.state_dict().keys() == plain.state_dict().keys()


def test_a_mixture_of_experts_is_refused_and_left_as_it_was():
    model = tiny_model("qwen3_moe")
    with pytest.raises(ConfigError, match="experts"):
        add_lora(model, LoraConfig(quantize="int4"))

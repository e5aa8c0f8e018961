"""Adapters of the installed peft on transformers' model give the same logits here, and ours there."""

import pytest
import torch

from internvl.checkpoint.adapters_peft import load_adapter, save_adapter
from internvl.checkpoint.load import load_model
from internvl.nn.lora import LoraConfig, add_lora, lora_parameters, merge_lora
from peer_models import IMAGE_TOKEN_ID, peer_of

peft = pytest.importorskip("peft")

pytestmark = [pytest.mark.parity, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

CASES = ("qwen2_tied", "phi3", "qwen3", "gpt_oss", "qwen3_moe")


def asked():
    generator = torch.Generator().manual_seed(2)
    input_ids = torch.randint(6, 80, (2, 20), generator=generator)
    input_ids[:, 3:7] = IMAGE_TOKEN_ID
    return input_ids, torch.randn(2, 3, 56, 56, generator=generator)


def logits_of(peer):
    input_ids, pixel_values = asked()
    with torch.inference_mode():
        return peer(input_ids=input_ids, pixel_values=pixel_values).logits


def ours(model):
    with torch.inference_mode():
        return model(*asked())


def disturb(parameters):
    """Random adapters that matter."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in parameters:
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": "all-linear"},
        {"target_modules": "all-linear", "use_dora": True},
        {"target_modules": ["q_proj", "up_proj", "qkv_proj"], "use_rslora": True},
        {
            "target_modules": r".*language_model.*\.(q_proj|o_proj|down_proj)",
            "rank_pattern": {"o_proj": 2},
            "alpha_pattern": {"layers.1.self_attn.o_proj": 3},
        },
        {"target_modules": ["o_proj"], "modules_to_save": ["multi_modal_projector"]},
    ],
    ids=["all", "dora", "rslora", "patterns", "saved"],
)
@pytest.mark.parametrize("case", CASES)
def test_an_adapter_of_peft_gives_the_same_logits_here(case, options, tmp_path):
    peer = peer_of(case)
    peer.save_pretrained(tmp_path / "base")
    base = logits_of(peer)
    wrapped = peft.get_peft_model(peer, peft.LoraConfig(r=4, lora_alpha=8, **options)).eval()
    disturb(parameter for parameter in wrapped.parameters() if parameter.requires_grad)
    wrapped.save_pretrained(tmp_path / "adapter")
    expected = logits_of(wrapped)
    assert (expected - base).abs().max() > 0.1
    model = load_model(tmp_path / "base")
    load_adapter(model, tmp_path / "adapter")
    torch.testing.assert_close(ours(model), expected, rtol=1e-3, atol=2e-4)
    merge_lora(model)
    torch.testing.assert_close(ours(model), expected, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"decoder": "all-linear", "vision": "all-linear", "projector": "all-linear"},
        {"decoder": ["attention.qkv", "out"], "vision": ["v"], "use_dora": True},
        {"decoder": ["layers.1.*"], "use_rslora": True},
        {"decoder": ["out"], "projector": "whole"},
    ],
    ids=["all", "dora", "rslora", "saved"],
)
@pytest.mark.parametrize("case", CASES)
def test_an_adapter_of_ours_gives_the_same_logits_in_peft(case, options, tmp_path):
    peer = peer_of(case)
    peer.save_pretrained(tmp_path / "base")
    model = load_model(tmp_path / "base")
    base = ours(model)
    whole = options.get("projector") == "whole"
    targets = options | ({"projector": ()} if whole else {})
    add_lora(model, LoraConfig(r=4, alpha=8, **targets))
    trained = lora_parameters(model)
    if whole:
        model.projector.requires_grad_()
        trained += list(model.projector.parameters())
    disturb(trained)
    save_adapter(model, tmp_path / "adapter")
    expected = ours(model.eval())
    assert (expected - base).abs().max() > 0.1
    wrapped = peft.PeftModel.from_pretrained(peer, tmp_path / "adapter").eval()
    torch.testing.assert_close(logits_of(wrapped), expected, rtol=1e-3, atol=2e-4)
    again = load_model(tmp_path / "base")
    load_adapter(again, tmp_path / "adapter")
    torch.testing.assert_close(ours(again), expected, rtol=1e-4, atol=1e-5)

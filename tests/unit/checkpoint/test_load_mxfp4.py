import pytest
import torch
from safetensors.torch import save_file

from fakes import IMAGE_TOKEN_ID, tiny_model
from internvl.checkpoint.adapters import unwrap_names
from internvl.checkpoint.key_maps import links
from internvl.checkpoint.load import fill, parameter_shapes
from internvl.checkpoint.mxfp4 import packed_shape, unpack_expert
from internvl.checkpoint.shards import open_shards
from internvl.config.model import MoEConfig
from internvl.models.internvl import InternVLModel


def test_two_numbers_a_byte_low_half_first():
    blocks = torch.zeros(1, 1, 16, dtype=torch.uint8)
    blocks[0, 0, 0] = 0x2 | 0xF << 4  # 1.0 and -6.0
    found = unpack_expert(blocks, torch.tensor([[127]], dtype=torch.uint8))
    assert found.shape == (32, 1)
    assert found[:3, 0].tolist() == [1.0, -6.0, 0.0]


@pytest.mark.parametrize(("scale", "factor"), [(127, 1.0), (130, 8.0), (125, 0.25)])
def test_a_block_shares_a_power_of_two(scale, factor):
    blocks = torch.full((1, 2, 16), 0x22, dtype=torch.uint8)
    found = unpack_expert(blocks, torch.tensor([[scale, 127]], dtype=torch.uint8))
    assert found[:, 0].tolist() == [factor] * 32 + [1.0] * 32


def test_the_weight_is_input_major():
    assert packed_shape((4, 10, 3, 16)) == (4, 96, 10)


def test_packed_experts_load_beside_plain_tensors(tmp_path):
    """A GPT-OSS whose gate_up is packed: 2 experts, 32 channels in, 2 * 16 out."""
    model = tiny_model(
        "gpt_oss", text={"moe": MoEConfig(num_experts=2, num_experts_per_token=1, intermediate_size=16)}
    )
    parameters = dict(model.named_parameters())
    wanted = links(parameter_shapes(model), model.config.text, "github")
    tensors = {link.stored: link.view(parameters[link.ours].detach()).clone() for link in wanted}
    generator = torch.Generator().manual_seed(0)
    name = "language_model.model.layers.1.mlp.experts.gate_up_proj"
    blocks = torch.randint(0, 256, (2, 32, 1, 16), dtype=torch.uint8, generator=generator)
    scales = torch.randint(120, 130, (2, 32, 1), dtype=torch.uint8, generator=generator)
    del tensors[name]
    save_file(tensors | {f"{name}_blocks": blocks, f"{name}_scales": scales}, tmp_path / "model.safetensors")
    with torch.device("meta"):
        again = InternVLModel(model.config, image_token_id=IMAGE_TOKEN_ID)
    with open_shards(tmp_path) as shards:
        fill(
            again,
            wanted,
            shards,
            unwrap_names(shards),
            dtype="auto",
            device=torch.device("cpu"),
            where="here",
        )
    expected = torch.stack([unpack_expert(blocks[i], scales[i]) for i in range(2)])
    assert torch.equal(again.decoder.layers[1].mlp.gate_up, expected)
    assert torch.equal(again.decoder.layers[0].mlp.gate_up, model.decoder.layers[0].mlp.gate_up)

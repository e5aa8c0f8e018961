"""Initial weights for training from scratch: the one place that decides them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from internvl.models.decoder import Decoder, DecoderLayer
from internvl.models.gpt_oss import GptOssMLP
from internvl.models.vit import Block, InternViT
from internvl.nn.attention import Attention
from internvl.nn.mlp import GatedMLP
from internvl.nn.moe import MixtureMLP
from internvl.nn.norm import RMSNorm

#: Standard deviation of every weight matrix and embedding (the references' `initializer_range`).
STD = 0.02


@torch.no_grad()
def init_weights(model: nn.Module, generator: torch.Generator) -> None:
    """Set every parameter of `model`, drawing from `generator` in the order of its modules.

    Matrices and embeddings are normal with std 0.02, those that end a residual branch divided by sqrt(2 *
    layers); norms start at 1, biases and sinks at 0, layer scales at the config's `layer_scale_init`.
    """

    def normal(tensor: Tensor, std: float = STD) -> None:
        tensor.copy_(torch.empty(tensor.shape, dtype=torch.float32).normal_(0.0, std, generator=generator))

    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.zero_()
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.Embedding):
            normal(module.weight)
        elif isinstance(module, nn.LayerNorm | RMSNorm):
            module.weight.fill_(1.0)
        elif isinstance(module, MixtureMLP | GptOssMLP):
            normal(module.gate_up)
            normal(module.down)
        elif isinstance(module, Attention) and module.sinks is not None:
            module.sinks.zero_()
        elif isinstance(module, InternViT):
            normal(module.class_embedding)
            normal(module.position_embedding)
            for block in module.layers:
                assert isinstance(block, Block)
                block.scale1.fill_(module.config.layer_scale_init)
                block.scale2.fill_(module.config.layer_scale_init)
    for module in model.modules():
        if isinstance(module, Decoder | InternViT):
            for layer in module.layers:
                for weight in branch_ends(layer):
                    weight.mul_((2 * len(module.layers)) ** -0.5)


def branch_ends(layer: nn.Module) -> list[Tensor]:
    """The weights whose products are added to the residual stream."""
    if isinstance(layer, Block):
        return [layer.attention.out.weight, layer.mlp.fc2.weight]
    assert isinstance(layer, DecoderLayer)
    mlp = layer.mlp
    if isinstance(mlp, GatedMLP):
        return [layer.attention.out.weight, mlp.down.weight]
    assert isinstance(mlp, MixtureMLP | GptOssMLP)
    return [layer.attention.out.weight, mlp.down]

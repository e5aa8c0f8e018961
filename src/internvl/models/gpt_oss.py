"""GPT-OSS: attention sinks and alternating windows come from `TextConfig`; its experts differ in their maths.

Legend: `S` tokens of the call, flat; `E` experts, `k` experts per token, `I` expert width, `D` width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from internvl.config.model import TextConfig
from internvl.models.decoder import Decoder, DecoderLayer
from internvl.nn.moe import dispatch

#: Slope inside the sigmoid of the gate (OpenAI's model card).
SIGMOID_SLOPE = 1.702


class GptOssDecoder(Decoder):
    """The decoder with clamped-SwiGLU experts in every layer."""

    def make_layer(self, layer: int) -> DecoderLayer:
        """One layer with GPT-OSS's mixture."""
        return DecoderLayer(self.config, layer, GptOssMLP(self.config))


class GptOssMLP(nn.Module):
    """Top-k experts, softmax over the chosen k; weights input-major, gate and up interleaved."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        moe = config.moe
        assert moe is not None, "GPT-OSS needs TextConfig.moe"
        D, E, width = config.hidden_size, moe.num_experts, moe.intermediate_size
        self.num_experts_per_token = moe.num_experts_per_token
        self.limit = config.swiglu_limit
        self.router = nn.Linear(D, E)
        self.gate_up = nn.Parameter(torch.empty(E, D, 2 * width))
        self.gate_up_bias = nn.Parameter(torch.empty(E, 2 * width))
        self.down = nn.Parameter(torch.empty(E, width, D))
        self.down_bias = nn.Parameter(torch.empty(E, D))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        tokens = x.flatten(0, 1)  # (S, D)
        scores, experts = self.router(tokens).topk(self.num_experts_per_token, dim=-1)  # (S, k)
        weights = scores.softmax(dim=-1)
        return dispatch(tokens, experts, weights, self.expert).view_as(x)

    def expert(self, index: int, tokens: Tensor) -> Tensor:
        """One expert on the tokens routed to it, (s, D) -> (s, D)."""
        gate_up = tokens @ self.gate_up[index] + self.gate_up_bias[index]  # (s, 2 * I)
        gate, up = gate_up[..., ::2], gate_up[..., 1::2]
        if self.limit is not None:
            gate = gate.clamp(max=self.limit)
            up = up.clamp(min=-self.limit, max=self.limit)
        hidden = (up + 1) * gate * torch.sigmoid(gate * SIGMOID_SLOPE)
        return hidden @ self.down[index] + self.down_bias[index]

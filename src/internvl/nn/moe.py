"""Mixture of experts as Qwen3-MoE has it: softmax over all experts, then the best k.

Legend: `S` tokens of the call, flat; `E` experts, `k` experts per token, `I` expert width, `D` width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internvl.config.model import MoEConfig, TextConfig


class MixtureMLP(nn.Module):
    """Routed gated MLPs; expert e's weights are `gate_up[e]` (gate rows first) and `down[e]`."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        moe = _moe(config)
        D, E, width = config.hidden_size, moe.num_experts, moe.intermediate_size
        self.num_experts_per_token = moe.num_experts_per_token
        self.norm_topk_prob = moe.norm_topk_prob
        self.router = nn.Linear(D, E, bias=False)
        self.gate_up = nn.Parameter(torch.empty(E, 2 * width, D))
        self.down = nn.Parameter(torch.empty(E, D, width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        tokens = x.flatten(0, 1)  # (S, D)
        probabilities = F.softmax(self.router(tokens), dim=-1, dtype=torch.float32)  # (S, E)
        weights, experts = probabilities.topk(self.num_experts_per_token, dim=-1)  # (S, k)
        if self.norm_topk_prob:
            weights = weights / weights.sum(dim=-1, keepdim=True)
        return dispatch(tokens, experts, weights.to(x.dtype), self.expert).view_as(x)

    def expert(self, index: int, tokens: Tensor) -> Tensor:
        """One expert's MLP on the tokens routed to it, (s, D) -> (s, D)."""
        gate, up = F.linear(tokens, self.gate_up[index]).chunk(2, dim=-1)
        return F.linear(F.silu(gate) * up, self.down[index])


def dispatch(tokens: Tensor, experts: Tensor, weights: Tensor, expert) -> Tensor:  # noqa: ANN001
    """Sum the weighted outputs of each token's experts.

    tokens (S, D), experts and weights (S, k); `expert(index, (s, D)) -> (s, D)` runs once per expert in use.
    """
    out = torch.zeros_like(tokens)
    for index in experts.unique().tolist():
        token, slot = torch.where(experts == index)
        out = out.index_add(0, token, expert(index, tokens[token]) * weights[token, slot, None])
    return out


def _moe(config: TextConfig) -> MoEConfig:
    assert config.moe is not None, "a mixture layer needs TextConfig.moe"
    return config.moe

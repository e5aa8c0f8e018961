"""The language model: embeddings -> hidden states -> logits, for every Llama-shaped family.

Llama, Yi, InternLM2/2.5/3, Qwen2/2.5, Qwen3, Qwen3-MoE and Phi-3 differ only by fields of `TextConfig`;
GPT-OSS (`models.gpt_oss`) brings another mixture of experts. Legend: `B` sequences, `T` tokens, `D` width,
`V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from internvl.config.model import TextConfig
from internvl.nn.attention import Attention, AttentionPlan
from internvl.nn.kv_cache import KVCache
from internvl.nn.mlp import GatedMLP
from internvl.nn.moe import MixtureMLP
from internvl.nn.norm import RMSNorm
from internvl.nn.recompute import Recompute, run_layer
from internvl.nn.rope import Rope


class Decoder(nn.Module):
    """Pre-norm transformer with causal attention."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.recompute: Recompute = False
        # nn.Embedding(V, D) draws a start of its own, which on the meta device imports the compiler (2 s).
        table = torch.empty(config.vocab_size, config.hidden_size)
        self.embed = nn.Embedding.from_pretrained(table, freeze=False)
        self.layers = nn.ModuleList(self.make_layer(layer) for layer in range(config.num_layers))
        self.norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.rope = Rope(config)
        self.tie_weights()

    def tie_weights(self) -> None:
        """Let the output use the input embeddings where the config says so."""
        if self.config.tie_embeddings:
            self.lm_head.weight = self.embed.weight

    def make_layer(self, layer: int) -> DecoderLayer:
        """One layer; families with another MLP override this."""
        config = self.config
        mlp: nn.Module
        if config.is_moe(layer):
            mlp = MixtureMLP(config)
        else:
            mlp = GatedMLP(config.hidden_size, config.intermediate_size, bias=config.mlp_bias)
        return DecoderLayer(config, layer, mlp)

    def forward(
        self,
        inputs_embeds: Tensor,
        *,
        attention_mask: Tensor | None = None,
        kv_cache: KVCache | None = None,
        rows: Tensor | Sequence[int] | None = None,
        num_new: Sequence[int] | None = None,
        cu_seqlens: Tensor | None = None,
    ) -> Tensor:
        """Embeddings (B, T, D) -> hidden states (B, T, D) after the final norm; `lm_head` turns these into
        logits.

        Without a cache, `attention_mask` (B, T) is 0 at padding, on either side. With one, the T tokens of
        each sequence are appended to its row (`rows` (B,), default 0..B-1) and attend to what is stored and
        to themselves; rows may hold different lengths. Sequences with different numbers of new tokens are
        packed: `inputs_embeds` (1, S, D) holds `num_new[i]` tokens of `rows[i]` one after the other. Padding
        and a cache exclude each other.

        Documents packed into one row (B = 1) for training say by `cu_seqlens` (documents + 1,), from 0 to T,
        where each begins: positions start again there, and no token sees another document.
        """
        B, T, _ = inputs_embeds.shape
        device = inputs_embeds.device
        x = inputs_embeds
        if cu_seqlens is not None:
            if kv_cache is not None or attention_mask is not None or B != 1:
                raise ValueError(
                    f"cu_seqlens describe one row without padding or cache; got {B} rows"
                    f"{', attention_mask' if attention_mask is not None else ''}"
                    f"{', kv_cache' if kv_cache is not None else ''}"
                )
            plan = AttentionPlan.packed(self.rope, cu_seqlens, T, device)
        elif kv_cache is None:
            plan = AttentionPlan.uncached(self.rope, B, T, attention_mask, device)
        else:
            if attention_mask is not None and not bool(attention_mask.all()):
                raise ValueError(
                    "a padded attention_mask cannot be combined with kv_cache: prefill rows one by one"
                )
            row_list = list(range(B)) if rows is None else [int(row) for row in rows]
            counts = [T] * B if num_new is None else list(num_new)
            if len(row_list) != len(counts) or sum(counts) != B * T:
                raise ValueError(
                    f"inputs_embeds hold {B} x {T} tokens, num_new {counts}, for {len(row_list)} rows"
                )
            plan = AttentionPlan.cached(self.rope, kv_cache, row_list, counts, device)
            x = x.reshape(1, B * T, -1)
        plan.cos, plan.sin = plan.cos.to(x.dtype), plan.sin.to(x.dtype)  # once, not in each layer
        for layer in self.layers:
            x = run_layer(layer, x, plan, recompute=self.recompute)
        if kv_cache is not None:
            kv_cache.advance(row_list, counts)
        return self.norm(x).view(B, T, -1)


class DecoderLayer(nn.Module):
    """x += attention(norm(x)); x += mlp(norm(x))."""

    def __init__(self, config: TextConfig, layer: int, mlp: nn.Module) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.attention = Attention(config, layer)
        self.mlp_norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.mlp = mlp

    def forward(self, x: Tensor, plan: AttentionPlan) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        x = x + self.attention(self.attention_norm(x), plan)
        return x + self.mlp(self.mlp_norm(x))


def make_decoder(config: TextConfig) -> Decoder:
    """The decoder class of this family."""
    if config.family == "gpt_oss":
        from internvl.models.gpt_oss import GptOssDecoder

        return GptOssDecoder(config)
    return Decoder(config)


def set_attention(model: nn.Module, kind: str) -> None:
    """Choose the attention kernel ("sdpa" or "flash") of every decoder layer in `model`."""
    for module in model.modules():
        if isinstance(module, Attention):
            module.kind = kind  # type: ignore[assignment]

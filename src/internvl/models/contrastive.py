"""InternVL-C and InternVL-G: pictures and texts in one space (InternVL, arXiv:2312.14238, section 3).

Two towers: InternViT, and QLLaMA, a Llama whose every second layer lets its first `Q` positions, learned
query tokens, attend to the vision tower. C compares the pooled vision features with the text; G adds the
pooled query outputs.

Letters: `B` pictures or texts, `Q` query tokens, `T` tokens, `P` patches + class token, `C` vision width,
`D` text width, `E` shared space. Called by retrieval and zero-shot classification.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internvl.config.model import ContrastiveConfig, TextConfig
from internvl.models.vit import InternViT
from internvl.nn.mlp import GatedMLP
from internvl.nn.norm import RMSNorm
from internvl.nn.rope import Rope, rotate


def _split_heads(x: Tensor, num_heads: int) -> Tensor:
    batch, length, _ = x.shape
    return x.view(batch, length, num_heads, -1).transpose(1, 2)  # (B, T, D) -> (B, H, T, Dh)


def _join_heads(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)  # (B, H, T, Dh) -> (B, T, D)


class AttentionPool(nn.Module):
    """One vector from many: the mean of all tokens asks, all tokens answer."""

    def __init__(self, hidden_size: int, out_size: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q_norm, self.k_norm, self.v_norm = (nn.LayerNorm(hidden_size, eps=1e-5) for _ in range(3))
        self.q, self.k, self.v = (nn.Linear(hidden_size, hidden_size) for _ in range(3))
        self.proj = nn.Linear(hidden_size, out_size)

    def forward(self, x: Tensor) -> Tensor:
        """(B, P, C) -> (B, E). The mean counts the class token."""
        q = _split_heads(self.q(self.q_norm(x.mean(1, keepdim=True))), self.num_heads)
        k = _split_heads(self.k(self.k_norm(x)), self.num_heads)
        v = _split_heads(self.v(self.v_norm(x)), self.num_heads)
        return self.proj(_join_heads(F.scaled_dot_product_attention(q, k, v))).squeeze(1)


class CrossAttention(nn.Module):
    """Query tokens look at the picture; no positions, residual inside."""

    def __init__(self, hidden_size: int, vision_size: int, num_heads: int, norm_eps: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query_norm = RMSNorm(hidden_size, norm_eps)
        self.vision_norm = RMSNorm(vision_size, norm_eps)
        self.q = nn.Linear(hidden_size, hidden_size, bias=False)
        self.k = nn.Linear(vision_size, hidden_size, bias=False)
        self.v = nn.Linear(vision_size, hidden_size, bias=False)
        self.o = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(self, queries: Tensor, vision_hidden: Tensor) -> Tensor:
        """(B, Q, D), (B, P, C) -> (B, Q, D)."""
        vision_hidden = self.vision_norm(vision_hidden)
        q = _split_heads(self.q(self.query_norm(queries)), self.num_heads)
        k = _split_heads(self.k(vision_hidden), self.num_heads)
        v = _split_heads(self.v(vision_hidden), self.num_heads)
        return queries + self.o(_join_heads(F.scaled_dot_product_attention(q, k, v)))


class QLlamaLayer(nn.Module):
    """Self-attention, on some layers cross-attention for the first positions, gated MLP."""

    def __init__(self, config: TextConfig, vision_size: int | None) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.attn_norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.q, self.k, self.v, self.o = (
            nn.Linear(config.hidden_size, config.hidden_size, bias=False) for _ in range(4)
        )
        self.cross = (
            None
            if vision_size is None
            else CrossAttention(config.hidden_size, vision_size, config.num_heads, config.norm_eps)
        )
        self.mlp_norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.mlp = GatedMLP(config.hidden_size, config.intermediate_size)

    def forward(
        self,
        hidden: Tensor,
        mask: Tensor,
        cos_sin: tuple[Tensor, Tensor],
        vision_hidden: Tensor | None,
        num_query_tokens: int,
    ) -> Tensor:
        """(B, T, D) -> (B, T, D); `mask` (B or 1, 1, T, T) is True where a query may see a key."""
        x = self.attn_norm(hidden)
        q, k, v = (_split_heads(project(x), self.num_heads) for project in (self.q, self.k, self.v))
        q, k = rotate(q, *cos_sin), rotate(k, *cos_sin)
        hidden = hidden + self.o(_join_heads(F.scaled_dot_product_attention(q, k, v, attn_mask=mask)))
        if self.cross is not None and vision_hidden is not None:
            queries = self.cross(hidden[:, :num_query_tokens], vision_hidden)
            hidden = torch.cat((queries, hidden[:, num_query_tokens:]), dim=1)
        return hidden + self.mlp(self.mlp_norm(hidden))


class QLlama(nn.Module):
    """The text tower; with a picture its first positions are the query tokens."""

    def __init__(self, config: ContrastiveConfig) -> None:
        super().__init__()
        text, every = config.text, config.cross_attention_frequency
        self.num_query_tokens = config.num_query_tokens
        self.embed = nn.Embedding(text.vocab_size, text.hidden_size)
        self.layers = nn.ModuleList(
            QLlamaLayer(text, config.vision.hidden_size if index % every == 0 else None)
            for index in range(text.num_layers)
        )
        self.norm = RMSNorm(text.hidden_size, text.norm_eps)
        self.lm_head = nn.Linear(text.hidden_size, text.vocab_size, bias=False)
        self.rope = Rope(text)

    def forward(
        self, embeds: Tensor, *, key_mask: Tensor | None = None, vision_hidden: Tensor | None = None
    ) -> Tensor:
        """(B, T, D) -> (B, T, D) after the final norm.

        `key_mask` (B, T) is False at padding. Text is causal; query tokens, present iff `vision_hidden`
        is given, see each other both ways.
        """
        batch, length, _ = embeds.shape
        mask = torch.ones(length, length, dtype=torch.bool, device=embeds.device).tril()
        if vision_hidden is not None:
            mask[: self.num_query_tokens, : self.num_query_tokens] = True
        mask = mask[None, None]  # (1, 1, T, T)
        if key_mask is not None:
            mask = mask & key_mask[:, None, None, :]
        positions = torch.arange(length, device=embeds.device).expand(batch, -1)
        cos_sin = self.rope.cos_sin(positions)
        for layer in self.layers:
            embeds = layer(embeds, mask, cos_sin, vision_hidden, self.num_query_tokens)
        return self.norm(embeds)


class ContrastiveModel(nn.Module):
    """InternVL-C/G (InternVL-14B-224px): features, scores and captions."""

    def __init__(self, config: ContrastiveConfig) -> None:
        super().__init__()
        self.config = config
        text, vision = config.text, config.vision
        self.vision = InternViT(vision)
        self.qllama = QLlama(config)
        self.query_tokens = nn.Parameter(torch.empty(1, config.num_query_tokens, text.hidden_size))
        self.text_projection = nn.Parameter(torch.empty(text.hidden_size, config.embed_dim))
        self.vision_pool = AttentionPool(vision.hidden_size, config.embed_dim, config.pool_heads)
        self.query_pool = AttentionPool(text.hidden_size, config.embed_dim, config.pool_heads)
        self.itm_head = nn.Linear(text.hidden_size, 2)
        """Image-text matching, trained with the model; for fine-tuning, not used by the scores."""
        self.logit_scale = nn.Parameter(torch.empty(()))

    def image_features(self, pixel_values: Tensor, *, mode: str = "C") -> Tensor:
        """Encode pictures (B, 3, h, w) -> (B, E), not normalised, as InternVL-`mode` ("C" or "G")."""
        if mode not in ("C", "G"):
            raise ValueError(f"mode is {mode!r}; expected 'C' (vision tower) or 'G' (with query tokens)")
        vision_hidden = self.vision(pixel_values)  # (B, P, C)
        pooled = self.vision_pool(vision_hidden)
        if mode == "C":
            return pooled
        queries = self.qllama(self._queries(len(pixel_values)), vision_hidden=vision_hidden)  # (B, Q, D)
        return F.normalize(pooled, dim=-1) + F.normalize(self.query_pool(queries), dim=-1)

    def text_features(self, input_ids: Tensor) -> Tensor:
        """Texts (B, T), padded at the end with id 0, -> (B, E), taken at the last id, not normalised."""
        key_mask = input_ids > 0
        hidden = self.qllama(self.qllama.embed(input_ids), key_mask=key_mask)
        last = key_mask.sum(1) - 1
        return hidden[torch.arange(len(hidden), device=hidden.device), last] @ self.text_projection

    def logits_per_image(self, image_features: Tensor, text_features: Tensor) -> Tensor:
        """Score pictures (B, E) against texts (B', E) -> (B, B'); softmax over a row gives probabilities."""
        images, texts = F.normalize(image_features, dim=-1), F.normalize(text_features, dim=-1)
        return self.logit_scale.exp() * images @ texts.T

    def caption_ids(
        self, pixel_values: Tensor, input_ids: Tensor, *, max_new_tokens: int, eos_token_id: int
    ) -> list[int]:
        """Continue a prompt (1, T) about one picture (1, 3, h, w) greedily; returns the new ids.

        Uncached: captions are short, and the model is not meant for dialogue.
        """
        vision_hidden = self.vision(pixel_values)
        new_ids: list[int] = []
        embeds = torch.cat((self._queries(1), self.qllama.embed(input_ids)), dim=1)
        while len(new_ids) < max_new_tokens:
            hidden = self.qllama(embeds, vision_hidden=vision_hidden)
            next_id = self.qllama.lm_head(hidden[:, -1]).argmax(-1)  # (1,)
            new_ids.append(int(next_id))
            if new_ids[-1] == eos_token_id:
                break
            embeds = torch.cat((embeds, self.qllama.embed(next_id)[:, None]), dim=1)
        return new_ids

    def _queries(self, batch: int) -> Tensor:
        return self.query_tokens.expand(batch, -1, -1)

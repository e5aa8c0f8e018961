"""Attention as two products and a softmax in bfloat16: what a CPU with bfloat16 instructions computes fastest.

torch's flash attention does not reach the speed of such products there, least of all in its backward pass. Chosen by
`attention.attend`.

Legend: `B` sequences, `T` new tokens, `S` keys (stored and new), `H` query heads, `G` kv heads, `Dh` head dim.
"""

from __future__ import annotations

import torch
from torch import Tensor

from internvl.nn.device import has_fast_kernels

#: Rows of queries, and scores (elements), that `attend_by_products` works on at once where queries are causal.
CAUSAL_ROWS, CAUSAL_SCORES = 256, 2**23
#: Scores of whole heads at once where nothing is kept: few enough to stay in the caches. Ten tiles of 1,025 tokens, six
#: heads of 32: 45 instead of 81 ms a layer; one tile in a 1B model takes the same as before.
WHOLE_SCORES = 2**22
#: Most scores of one call that a training step keeps for its backward pass.
KEPT_SCORES = 2**26


def goes_by_products(q: Tensor, k: Tensor) -> bool:
    """Whether `attend_by_products` is the faster way: where a CPU multiplies in bfloat16, for many queries."""
    B, H, T, _ = q.shape
    if T < 32 or q.device.type != "cpu":
        return False
    if q.requires_grad and B * H * T * k.shape[2] > KEPT_SCORES:
        return False
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else q.dtype
    return dtype == torch.bfloat16 and has_fast_kernels(dtype, q.device)


def attend_by_products(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None = None, is_causal: bool = False
) -> Tensor:
    """q (B, H, T, Dh), k and v (B, G, S, Dh) -> (B, H, T, Dh), rounded as the references' eager attention is.

    Queries come in blocks; where they are causal, which a `mask` must be too, keys after a block are left out.
    """
    H, T, S = q.shape[1], q.shape[2], k.shape[2]
    G = k.shape[1]
    with torch.autocast("cpu", enabled=False):
        q, k, v = (x.to(torch.bfloat16) for x in (q * q.shape[-1] ** -0.5, k, v))
        q = q.unflatten(1, (G, H // G))  # queries of a group as rows of one product: keys are not copied
        if is_causal or mask is not None:
            size = min(CAUSAL_ROWS, max(32, CAUSAL_SCORES // (len(q) * H * S)))
            outs = []
            for start in range(0, T, size):
                stop = min(start + size, T)
                seen = S - T + stop
                part = None if mask is None else mask[..., start:stop, :seen]
                block = q[:, :, :, start:stop]
                outs.append(_product(block, k[:, :, :seen], v[:, :, :seen], mask=part, causal=mask is None))
            return torch.cat(outs, dim=2)
        if q.requires_grad:
            return _product(q, k, v)
        rows, groups = (max(1, WHOLE_SCORES // (heads * T * S)) for heads in (H, H // G))
        outs = []
        for some in zip(*(x.split(rows) for x in (q, k, v)), strict=True):
            heads = zip(*(x.split(groups, 1) for x in some), strict=True)
            outs.append(torch.cat([_product(*part) for part in heads], dim=1))
        return torch.cat(outs)


def _product(q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None = None, causal: bool = False) -> Tensor:
    """Scaled q (B, G, H/G, T, Dh), k and v (B, G, S, Dh) -> (B, H, T, Dh); `causal`: the T last of S tokens ask."""
    B, G, per, T, Dh = q.shape
    S = k.shape[2]
    scores = (q.reshape(B, G, per * T, Dh) @ k.transpose(-1, -2)).view(B, G, per, T, S)
    if mask is not None:
        scores = scores.masked_fill(~(mask[:, :, None] if mask.dim() == 4 else mask), float("-inf"))
    elif causal:
        scores[..., S - T :] += _after(T, scores)
    weights = scores.softmax(dim=-1).view(B, G, per * T, S)
    return (weights @ v).view(B, G * per, T, Dh)


def _after(rows: int, like: Tensor) -> Tensor:
    """(rows, rows): -inf where a token may not look, which is after itself."""
    return like.new_full((rows, rows), float("-inf")).triu_(1)

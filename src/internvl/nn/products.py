"""Attention as two products and a softmax in bfloat16: what a CPU with bfloat16 instructions computes fastest.

torch's flash attention does not reach the speed of such products there, least of all in its backward pass. Chosen by
`attention.attend`.

Legend: `B` sequences, `T` new tokens, `S` keys (stored and new), `H` query heads, `G` kv heads, `Dh` head dim.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from internvl.nn.device import has_fast_kernels

#: Rows of queries, and scores (elements), that `attend_by_products` works on at once where queries are causal.
CAUSAL_ROWS, CAUSAL_SCORES = 256, 2**23
#: Scores of whole heads at once where nothing is kept: few enough to stay in the caches. Ten tiles of 1,025 tokens, six
#: heads of 32: 45 instead of 81 ms a layer; one tile in a 1B model takes the same as before.
WHOLE_SCORES = 2**22
#: Scores of several short sequences at once while training.
TRAINED_SCORES = 2**24
#: Most scores of one call that a training step keeps for its backward pass.
KEPT_SCORES = 2**26


def goes_by_products(q: Tensor, k: Tensor, lengths: Sequence[int] = ()) -> bool:
    """Whether `attend_by_products` is the faster way: where a CPU multiplies in bfloat16, for many queries."""
    B, H, T, _ = q.shape
    if T < 32 or q.device.type != "cpu":
        return False
    num_scores = B * H * (sum(n * n for n in lengths) or T * k.shape[2])
    if q.requires_grad and num_scores > KEPT_SCORES:
        return False
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else q.dtype
    return dtype == torch.bfloat16 and has_fast_kernels(dtype, q.device)


def attend_by_products(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    mask: Tensor | None = None,
    is_causal: bool = False,
    lengths: Sequence[int] = (),
) -> Tensor:
    """q (B, H, T, Dh), k and v (B, G, S, Dh) -> (B, H, T, Dh), rounded as the references' eager attention is.

    Queries come in blocks; where they are causal, which a `mask` must be too, keys after a block are left out.
    `lengths`: the T tokens of one row are several documents, which do not see each other (without a mask).
    """
    T, S = q.shape[2], k.shape[2]
    wants_gradients = torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v))
    if wants_gradients and mask is None and T == S:
        out: Tensor = _WithGradients.apply(q, k, v, tuple(lengths) or (T,), is_causal)
        return out
    if len(lengths) > 1:
        parts = (x.split(list(lengths), dim=2) for x in (q, k, v))
        outs = [attend_by_products(*part, is_causal=is_causal) for part in zip(*parts, strict=True)]
        return torch.cat(outs, dim=2)
    H, G = q.shape[1], k.shape[1]
    with torch.autocast("cpu", enabled=False):
        q, k, v = (x.to(torch.bfloat16) for x in (q * q.shape[-1] ** -0.5, k, v))
        q = q.unflatten(1, (G, H // G))  # queries of a group as rows of one product: keys are not copied
        if is_causal or mask is not None:
            outs = []
            for start, stop in _blocks(0, T, len(q) * H * S):
                seen = S - T + stop
                part = None if mask is None else mask[..., start:stop, :seen]
                block = q[:, :, :, start:stop]
                outs.append(_product(block, k[:, :, :seen], v[:, :, :seen], mask=part, causal=mask is None))
            return torch.cat(outs, dim=2)
        rows, groups = (max(1, WHOLE_SCORES // (heads * T * S)) for heads in (H, H // G))
        outs = []
        for some in zip(*(x.split(rows) for x in (q, k, v)), strict=True):
            heads = zip(*(x.split(groups, 1) for x in some), strict=True)
            outs.append(torch.cat([_product(*part) for part in heads], dim=1))
        return torch.cat(outs)


def _blocks(first: int, last: int, scores_of_a_row: int) -> list[tuple[int, int]]:
    """Where blocks of causal queries begin and end, from `first` to `last`."""
    size = min(CAUSAL_ROWS, max(32, CAUSAL_SCORES // scores_of_a_row))
    return [(start, min(start + size, last)) for start in range(first, last, size)]


class _WithGradients(torch.autograd.Function):
    """`attend_by_products` of whole sequences for training: one step of the graph instead of twenty a document.

    Both passes go through the sequences piece by piece; weights are kept, (sequences x G, H/G x queries, keys) each.
    """

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, lengths: tuple[int, ...], is_causal: bool
    ) -> Tensor:
        """Shapes as in `attend_by_products`; `lengths` of the documents in a row, T in all."""
        ctx.dtypes = (q.dtype, k.dtype, v.dtype)
        B, H, T, Dh = q.shape
        G = k.shape[1]
        with torch.autocast("cpu", enabled=False):
            scaled = torch.mul(q, Dh**-0.5, out=q.new_empty(q.shape, dtype=torch.bfloat16))
            queries = scaled.view(B, G, H // G, T, Dh)
            k, v = (x.to(torch.bfloat16).contiguous() for x in (k, v))
            out = torch.empty_like(queries)
            kept = []
            for rows, asking, seen in _pieces(B, H, lengths, is_causal):
                keys, values = (x[rows, :, seen].flatten(0, 1) for x in (k, v))  # (n x G, S, Dh)
                block = queries[rows, :, :, asking]
                scores = torch.bmm(block.reshape(len(keys), -1, Dh), keys.transpose(1, 2))
                if is_causal:
                    num = block.shape[3]
                    scores.view(-1, num, keys.shape[1])[..., -num:] += _after(num, scores)
                weights = scores.softmax(dim=-1)
                out[rows, :, :, asking] = torch.bmm(weights, values).view(block.shape)
                kept.append(weights)
        ctx.save_for_backward(queries, k, v, *kept)
        ctx.pieces = (lengths, is_causal)
        return out.view(B, H, T, Dh)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of q, k and v in the dtypes they came in."""
        queries, k, v, *kept = ctx.saved_tensors
        B, G, per, T, Dh = queries.shape
        given = grad_out.to(torch.bfloat16).reshape(queries.shape)
        of_q, of_k, of_v = (torch.empty_like(x) for x in (queries, k, v))
        ends = set(accumulate(ctx.pieces[0]))
        pieces = list(zip(_pieces(B, G * per, *ctx.pieces), kept, strict=True))
        for (rows, asking, seen), weights in reversed(pieces):  # a sequence's last block saw all of its keys
            keys, values = (x[rows, :, seen].flatten(0, 1) for x in (k, v))
            block = queries[rows, :, :, asking]
            asked, back = (x.reshape(len(keys), -1, Dh) for x in (block, given[rows, :, :, asking]))
            shape = (-1, G, *keys.shape[1:])
            more_v = torch.bmm(weights.transpose(1, 2), back).view(shape)
            of_weights = torch.bmm(back, values.transpose(1, 2))
            of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
            of_q[rows, :, :, asking] = torch.bmm(of_scores, keys).view(block.shape)
            more_k = torch.bmm(of_scores.transpose(1, 2), asked).view(shape)
            for whole, more in ((of_k, more_k), (of_v, more_v)):
                if seen.stop in ends:
                    whole[rows, :, seen] = more
                else:
                    whole[rows, :, seen] += more
        dtype_q, dtype_k, dtype_v = ctx.dtypes
        scaled = (of_q.to(dtype_q) * Dh**-0.5).view(B, G * per, T, Dh)
        return scaled, of_k.to(dtype_k), of_v.to(dtype_v), None, None


def _pieces(
    num_rows: int, num_heads: int, lengths: tuple[int, ...], is_causal: bool
) -> Iterator[tuple[slice, slice, slice]]:
    """Rows of the batch, their tokens that ask, and the tokens that these see: what is worked on at once."""
    stop = 0
    for length in lengths:
        start, stop = stop, stop + length
        many = max(1, TRAINED_SCORES // (num_heads * length * length))
        for row in range(0, num_rows, many):
            rows = slice(row, min(row + many, num_rows))
            if not is_causal:
                yield rows, slice(start, stop), slice(start, stop)
                continue
            for first, last in _blocks(start, stop, (rows.stop - rows.start) * num_heads * length):
                yield rows, slice(first, last), slice(start, last)


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

"""Documents packed into one row: each is computed as if it were alone."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from fakes import FAMILIES, tiny_model
from internvl.errors import ConfigError
from internvl.nn import attention
from internvl.nn.attention import Documents, attend, attend_varlen
from internvl.nn.recompute import set_recompute

LENGTHS = (7, 1, 26, 5)
CU_SEQLENS = torch.tensor([0, 7, 8, 34, 39], dtype=torch.int32)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_packed_document_equals_the_document_alone(family):
    decoder = tiny_model(family).decoder
    x = torch.randn(1, 39, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        packed = decoder(x, cu_seqlens=CU_SEQLENS)
        alone = torch.cat([decoder(part) for part in x.split(LENGTHS, dim=1)], dim=1)
    torch.testing.assert_close(packed, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("edges", [[0, 38], [1, 39], [0, 5, 5, 39], [0, 9, 4, 39], [39]])
def test_edges_that_do_not_cover_the_row_are_refused(edges):
    decoder = tiny_model().decoder
    with pytest.raises(ConfigError, match="cu_seqlens"):
        decoder(torch.zeros(1, 39, 32), cu_seqlens=torch.tensor(edges))


def test_packing_and_padding_exclude_each_other():
    decoder = tiny_model().decoder
    with pytest.raises(ValueError, match="one row"):
        decoder(torch.zeros(2, 4, 32), cu_seqlens=torch.tensor([0, 4]), attention_mask=torch.ones(2, 4))


def reference_varlen(q, k, v, cu_q, cu_k, max_q, max_k, *, window_size, enable_gqa):
    """What torch's kernel computes, one document after the other."""
    assert (max_q, max_k) == (max(LENGTHS), max(LENGTHS))
    assert enable_gqa == (q.shape[1] != k.shape[1])
    parts = []
    for start, stop in zip(cu_q.tolist(), cu_q.tolist()[1:], strict=False):
        one = [x[start:stop].transpose(0, 1)[None] for x in (q, k, v)]
        window = None if window_size[0] < 0 else window_size[0] + 1
        mask = attention.causal_mask(stop - start, stop - start, window, q.device)
        parts.append(attend(*one, mask=mask)[0].transpose(0, 1))
    return torch.cat(parts)


@pytest.mark.parametrize("family", ["qwen2", "phi3"])
def test_the_varlen_kernel_is_asked_for_the_same_documents(family, monkeypatch):
    decoder = tiny_model(family).decoder
    x = torch.randn(1, 39, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = decoder(x, cu_seqlens=CU_SEQLENS)
        monkeypatch.setattr(attention, "can_attend_varlen", lambda q: True)
        monkeypatch.setattr(attention, "_varlen_attn", lambda: reference_varlen)
        found = decoder(x, cu_seqlens=CU_SEQLENS)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_varlen_attention_keeps_the_layout(monkeypatch):
    monkeypatch.setattr(attention, "_varlen_attn", lambda: reference_varlen)
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, heads, 39, 8, generator=generator) for heads in (4, 2, 2))
    out = attend_varlen(q, k, v, Documents(CU_SEQLENS, LENGTHS), window=None)
    assert out.shape == q.shape
    torch.testing.assert_close(out[:, :, :7], attend(q[:, :, :7], k[:, :, :7], v[:, :, :7], is_causal=True))


def test_recomputed_layers_give_the_same_gradients():
    model = tiny_model(vision={"drop_path_rate": 0.5}).train()
    tiles = torch.randn(3, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[1, *[5] * 12, 2, 3]])
    gradients = []
    for recompute in (False, True, "selective"):
        set_recompute(model, recompute)
        model.zero_grad()
        torch.manual_seed(3)
        model(ids, tiles).square().mean().backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    for found in gradients[1:]:
        assert gradients[0].keys() == found.keys()
        for name, gradient in gradients[0].items():
            torch.testing.assert_close(found[name], gradient)


def test_selective_recompute_repeats_no_product():
    model = tiny_model().train()
    ids = torch.tensor([[1, *[5] * 12, 2, 3]])
    tiles = torch.randn(3, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    found = {}
    for recompute in (False, "selective", True):
        set_recompute(model, recompute)
        with FlopCounterMode(display=False) as counter:
            model(ids, tiles).square().mean().backward()
        found[recompute] = counter.get_total_flops()
    assert found["selective"] == found[False] < found[True]

"""RMSNorm: what training computes on a CPU is what torch computes."""

import pytest
import torch
import torch.nn.functional as F

from internvl.nn.norm import RMSNorm


@pytest.mark.parametrize("shape", [(7, 32), (2, 3, 5, 32)])
def test_training_gives_the_values_and_gradients_of_torch(shape):
    generator = torch.Generator().manual_seed(0)
    norm = RMSNorm(32, eps=1e-5)
    with torch.no_grad():
        norm.weight.normal_(1.0, 0.3, generator=generator)
    x = torch.randn(shape, generator=generator).mul_(3).requires_grad_()
    expected = F.rms_norm(x, (32,), norm.weight, 1e-5)
    found = norm(x)
    torch.testing.assert_close(found, expected)
    direction = torch.randn(shape, generator=generator)
    grads = [torch.autograd.grad((out * direction).sum(), (x, norm.weight)) for out in (found, expected)]
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other)
    with torch.no_grad():
        assert torch.equal(norm(x), F.rms_norm(x, (32,), norm.weight, 1e-5))

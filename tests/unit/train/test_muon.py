"""Muon: steps whose singular values are all alike, and that go on exactly."""

import math

import pytest
import torch

from fakes import tiny_model
from internvl.train.config import OptimizerSection
from internvl.train.muon import ADAMW_RMS, Muon, orthogonalized
from internvl.train.optimizer import load_optimizer, make_optimizer, optimizer_tensors, parameter_groups


def matrices(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 8, 24), (2, 40, 6), (1, 1, 5)])
def test_singular_values_end_near_one_and_directions_stay(shape):
    given = matrices(*shape)
    found = orthogonalized(given)
    values = torch.linalg.svdvals(found)
    assert values.min() > 0.5
    assert values.max() < 1.3
    u, _, vh = torch.linalg.svd(given, full_matrices=False)
    along = torch.einsum("nrk,nrc,nkc->nk", u, found, vh)  # the step seen in the directions of the gradient
    torch.testing.assert_close(along.abs().sort().values, values.sort().values, rtol=1e-3, atol=1e-3)
    assert (along > 0).all()


def test_matrices_on_top_of_each_other_do_not_mix_and_their_scale_does_not_matter():
    given = matrices(3, 8, 8)
    found = orthogonalized(given)
    torch.testing.assert_close(orthogonalized(given[1:2]), found[1:2])
    torch.testing.assert_close(orthogonalized(1e4 * given), found, rtol=1e-4, atol=1e-5)
    assert not orthogonalized(torch.zeros(1, 4, 4)).any()


def test_a_step_is_as_large_as_adamws_and_decays_the_weights():
    weight = torch.nn.Parameter(torch.ones(32, 64))
    before = weight.detach().clone()
    group = {"params": [weight], "matrices": 1, "weight_decay": 0.5}
    optimizer = Muon([group], lr=0.1)
    weight.grad = matrices(32, 64)
    optimizer.step()
    step = (before * (1 - 0.1 * 0.5) - weight.detach()) / 0.1
    assert step.square().mean().sqrt() == pytest.approx(ADAMW_RMS, rel=0.3)
    # every singular value of it is the same up to what five iterations leave open
    values = torch.linalg.svdvals(step) / (ADAMW_RMS * math.sqrt(64))
    assert values.min() > 0.5
    assert values.max() < 1.3


def test_matrices_of_layers_are_muons_and_all_else_is_adamws():
    model = tiny_model().requires_grad_(True)
    groups = parameter_groups(model, OptimizerSection(kind="muon"))
    found = {name: group["matrices"] for group in groups for name in group["names"]}
    assert found["vision.layers.0.attention.qkv.weight"] == 3
    assert found["decoder.layers.1.mlp.down.weight"] == 1
    for name in (
        "decoder.embed.weight",
        "decoder.norm.weight",
        "vision.patch_embedding.weight",
        "projector.fc1.weight",
    ):
        assert found[name] == 0


def test_what_is_adamws_moves_as_adamw_moves_it():
    ours, theirs = (tiny_model().requires_grad_(True) for _ in range(2))
    muon, adamw = (
        make_optimizer(model, OptimizerSection(kind=kind, learning_rate=1e-2))
        for model, kind in ((ours, "muon"), (theirs, "adamw"))
    )
    for step in range(2):
        give_gradients(ours, step)
        give_gradients(theirs, step)
        muon.step()
        adamw.step()
    mine = dict(ours.named_parameters())
    for name, parameter in theirs.named_parameters():
        same = torch.equal(parameter, mine[name])
        assert same == (parameter.ndim != 2 or ".layers." not in name), name


def give_gradients(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_steps_resumed_from_stored_tensors_equal_uninterrupted_ones(kind):
    section = OptimizerSection(kind=kind, learning_rate=1e-2)
    whole = tiny_model().requires_grad_(True)
    optimizer = make_optimizer(whole, section)
    for step in range(4):
        give_gradients(whole, step)
        optimizer.step()
        if step == 1:
            weights = {name: tensor.clone() for name, tensor in whole.state_dict().items()}
            stored = {
                name: {key: tensor.clone() for key, tensor in state.items()}
                for name, state in optimizer_tensors(optimizer).items()
            }
    resumed = tiny_model(seed=9).requires_grad_(True)
    resumed.load_state_dict(weights)
    optimizer = make_optimizer(resumed, section)
    load_optimizer(optimizer, stored)
    for step in (2, 3):
        give_gradients(resumed, step)
        optimizer.step()
    for (name, ours), theirs in zip(resumed.named_parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs), name

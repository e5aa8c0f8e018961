"""Losses, gradients and optimizer steps against the recorded reference training."""

import json

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from golden import GOLDEN, requires_golden
from internvl.checkpoint.load import load_model
from internvl.train.batch import IGNORE_INDEX, TrainBatch
from internvl.train.objectives import SupervisedObjective, TokenLoss
from training import group_norms

pytestmark = [requires_golden, pytest.mark.parity]

#: Measured agreement of the reference with itself in float64 leaves room for an order of magnitude.
LOSS = {"rtol": 1e-5, "atol": 0}
GRADIENT = {"rtol": 1e-4, "atol": 0}
AVERAGING = {"token": 0.0, "sample": 1.0, "square": 0.5}


@pytest.fixture(scope="module")
def recorded():
    return json.loads((GOLDEN / "training" / "train.json").read_text())


@pytest.fixture(scope="module")
def tensors():
    return load_file(GOLDEN / "training" / "train.safetensors")


@pytest.fixture
def model():
    loaded = load_model(GOLDEN / "checkpoints" / "internvl2_5_qwen2", dtype="float32")
    return loaded.requires_grad_(True).train()


def averaged(labels, power):
    """The weight of each label: 1 / (labels of its row) ** power."""
    counts = (labels[:, 1:] != IGNORE_INDEX).sum(dim=1, keepdim=True).clamp(min=1)
    return torch.where(labels == IGNORE_INDEX, 0.0, counts.float() ** -power)


def padded_batch(tensors, averaging):
    labels = tensors["padded.labels"]
    return TrainBatch(
        input_ids=tensors["padded.input_ids"],
        labels=labels,
        attention_mask=tensors["padded.attention_mask"],
        position_ids=tensors["padded.position_ids"],
        loss_weight=averaged(labels, AVERAGING[averaging]),
        pixel_values=tensors["padded.pixel_values"][tensors["padded.image_flags"] == 1],
    )


def packed_batch(tensors, prefix, averaging):
    labels = tensors[f"{prefix}.labels"]
    pixel_values = tensors[f"{prefix}.pixel_values"]
    return TrainBatch(
        input_ids=tensors[f"{prefix}.input_ids"],
        labels=labels,
        position_ids=tensors[f"{prefix}.position_ids"],
        cu_seqlens=tensors[f"{prefix}.attention_mask"][0],
        loss_weight=tensors[f"{prefix}.loss_weight.{averaging}"],
        pixel_values=pixel_values[tensors[f"{prefix}.image_flags"] == 1],
    )


def mean_loss(model, batch):
    objective = SupervisedObjective()
    denominator = objective.denominators(batch)["loss"]
    return objective(TokenLoss(model), batch).terms["loss"] / denominator


@pytest.mark.parametrize("averaging", AVERAGING)
def test_padded_losses_and_gradients_equal_the_recorded_ones(recorded, tensors, model, averaging):
    expected = recorded["padded"][averaging]
    loss = mean_loss(model, padded_batch(tensors, averaging))
    loss.backward()
    torch.testing.assert_close(loss.item(), expected["loss"], **LOSS)
    found = group_norms(model)
    assert found.keys() == expected["grad_norm_groups"].keys()
    for group, norm in expected["grad_norm_groups"].items():
        torch.testing.assert_close(found[group], norm, **GRADIENT, msg=group)


@pytest.mark.parametrize("averaging", AVERAGING)
def test_packed_losses_and_gradients_equal_the_recorded_ones(recorded, tensors, model, averaging):
    expected = recorded["packed"]["strict"]["outputs"][0]["loss"][averaging]
    loss = mean_loss(model, packed_batch(tensors, "packed.strict.0", averaging))
    loss.backward()
    torch.testing.assert_close(loss.item(), expected["loss"], **LOSS)
    found = group_norms(model)
    for group, norm in expected["grad_norm_groups"].items():
        torch.testing.assert_close(found[group], norm, **GRADIENT, msg=group)


def test_four_steps_of_adamw_equal_the_recorded_ones(recorded, tensors, model):
    setting = recorded["adamw"]
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=setting["lr"],
        betas=tuple(setting["betas"]),
        eps=setting["eps"],
        weight_decay=0.05,
    )
    for loss_expected, norm_expected in setting["loss_and_preclip_norm_per_step"]:
        optimizer.zero_grad()
        loss = mean_loss(model, padded_batch(tensors, "token"))
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), setting["clip"])
        torch.testing.assert_close(loss.item(), loss_expected, **LOSS)
        torch.testing.assert_close(norm.item(), norm_expected, **GRADIENT)
        optimizer.step()

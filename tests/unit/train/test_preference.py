"""Pairs: accumulating is the large batch, and what is not finite leaves no trace."""

import copy
import math

import pytest
import torch

from fakes import tiny_model
from internvl.train.objectives import TokenLoss
from internvl.train.preference import PreferenceObjective, PreferencePair, answer_logps, pack_pairs
from internvl.train.step import TrainStep
from training import make_sample

MODEL = tiny_model(scale=2.0)


def pairs(count):
    return [
        PreferencePair(chosen=make_sample(seed, tiles=1), rejected=make_sample(seed + 3, tiles=1))
        for seed in range(count)
    ]


def make_step(**changes):
    model, frozen = copy.deepcopy(MODEL).requires_grad_(True), TokenLoss(copy.deepcopy(MODEL))
    with torch.no_grad():
        frozen.model.decoder.lm_head.weight.mul_(0.3)
    objective = PreferenceObjective(reference=lambda batch: answer_logps(frozen, batch), beta=1.0, **changes)
    return TrainStep(TokenLoss(model), objective, torch.optim.SGD(model.parameters(), lr=0.1))


@pytest.mark.parametrize(
    "weights", [{}, {"dpo_weight": 0.0, "nll_weight": 0.0}, {"bco_weight": 0.0}], ids=["mpo", "bco", "dpo"]
)
def test_accumulation_equals_the_large_batch(weights):
    rows = pairs(4)
    whole, parts = make_step(**weights), make_step(**weights)
    for _ in range(2):
        expected = whole([pack_pairs(rows)])
        found = parts([pack_pairs(rows[:1]), pack_pairs(rows[1:3]), pack_pairs(rows[3:])])
        assert found.loss == pytest.approx(expected.loss, rel=1e-6)
        assert found.grad_norm == pytest.approx(expected.grad_norm, rel=1e-5)
        assert found.metrics == pytest.approx(expected.metrics, rel=1e-5)
    assert parts.objective.state_dict() == pytest.approx(whole.objective.state_dict(), rel=1e-5)


def test_the_references_mean_moves_with_every_micro_batch():
    rows = pairs(2)
    whole, parts = make_step(mean_over="micro_batch"), make_step(mean_over="micro_batch")
    expected, found = whole([pack_pairs(rows)]), parts([pack_pairs(rows[:1]), pack_pairs(rows[1:])])
    assert found.grad_norm != pytest.approx(expected.grad_norm, rel=1e-4)
    assert parts.objective.state_dict() == pytest.approx(whole.objective.state_dict(), rel=1e-5)


@pytest.mark.parametrize("mean_over", ["update", "micro_batch"])
def test_a_refused_update_leaves_the_mean_of_rewards_as_it_was(mean_over):
    step, rows = make_step(mean_over=mean_over), pairs(4)
    assert not step([pack_pairs(rows)]).refused
    before = step.objective.state_dict()
    broken = pack_pairs(rows[:2])
    broken.sequences.pixel_values.fill_(math.nan)
    assert "nan" in step([pack_pairs(rows[2:]), broken]).refused
    assert step.objective.state_dict() == before
    assert not step([pack_pairs(rows)]).refused

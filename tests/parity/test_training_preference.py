"""DPO, BCO and MPO against the recorded reference: losses, log probabilities, gradients, the running mean."""

import copy
import json

import pytest
import torch
from PIL import Image

from golden import GOLDEN, requires_golden
from internvl.checkpoint.load import load_model, load_processor
from internvl.train.batch import TrainSample
from internvl.train.objectives import TokenLoss
from internvl.train.preference import PreferenceObjective, PreferencePair, answer_logps, pack_pairs
from training import group_norms

pytestmark = [requires_golden, pytest.mark.parity]

LOSS = {"rtol": 1e-5, "atol": 1e-6}
IMAGES = GOLDEN / "images"
#: Loss type as recorded -> our weights without the likelihood.
WEIGHTS = {
    "sigmoid": {"dpo_weight": 1.0, "bco_weight": 0.0},
    "bco_pair": {"dpo_weight": 0.0, "bco_weight": 1.0},
    "sigmoid,bco_pair": {"dpo_weight": 0.8, "bco_weight": 0.2},
}


def recorded():
    return json.loads((GOLDEN / "training" / "train.json").read_text())["dpo"]


@pytest.fixture(scope="module")
def tiles():
    processor = load_processor(GOLDEN / "checkpoints" / "internvl2_5_qwen2")
    square, wide = (Image.open(IMAGES / name) for name in ("square.png", "wide.png"))
    # four frames, each the middle one of a quarter of the twelve
    frames = sorted((IMAGES / "video1").iterdir(), key=lambda path: int(path.stem.split("_")[1]))[1::3]
    return {
        "d0": processor.tiles(square, max_tiles=6),
        "d1": None,
        "d2": torch.cat([processor.tiles(image, max_tiles=3) for image in (square, wide)]),
        "d3": torch.cat([processor.tiles(Image.open(frame), max_tiles=1) for frame in frames]),
    }


@pytest.fixture(scope="module")
def pairs(tiles):
    made = {}
    for item in recorded()["items"]:
        samples = {
            side: TrainSample(
                input_ids=torch.tensor(item[f"{side}_input_ids"]),
                labels=torch.tensor(item[f"{side}_labels"]),
                pixel_values=tiles[item["id"]],
            )
            for side in ("chosen", "rejected")
        }
        made[item["id"]] = PreferencePair(**samples)
    return made


@pytest.fixture(scope="module")
def models():
    policy = load_model(GOLDEN / "checkpoints" / "internvl2_5_qwen2", dtype="float32")
    reference = copy.deepcopy(policy).requires_grad_(False)
    with torch.no_grad():
        reference.decoder.lm_head.weight.mul_(0.9)  # as recorded
    return TokenLoss(policy.requires_grad_(True)), TokenLoss(reference)


@pytest.mark.parametrize(
    "run",
    recorded()["runs"] if GOLDEN.is_dir() else [],
    ids=lambda run: str(run["loss_type"]) + str(run["rpo_alpha"]),
)
def test_losses_logps_gradients_and_the_running_mean_equal_the_recorded_ones(run, pairs, models):
    policy, reference = models
    objective = PreferenceObjective(
        reference=lambda batch: answer_logps(reference, batch),
        beta=run["beta"],
        nll_weight=run["rpo_alpha"] or 0.0,
        **WEIGHTS[run["loss_type"]],
    )
    for step in run["steps"]:
        batch = pack_pairs([pairs[name] for name in step["items"]])
        logps = answer_logps(policy, batch).chunk(2)
        torch.testing.assert_close(logps[0], torch.tensor(step["policy_chosen_logps"]), rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(
            logps[1], torch.tensor(step["policy_rejected_logps"]), rtol=1e-5, atol=1e-4
        )
        denominators = objective.denominators(batch)
        policy.zero_grad()
        sums = objective(policy, batch)
        loss = sum(objective.weights[name] * term / denominators[name] for name, term in sums.terms.items())
        loss.backward()
        torch.testing.assert_close(loss.item(), step["loss"], **LOSS)
        torch.testing.assert_close(objective.mean, float(step["running_mean_after"]), rtol=1e-4, atol=1e-5)
        found = group_norms(policy.model)
        for group, norm in step["grad_norm_groups"].items():
            torch.testing.assert_close(found[group], norm, rtol=1e-4, atol=0, msg=group)
        for ours, theirs in (
            ("reward_chosen", "chosen"),
            ("reward_margin", "margins"),
            ("reward_accuracy", "accuracies"),
        ):
            value = sums.metrics[ours][1].item() / batch.num_pairs
            torch.testing.assert_close(value, step["metrics"][f"rewards/{theirs}"], rtol=1e-4, atol=1e-5)

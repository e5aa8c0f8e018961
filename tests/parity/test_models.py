"""Chat models of every family and both layouts against the recorded reference: features, logits, answers."""

from functools import cache

import pytest
import torch

from golden import requires_golden
from internvl.checkpoint.load import load_model
from internvl.models.internvl import InternVLModel
from internvl.models.projector import pixel_shuffle
from recorded import Recording, difference, greedy, recorded_checkpoints

pytestmark = [pytest.mark.parity, requires_golden]

# FORMAT.md, "Tolerances"; Phi-3's long factors sharpen the attention.
VIT, PROJECTOR, LOGITS, LOGITS_PHI3 = 1e-4, 5e-5, 5e-4, 1e-3

GITHUB = recorded_checkpoints("checkpoints")
HF = recorded_checkpoints("checkpoints_hf")
EVERY = [("checkpoints", name) for name in GITHUB] + [("checkpoints_hf", name) for name in HF]


@cache
def recording(group: str, name: str) -> Recording:
    return Recording(group, name)


@cache
def model_of(group: str, name: str) -> InternVLModel:
    return load_model(recording(group, name).directory)


@pytest.fixture(autouse=True)
def inference():
    with torch.inference_mode():
        yield


def logits_tolerance(name: str) -> float:
    return LOGITS_PHI3 if "phi3" in name else LOGITS


@pytest.mark.parametrize("name", GITHUB)
def test_vision_tower_and_projector_equal_the_reference(name):
    model, recorded = model_of("checkpoints", name), recording("checkpoints", name)
    tensors, pixel_values = recorded.tensors, recorded.pixel_values(["image0"])
    states = model.vision.hidden_states(pixel_values)
    for i, state in enumerate(states):
        if f"vit.hidden_states.{i}" in tensors:
            assert difference(state, tensors[f"vit.hidden_states.{i}"]) < VIT
    if "vit.last_hidden_state" in tensors:
        assert difference(states[-1], tensors["vit.last_hidden_state"]) < VIT
    assert difference(model.image_embeds(pixel_values), tensors["extract_feature"]) < PROJECTOR
    grid = model.config.vision.grid_size
    features = model.vision_features(pixel_values).unflatten(1, (grid, grid))
    for version in ("v1", "v2"):
        if f"pixel_shuffle.{version}" in tensors:
            shuffled = pixel_shuffle(features, 2, transpose=version == "v1")
            assert difference(shuffled, tensors[f"pixel_shuffle.{version}"]) < VIT


@pytest.mark.parametrize("name", GITHUB)
def test_other_picture_sizes_interpolate_positions_as_the_reference(name):
    model, tensors = model_of("checkpoints", name), recording("checkpoints", name).tensors
    for key in [key for key in tensors if key.startswith("vit_interp.") and key.endswith(".pixel_values")]:
        expected = tensors[key.replace("pixel_values", "last_hidden_state")]
        assert difference(model.vision(tensors[key]), expected) < VIT


@pytest.mark.parametrize("name", GITHUB)
def test_logits_of_every_case_equal_the_reference(name):
    model, recorded = model_of("checkpoints", name), recording("checkpoints", name)
    for case, facts in recorded.cases.items():
        if case == "batch_chat":
            continue
        pixel_values = recorded.pixel_values(facts["pixel_values"])
        logits = model(torch.tensor([facts["input_ids"]]), pixel_values)[0]
        rows, sums = recorded.tensors[f"{case}.logits_rows"], recorded.tensors[f"{case}.logsumexp"]
        assert difference(logits[facts["logit_rows"]], rows) < logits_tolerance(name), case
        assert difference(logits.logsumexp(-1), sums) < logits_tolerance(name), case


@pytest.mark.parametrize("name", GITHUB)
def test_greedy_answers_with_a_cache_equal_the_reference(name):
    model, recorded = model_of("checkpoints", name), recording("checkpoints", name)
    for case, facts in recorded.cases.items():
        if case == "batch_chat":
            continue
        pixel_values = recorded.pixel_values(facts["pixel_values"])
        image_embeds = None if pixel_values is None else model.image_embeds(pixel_values)
        inputs_embeds = model.merge(torch.tensor([facts["input_ids"]]), image_embeds)
        ids, scores = greedy(
            model,
            inputs_embeds,
            max_new_tokens=facts["max_new_tokens"],
            eos_token_id=facts["eos_token_id"],
        )
        assert ids == facts["greedy_ids"][: len(ids)], case
        if f"{case}.greedy_scores" in recorded.tensors:
            expected = recorded.tensors[f"{case}.greedy_scores"]
            assert difference(scores[: len(expected)], expected) < logits_tolerance(name), case


@pytest.mark.parametrize("name", GITHUB)
def test_left_padded_batch_equals_the_reference(name):
    model, recorded = model_of("checkpoints", name), recording("checkpoints", name)
    facts = recorded.cases["batch_chat"]
    input_ids, mask = torch.tensor(facts["input_ids"]), torch.tensor(facts["attention_mask"])
    logits = model(input_ids, recorded.pixel_values(facts["pixel_values"]), mask)[:, -1]
    assert difference(logits, recorded.tensors["batch_chat.last_logits"]) < logits_tolerance(name)


@pytest.mark.parametrize(("group", "name"), EVERY)
def test_answers_of_a_batch_equal_the_reference_row_by_row(group, name):
    model, recorded = model_of(group, name), recording(group, name)
    case = "batch_chat" if group == "checkpoints" else "multi_batch"
    facts = recorded.cases[case]
    eos_token_id = facts.get("eos_token_id")
    tiles = image_embeds_of(model, recorded, case)
    limit = model.decoder.rope.length_limit
    for row, expected in enumerate(facts["greedy_ids"]):
        mask = torch.tensor(facts["attention_mask"][row]).bool()
        input_ids = torch.tensor(facts["input_ids"][row])[mask][None]
        count = int((input_ids == model.image_token_id).sum()) // model.config.tokens_per_tile
        inputs_embeds = model.merge(input_ids, tiles[:count] if count else None)
        tiles = tiles[count:]
        if limit is not None and not mask.all() and len(mask) > limit:
            # Dynamic NTK: the reference counts this row's padding as length, so that an answer depends on
            # its neighbours. Ours goes by the request's own length, on purpose (nn/rope.py).
            continue
        ids, _ = greedy(model, inputs_embeds, max_new_tokens=len(expected), eos_token_id=eos_token_id)
        assert ids == expected[: len(ids)], row


@pytest.mark.parametrize("name", HF)
def test_transformers_layout_equals_the_reference(name):
    model, recorded = model_of("checkpoints_hf", name), recording("checkpoints_hf", name)
    for case, facts in recorded.cases.items():
        tensors = recorded.tensors
        if f"{case}.pixel_values" in tensors:
            found = model.image_embeds(tensors[f"{case}.pixel_values"])
            assert difference(found, tensors[f"{case}.image_features"]) < PROJECTOR, case
        input_ids, mask = torch.tensor(facts["input_ids"]), torch.tensor(facts["attention_mask"])
        inputs_embeds = model.merge(input_ids, image_embeds_of(model, recorded, case))
        logits = model.decoder.lm_head(model.decoder(inputs_embeds, attention_mask=mask))
        assert difference(logits[:, facts["logit_rows"]], tensors[f"{case}.logits_rows"]) < LOGITS, case
        if len(input_ids) == 1:
            assert difference(logits.logsumexp(-1), tensors[f"{case}.logsumexp"]) < LOGITS, case
            expected = facts["greedy_ids"][0]
            ids, _ = greedy(model, inputs_embeds, max_new_tokens=len(expected), eos_token_id=None)
            assert ids == expected, case


def image_embeds_of(model: InternVLModel, recorded: Recording, case: str) -> torch.Tensor | None:
    """The case's image embeddings: recorded ones where only those were stored."""
    if f"{case}.image_features" in recorded.tensors:
        return recorded.tensors[f"{case}.image_features"]
    pixel_values = recorded.pixel_values(recorded.cases[case].get("pixel_values"))
    return None if pixel_values is None else model.image_embeds(pixel_values)

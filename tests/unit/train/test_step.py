import copy
import math

import pytest
import torch

from fakes import IMAGE_TOKEN_ID, tiny_model
from internvl.train.batch import IGNORE_INDEX, TrainBatch
from internvl.train.objectives import SupervisedObjective, TokenLoss
from internvl.train.step import TrainStep
from training import make_sample, packed, padded


def samples(count=5, **changes):
    return [make_sample(seed, **changes) for seed in range(count)]


def step_for(model, **changes):
    losses = TokenLoss(model.requires_grad_(True))
    return TrainStep(losses, SupervisedObjective(), torch.optim.SGD(model.parameters(), lr=0.1), **changes)


def parameters_after(batches, model=None, **changes):
    model = copy.deepcopy(model or tiny_model())
    result = step_for(model, **changes)(batches)
    return result, dict(model.named_parameters())


def assert_same(found, expected):
    assert found[0].loss == pytest.approx(expected[0].loss, rel=1e-6)
    assert found[0].grad_norm == pytest.approx(expected[0].grad_norm, rel=1e-5)
    for name, parameter in expected[1].items():
        torch.testing.assert_close(found[1][name], parameter, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("power", [0.0, 1.0, 0.5], ids=["token", "sample", "square"])
def test_packed_equals_padded(power):
    rows = samples()
    assert_same(parameters_after([packed(rows, power)]), parameters_after([padded(rows, power)]))


@pytest.mark.parametrize("power", [0.0, 1.0, 0.5], ids=["token", "sample", "square"])
def test_accumulation_equals_the_large_batch(power):
    rows = samples()
    parts = [padded(rows[:1], power), packed(rows[1:4], power), padded(rows[4:], power)]
    assert_same(parameters_after(parts), parameters_after([padded(rows, power)]))


def test_logits_in_chunks_change_nothing():
    rows = packed(samples())
    whole, chunked = tiny_model(), tiny_model()
    expected = step_for(whole)([rows])
    step = step_for(chunked)
    step.losses.max_logits = 3 * 80
    found = step([rows])
    assert found.loss == pytest.approx(expected.loss, rel=1e-6)
    for ours, theirs in zip(chunked.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_the_first_token_of_a_document_is_no_target_of_the_one_before():
    rows = [make_sample(seed, labelled=(0, None)) for seed in range(3)]
    assert_same(parameters_after([packed(rows)]), parameters_after([padded(rows)]))


def test_left_padding_equals_right_padding():
    rows = samples()
    right = padded(rows)
    counts = right.attention_mask.sum(dim=1)
    width = right.input_ids.shape[1]
    order = torch.stack([torch.arange(width).roll(width - int(count)) for count in counts])
    left = TrainBatch(
        **{
            name: getattr(right, name).gather(1, order)
            for name in ("input_ids", "labels", "attention_mask", "position_ids", "loss_weight")
        },
        pixel_values=right.pixel_values,
    )
    assert_same(parameters_after([left]), parameters_after([right]))


def test_a_frozen_vision_tower_gets_no_gradient_and_changes_no_other():
    batch = packed(samples())
    free, frozen = tiny_model(), tiny_model()
    step_for(free, clip_norm=0.0)([batch])
    step = step_for(frozen, clip_norm=0.0)
    frozen.vision.requires_grad_(False)
    step([batch])
    assert all(p.grad is None for p in frozen.vision.parameters())
    for name in ("projector.fc1.weight", "decoder.embed.weight"):
        torch.testing.assert_close(frozen.get_parameter(name), free.get_parameter(name), rtol=1e-4, atol=1e-6)


def test_a_step_that_is_not_finite_leaves_the_weights_alone_and_says_why():
    model = tiny_model()
    batch = packed(samples())
    batch.pixel_values[0, 0, 0, 0] = math.nan
    before = copy.deepcopy(dict(model.named_parameters()))
    result = step_for(model)([batch])
    assert "nan" in result.refused
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter, before[name])


def test_a_step_without_labels_is_refused():
    batch = packed([make_sample(0, labelled=(0, 0))])
    assert (batch.labels == IGNORE_INDEX).all()
    result = step_for(tiny_model())([batch])
    assert "no label" in result.refused


def test_gradients_are_clipped_together_and_reported_before():
    model = tiny_model()
    step = step_for(model, clip_norm=1e-3)
    result = step([packed(samples())])
    clipped = sum(p.grad.square().sum() for p in model.parameters() if p.grad is not None).sqrt()
    assert result.grad_norm > 1e-2
    assert clipped.item() == pytest.approx(1e-3, rel=1e-3)


def test_sizes_are_counted_over_the_micro_batches():
    rows = samples()
    result = step_for(tiny_model())([packed(rows[:2]), padded(rows[2:])])
    assert result.num_tokens == sum(row.num_tokens for row in rows)
    assert result.num_tiles == sum(row.num_tiles for row in rows)
    assert result.num_valid_tokens == sum(int((row.labels != IGNORE_INDEX).sum()) for row in rows)


def test_bf16_learns_from_the_same_batch():
    model = tiny_model(scale=1.0)
    step = step_for(model, precision="bf16")
    batch = packed(samples())
    first = step([batch]).loss
    for _ in range(15):
        last = step([batch]).loss
    assert last < first
    assert model.decoder.lm_head.weight.dtype == torch.float32


def test_an_update_without_pictures_leaves_the_tower_alone_whether_ranks_need_a_blank_tile_or_not():
    """Sharded ranks run a blank tile; its gradients of zero must not let momentum and decay move what they do not move
    in one process."""
    pictures = packed(samples())
    words = packed([make_sample(seed, tiles=0) for seed in range(2)])
    assert IMAGE_TOKEN_ID not in words.input_ids
    after = []
    for needs_tile in (False, True):
        model = tiny_model()
        step = step_for(model)
        step.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
        step.losses.needs_tile = needs_tile
        step([pictures])
        seen = [parameter.clone() for parameter in model.vision.parameters()]
        results = [step([words]).loss]
        assert all(map(torch.equal, seen, model.vision.parameters()))
        results.append(step([pictures]).loss)
        after.append((results, dict(model.named_parameters())))
    assert after[0][0] == pytest.approx(after[1][0], rel=1e-6)
    for name, parameter in after[0][1].items():
        torch.testing.assert_close(after[1][1][name], parameter, msg=name)


def test_a_projector_alone_learns_nothing_from_a_batch_without_pictures():
    model = tiny_model()
    step = step_for(model)
    for part in (model.vision, model.decoder):
        part.requires_grad_(False)
    before = copy.deepcopy(dict(model.named_parameters()))
    result = step([packed([make_sample(0, tiles=0)])])
    assert result.loss > 0
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name])
    assert step([packed([make_sample(0, tiles=0)]), packed(samples())]).grad_norm > 0

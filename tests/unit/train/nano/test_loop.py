"""Training learns, and a resumed run is the uninterrupted one."""

import pytest
import torch

import internvl.train.nano.dataset as dataset_module
from internvl.models.internvl import InternVLModel
from internvl.train.nano.__main__ import grow_positions, make_trainee
from internvl.train.nano.config import StageConfig
from internvl.train.nano.conversation import IGNORE_INDEX, ConversationEncoder
from internvl.train.nano.dataset import NanoDataset, batches, collate
from internvl.train.nano.export import read_model
from internvl.train.nano.loop import Run, Trainee, language_loss, make_optimizer, train
from internvl.train.nano.model_config import ASSETS, nano_config
from nano_assets import plain_assets


@pytest.fixture(scope="module")
def encoder():
    return ConversationEncoder(ASSETS)


@pytest.fixture(autouse=True)
def shapes_only(monkeypatch):
    """No fonts, no shared data: what these tests need is on every machine."""
    monkeypatch.setattr(dataset_module, "load_assets", lambda shared: plain_assets())


def stage(steps, **changes):
    fields = {"name": "t", "steps": steps, "batch_size": 4, "turns": 2, "warmup_steps": 2, "image_size": 56}
    return StageConfig(**{**fields, "mixture": {"shape": 1.0, "chat": 0.2}, **changes})


def new_run(config, directory, encoder):
    torch.manual_seed(0)
    trainee = make_trainee(config, None, encoder.image_token_id)
    return Run(trainee, config, directory, make_optimizer(trainee, config))


def test_the_loss_falls_on_a_few_pictures_seen_again_and_again(tmp_path, encoder):
    config = stage(25, learning_rate=3e-3)
    run = new_run(config, tmp_path, encoder)
    batch = next(batches(NanoDataset(config, encoder, None, length=4), first_step=0, steps=1, workers=0))
    first = run.trainee(batch, config)
    for _ in range(config.steps):
        run.optimizer.zero_grad()
        losses = run.trainee(batch, config)
        losses["total"].backward()
        run.optimizer.step()
    assert losses["language"] < 0.5 * first["language"]
    assert losses["total"] < 0.6 * first["total"]


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path, encoder):
    config = stage(4)
    data = NanoDataset(config, encoder, None, length=16)
    whole = new_run(config, tmp_path / "whole", encoder)
    train(whole, data, workers=0)
    part = new_run(config, tmp_path / "part", encoder)
    train(part, data, workers=0, deadline=0.0)  # stops, saved, after the first step
    assert part.step == 1
    rest = new_run(config, tmp_path / "part", encoder)
    assert rest.resume()
    train(rest, data, workers=0)
    assert rest.step == whole.step == 4
    for name, tensor in whole.trainee.state_dict().items():
        torch.testing.assert_close(rest.trainee.state_dict()[name], tensor, rtol=0, atol=0)


def test_the_language_loss_is_the_mean_over_labelled_tokens(encoder):
    config = stage(1)
    batch = next(batches(NanoDataset(config, encoder, None, length=4), first_step=0, steps=1, workers=0))
    model = InternVLModel(nano_config(56), image_token_id=encoder.image_token_id).eval()
    with torch.no_grad():
        found = language_loss(model, batch, model.image_embeds(batch.pixel_values))
        logits = model(batch.input_ids, batch.pixel_values, batch.attention_mask)[:, :-1]
        labels = batch.labels[:, 1:]
        expected = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE_INDEX
        )
    torch.testing.assert_close(found, expected)


def test_silent_pages_teach_the_vision_tower_and_no_words(encoder, monkeypatch):
    draw = dataset_module._scene
    # no fonts here: shapes stand in for pages
    monkeypatch.setattr(dataset_module, "_scene", lambda skill, *rest: draw("shape", *rest))
    config = stage(2, pages=3, mixture={"shape": 1.0})
    data = NanoDataset(config, encoder, None, length=14)
    assert [bool(data[i].ids) for i in range(14)] == 2 * (4 * [True] + 3 * [False])
    batch = next(batches(data, first_step=1, steps=2, workers=0))
    assert (len(batch.input_ids), len(batch.pixel_values), batch.num_silent) == (4, 7, 3)
    alone = collate([data[i] for i in range(7, 11)])
    trainee = Trainee(InternVLModel(nano_config(56), image_token_id=encoder.image_token_id)).eval()
    with torch.no_grad():
        together, without = trainee(batch, config), trainee(alone, config)
    torch.testing.assert_close(together["language"], without["language"])
    assert together["patch_object"] != without["patch_object"]


def test_items_are_a_function_of_their_index(encoder):
    data = NanoDataset(stage(4), encoder, None, length=16)
    one, other = data[7], data[7]
    assert one.ids == other.ids
    assert data[8].ids != one.ids or data[9].ids != one.ids


def test_a_batch_without_any_picture_still_makes_a_step(encoder):
    config = stage(1, mixture={"chat": 1.0})
    batch = collate([NanoDataset(config, encoder, None, length=4)[i] for i in range(4)])
    trainee = Trainee(InternVLModel(nano_config(56), image_token_id=encoder.image_token_id))
    assert torch.isfinite(trainee(batch, config)["total"])


def test_positions_grow_to_a_larger_grid_and_stay_at_their_own():
    positions = torch.randn(1, 17, 6, generator=torch.Generator().manual_seed(0))
    assert grow_positions(positions, 4) is positions
    grown = grow_positions(positions, 8)
    assert grown.shape == (1, 65, 6)
    torch.testing.assert_close(grown[:, 0], positions[:, 0])


def test_an_exported_model_is_the_trained_one_without_heads(tmp_path, encoder):
    run = new_run(stage(1), tmp_path, encoder)
    run.save()
    model = read_model(tmp_path / "t.pt")
    assert model.config.image_size == 56
    pixel_values = torch.randn(1, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(
            model.image_embeds(pixel_values), run.trainee.model.image_embeds(pixel_values)
        )

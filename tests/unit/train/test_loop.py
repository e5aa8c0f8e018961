"""The loop with made-up batches: it stops and goes on exactly, refuses, measures, and leaves something to read."""

import json
import math

import pytest
import torch

from fakes import tiny_model
from internvl.errors import CheckpointError, DataError
from internvl.train.checkpointing import Checkpoints
from internvl.train.config import FreezeSection, OptimizerSection, RunSection, TrainConfig
from internvl.train.freezing import apply_freezing
from internvl.train.loop import Trainer, TrainingError, Watchers
from internvl.train.objectives import SupervisedObjective, TokenLoss
from internvl.train.optimizer import WeightAverage, make_optimizer
from internvl.train.report import RunLog, read_log, write_report
from training import make_sample, packed


class Source:
    """Batch n holds the rows 2n and 2n + 1; `poison` breaks those of some steps, `length` ends it."""

    def __init__(self, length=None, poison=()):
        self.given, self.length, self.poison = 0, length, poison

    def __next__(self):
        if self.given == self.length:
            raise StopIteration
        batch = packed([make_sample(2 * self.given, tiles=1), make_sample(2 * self.given + 1)])
        if self.given in self.poison:
            batch.pixel_values.fill_(math.nan)
        self.given += 1
        return batch

    def state_dict(self):
        return {"given": self.given}

    def load_state_dict(self, state):
        self.given = state["given"]


def make_trainer(directory, *, source=None, watchers=None, ema=0.0, freeze=None, seed=0, **run):
    run = {"steps": 8, "save_every": 3, "precision": "float32", "tensorboard": False} | run
    config = TrainConfig(
        output=str(directory),
        seed=seed,
        optimizer=OptimizerSection(learning_rate=1e-2, ema_decay=ema),
        run=RunSection(**run),
        freeze=freeze or FreezeSection(),
    )
    model = tiny_model(vision={"drop_path_rate": 0.3}, scale=2.0).requires_grad_(True)
    apply_freezing(model, config.freeze)
    checkpoints = Checkpoints(
        directory / "checkpoints", keep=config.run.keep_checkpoints, max_piece_bytes=4096
    )
    trainer = Trainer(
        config=config,
        losses=TokenLoss(model),
        objective=SupervisedObjective(),
        optimizer=make_optimizer(model, config.optimizer),
        source=source or Source(),
        log=RunLog(None),
        checkpoints=checkpoints,
        average=WeightAverage(model.named_parameters(), ema) if ema else None,
        watchers=watchers or Watchers(),
    )
    resumed = trainer.resume()
    trainer.log = RunLog(directory, first_step=trainer.step, tensorboard=config.run.tensorboard)
    return trainer, resumed


def run(directory, **changes):
    trainer, _ = make_trainer(directory, **changes)
    summary = trainer.run()
    trainer.log.close()
    return summary, trainer


def losses_of(directory):
    return [event["loss"] for event in read_log(directory) if event["kind"] == "step"]


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_run_that_died_goes_on_with_the_same_losses_and_weights(tmp_path, ema):
    _, whole = run(tmp_path / "whole", ema=ema)

    class Death(Exception):
        pass

    def die(record):
        if record.step == 5:
            raise Death

    with pytest.raises(Death):
        run(tmp_path / "cut", ema=ema, watchers=Watchers(on_step=die))
    trainer, resumed = make_trainer(tmp_path / "cut", ema=ema)
    assert resumed
    assert trainer.step == 3  # the newest checkpoint; 4 and 5 are done again
    trainer.run()
    assert losses_of(tmp_path / "cut") == losses_of(tmp_path / "whole")
    for ours, theirs in zip(trainer.losses.parameters(), whole.losses.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    if ema:
        for name, average in trainer.average.averages.items():
            assert torch.equal(average, whole.average.averages[name])


def test_drop_path_depends_on_the_seed_and_on_nothing_before(tmp_path):
    run(tmp_path / "a", steps=2)
    torch.manual_seed(99)
    run(tmp_path / "b", steps=2)
    run(tmp_path / "c", steps=2, seed=1)
    assert losses_of(tmp_path / "a") == losses_of(tmp_path / "b")
    assert losses_of(tmp_path / "a") != losses_of(tmp_path / "c")


def test_accumulated_steps_take_their_batches_in_order(tmp_path):
    summary, trainer = run(tmp_path, steps=3, grad_accum_steps=2)
    assert (summary.step, trainer.source.given) == (3, 6)


def test_the_newest_checkpoints_stay_and_an_unfinished_one_is_none(tmp_path):
    _, trainer = run(tmp_path, steps=8, save_every=2, keep_checkpoints=2)
    assert trainer.checkpoints.steps() == [6, 8]
    (trainer.checkpoints.directory / ".partial-step-00000010").mkdir()
    (trainer.checkpoints.directory / "step-00000012").mkdir()
    assert trainer.checkpoints.steps() == [6, 8]


def test_a_finished_run_has_nothing_left_to_do(tmp_path):
    run(tmp_path)
    summary, _ = run(tmp_path)
    assert summary.finished
    assert len(losses_of(tmp_path)) == 8


def test_bad_steps_are_refused_counted_and_logged(tmp_path):
    summary, _ = run(tmp_path, source=Source(poison=(2, 4)))
    assert summary.refused == 2
    assert summary.finished
    refused = [event["step"] for event in read_log(tmp_path) if event.get("refused")]
    assert refused == [3, 5]


def test_too_many_bad_steps_in_a_row_stop_the_run(tmp_path):
    with pytest.raises(TrainingError, match="3 updates in a row"):
        run(tmp_path, source=Source(poison=range(2, 9)), max_bad_steps=3)


def test_data_that_ends_ends_the_run_saved(tmp_path):
    summary, trainer = run(tmp_path, source=Source(length=5))
    assert (summary.step, summary.finished, summary.data_ended) == (5, True, True)
    assert trainer.checkpoints.steps()[-1] == 5
    assert trainer.checkpoints.facts(5)["data_ended"]


def test_what_is_left_at_the_end_of_the_data_is_one_smaller_update(tmp_path):
    summary, trainer = run(tmp_path, source=Source(length=5), grad_accum_steps=2)
    assert (summary.step, trainer.source.given) == (3, 5)
    tokens = [event["tokens"] for event in read_log(tmp_path) if event["kind"] == "step"]
    assert tokens[2] < min(tokens[:2])


def test_rows_that_cannot_be_measured_on_cost_nothing_that_was_learnt(tmp_path):
    def validation():
        raise DataError("rows.jsonl:3: no gpt turn")
        yield

    with pytest.raises(DataError, match=r"rows\.jsonl:3"):
        run(tmp_path, watchers=Watchers(validation=validation))
    trainer, _ = make_trainer(tmp_path)
    assert trainer.step == 8


def test_a_log_that_was_cut_off_anywhere_is_read_up_to_there(tmp_path):
    log = RunLog(tmp_path, tensorboard=False)
    for step, answer in enumerate(("a\u2028b", "\ud800", "Straße"), 1):
        log.write("sample", step, {"answer": answer})
    whole = (tmp_path / "log.jsonl").read_bytes()
    assert [event["answer"] for event in read_log(tmp_path)] == ["a\u2028b", "?", "Straße"]
    (tmp_path / "log.jsonl").write_bytes(whole[: whole.rindex("ß".encode()) + 1])
    RunLog(tmp_path, first_step=2, tensorboard=False)
    assert [event["step"] for event in read_log(tmp_path)] == [1, 2]


def test_a_time_limit_saves_and_the_next_start_goes_on(tmp_path):
    summary, _ = run(tmp_path, max_minutes=1e-9)
    assert (summary.step, summary.finished) == (0, False)
    run(tmp_path)
    assert len(losses_of(tmp_path)) == 8


def test_validation_measures_the_averaged_weights_and_disturbs_nothing(tmp_path):
    def validation():
        return (packed([make_sample(seed)]) for seed in range(100, 103))

    summary, _ = run(
        tmp_path / "measured", watchers=Watchers(validation=validation), validate_every=2, ema=0.5
    )
    run(tmp_path / "plain", ema=0.5)
    found = [event["loss"] for event in read_log(tmp_path / "measured") if event["kind"] == "validation"]
    assert len(found) == 4
    assert summary.validation_loss == found[-1]
    assert losses_of(tmp_path / "measured") == losses_of(tmp_path / "plain")


def test_answers_are_logged_with_their_step(tmp_path):
    def answers(model):
        assert not model.training
        return [{"question": "q", "expected": "e", "answer": "a"}]

    run(tmp_path, watchers=Watchers(answers=answers), sample_every=4)
    samples = [event for event in read_log(tmp_path) if event["kind"] == "sample"]
    assert [event["step"] for event in samples] == [4, 8]


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path):
    run(tmp_path, steps=3)
    with pytest.raises(CheckpointError, match="another recipe"):
        make_trainer(tmp_path, freeze=FreezeSection(vision=True))


def test_frozen_weights_are_not_written(tmp_path):
    _, trainer = run(tmp_path, steps=3, freeze=FreezeSection(vision=True, decoder=True))
    shared = json.loads((trainer.checkpoints.path(3) / "shared" / "state.json").read_text())
    model = dict(dict(shared["dict"])["model"]["dict"])
    assert model
    assert all(name.startswith("model.projector.") for name in model)


def test_the_report_holds_curves_answers_and_refusals_in_one_page(tmp_path):
    pytest.importorskip("matplotlib")
    watchers = Watchers(answers=lambda model: [{"question": "<q>", "expected": "e", "answer": "a"}])
    run(tmp_path, watchers=watchers, sample_every=8, source=Source(poison=(1,)))
    png, page = write_report(tmp_path, title="a & b", facts={"steps": 8})
    assert png.read_bytes().startswith(b"\x89PNG")
    text = page.read_text()
    for piece in ("<svg", "a &amp; b", "&lt;q&gt;", "Refused updates"):
        assert piece in text
    assert "src=" not in text


def test_tensorboard_gets_the_steps(tmp_path):
    pytest.importorskip("tensorboard")
    run(tmp_path, steps=2, tensorboard=True)
    assert list((tmp_path / "tensorboard").glob("events.*"))

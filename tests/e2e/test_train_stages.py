"""Several recipes in one command: each goes on from the one before it, what is complete is skipped, all stays exact."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch

import internvl
from internvl.cli.main import run
from internvl.train.report import read_log
from tiny_checkpoint import write_checkpoint

RECIPE = """
output = "{output}"
[model]
path = "{model}"
[data]
meta = ["{rows}"]
max_tokens = 256
[optimizer]
learning_rate = 1e-2
[run]
steps = {steps}
save_every = 2
precision = "float32"
threads = 1
device = "cpu"
tensorboard = false
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stages")
    write_checkpoint(folder / "model", "qwen2")
    turns = [{"from": "human", "value": "Say it."}, {"from": "gpt", "value": "hello there"}]
    lines = [json.dumps({"id": n, "conversations": turns}) + "\n" for n in range(6)]
    (folder / "rows.jsonl").write_text("".join(lines))
    return folder


@pytest.fixture
def recipes(files, tmp_path):
    """Two recipes, the second goes on from the first."""
    paths = []
    models = {"one": files / "model", "two": tmp_path / "one" / "final"}
    for (name, model), steps in zip(models.items(), (3, 4), strict=True):
        paths.append(tmp_path / f"{name}.toml")
        values = {"output": tmp_path / name, "model": model, "rows": files / "rows.jsonl", "steps": steps}
        paths[-1].write_text(RECIPE.format(**values))
    return [str(path) for path in paths]


def losses(output):
    return [event["loss"] for event in read_log(output) if event["kind"] == "step"]


def test_several_recipes_are_what_they_are_one_by_one(recipes, tmp_path, capsys):
    for path in recipes:
        assert run(["train", path]) == 0
    alone = losses(tmp_path / "one"), losses(tmp_path / "two")
    weights = internvl.load_model(tmp_path / "two" / "final").state_dict()
    for name in ("one", "two"):
        shutil.rmtree(tmp_path / name)
    capsys.readouterr()
    assert run(["train", *recipes, "--json"]) == 0
    stages = json.loads(capsys.readouterr().out)["stages"]
    assert [(stage["step"], stage["finished"], stage["skipped"]) for stage in stages] == [
        (3, True, False),
        (4, True, False),
    ]
    assert (losses(tmp_path / "one"), losses(tmp_path / "two")) == alone
    ours = internvl.load_model(tmp_path / "two" / "final").state_dict()
    assert all(torch.equal(ours[name], weights[name]) for name in weights)


def test_what_is_complete_is_skipped_and_what_was_stopped_goes_on(recipes, tmp_path, capsys):
    assert run(["train", recipes[0]]) == 0
    before = (tmp_path / "one" / "final" / "model.safetensors").stat().st_mtime_ns
    assert run(["train", recipes[1], "--set", "run.steps=2"]) == 0
    assert run(["train", *recipes]) == 0
    told = capsys.readouterr().err
    assert f"complete at step 3: {tmp_path / 'one' / 'final'}; skipped" in told
    assert "going on at step 2 of 4" in told
    assert (tmp_path / "one" / "final" / "model.safetensors").stat().st_mtime_ns == before
    assert len(losses(tmp_path / "two")) == 4
    assert run(["train", *recipes]) == 0
    assert "nothing left to train" in capsys.readouterr().out


def test_settings_change_every_recipe_and_more_steps_are_trained(recipes, tmp_path):
    assert run(["train", *recipes, "--set", "run.steps=2"]) == 0
    assert (len(losses(tmp_path / "one")), len(losses(tmp_path / "two"))) == (2, 2)
    assert run(["train", recipes[1], "--set", "run.steps=5"]) == 0
    assert len(losses(tmp_path / "two")) == 5


def test_another_export_is_written_without_a_step(recipes, tmp_path):
    assert run(["train", recipes[0]]) == 0
    assert run(["train", recipes[0], "--set", "export.dtype=float32"]) == 0
    assert len(losses(tmp_path / "one")) == 3
    assert next(internvl.load_model(tmp_path / "one" / "final").parameters()).dtype == torch.float32


def test_a_stage_that_ran_out_of_time_keeps_the_later_ones_waiting(recipes, tmp_path, capsys):
    assert run(["train", *recipes, "--set", "run.max_minutes=1e-9"]) == 0
    out = capsys.readouterr().out
    assert "not finished: the same command goes on" in out
    assert "1 of 2 recipes have not begun" in out
    assert not (tmp_path / "two").exists()


def test_a_run_from_a_model_that_is_to_be_trained_again_is_refused_before_anything_trains(
    recipes, tmp_path, capsys
):
    assert run(["train", *recipes]) == 0
    assert run(["train", *recipes, "--set", "run.steps=9"]) == 1
    assert f"{tmp_path / 'two'} holds a run that began with" in capsys.readouterr().err
    assert len(losses(tmp_path / "one")) == 3


def test_recipes_in_the_wrong_order_of_one_output_or_of_no_model_are_refused(recipes, tmp_path, capsys):
    assert run(["train", *reversed(recipes)]) == 1
    assert "name that one before it" in capsys.readouterr().err
    assert run(["train", *recipes, "--set", f"output={tmp_path / 'same'}"]) == 1
    assert "have one output" in capsys.readouterr().err
    shutil.copy(recipes[1], tmp_path / "three.toml")
    text = (tmp_path / "three.toml").read_text().replace("one/final", "none/final").replace('two"', 'three"')
    (tmp_path / "three.toml").write_text(text)
    assert run(["train", recipes[0], str(tmp_path / "three.toml")]) == 1
    assert "three.toml: model.path" in capsys.readouterr().err
    assert not (tmp_path / "one").exists()


def test_adapters_alone_are_no_model_to_go_on_from(recipes, tmp_path, capsys):
    assert run(["train", *recipes, "--set", "lora.r=2"]) == 1
    assert "export.merge_lora = true" in capsys.readouterr().err
    assert run(["train", *recipes, "--set", "lora.r=2", "--set", "export.merge_lora=true"]) == 0


def test_a_dry_run_predicts_stages_whose_model_is_still_to_be_trained(recipes, tmp_path, capsys):
    assert run(["train", *recipes, "--dry-run", "--rows", "1"]) == 0
    out = capsys.readouterr().out
    assert out.count("packing efficiency") == 2
    assert f"{tmp_path / 'one' / 'final'} is not there yet" in out
    assert not (tmp_path / "one").exists()
    assert run(["train", recipes[0]]) == 0
    capsys.readouterr()
    assert run(["train", *recipes, "--dry-run", "--json"]) == 0
    one, two = json.loads(capsys.readouterr().out)["stages"]
    assert one["complete"]
    assert not two["complete"]
    assert two["steps"] == 4


def test_a_run_whose_checkpoints_were_removed_is_still_complete(recipes, tmp_path, capsys):
    assert run(["train", recipes[0]]) == 0
    shutil.rmtree(tmp_path / "one" / "checkpoints")
    capsys.readouterr()
    assert run(["train", recipes[0], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["skipped"]


@pytest.mark.slow
def test_several_processes_run_several_recipes(recipes, tmp_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    done = subprocess.run(
        [*launch, "-m", "internvl", "train", *recipes],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert (len(losses(tmp_path / "one")), len(losses(tmp_path / "two"))) == (3, 4)
    internvl.load_model(tmp_path / "two" / "final")

"""Stages that ask places what they show: they learn, and hand their heads to the stage after the next."""

import os
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from internvl.cli.main import run
from internvl.train.report import read_log
from nano_assets import requires_fonts
from tiny_checkpoint import write_checkpoint

pytestmark = requires_fonts
HEADS = "final/dense_heads.safetensors"
STAGE = """
output = "{output}"
[model]
path = "{model}"
[data]
dense = {dense}
tile_size = {tile_size}
tile_policy = "{policy}"
min_tiles = 1
max_tiles = {max_tiles}
max_tokens = 4096
[data.sources.{skill}]
generated = "{skill}"
[freeze]
decoder = {decoder}
vision = {vision}
[objective]
kind = "{kind}"
dense_weight = {weight}
[optimizer]
kind = "muon"
learning_rate = 5e-3
[run]
steps = 10
save_every = {every}
precision = "float32"
threads = 1
tensorboard = false
"""


def write_stage(folder, name, model, **changes):
    values = {
        "output": folder / name, "model": model, "dense": "false", "tile_size": 28, "policy": "fit", "max_tiles": 1,
        "skill": "words", "decoder": "false", "vision": "false", "kind": "sft", "weight": 0.0,
        "every": 200,
    } | changes  # fmt: skip
    path = folder / f"{name}.toml"
    path.write_text(STAGE.format(**values))
    return path


def train(folder, name, model, settings=(), **changes):
    assert run(["train", str(write_stage(folder, name, model, **changes)), *settings]) == 0
    return [event for event in read_log(folder / name) if event["kind"] == "step"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("dense")
    write_checkpoint(place / "model", "qwen3")
    return place


def test_a_stage_on_windows_of_the_tile_leaves_heads_which_later_stages_inherit(folder):
    # the tiny model's tile is 56 pixels of patches of 14: windows of 28 are a quarter of its places
    steps = train(
        folder, "1", folder / "model", kind="dense", dense="true", decoder="true", policy="reference", max_tiles=4,
        skill="letters",
    )  # fmt: skip
    assert all("patch_glyph" in step for step in steps)
    first = load_file(folder / "1" / HEADS)
    assert all(weight.isfinite().all() for weight in first.values())

    plain = train(folder, "2", folder / "1" / "final", vision="true")
    assert all("patch_glyph" not in step for step in plain)
    handed_on = load_file(folder / "2" / HEADS)
    assert all(torch.equal(handed_on[name], first[name]) for name in first)

    both = train(folder, "3", folder / "2" / "final", dense="true", weight=0.5)
    assert {"token_loss", "token_glyphs"} <= set(both[0])
    learnt = load_file(folder / "3" / HEADS)
    assert not torch.equal(learnt["heads.token_glyphs.weight"], first["heads.token_glyphs.weight"])
    assert both[0]["token_glyphs"] < steps[0]["token_glyphs"]


def test_a_stage_with_heads_and_muon_goes_on_exactly_where_it_was_stopped(folder):
    settings = {"kind": "dense", "dense": "true", "decoder": "true", "skill": "letters"}
    whole = train(folder, "whole", folder / "model", every=4, **settings)
    train(folder, "cut", folder / "model", every=4, **settings)
    for step in (8, 10):  # as if it had been killed after step 4
        shutil.rmtree(folder / "cut" / "checkpoints" / f"step-{step:08d}")
    cut = train(folder, "cut", folder / "model", every=4, **settings)
    assert [step["loss"] for step in cut] == [step["loss"] for step in whole]
    ours, theirs = (load_file(folder / name / HEADS) for name in ("cut", "whole"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.slow
def test_two_processes_learn_places_and_answers_as_one_does_and_leave_the_heads(folder):
    values = {
        "data.packing": "false", "run.global_batch_size": 4, "run.micro_batch_size": 2, "run.steps": 4,
        "run.device": "cpu", "export.dtype": "float32",
    }  # fmt: skip
    settings = [word for name, value in values.items() for word in ("--set", f"{name}={value}")]
    stage = {"dense": "true", "weight": 0.5, "tile_size": 56}
    one = train(folder, "one", folder / "model", settings, **stage)
    path = write_stage(folder, "two", folder / "model", **stage)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    done = subprocess.run(
        [*launch, "-m", "internvl", "train", str(path), *settings],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    two = [event for event in read_log(folder / "two") if event["kind"] == "step"]
    for key in ("loss", "token_glyphs", "patch_thing"):
        assert [step[key] for step in two] == pytest.approx(
            [step[key] for step in one], rel=1e-3, abs=1e-6
        ), key
    ours, theirs = (load_file(folder / name / HEADS) for name in ("two", "one"))
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-2, atol=1e-3, msg=name)


def test_a_window_that_is_no_whole_number_of_image_tokens_is_refused(folder, capsys):
    path = folder / "wrong.toml"
    path.write_text(
        f'[model]\npath = "{folder / "model"}"\n[data]\ntile_size = 30\n[data.sources.x]\ngenerated = "words"\n'
    )
    assert run(["train", str(path), "--set", f"output={folder / 'wrong'}"]) == 1
    assert "data.tile_size is 30; expected a multiple of 28" in capsys.readouterr().err

"""`internvl train`: from rows to a model that opens, through kills, adapters, pairs and several processes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

import internvl
from internvl.cli.main import run
from internvl.train.report import read_log
from tiny_checkpoint import write_checkpoint

RECIPE = """
output = "{output}"
[model]
path = "{model}"
drop_path = 0.2
[data]
meta = ["{rows}"]
packing = {packing}
max_tokens = 256
[optimizer]
learning_rate = 1e-2
weight_decay = 0.0
[run]
steps = 12
save_every = 2
precision = "float32"
threads = 1
tensorboard = false
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A tiny checkpoint, rows about coloured squares, and pairs of answers."""
    folder = tmp_path_factory.mktemp("train")
    write_checkpoint(folder / "model", "qwen2")
    colours = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
    rows, pairs = [], []
    for number in range(18):
        name = list(colours)[number % 3]
        image = f"{number}.png"
        Image.new("RGB", (56 + number, 56), colours[name]).save(folder / image)
        turns = [
            {"from": "human", "value": "<image>\nColour?"},
            {"from": "gpt", "value": name * (1 + number % 2)},
        ]
        rows.append({"id": number, "image": image, "conversations": turns})
        pairs.append({"image": image, "question": "<image>\nColour?", "chosen": name, "rejected": "no idea"})
    for file, lines in (("rows.jsonl", rows), ("pairs.jsonl", pairs)):
        (folder / file).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def recipe(files, output, *, packing="true", rows="rows.jsonl", model=None):
    path = output.with_suffix(".toml")
    values = {"output": output, "model": model or files / "model", "rows": files / rows, "packing": packing}
    path.write_text(RECIPE.format(**values))
    return str(path)


def losses(output):
    return [event["loss"] for event in read_log(output) if event["kind"] == "step"]


def command(*arguments):
    return [sys.executable, "-m", "internvl", "train", *arguments]


def test_a_run_learns_and_leaves_a_model_that_opens(files, tmp_path, capsys):
    output = tmp_path / "run"
    settings = ["--set", f"validation.meta={files / 'rows.jsonl'}", "--set", "run.sample_every=12"]
    settings += ["--set", "export.dtype=float32", "--set", "run.steps=25"]
    assert run(["train", recipe(files, output), *settings, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["finished"]
    assert result["step"] == 25
    found = losses(output)
    assert found[-1] < 0.5 * found[0]
    assert (output / "report.html").exists()
    assert [event for event in read_log(output) if event["kind"] == "sample"]
    model = internvl.load_model(output / "final")
    processor = internvl.load_processor(output / "final")
    before = internvl.load_model(files / "model")
    assert not torch.equal(model.decoder.norm.weight, before.decoder.norm.weight)
    inputs = processor([{"role": "user", "content": "Hello"}])
    assert model(inputs.input_ids[None]).isfinite().all()


def test_a_second_start_of_a_finished_run_trains_nothing(files, tmp_path, capsys):
    output = tmp_path / "run"
    assert run(["train", recipe(files, output), "--set", "run.steps=2"]) == 0
    assert run(["train", recipe(files, output), "--set", "run.steps=2"]) == 0
    assert len(losses(output)) == 2
    assert run(["train", recipe(files, output), "--set", "model.drop_path=0.0"]) == 1
    assert "model.drop_path was another" in capsys.readouterr().err


def test_dry_run_predicts_and_shows_what_is_learnt(files, tmp_path, capsys):
    output = tmp_path / "run"
    assert run(["train", recipe(files, output), "--dry-run", "--rows", "2"]) == 0
    text = capsys.readouterr().out
    for piece in ("packing efficiency", "memory", "time a step", "«", "[4 image tokens]"):
        assert piece in text
    assert not output.exists()
    assert run(["train", recipe(files, output), "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["packing_efficiency"] > 0.5


def test_a_recipe_with_a_typo_fails_with_the_cure(files, tmp_path, capsys):
    assert run(["train", recipe(files, tmp_path / "run"), "--set", "run.stepps=3"]) == 1
    assert "Did you mean run.steps?" in capsys.readouterr().err


def test_a_bad_row_stops_the_run_with_file_and_line(files, tmp_path, capsys):
    bad = files / "bad.jsonl"
    bad.write_text('{"conversations": [{"from": "human", "value": "alone"}]}\n')
    assert run(["train", recipe(files, tmp_path / "run", rows="bad.jsonl")]) == 1
    assert "bad.jsonl:1" in capsys.readouterr().err


def test_adapters_are_trained_alone_and_saved_as_peft_does(files, tmp_path):
    output = tmp_path / "run"
    settings = ["--set", "lora.r=4", "--set", "lora.alpha=8", "--set", "run.steps=4"]
    assert run(["train", recipe(files, output), *settings]) == 0
    assert (output / "final" / "adapter_model.safetensors").exists()
    facts = json.loads((output / "checkpoints" / "step-00000004" / "shared" / "state.json").read_text())
    names = dict(dict(facts["dict"])["model"]["dict"])
    assert names
    assert all(".parts." in name for name in names)


def test_merged_adapters_are_a_whole_model(files, tmp_path):
    output = tmp_path / "run"
    settings = ["--set", "lora.r=4", "--set", "export.merge_lora=true", "--set", "run.steps=2"]
    assert run(["train", recipe(files, output), *settings]) == 0
    internvl.load_model(output / "final")


@pytest.mark.parametrize("kind", ["mpo", "dpo", "bco"])
def test_pairs_of_answers_are_learnt_and_resumed(files, tmp_path, kind):
    output = tmp_path / "run"
    path = recipe(files, output, rows="pairs.jsonl")
    settings = ["--set", f"objective.kind={kind}", "--set", "run.micro_batch_size=2", "--set", "run.steps=6"]
    assert run(["train", path, *settings, "--set", "run.max_minutes=1e-9"]) == 0
    assert losses(output) == []
    assert run(["train", path, *settings]) == 0
    steps = [event for event in read_log(output) if event["kind"] == "step"]
    assert steps[0]["reward_margin"] == pytest.approx(0.0, abs=1e-4)  # the policy is the reference
    assert steps[-1]["reward_margin"] > 0


@pytest.mark.slow
def test_a_run_killed_at_any_moment_has_the_losses_of_one_that_was_not(files, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run(["train", recipe(files, whole)]) == 0
    path = recipe(files, killed)
    kills = 0
    for wanted in (3, 8):
        process = subprocess.Popen(command(path), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while process.poll() is None and len(losses(killed)) < wanted and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills
    subprocess.run(command(path), check=True, capture_output=True)
    assert losses(killed) == losses(whole)
    ours, theirs = (internvl.load_model(folder / "final") for folder in (killed, whole))
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.slow
def test_the_makers_of_samples_end_with_a_run_that_is_killed(files, tmp_path):
    output = tmp_path / "run"
    many = ["--set", "run.steps=100000", "--set", "data.num_workers=2"]
    process = subprocess.Popen(command(recipe(files, output), *many), stderr=subprocess.DEVNULL)
    wait_for(lambda: losses(output))
    children = [
        int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    ]
    assert len(children) >= 2
    process.kill()
    process.wait()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_run_saved_and_the_next_start_goes_on(files, tmp_path, number):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    rare = ["--set", "run.save_every=1000", "--set", "data.num_workers=1", "--set", "run.steps=40"]
    assert run(["train", recipe(files, whole), *rare]) == 0
    path = recipe(files, stopped)
    process = subprocess.Popen(
        command(path, *rare),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    wait_for(lambda: process.poll() is not None or len(losses(stopped)) >= 3)
    os.killpg(process.pid, number)  # the workers too, as a terminal does it
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number, said
    assert "not finished: the same command goes on" in said
    kept = losses(stopped)
    assert 3 <= len(kept) < 40
    assert run(["train", path, *rare]) == 0
    assert losses(stopped) == losses(whole)
    assert losses(stopped)[: len(kept)] == kept  # nothing was trained twice


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one(files, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    settings = [
        "--set",
        "run.global_batch_size=4",
        "--set",
        "model.drop_path=0.0",
        "--set",
        "run.micro_batch_size=2",
    ]
    settings += ["--set", "run.steps=6", "--set", "export.dtype=float32", "--set", "run.device=cpu"]
    assert run(["train", recipe(files, one, packing="false"), *settings]) == 0
    path = recipe(files, two, packing="false")
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    arguments = [*launch, "-m", "internvl", "train", path, *settings]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    first = [*arguments, "--set", "run.max_minutes=1e-9"]
    for each in (first, arguments):  # the second goes on from the distributed checkpoint of the first
        done = subprocess.run(each, capture_output=True, text=True, env=environment, timeout=300)
        assert done.returncode == 0, done.stderr[-4000:]
    assert losses(two) == pytest.approx(losses(one), rel=1e-4)
    ours, theirs = (internvl.load_model(Path(folder) / "final") for folder in (two, one))
    for (name, ours_), theirs_ in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(ours_, theirs_, rtol=1e-2, atol=1e-3, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["sft", "mpo"])
@pytest.mark.parametrize("order", [(2, 1), (1, 2)])
def test_a_run_goes_on_with_another_number_of_processes(files, tmp_path, objective, order):
    rows = "rows.jsonl" if objective == "sft" else "pairs.jsonl"
    values = {
        "objective.kind": objective,
        "optimizer.ema_decay": 0.5,
        "model.drop_path": 0.0,
        "run.global_batch_size": 4,
        "run.micro_batch_size": 2,
        "run.device": "cpu",
        "export.dtype": "float32",
    }
    settings = [word for name, value in values.items() for word in ("--set", f"{name}={value}")]
    one, moved = tmp_path / "one", tmp_path / "moved"
    assert (
        run(
            [
                "train",
                recipe(files, one, packing="false", rows=rows),
                *settings,
                "--set",
                "run.steps=6",
                "--set",
                "schedule.kind=constant",
            ]
        )
        == 0
    )
    path = recipe(files, moved, packing="false", rows=rows)
    for processes, steps in zip(order, (3, 6), strict=True):
        launch = [sys.executable, "-m"]
        if processes > 1:
            launch += ["torch.distributed.run", "--nproc-per-node", str(processes), "--standalone", "-m"]
        done = subprocess.run(
            [*launch, "internvl", "train", path, *settings, "--set", f"run.steps={steps}"]
            + ["--set", "schedule.kind=constant"],
            capture_output=True,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-4000:]
    assert losses(moved) == pytest.approx(losses(one), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "processes"), [("qwen2", 2), ("qwen3", 4)])
def test_processes_that_divide_the_layers_have_the_losses_of_one(files, tmp_path, family, processes):
    write_checkpoint(tmp_path / "model", family)
    one, divided = tmp_path / "one", tmp_path / "divided"
    values = {
        "model.drop_path": 0.0,
        "validation.meta": files / "rows.jsonl",
        "optimizer.ema_decay": 0.5,
        "run.global_batch_size": 4,
        "run.micro_batch_size": 2,
        "run.steps": 6,
        "run.device": "cpu",
        "export.dtype": "float32",
    }
    settings = [word for name, value in values.items() for word in ("--set", f"{name}={value}")]
    model = tmp_path / "model"
    assert run(["train", recipe(files, one, packing="false", model=model), *settings]) == 0
    path = recipe(files, divided, packing="false", model=model)
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        str(processes),
        "--standalone",
    ]
    arguments = [*launch, "-m", "internvl", "train", path, *settings, "--set", "run.tensor_parallel=2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    first = [*arguments, "--set", "run.max_minutes=1e-9"]
    starts = (
        [arguments] if processes > 2 else [first, arguments]
    )  # the second start goes on from a checkpoint
    for each in starts:
        done = subprocess.run(each, capture_output=True, text=True, env=environment, timeout=600)
        assert done.returncode == 0, done.stderr[-4000:]
    assert losses(divided) == pytest.approx(losses(one), rel=1e-4)
    for key in ("grad_norm", "valid_tokens", "tiles"):
        ours, theirs = (
            [event[key] for event in read_log(output) if event["kind"] == "step"] for output in (divided, one)
        )
        assert ours == pytest.approx(theirs, rel=1e-3), key
    measured = [
        [event["loss"] for event in read_log(output) if event["kind"] == "validation"]
        for output in (divided, one)
    ]
    assert measured[0] == pytest.approx(measured[1], rel=1e-3)
    ours, theirs = (internvl.load_model(Path(folder) / "final") for folder in (divided, one))
    for (name, ours_), theirs_ in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(ours_, theirs_, rtol=1e-2, atol=1e-3, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [[], ["lora.r=4", "lora.vision=all-linear", "lora.dropout=0.0"]], ids=["whole", "lora"]
)
def test_two_processes_learn_from_pairs_as_one_does(files, tmp_path, settings):
    one, two = tmp_path / "one", tmp_path / "two"
    values = ["objective.kind=mpo", "model.drop_path=0.0", "run.steps=5", "run.device=cpu", *settings]
    values += ["run.global_batch_size=4", "export.dtype=float32"]
    runs = {one: [*values, "run.micro_batch_size=4"], two: [*values, "run.micro_batch_size=1"]}
    words = {output: [w for each in sets for w in ("--set", each)] for output, sets in runs.items()}
    assert run(["train", recipe(files, one, rows="pairs.jsonl"), *words[one]]) == 0
    path = recipe(files, two, rows="pairs.jsonl")
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    done = subprocess.run(
        [*launch, "-m", "internvl", "train", path, *words[two]],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert losses(two) == pytest.approx(losses(one), rel=1e-4)
    last = [[event for event in read_log(output) if event["kind"] == "step"][-1] for output in (one, two)]
    assert last[1]["reward_margin"] == pytest.approx(last[0]["reward_margin"], rel=1e-2)
    if settings:
        for output in (one, two):
            assert (output / "final" / "adapter_model.safetensors").is_file()
            internvl.load_model(files / "model", adapter=output / "final")
    else:
        ours, theirs = (internvl.load_model(output / "final") for output in (two, one))
        for (name, ours_), theirs_ in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(ours_, theirs_, rtol=1e-2, atol=1e-3, msg=name)


def settings_of(*values):
    return [word for value in values for word in ("--set", value)]


@pytest.mark.parametrize("packing", ["true", "false"])
def test_a_run_over_one_epoch_ends_with_its_data_and_leaves_its_model(files, tmp_path, capsys, packing):
    output = tmp_path / "run"
    path = recipe(files, output, packing=packing)
    words = settings_of("data.num_epochs=1", "run.steps=1000", "run.grad_accum_steps=4")
    assert run(["train", path, *words, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] < 10
    assert run(["train", path, *words, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["finished"]
    assert result["num_bad_rows"] == 0
    assert (result["packing_efficiency"] is not None) == (packing == "true")
    if packing == "false":  # known before, so that the learning rate falls to its end
        assert (result["step"], result["steps"]) == (5, 5)
        rates = [event["learning_rate"] for event in read_log(output) if event["kind"] == "step"]
        assert rates[-1] < 0.2 * max(rates)
    internvl.load_model(output / "final")
    assert run(["train", path, *words, "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["skipped"]
    assert again["step"] == result["step"]


def test_validation_rows_that_are_not_there_stop_the_run_before_it_trains(files, tmp_path, capsys):
    output = tmp_path / "run"
    assert run(["train", recipe(files, output), *settings_of("validation.meta=none.jsonl")]) == 1
    assert "none.jsonl: no such file" in capsys.readouterr().err
    assert losses(output) == []


def test_bad_rows_are_counted_whatever_they_are_for(files, tmp_path, capsys):
    rows = (files / "rows.jsonl").read_text().splitlines()
    mixed = files / "mixed.jsonl"
    mixed.write_text("\n".join([*rows[:6], "{", "   ", json.dumps({"id": 1, "conversations": []})]))
    words = settings_of(
        f"validation.meta={mixed}", "data.on_bad_row=skip", "data.num_epochs=1", "run.sample_every=100",
        "run.num_samples=9",
    )  # fmt: skip
    path = recipe(files, tmp_path / "run", rows="mixed.jsonl", packing="false")
    assert run(["train", path, *words, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["num_bad_rows"] == result["num_bad_validation_rows"] == 2
    assert result["step"] == 6
    assert "rows left out" in (tmp_path / "run" / "report.html").read_text()


def test_rows_of_pairs_are_mixed_measured_and_left_out_as_others_are(files, tmp_path, capsys):
    good = json.loads((files / "pairs.jsonl").read_text().splitlines()[0])
    lines = [
        json.dumps(good | {"chosen": "red\u2028red"}, ensure_ascii=False),
        "{",
        json.dumps({"question": 1}),
    ]
    (files / "mixed-pairs.jsonl").write_text("\n".join(lines))
    (files / "meta.json").write_text(
        json.dumps({"mixed": {"root": ".", "annotation": "mixed-pairs.jsonl", "repeat_time": 3}})
    )
    output = tmp_path / "run"
    words = settings_of(
        "objective.kind=mpo", f"validation.meta={files / 'pairs.jsonl'}", "run.epochs=1", "run.sample_every=3",
        "data.on_bad_row=skip", "data.num_workers=1",
    )  # fmt: skip
    assert run(["train", recipe(files, output, rows="meta.json"), *words, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["step"], result["num_bad_rows"], result["num_bad_validation_rows"]) == (3, 6, 0)
    assert result["validation_loss"] > 0
    assert [event for event in read_log(output) if event["kind"] == "sample"]

"""`internvl data pairs`: from rows and a model to pairs that `internvl train` learns from."""

import json

import pytest
import torch
from PIL import Image

import internvl
from internvl.checkpoint.save import save_model
from internvl.cli.main import run
from internvl.train.report import read_log
from tiny_checkpoint import write_checkpoint

JUDGE = """
def odd(question, answer, reference):
    assert question.startswith("<image>") and reference == "red"
    return len(answer) % 2
"""
RECIPE = """
output = "{output}"
[model]
path = "{model}"
[data]
meta = ["{pairs}"]
max_tokens = 256
[objective]
kind = "mpo"
[run]
steps = 3
precision = "float32"
threads = 1
tensorboard = false
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    model = write_checkpoint(tmp_path / "endless", "qwen2")
    stops = internvl.load_processor(tmp_path / "endless").stop_token_ids
    with torch.no_grad():  # a random model hardly ever ends its answer
        model.decoder.lm_head.weight[list(stops)] *= 4
    save_model(model, tmp_path / "model", tokenizer_from=tmp_path / "endless")
    for number in range(3):
        Image.new("RGB", (60, 56), (255, 80 * number, 0)).save(tmp_path / f"{number}.png")
    turns = [{"from": "human", "value": "<image>\nColour?"}, {"from": "gpt", "value": "red"}]
    rows = [{"id": number, "image": f"{number}.png", "conversations": turns} for number in range(3)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "judge_colours.py").write_text(JUDGE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pairs(*more):
    words = ["data", "pairs", "model", "rows.jsonl", "--out", "made/pairs.jsonl", "--max-new-tokens", "40"]
    return run([*words, "--verifier", "judge_colours:odd", "--temperature", "2", *more])


def test_preference_learning_runs_on_the_pairs_that_were_written(folder, capsys):
    assert pairs("--json") == 0
    report = json.loads(capsys.readouterr().out)
    rows = [json.loads(line) for line in (folder / "made" / "pairs.jsonl").read_text().splitlines()]
    assert report["questions"] == 3
    assert report["answers"] == 24
    assert report["pairs"] == len(rows) > 0
    assert all(row["image"].startswith("../") and row["chosen"] != row["rejected"] for row in rows)
    assert all(len(row["chosen"]) % 2 == 1 and len(row["rejected"]) % 2 == 0 for row in rows)
    path = folder / "mpo.toml"
    path.write_text(
        RECIPE.format(output=folder / "run", model=folder / "model", pairs=folder / "made" / "pairs.jsonl")
    )
    assert run(["train", str(path)]) == 0
    steps = [event for event in read_log(folder / "run") if event["kind"] == "step"]
    assert steps[-1]["reward_margin"] > steps[0]["reward_margin"]


def test_the_same_command_asks_nothing_again_and_other_rules_make_other_pairs(folder, capsys, monkeypatch):
    assert pairs() == 0
    first = (folder / "made" / "pairs.jsonl").read_bytes()
    monkeypatch.setattr("internvl.engine.engine.Engine.submit", None)  # nothing may be asked
    assert pairs() == 0
    assert (folder / "made" / "pairs.jsonl").read_bytes() == first
    assert pairs("--pairs-per-question", "1") == 0
    assert len((folder / "made" / "pairs.jsonl").read_text().splitlines()) <= 3
    assert "metrics: exact_ci 3" in capsys.readouterr().out


def test_wrong_usage_and_no_pairs_are_said(folder, capsys):
    assert run(["data", "pairs", "model"]) == 2
    assert run(["data", "pairs", "model", "rows.jsonl", "--out", "pairs.json"]) == 2
    assert run(["data", "pairs", "model", "rows.jsonl", "--metric", "excat"]) == 1
    assert run(["data", "pairs", "model", "rows.jsonl", "--max-new-tokens", "3"]) == 1
    error = capsys.readouterr().err
    for words in ("name rows", "does not end in .jsonl", "did you mean 'exact'?", "no pairs: raise"):
        assert words in error

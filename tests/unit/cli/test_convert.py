"""`internvl convert`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from internvl.checkpoint.load import load_model
from internvl.cli import main
from internvl.cli.convert import parse_size
from internvl.config.model import ProjectorConfig
from tiny_checkpoint import write_checkpoint


def test_a_directory_is_written_and_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_checkpoint(tmp_path / "a", "qwen3")
    assert main.run(["convert", str(tmp_path / "a"), str(tmp_path / "b"), "--layout", "hf"]) == 0
    out, err = capsys.readouterr()
    assert "hf layout, qwen3 with template internvl2_5" in out
    assert err == ""
    assert load_model(tmp_path / "b").config.layout == "hf"


def test_notes_go_to_stderr_and_json_to_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_checkpoint(tmp_path / "a", projector=ProjectorConfig(pixel_shuffle="v1"))
    arguments = ["convert", str(tmp_path / "a"), str(tmp_path / "b"), "--layout", "hf", "--json"]
    assert main.run(arguments) == 0
    out, err = capsys.readouterr()
    record = json.loads(out)
    assert record["layout"] == "hf"
    assert record["num_tensors"] > 10
    assert len(record["notes"]) == 1
    assert "note: pixel shuffle v1" in err


def test_shards_are_cut_at_the_size_asked_for(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a")
    size = ["--max-shard-size", "30K"]
    assert main.run(["convert", str(tmp_path / "a"), str(tmp_path / "b"), "--layout", "github", *size]) == 0
    assert len(list((tmp_path / "b").glob("*.safetensors"))) > 2


def test_a_target_in_use_fails_unless_it_may_be_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_checkpoint(tmp_path / "a")
    arguments = ["convert", str(tmp_path / "a"), str(tmp_path / "b"), "--layout", "hf"]
    assert main.run(arguments) == 0
    assert main.run(arguments) == 1
    assert "exists and is not empty" in capsys.readouterr().err
    assert main.run([*arguments, "--overwrite"]) == 0


@pytest.mark.parametrize(
    "arguments",
    [["a", "b"], ["a", "b", "--layout", "onnx"], ["a", "b", "--layout", "hf", "--max-shard-size", "big"]],
)
def test_wrong_usage_is_told_from_failed_work(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["convert", *arguments]) == 2
    assert "--help" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "size"),
    [("5GB", 5 * 10**9), ("1.5g", 15 * 10**8), ("30K", 30_000), (" 7 MB ", 7 * 10**6), ("12", 12)],
)
def test_sizes_are_read_in_the_usual_units(text: str, size: int) -> None:
    assert parse_size(text) == size

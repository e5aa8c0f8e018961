"""Names that need no network: directories, the bundled model, and strings that are neither."""

from __future__ import annotations

from pathlib import Path

import pytest

from internvl.checkpoint import hub
from internvl.errors import CheckpointError


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> Path:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(hub, "_from_hub", refuse)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    return tmp_path / "model"


def test_a_directory_is_returned_as_it_is(checkpoint: Path) -> None:
    assert hub.resolve(checkpoint) == checkpoint
    assert hub.resolve(str(checkpoint)) == checkpoint


def test_a_relative_directory_wins_over_a_hub_id(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkpoint.parent.parent)
    assert hub.resolve(f"{checkpoint.parent.name}/model").resolve() == checkpoint


def test_a_directory_without_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no config.json"):
        hub.resolve(tmp_path)


def test_a_file_is_not_a_checkpoint(checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match="is a file; give the directory"):
        hub.resolve(str(checkpoint / "config.json"))


@pytest.mark.parametrize(
    "name",
    ["/no/such", "./model", "../model", "~/no-such-model", "a/b/c", "models/", "weights.safetensors", "x\\y"],
)
def test_what_looks_like_a_path_is_not_asked_of_the_hub(name: str) -> None:
    with pytest.raises(CheckpointError, match="no directory"):
        hub.resolve(name)


def test_a_missing_child_of_an_existing_directory_is_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(CheckpointError, match="no directory runs/best"):
        hub.resolve("runs/best")


def test_a_bare_name_gets_a_hint() -> None:
    with pytest.raises(CheckpointError, match="Did you mean the hub id 'OpenGVLab/InternVL3-1B'"):
        hub.resolve("InternVL3-1B")
    with pytest.raises(CheckpointError, match="no model ''"):
        hub.resolve("")


def test_a_missing_bundled_model_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hub.resources, "files", lambda _: tmp_path)
    with pytest.raises(CheckpointError, match="bundled model 'nano' is missing"):
        hub.resolve("nano")


def test_the_bundled_model_is_found_in_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    directory = tmp_path / "assets" / "nano"
    directory.mkdir(parents=True)
    (directory / "config.json").write_text("{}")
    monkeypatch.setattr(hub.resources, "files", lambda _: tmp_path)
    assert hub.resolve("nano") == directory

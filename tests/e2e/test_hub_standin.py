"""Downloads against a hub on the loopback: what is fetched, resumed, refused and reused."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub_standin import HubStandIn, running_hub
from internvl.checkpoint import download
from internvl.checkpoint.hub import resolve
from internvl.errors import CheckpointError

REPO = "OpenGVLab/InternVL-Test-1B"
WEIGHTS = b"".join(
    hashlib.sha256(str(i).encode()).digest() for i in range(16384)
)  # 512 KiB, no two blocks alike
FILES = {
    "config.json": b'{"model_type": "internvl_chat"}',
    "tokenizer_config.json": b"{}",
    "merges.txt": b"#version: 0.2\n",
    "model.safetensors": WEIGHTS,
    "modeling_internvl_chat.py": b"raise SystemExit('remote code ran')",
    "pytorch_model.bin": b"pickle",
    "README.md": b"# card",
    "original/model.safetensors": b"another copy",
}


@pytest.fixture
def hub() -> Iterator[HubStandIn]:
    with running_hub() as hub:
        hub.add(REPO, dict(FILES))
        yield hub


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(download.time, "sleep", lambda _: None)


def test_a_hub_id_becomes_a_directory_with_the_files_that_we_read(hub: HubStandIn, tmp_path: Path) -> None:
    directory = resolve(REPO, endpoint=hub.url, cache_dir=tmp_path)
    assert (directory / "model.safetensors").read_bytes() == WEIGHTS
    assert (directory / "config.json").read_bytes() == FILES["config.json"]
    assert {path.name for path in directory.iterdir()} == {
        "config.json",
        "tokenizer_config.json",
        "merges.txt",
        "model.safetensors",
    }


def test_python_files_and_pickles_are_never_asked_for(hub: HubStandIn, tmp_path: Path) -> None:
    resolve(REPO, endpoint=hub.url, cache_dir=tmp_path)
    asked = [path for _, path, _ in hub.log]
    assert not [path for path in asked if path.endswith((".py", ".bin", ".md")) or "original" in path]
    assert not list(tmp_path.rglob("*.py"))


def test_a_mirror_can_be_named_by_the_environment(
    hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.url + "/")
    assert (resolve(REPO, cache_dir=tmp_path) / "config.json").is_file()


def test_a_connection_cut_in_the_middle_of_a_file_goes_on_from_there(hub: HubStandIn, tmp_path: Path) -> None:
    hub.cut_after["model.safetensors"] = [200_000, 100_000]
    directory = resolve(REPO, endpoint=hub.url, cache_dir=tmp_path)
    assert (directory / "model.safetensors").read_bytes() == WEIGHTS
    ranges = [
        wanted for method, path, wanted in hub.log if method == "GET" and path.endswith("model.safetensors")
    ]
    assert ranges == ["", "bytes=200000-", "bytes=300000-"]


def test_a_download_that_died_goes_on_in_the_next_run(hub: HubStandIn, tmp_path: Path) -> None:
    hub.cut_after["model.safetensors"] = [300_000] + [0] * 20
    with pytest.raises(CheckpointError, match=r"model\.safetensors: stopped at 0\.3 of 0\.5 MB.*again"):
        resolve(REPO, endpoint=hub.url, cache_dir=tmp_path)
    hub.cut_after.clear()
    hub.log.clear()
    directory = resolve(REPO, endpoint=hub.url, cache_dir=tmp_path)
    assert (directory / "model.safetensors").read_bytes() == WEIGHTS
    assert [wanted for method, path, wanted in hub.log if method == "GET" and "safetensors" in path] == [
        "bytes=300000-"
    ]


def test_an_unfinished_download_is_not_taken_for_a_model(hub: HubStandIn, tmp_path: Path) -> None:
    hub.cut_after["model.safetensors"] = [300_000] + [0] * 20
    with pytest.raises(CheckpointError):
        resolve(REPO, endpoint=hub.url, cache_dir=tmp_path)
    with pytest.raises(CheckpointError, match="local cache"):
        resolve(REPO, offline=True, cache_dir=tmp_path)


def test_a_server_that_ignores_ranges_is_started_over(hub: HubStandIn, tmp_path: Path) -> None:
    hub.ignores_ranges = True
    hub.cut_after["model.safetensors"] = [100_000]
    directory = resolve(REPO, endpoint=hub.url, cache_dir=tmp_path)
    assert (directory / "model.safetensors").read_bytes() == WEIGHTS


def test_bytes_that_miss_their_checksum_are_fetched_again_and_then_refused(
    hub: HubStandIn, tmp_path: Path
) -> None:
    hub.corrupt["model.safetensors"] = 1
    directory = resolve(REPO, endpoint=hub.url, cache_dir=tmp_path / "a")
    assert (directory / "model.safetensors").read_bytes() == WEIGHTS
    hub.corrupt["model.safetensors"] = 2
    with pytest.raises(CheckpointError, match="checksum"):
        resolve(REPO, endpoint=hub.url, cache_dir=tmp_path / "b")


def test_the_second_load_needs_no_network(hub: HubStandIn, tmp_path: Path) -> None:
    first = resolve(REPO, endpoint=hub.url, cache_dir=tmp_path)
    hub.log.clear()
    assert resolve(REPO, offline=True, endpoint=hub.url, cache_dir=tmp_path) == first
    assert not hub.log


def test_the_offline_variable_of_the_hub_is_honoured(
    hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointError, match="offline"):
        resolve(REPO, endpoint=hub.url, cache_dir=tmp_path)
    assert not hub.log


def test_the_second_online_load_fetches_no_file_again(hub: HubStandIn, tmp_path: Path) -> None:
    resolve(REPO, endpoint=hub.url, cache_dir=tmp_path)
    hub.log.clear()
    resolve(REPO, endpoint=hub.url, cache_dir=tmp_path)
    assert not hub.downloads()


def test_an_unreachable_hub_falls_back_to_the_cached_copy_and_says_so(
    hub: HubStandIn, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = resolve(REPO, endpoint=hub.url, cache_dir=tmp_path)
    with caplog.at_level(logging.WARNING, "internvl"):
        assert resolve(REPO, endpoint="http://127.0.0.1:9", cache_dir=tmp_path) == first
    assert "cached copy" in caplog.text
    with pytest.raises(CheckpointError, match="did not answer"):
        resolve("OpenGVLab/Never-Seen", endpoint="http://127.0.0.1:9", cache_dir=tmp_path)


def test_a_revision_names_its_own_files(hub: HubStandIn, tmp_path: Path) -> None:
    commit = hub.add(REPO, {**FILES, "config.json": b'{"model_type": "other"}'}, revision="v2")
    by_name = resolve(REPO, revision="v2", endpoint=hub.url, cache_dir=tmp_path)
    by_commit = resolve(REPO, revision=commit, endpoint=hub.url, cache_dir=tmp_path)
    assert by_name == by_commit
    assert (by_name / "config.json").read_bytes() == b'{"model_type": "other"}'
    main = resolve(REPO, endpoint=hub.url, cache_dir=tmp_path)
    assert (main / "config.json").read_bytes() == FILES["config.json"]
    assert hub.downloads().count("model.safetensors") == 1, "equal content is fetched once"


def test_refusals_say_what_to_do(hub: HubStandIn, tmp_path: Path) -> None:
    hub.add("org/gated", dict(FILES))
    hub.gated.add("org/gated")
    with pytest.raises(CheckpointError, match=r"gated: accept its conditions .*HF_TOKEN"):
        resolve("org/gated", endpoint=hub.url, cache_dir=tmp_path)
    with pytest.raises(CheckpointError, match=r"knows no model 'org/unknown'.*internvl models"):
        resolve("org/unknown", endpoint=hub.url, cache_dir=tmp_path)
    with pytest.raises(CheckpointError, match="no revision 'v9'"):
        resolve(REPO, revision="v9", endpoint=hub.url, cache_dir=tmp_path)


def test_a_repository_with_only_pickles_is_refused_before_anything_is_fetched(
    hub: HubStandIn, tmp_path: Path
) -> None:
    hub.add("org/pickles", {"config.json": b"{}", "pytorch_model-00001-of-00002.bin": b"x"})
    with pytest.raises(CheckpointError, match="pickle.*run code"):
        resolve("org/pickles", endpoint=hub.url, cache_dir=tmp_path)
    assert not hub.downloads()


def test_a_repository_without_weights_is_refused(hub: HubStandIn, tmp_path: Path) -> None:
    hub.add("org/empty", {"README.md": b"x"})
    with pytest.raises(CheckpointError, match=r"holds no \*\.safetensors"):
        resolve("org/empty", endpoint=hub.url, cache_dir=tmp_path)

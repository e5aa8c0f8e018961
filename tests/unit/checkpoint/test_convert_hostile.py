"""Directories that somebody prepared: refused with the reason, nothing run, nothing copied."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from internvl.checkpoint.convert import convert
from internvl.checkpoint.load import load_model
from internvl.errors import CheckpointError
from tiny_checkpoint import write_checkpoint


class Bomb:
    """Unpickling it writes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable, tuple[str, str]]:
        return (Path.write_text, (self.target, "code ran"))  # type: ignore[return-value]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_checkpoint(tmp_path / "a")
    return tmp_path / "a"


def refused(source: Path, message: str) -> None:
    """Loading and converting both refuse, and the conversion leaves nothing."""
    with pytest.raises(CheckpointError, match=message):
        load_model(source)
    with pytest.raises(CheckpointError, match=message):
        convert(source, source.parent / "target", layout="hf")
    assert not (source.parent / "target").exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth", "model.ckpt"])
def test_pickles_are_never_opened(source: Path, name: str) -> None:
    (source / "model.safetensors").unlink()
    (source / name).write_bytes(pickle.dumps(Bomb(source.parent / "ran")))
    refused(source, "pickle")
    assert not (source.parent / "ran").exists()


def test_a_pickle_that_calls_itself_safetensors_is_no_safetensors(source: Path) -> None:
    (source / "model.safetensors").write_bytes(pickle.dumps(Bomb(source.parent / "ran")) * 100)
    refused(source, "not a sound safetensors file")
    assert not (source.parent / "ran").exists()


def test_pickles_beside_safetensors_are_left_alone(source: Path) -> None:
    (source / "training_args.bin").write_bytes(pickle.dumps(Bomb(source.parent / "ran")))
    load_model(source)
    convert(source, source.parent / "target", layout="hf")
    assert not (source.parent / "ran").exists()
    assert not (source.parent / "target" / "training_args.bin").exists()


@pytest.mark.parametrize(
    "name", ["model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.json"]
)
def test_a_link_to_the_outside_is_refused(source: Path, name: str) -> None:
    secret = source.parent / "secret"
    moved = source / name
    if moved.exists():
        shutil.move(moved, secret)
    else:
        secret.write_text("{}")
    moved.symlink_to(secret)
    refused(source, rf"{name} is a link to .*secret, outside its directory")


def test_links_inside_the_directory_and_of_the_hub_s_cache_are_followed(source: Path) -> None:
    (source / "model.safetensors").rename(source / "weights")
    (source / "model.safetensors").symlink_to("weights")
    load_model(source)
    blobs = source.parent / "models--org--name" / "blobs"
    snapshot = source.parent / "models--org--name" / "snapshots" / "main"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for file in source.iterdir():
        if not file.is_symlink():
            shutil.copy(file, blobs / f"of-{file.name}")
            (snapshot / file.name).symlink_to(f"../../blobs/of-{file.name}")
    (snapshot / "model.safetensors").symlink_to("../../blobs/of-weights")
    load_model(snapshot)


@pytest.mark.parametrize("name", ["../outside.safetensors", "/etc/passwd", "sub/model.safetensors", ".."])
def test_an_index_entry_outside_is_refused(source: Path, name: str) -> None:
    (source / "model.safetensors").rename(source.parent / "outside.safetensors")
    index = {"weight_map": {"mlp1.0.weight": name}}
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(source, "outside its directory|only .safetensors files are read")


@pytest.mark.parametrize(
    "header",
    [
        b"\xff" * 8,
        (10**12).to_bytes(8, "little"),
        (64).to_bytes(8, "little")
        + b'{"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}}'[:64],
        (2).to_bytes(8, "little") + b"[]",
        b"",
    ],
    ids=["all-ones", "terabyte", "cut-json", "a-list", "empty"],
)
def test_an_absurd_header_is_refused_before_any_memory_is_taken(source: Path, header: bytes) -> None:
    (source / "model.safetensors").write_bytes(header)
    refused(source, "not a sound safetensors file")


def test_huge_shapes_that_promise_little_data_are_refused(source: Path) -> None:
    entry = {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 16]}
    text = json.dumps({"mlp1.0.weight": entry}).encode()
    content = len(text).to_bytes(8, "little") + text + b"\0" * 16
    (source / "model.safetensors").write_bytes(content)
    refused(source, "mlp1.0.weight")


def test_a_config_that_asks_for_a_giant_model_is_refused_before_memory_is_taken(source: Path) -> None:
    content = json.loads((source / "config.json").read_text())
    content["llm_config"]["hidden_size"] *= 10_000
    content["llm_config"]["head_dim"] = 8
    (source / "config.json").write_text(json.dumps(content))
    refused(source, "misshapen")


def test_an_unknown_architecture_is_refused_even_when_it_brings_its_code(source: Path) -> None:
    content = json.loads((source / "config.json").read_text())
    content["llm_config"] |= {
        "architectures": ["EvilForCausalLM"],
        "model_type": "evil",
        "auto_map": {"AutoModelForCausalLM": "modeling_evil.EvilForCausalLM"},
    }
    (source / "config.json").write_text(json.dumps(content))
    ran = source.parent / "ran"
    (source / "modeling_evil.py").write_text(f"open({str(ran)!r}, 'w')")
    refused(source, "EvilForCausalLM.*never run")
    assert not ran.exists()

"""A model written and loaded again is the same model."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from fakes import FAMILIES, IMAGE_TOKEN_ID, tiny_model
from internvl.checkpoint import save
from internvl.checkpoint.load import load_model
from internvl.checkpoint.save import save_model
from internvl.checkpoint.shards import open_shards
from internvl.config.model import Layout
from internvl.errors import CheckpointError
from internvl.models.internvl import InternVLModel

LAYOUTS: tuple[Layout, ...] = ("github", "hf")


def assert_same(loaded: InternVLModel, model: InternVLModel) -> None:
    want, found = dict(model.named_parameters()), dict(loaded.named_parameters())
    assert found.keys() == want.keys()
    for name, parameter in want.items():
        assert found[name].dtype == parameter.dtype
        assert torch.equal(found[name], parameter), name


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_saving_and_loading_is_the_identity(family: str, layout: Layout, tmp_path: Path) -> None:
    model = tiny_model(family)
    loaded = load_model(save_model(model, tmp_path / "m", layout=layout))
    assert_same(loaded, model)
    assert loaded.image_token_id == IMAGE_TOKEN_ID


@pytest.mark.parametrize("layout", LAYOUTS)
def test_half_precision_and_the_large_tower_keep_their_bits(layout: Layout, tmp_path: Path) -> None:
    model = tiny_model(vision={"norm": "rms_norm", "qk_norm": True, "qkv_bias": False}).bfloat16()
    assert_same(load_model(save_model(model, tmp_path / "m", layout=layout)), model)
    assert json.loads((tmp_path / "m" / "config.json").read_text())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_tied_embeddings_are_stored_once(layout: Layout, tmp_path: Path) -> None:
    model = tiny_model(text={"tie_embeddings": True})
    save_model(model, tmp_path / "m", layout=layout)
    with open_shards(tmp_path / "m") as shards:
        assert not [name for name in shards if "lm_head" in name]
    loaded = load_model(tmp_path / "m")
    assert loaded.decoder.lm_head.weight is loaded.decoder.embed.weight
    assert_same(loaded, model)


def test_shards_hold_what_one_file_holds_and_stay_below_their_limit(tmp_path: Path) -> None:
    model = tiny_model()
    save_model(model, tmp_path / "one")
    save_model(model, tmp_path / "many", max_shard_bytes=20_000)
    files = sorted((tmp_path / "many").glob("*.safetensors"))
    assert len(files) > 3
    assert [file.name for file in files][0] == f"model-00001-of-{len(files):05d}.safetensors"
    with open_shards(tmp_path / "one") as one, open_shards(tmp_path / "many") as many:
        assert set(one) == set(many)
        assert all(torch.equal(one.tensor(name), many.tensor(name)) for name in one)
        by_file: dict[str, list[int]] = {}
        for info in many.infos.values():
            by_file.setdefault(info.file.name, []).append(info.size_bytes)
    assert all(sum(sizes) <= 20_000 or len(sizes) == 1 for sizes in by_file.values())
    index = json.loads((tmp_path / "many" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(map(sum, by_file.values()))
    assert_same(load_model(tmp_path / "many"), model)


def test_other_readers_of_safetensors_read_what_we_write(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    model = tiny_model().half()
    save_model(model, tmp_path / "m")
    tensors = load_file(tmp_path / "m" / "model.safetensors")
    embed = tensors["language_model.model.embed_tokens.weight"]
    assert torch.equal(embed, model.decoder.embed.weight)


def test_a_failed_save_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(save, "write_config_files", fail)
    with pytest.raises(OSError, match="disk full"):
        save_model(tiny_model(), tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_save_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tiny_model(seed=1)
    save_model(first, tmp_path / "m")
    monkeypatch.setattr(save, "to_disk", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_model(tiny_model(seed=2), tmp_path / "m", overwrite=True)
    assert_same(load_model(tmp_path / "m"), first)
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_overwriting_is_asked_for_and_only_checkpoints_are_overwritten(tmp_path: Path) -> None:
    save_model(tiny_model(seed=1), tmp_path / "m")
    second = tiny_model(seed=2)
    with pytest.raises(CheckpointError, match="exists and is not empty"):
        save_model(second, tmp_path / "m")
    save_model(second, tmp_path / "m", overwrite=True)
    assert_same(load_model(tmp_path / "m"), second)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="not overwritten"):
        save_model(second, tmp_path / "photos", overwrite=True)
    assert (tmp_path / "photos" / "a.jpg").exists()


def test_a_new_directory_has_the_usual_permissions(tmp_path: Path) -> None:
    os.mkdir(tmp_path / "usual")
    save_model(tiny_model(), tmp_path / "deep" / "m")
    assert (tmp_path / "deep" / "m").stat().st_mode == (tmp_path / "usual").stat().st_mode

"""From one layout to the other and back: nothing lost, nothing unsafe carried along."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fakes import FAMILIES
from internvl.checkpoint import save
from internvl.checkpoint.convert import convert
from internvl.checkpoint.hf_config import read_model_config
from internvl.checkpoint.load import load_model, load_processor
from internvl.checkpoint.shards import open_shards
from internvl.config.model import MoEConfig, ProjectorConfig
from internvl.errors import CheckpointError, ConfigError
from internvl.preprocess.tokenizer import load_tokenizer
from tiny_checkpoint import write_checkpoint
from tiny_tokenizers import SENTENCES

QUESTION = [{"role": "user", "content": "How many apples are on the sign?\nAnswer in one word: 三"}]


def tensors_of(directory: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Name -> dtype, shape and bytes."""
    with open_shards(directory) as shards:
        return {
            name: (
                str(info.dtype),
                info.shape,
                shards.tensor(name).contiguous().view(-1).view(torch.uint8).numpy().tobytes(),
            )
            for name, info in shards.infos.items()
        }


def json_of(file: Path) -> dict:
    return json.loads(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_round_trip_gives_back_every_byte_and_every_field(family: str, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a", family, max_tiles=24, release="X", dtype=torch.bfloat16)
    convert(tmp_path / "a", tmp_path / "b", layout="hf")
    convert(tmp_path / "b", tmp_path / "c", layout="github")
    assert tensors_of(tmp_path / "c") == tensors_of(tmp_path / "a")
    assert json_of(tmp_path / "c" / "config.json") == json_of(tmp_path / "a" / "config.json")
    assert read_model_config(tmp_path / "b") == replace(read_model_config(tmp_path / "a"), layout="hf")


def test_how_pictures_are_cut_is_kept_through_layouts_and_saving(tmp_path: Path) -> None:
    """No layout has a field for it: it is a side note, and absent where there is nothing to note."""
    write_checkpoint(tmp_path / "a", "qwen3", tile_policy="fit")
    convert(tmp_path / "a", tmp_path / "b", layout="hf")
    convert(tmp_path / "b", tmp_path / "c", layout="github")
    save.save_model(load_model(tmp_path / "b"), tmp_path / "d", tokenizer_from=tmp_path / "b")
    for name in "abcd":
        assert load_processor(tmp_path / name).config.tile_policy == "fit"
        assert json_of(tmp_path / name / "config.json")["internvl"]["tile_policy"] == "fit"
    write_checkpoint(tmp_path / "plain", "qwen3")
    assert "tile_policy" not in json_of(tmp_path / "plain" / "config.json").get("internvl", {})


@pytest.mark.parametrize("family", FAMILIES)
def test_the_tokenizer_s_files_come_back_unchanged(family: str, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a", family)
    convert(tmp_path / "a", tmp_path / "b", layout="hf")
    convert(tmp_path / "b", tmp_path / "c", layout="github")
    files = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    assert {path.name: path.read_bytes() for path in (tmp_path / "c").iterdir()} == files


@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_ids_and_logits_are_the_same_in_both_layouts(family: str, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a", family)
    convert(tmp_path / "a", tmp_path / "b", layout="hf")
    one, other = load_processor(tmp_path / "a"), load_processor(tmp_path / "b")
    assert other.template == one.template
    assert other.stop_token_ids == one.stop_token_ids
    inputs = one(QUESTION)
    assert torch.equal(other(QUESTION).input_ids, inputs.input_ids)
    for text in (*SENTENCES, "  two spaces", "<img>x<|im_end|> y"):
        ids = one.tokenizer.encode(text)
        assert other.tokenizer.encode(text) == ids
        for skip in (False, True):
            assert other.tokenizer.decode(ids, skip) == one.tokenizer.decode(ids, skip)
    ids = inputs.input_ids[None, :40]
    with torch.inference_mode():
        assert torch.equal(load_model(tmp_path / "a")(ids), load_model(tmp_path / "b")(ids))


def test_a_directory_of_transformers_itself_survives_the_way_there_and_back(tmp_path: Path) -> None:
    """Without our notes: as published -HF checkpoints are."""
    write_checkpoint(tmp_path / "a", "qwen3", layout="hf", template="internvl_hf", release="")
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / "a" / name).unlink()
    for name in ("config.json", "tokenizer_config.json"):
        content = json_of(tmp_path / "a" / name)
        del content["internvl"]
        (tmp_path / "a" / name).write_text(json.dumps(content))
    convert(tmp_path / "a", tmp_path / "b", layout="github")
    convert(tmp_path / "b", tmp_path / "c", layout="hf")
    assert tensors_of(tmp_path / "c") == tensors_of(tmp_path / "a")
    assert read_model_config(tmp_path / "c") == read_model_config(tmp_path / "a")
    assert (tmp_path / "b" / "merges.txt").is_file(), "upstream asks for the slow tokenizer"
    # Upstream's code gets a template that it knows; here the conversation stays what it was.
    assert json_of(tmp_path / "b" / "config.json")["template"] == "internvl2_5"
    prompts = {load_processor(tmp_path / name).render(QUESTION) for name in "abc"}
    assert len(prompts) == 1


def test_the_sentencepiece_models_have_a_tokenizer_json_with_the_same_ids(tmp_path: Path) -> None:
    """What other programs read instead of our note."""
    from tokenizers import Tokenizer

    for family in ("internlm2", "internlm3", "llama"):
        write_checkpoint(tmp_path / family, family)
        convert(tmp_path / family, tmp_path / f"{family}.hf", layout="hf")
        fast = Tokenizer.from_file(str(tmp_path / f"{family}.hf" / "tokenizer.json"))
        slow = load_tokenizer(tmp_path / family)
        for text in (*SENTENCES, " a", "<|im_start|>user\n hi <img></img><|im_end|>"):
            assert fast.encode(text).ids == slow.encode(text), (family, text)


def test_pixel_shuffle_v1_is_kept_and_said(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a", projector=ProjectorConfig(pixel_shuffle="v1"))
    done = convert(tmp_path / "a", tmp_path / "b", layout="hf")
    assert any("pixel shuffle v1" in note for note in done.notes)
    assert load_model(tmp_path / "b").config.projector.pixel_shuffle == "v1"
    assert convert(tmp_path / "b", tmp_path / "c", layout="github").notes == []


def test_the_same_layout_cuts_shards_anew(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a")
    done = convert(tmp_path / "a", tmp_path / "b", layout="github", max_shard_bytes=30_000)
    assert len(list((tmp_path / "b").glob("*.safetensors"))) > 2
    assert tensors_of(tmp_path / "b") == tensors_of(tmp_path / "a")
    assert done.num_tensors == len(tensors_of(tmp_path / "a"))


def test_progress_ends_at_the_whole(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a")
    seen: list[tuple[int, int]] = []
    done = convert(
        tmp_path / "a", tmp_path / "b", layout="hf", on_bytes=lambda part, whole: seen.append((part, whole))
    )
    assert seen == sorted(seen)
    assert seen[-1] == (done.size_bytes, done.size_bytes)


def test_a_failed_conversion_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_checkpoint(tmp_path / "a")
    before = sorted(path.name for path in tmp_path.iterdir())
    monkeypatch.setattr(save, "_write_tensor", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        convert(tmp_path / "a", tmp_path / "b", layout="hf")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_wrong_targets_are_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a")
    with pytest.raises(CheckpointError, match="the source itself"):
        convert(tmp_path / "a", tmp_path / "a", layout="hf", overwrite=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="exists and is not empty"):
        convert(tmp_path / "a", tmp_path / "b", layout="hf")
    with pytest.raises(ConfigError, match="layout 'onnx'"):
        convert(tmp_path / "a", tmp_path / "c", layout="onnx")  # type: ignore[arg-type]


def test_an_incomplete_source_is_refused_by_the_names_of_its_tensors(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    write_checkpoint(tmp_path / "a")
    tensors = load_file(tmp_path / "a" / "model.safetensors")
    del tensors["mlp1.3.bias"]
    save_file(tensors, tmp_path / "a" / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"missing:\s+mlp1\.3\.bias"):
        convert(tmp_path / "a", tmp_path / "b", layout="hf")


def test_a_tokenizer_of_another_checkpoint_is_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a")
    content = json_of(tmp_path / "a" / "config.json")
    (tmp_path / "a" / "config.json").write_text(json.dumps({**content, "image_token_id": 7}))
    with pytest.raises(CheckpointError, match="image token is 7"):
        convert(tmp_path / "a", tmp_path / "b", layout="hf")


def test_code_beside_the_weights_is_neither_run_nor_carried_along(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a")
    (tmp_path / "a" / "modeling_internvl_chat.py").write_text("raise SystemExit('remote code ran')")
    for name in ("config.json", "tokenizer_config.json"):
        content = json_of(tmp_path / "a" / name)
        auto_map = {"AutoModel": "modeling_internvl_chat.InternVLChatModel"}
        (tmp_path / "a" / name).write_text(json.dumps({**content, "auto_map": auto_map}))
    for layout in ("hf", "github"):
        convert(tmp_path / "a", tmp_path / layout, layout=layout)  # type: ignore[arg-type]
        assert not list((tmp_path / layout).glob("*.py"))
        assert not [f.name for f in (tmp_path / layout).glob("*.json") if "auto_map" in f.read_text()]


def test_packed_experts_are_unpacked_and_lora_is_merged_and_both_are_said(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    write_checkpoint(
        tmp_path / "a",
        "gpt_oss",
        text={
            "intermediate_size": 16,
            "moe": MoEConfig(num_experts=2, num_experts_per_token=1, intermediate_size=16),
        },
    )
    file = tmp_path / "a" / "model.safetensors"
    tensors = load_file(file)
    generator = torch.Generator().manual_seed(0)
    packed = "language_model.model.layers.1.mlp.experts.gate_up_proj"
    del tensors[packed]
    tensors[f"{packed}_blocks"] = torch.randint(
        0, 256, (2, 32, 1, 16), dtype=torch.uint8, generator=generator
    )
    tensors[f"{packed}_scales"] = torch.randint(120, 130, (2, 32, 1), dtype=torch.uint8, generator=generator)
    proj = "vision_model.encoder.layers.0.attn.proj"
    tensors[f"{proj}.base_layer.weight"] = tensors.pop(f"{proj}.weight")
    tensors[f"{proj}.lora_A.default.weight"] = torch.randn(2, 24, generator=generator)
    tensors[f"{proj}.lora_B.default.weight"] = torch.randn(24, 2, generator=generator)
    save_file(tensors, file)
    done = convert(tmp_path / "a", tmp_path / "b", layout="hf")
    assert [note.split()[:3] for note in done.notes] == [["1", "LoRA", "pairs"], ["1", "packed", "(mxfp4)"]]
    one, other = (dict(load_model(tmp_path / name).named_parameters()) for name in "ab")
    assert all(torch.equal(one[name], other[name]) for name in one)

"""Checkpoint files -> models: nothing lost, nothing silent, nothing trusted."""

import dataclasses
import json
import struct

import pytest
import torch
from safetensors.torch import save_file

from fakes import FAMILIES, IMAGE_TOKEN_ID, tiny_model, tiny_model_config
from internvl.checkpoint.adapters import unwrap_names
from internvl.checkpoint.key_maps import detect_key_style, links
from internvl.checkpoint.load import fill, load_model, parameter_shapes
from internvl.checkpoint.shards import Shards, open_shards
from internvl.errors import CheckpointError, ConfigError
from internvl.models.internvl import InternVLModel
from internvl.nn.device import has_fast_kernels

STYLES = ("github", "hf", "hf_legacy")

CONFIG = {
    "architectures": ["InternVLChatModel"],
    "model_type": "internvl_chat",
    "force_image_size": 56,
    "ps_version": "v2",
    "template": "internvl2_5",
    "vision_config": {
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 56,
        "patch_size": 14,
        "norm_type": "layer_norm",
        "qkv_bias": True,
        "qk_normalization": False,
    },
    "llm_config": {
        "architectures": ["Qwen2ForCausalLM"],
        "vocab_size": 80,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
}


def stored_tensors(model, style, **options):
    """The model's numbers under the names of a layout: the tables read from ours to theirs."""
    parameters = dict(model.named_parameters())
    tensors = {}
    for link in links(parameter_shapes(model), model.config.text, style, **options):
        target = tensors.setdefault(link.stored, torch.empty(link.shape, dtype=model.dtype))
        link.stored_view(target).copy_(link.view(parameters[link.ours].detach()))
    return tensors


def write_checkpoint(directory, model, **config):
    save_file(stored_tensors(model, "github"), directory / "model.safetensors")
    (directory / "config.json").write_text(json.dumps(CONFIG | config), encoding="utf-8")
    (directory / "added_tokens.json").write_text(
        json.dumps({"<IMG_CONTEXT>": IMAGE_TOKEN_ID}), encoding="utf-8"
    )


@pytest.fixture
def model():
    return tiny_model()


@pytest.fixture
def directory(tmp_path, model):
    write_checkpoint(tmp_path, model)
    return tmp_path


def rewrite(directory, change):
    """Save the checkpoint again after `change(tensors)`."""
    with open_shards(directory) as shards:
        tensors = {name: shards.tensor(name).clone() for name in shards}
    change(tensors)
    save_file(tensors, directory / "model.safetensors")


def same_weights(one, other):
    mine, theirs = dict(one.named_parameters()), dict(other.named_parameters())
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


# What is stored comes back


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("style", STYLES)
def test_every_family_survives_a_round_trip_through_every_layout(tmp_path, family, style):
    model = tiny_model(family, vision={"norm": "rms_norm", "qk_norm": True, "qkv_bias": False})
    save_file(stored_tensors(model, style), tmp_path / "model.safetensors")
    again = empty_twin(model)
    with open_shards(tmp_path) as shards:
        names = unwrap_names(shards)
        assert detect_key_style(names) == style
        wanted = links(parameter_shapes(again), model.config.text, style)
        fill(again, wanted, shards, names, dtype="auto", device=torch.device("cpu"), where="here")
    assert same_weights(again, model)


def empty_twin(model):
    with torch.device("meta"):
        return InternVLModel(model.config, image_token_id=IMAGE_TOKEN_ID)


def test_internlm2_keeps_q_k_and_v_of_a_kv_head_together():
    model = tiny_model("internlm2")
    tensors = stored_tensors(model, "github")
    wqkv = tensors["language_model.model.layers.0.attention.wqkv.weight"]
    plain = stored_tensors(model, "hf_legacy")
    q, k, v = (plain[f"language_model.model.layers.0.self_attn.{x}_proj.weight"] for x in "qkv")
    grouped = wqkv.view(2, 4, 8, 32)  # kv heads, (2 queries, key, value), channels, width
    assert torch.equal(grouped[:, :2].reshape(32, 32), q)
    assert torch.equal(grouped[:, 2].reshape(16, 32), k)
    assert torch.equal(grouped[:, 3].reshape(16, 32), v)


def test_experts_may_be_stored_one_by_one_or_together(tmp_path):
    model = tiny_model("qwen3_moe")
    alone, together = stored_tensors(model, "hf"), stored_tensors(model, "hf", fused_experts=True)
    prefix = "model.language_model.layers.1.mlp.experts"
    gate_up = together[f"{prefix}.gate_up_proj"]
    expected = torch.cat([alone[f"{prefix}.3.gate_proj.weight"], alone[f"{prefix}.3.up_proj.weight"]])
    assert torch.equal(gate_up[3], expected)


def test_a_directory_loads_for_inference(directory, model):
    loaded = load_model(directory)
    assert same_weights(loaded, model)
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    assert loaded.image_token_id == IMAGE_TOKEN_ID


@pytest.mark.parametrize("dtype", ["bfloat16", torch.float16])
def test_a_dtype_may_be_asked_for(directory, dtype):
    expected = torch.bfloat16 if dtype == "bfloat16" else dtype
    assert {p.dtype for p in load_model(directory, dtype=dtype).parameters()} == {expected}


def test_auto_keeps_the_dtype_of_most_numbers(directory):
    rewrite(directory, lambda t: t.update({n: x.bfloat16() for n, x in t.items() if "norm" not in n}))
    assert {p.dtype for p in load_model(directory).parameters()} == {torch.bfloat16}


@pytest.mark.parametrize(("kernels", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_fast_avoids_a_dtype_that_the_cpu_has_no_kernels_for(directory, monkeypatch, kernels, expected):
    rewrite(directory, lambda t: t.update({name: x.bfloat16() for name, x in t.items()}))
    monkeypatch.setattr("internvl.checkpoint.load.has_fast_kernels", lambda dtype, device: kernels)
    assert load_model(directory, dtype="fast").dtype == expected


def test_float32_is_fast_everywhere():
    assert has_fast_kernels(torch.float32, torch.device("cpu"))
    assert has_fast_kernels(torch.bfloat16, torch.device("cuda"))
    assert not has_fast_kernels(torch.float64, torch.device("cpu"))


@pytest.mark.parametrize("option", [{"dtype": "int4"}, {"attention": "magic"}])
def test_unknown_options_are_refused(directory, option):
    with pytest.raises(ConfigError, match=str(next(iter(option.values())))):
        load_model(directory, **option)


def test_large_tensors_are_copied_in_blocks(directory, model, monkeypatch):
    monkeypatch.setattr("internvl.checkpoint.load.BLOCK_BYTES", 300)
    assert same_weights(load_model(directory), model)


def test_shards_with_an_index_load_as_one_file_does(directory, model):
    shard(directory)
    assert same_weights(load_model(directory), model)


def shard(directory):
    with open_shards(directory) as shards:
        tensors = {name: shards.tensor(name).clone() for name in shards}
    names = sorted(tensors)
    (directory / "model.safetensors").unlink()
    weight_map = {}
    for i, part in enumerate((names[::2], names[1::2])):
        file = f"model-0000{i + 1}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, directory / file)
        weight_map |= dict.fromkeys(part, file)
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return weight_map


# Tied embeddings


def test_a_tied_output_need_not_be_stored(tmp_path):
    model = tiny_model(text={"tie_embeddings": True})
    write_checkpoint(tmp_path, model, llm_config=CONFIG["llm_config"] | {"tie_word_embeddings": True})
    loaded = load_model(tmp_path)
    assert loaded.decoder.lm_head.weight is loaded.decoder.embed.weight
    assert torch.equal(loaded.decoder.embed.weight, model.decoder.embed.weight)


def test_a_stored_output_overrules_a_config_that_ties(directory, model):
    llm_config = CONFIG["llm_config"] | {"tie_word_embeddings": True}
    (directory / "config.json").write_text(json.dumps(CONFIG | {"llm_config": llm_config}))
    loaded = load_model(directory)
    assert torch.equal(loaded.decoder.lm_head.weight, model.decoder.lm_head.weight)
    assert not loaded.config.text.tie_embeddings


def test_an_untied_output_must_be_stored(directory):
    rewrite(directory, lambda t: t.pop("language_model.lm_head.weight"))
    with pytest.raises(CheckpointError, match="1 missing:\n.*lm_head"):
        load_model(directory)


# Strictness


def test_every_wrong_tensor_is_named_in_one_error(directory):
    def spoil(tensors):
        del tensors["mlp1.0.weight"], tensors["language_model.model.norm.weight"]
        tensors["mlp2.0.weight"] = torch.zeros(3)
        tensors["mlp1.1.bias"] = torch.zeros(7)

    rewrite(directory, spoil)
    with pytest.raises(CheckpointError) as caught:
        load_model(directory)
    message = str(caught.value)
    assert "2 missing" in message
    assert "mlp1.0.weight" in message
    assert "language_model.model.norm.weight" in message
    assert "1 unexpected:\n    mlp2.0.weight" in message
    assert "mlp1.1.bias is [7], config.json makes it [32]" in message


def test_buffers_that_follow_from_the_config_are_no_surprise(directory):
    name = "language_model.model.layers.0.self_attn.rotary_emb.inv_freq"
    rewrite(directory, lambda t: t.update({name: torch.zeros(4)}))
    load_model(directory)


def test_integer_weights_are_refused(directory):
    rewrite(directory, lambda t: t.update({"mlp1.1.bias": torch.zeros(32, dtype=torch.int8)}))
    with pytest.raises(CheckpointError, match="not stored as float16.*\n.*mlp1.1.bias is torch.int8"):
        load_model(directory)


def test_weights_of_something_else_are_refused(directory):
    rewrite(directory, lambda t: [t.pop(n) for n in list(t) if not n.startswith("language_model")])
    with pytest.raises(CheckpointError, match="no tensor of a vision tower"):
        load_model(directory)


# LoRA inside the checkpoint


def test_unmerged_lora_is_merged(directory, model):
    generator = torch.Generator().manual_seed(3)
    a, b = torch.randn(2, 32, generator=generator), torch.randn(16, 2, generator=generator)
    plain = "language_model.model.layers.1.self_attn.k_proj"

    def wrap(tensors):
        for name in [n for n in tensors if n.startswith("language_model.")]:
            tensors["language_model.base_model.model." + name.removeprefix("language_model.")] = tensors.pop(
                name
            )
        module = plain.replace("language_model.", "language_model.base_model.model.", 1)
        for kind in ("weight", "bias"):
            tensors[f"{module}.base_layer.{kind}"] = tensors.pop(f"{module}.{kind}")
        tensors[f"{module}.lora_A.default.weight"] = a
        tensors[f"{module}.lora_B.default.weight"] = b

    rewrite(directory, wrap)
    loaded = load_model(directory)
    expected = model.decoder.layers[1].attention.qkv.weight.detach().clone()
    expected[32:48] += 2 * b @ a
    torch.testing.assert_close(loaded.decoder.layers[1].attention.qkv.weight, expected)
    assert torch.equal(
        loaded.decoder.layers[0].attention.qkv.weight, model.decoder.layers[0].attention.qkv.weight
    )


def test_half_a_lora_is_refused():
    names = ["x.base_layer.weight", "x.lora_A.default.weight"]
    with pytest.raises(CheckpointError, match="LoRA tensors of x.weight are incomplete"):
        unwrap_names(names)


# Files that are not to be trusted


def test_pickles_are_refused_with_the_reason(directory):
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model.bin.*runs whatever code"):
        load_model(directory)


def test_a_directory_without_weights_is_named(directory):
    (directory / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="holds no weights"):
        load_model(directory)


@pytest.mark.parametrize(
    "name", ["../model.safetensors", "/etc/model.safetensors", "sub/model.safetensors", ".."]
)
def test_an_index_cannot_point_outside_its_directory(directory, name):
    weight_map = shard(directory)
    weight_map[next(iter(weight_map))] = name
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(CheckpointError, match="outside its directory"):
        load_model(directory)


def test_an_index_cannot_point_to_a_pickle(directory):
    weight_map = shard(directory)
    weight_map[next(iter(weight_map))] = "pytorch_model.bin"
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(CheckpointError, match="only .safetensors"):
        load_model(directory)


def test_a_missing_shard_is_named(directory):
    shard(directory)
    (directory / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match="1 are missing: model-00002-of-00002"):
        load_model(directory)


def test_an_index_that_does_not_fit_its_files_is_refused(directory):
    weight_map = shard(directory)
    weight_map["mlp9.weight"] = "model-00001-of-00002.safetensors"
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(CheckpointError, match="mlp9.weight"):
        load_model(directory)


def file_of(header, data=b"", length=None):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "0 bytes long"),
        (b"\x10\x00", "header claims"),
        (file_of({}, length=2**40), "header claims"),
        (file_of(b"{nonsense"), "no valid JSON"),
        (file_of(b"[1, 2]"), "no JSON object"),
        (file_of(b'{"a": {}, "a": {}}'), "a key occurs twice"),
        (file_of({"a": {"dtype": "F32"}}), "malformed"),
        (file_of({"a": entry(dtype="Q4")}, bytes(8)), "unknown dtype 'Q4'"),
        (file_of({"a": entry(shape=(-2,))}, bytes(8)), "impossible shape"),
        (file_of({"a": entry(shape=(True, 2))}, bytes(8)), "impossible shape"),
        (file_of({"a": entry(offsets=(8, 0))}, bytes(8)), "data_offsets"),
        (file_of({"a": entry(shape=(3,))}, bytes(8)), "needs 12 bytes"),
        (file_of({"a": entry(shape=(2**40, 2**40), offsets=(0, 2**82))}, bytes(8)), "end at byte"),
        (file_of({"a": entry(), "b": entry(offsets=(4, 12))}, bytes(12)), "begins at byte"),
        (file_of({"a": entry(), "b": entry(offsets=(16, 24))}, bytes(24)), "begins at byte"),
        (file_of({"a": entry()}, bytes(4)), "end at byte"),
        (file_of({"a": entry()}, bytes(9)), "end at byte"),
    ],
)
def test_a_header_that_lies_is_caught_before_any_tensor_is_read(tmp_path, content, reason):
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=reason):
        Shards([file])


def test_unaligned_and_empty_tensors_are_read(tmp_path):
    header = {
        "a": entry("U8", (1,), (0, 1)),
        "b": entry("F32", (1,), (1, 5)),
        "c": entry("F32", (0,), (5, 5)),
    }
    file = tmp_path / "model.safetensors"
    file.write_bytes(file_of(header, b"\x07" + struct.pack("<f", 1.5)))
    with Shards([file]) as shards:
        assert shards.tensor("b").item() == 1.5
        assert shards.tensor("c").shape == (0,)


def test_writing_to_a_read_tensor_leaves_the_file_alone(directory):
    before = (directory / "model.safetensors").read_bytes()
    with open_shards(directory) as shards:
        shards.tensor("mlp1.0.weight").fill_(9)
    assert (directory / "model.safetensors").read_bytes() == before


def test_a_released_tensor_reads_the_same_again(directory):
    with open_shards(directory) as shards:
        tensor = shards.tensor("language_model.lm_head.weight")
        expected = tensor.clone()
        shards.release("language_model.lm_head.weight")
        assert torch.equal(tensor, expected)


def test_two_checkpoints_in_one_directory_are_refused(directory):
    (directory / "model.safetensors").rename(directory / "a.safetensors")
    (directory / "b.safetensors").write_bytes((directory / "a.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="both a.safetensors and b.safetensors"):
        load_model(directory)


def test_the_config_of_a_fake_is_the_fake(directory):
    """`CONFIG` above and `tiny_model_config` describe one model."""
    loaded = load_model(directory).config
    assert loaded.text.family == "qwen2"
    assert loaded.vision == dataclasses.replace(tiny_model_config().vision)

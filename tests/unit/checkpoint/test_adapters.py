"""Adapters in PEFT's files: what was saved comes back, under every way to name it; hostile files are refused."""

import json
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import load_file, save_file

from fakes import IMAGE_TOKEN_ID, tiny_model
from internvl.checkpoint.adapters_config import CONFIG_NAME, AdapterConfig, shortest_targets
from internvl.checkpoint.adapters_peft import PREFIX, WEIGHTS_NAME, load_adapter, save_adapter
from internvl.checkpoint.convert import convert
from internvl.checkpoint.load import load_model
from internvl.checkpoint.save import save_model
from internvl.errors import CheckpointError, ConfigError
from internvl.nn.lora import LoraConfig, add_lora, has_lora, lora_parameters, merge_lora
from tiny_checkpoint import write_checkpoint

FAMILIES = ("qwen2", "internlm2", "phi3", "gpt_oss", "qwen3_moe")
EVERYWHERE = {"decoder": "all-linear", "vision": "all-linear", "projector": "all-linear"}


def asked():
    generator = torch.Generator().manual_seed(3)
    input_ids = torch.randint(6, 80, (2, 12), generator=generator)
    input_ids[:, 2:6] = IMAGE_TOKEN_ID
    return input_ids, torch.randn(2, 3, 56, 56, generator=generator)


def logits(model):
    with torch.inference_mode():
        return model(*asked())


def disturb(parameters):
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in parameters:
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)


def adapted(family="qwen2", **config):
    model = tiny_model(family)
    add_lora(model, LoraConfig(**{"r": 4, "alpha": 8, **EVERYWHERE, **config}))
    disturb(lora_parameters(model))
    return model


def written(directory, family="qwen2", **config):
    return save_adapter(adapted(family, **config), directory / "adapter")


@pytest.mark.parametrize("use_dora", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_loaded_is_what_was_saved(family, use_dora, tmp_path):
    model = adapted(family, use_dora=use_dora, ranks={"vision": 3}, use_rslora=True)
    directory = save_adapter(model, tmp_path / "adapter")
    again = tiny_model(family)
    load_adapter(again, directory)
    torch.testing.assert_close(logits(again), logits(model), rtol=1e-5, atol=1e-5)
    assert not any(parameter.requires_grad for parameter in again.parameters())


def test_merging_while_loading_leaves_a_plain_model(tmp_path):
    directory = written(tmp_path)
    expected, model = logits(adapted()), tiny_model("qwen2")
    load_adapter(model, directory, merge=True)
    assert not has_lora(model)
    torch.testing.assert_close(logits(model), expected, rtol=1e-4, atol=1e-4)


def test_an_adapter_that_was_loaded_goes_on_learning_and_is_saved_again_bit_for_bit(tmp_path):
    directory, model = written(tmp_path, dropout=0.25), tiny_model("qwen2")
    load_adapter(model, directory, trainable=True)
    assert all(parameter.requires_grad for parameter in lora_parameters(model))
    assert model.decoder.layers[0].mlp.down.dropout == 0.25
    again = save_adapter(model, tmp_path / "again")
    first, second = load_file(directory / WEIGHTS_NAME), load_file(again / WEIGHTS_NAME)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert (directory / CONFIG_NAME).read_bytes() == (again / CONFIG_NAME).read_bytes()


def test_names_are_those_of_peft_on_transformers_model(tmp_path):
    names = set(load_file(written(tmp_path, use_dora=True) / WEIGHTS_NAME))
    stem = "base_model.model.model."
    assert {
        f"{stem}language_model.layers.1.self_attn.q_proj.lora_A.weight",
        f"{stem}language_model.layers.0.mlp.gate_proj.lora_magnitude_vector",
        f"{stem}vision_tower.encoder.layer.0.attention.projection_layer.lora_B.weight",
        f"{stem}multi_modal_projector.linear_2.lora_A.weight",
    } <= names


def test_a_projector_trained_whole_is_stored_beside_the_adapters(tmp_path):
    model = adapted(projector=())
    model.projector.requires_grad_()
    disturb(model.projector.parameters())
    directory = save_adapter(model, tmp_path / "adapter")
    config = json.loads((directory / CONFIG_NAME).read_text())
    assert config["modules_to_save"] == [
        "model.multi_modal_projector.layer_norm",
        "model.multi_modal_projector.linear_1",
        "model.multi_modal_projector.linear_2",
    ]
    again = tiny_model("qwen2")
    load_adapter(again, directory)
    torch.testing.assert_close(logits(again), logits(model), rtol=1e-5, atol=1e-5)


def test_what_peft_cannot_store_is_refused_by_name(tmp_path):
    model = adapted()
    model.vision.class_embedding.requires_grad_()
    with pytest.raises(CheckpointError, match="class_embedding"):
        save_adapter(model, tmp_path / "adapter")
    assert not list(tmp_path.iterdir())


def test_an_adapter_is_overwritten_only_when_asked_and_nothing_else_ever(tmp_path):
    directory = written(tmp_path)
    with pytest.raises(CheckpointError, match="overwrite"):
        save_adapter(adapted(), directory)
    save_adapter(adapted(r=2), directory, overwrite=True)
    assert json.loads((directory / CONFIG_NAME).read_text())["r"] == 2
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    with pytest.raises(CheckpointError, match="something else"):
        save_adapter(adapted(), other, overwrite=True)


def test_a_checkpoint_is_loaded_and_converted_with_an_adapter_merged(tmp_path):
    base = write_checkpoint(tmp_path / "base")
    add_lora(base, LoraConfig(r=4, **EVERYWHERE | {"projector": ()}))
    base.projector.requires_grad_()
    disturb([*lora_parameters(base), *base.projector.parameters()])
    directory = save_adapter(base, tmp_path / "adapter")
    expected = base.eval()(*prompt(base))
    model = load_model(tmp_path / "base", adapter=directory)
    assert not has_lora(model)
    torch.testing.assert_close(model(*prompt(base)), expected, rtol=1e-4, atol=1e-4)
    done = convert(tmp_path / "base", tmp_path / "merged", layout="hf", adapter=directory)
    assert "merged" in done.notes[0]
    merged = load_model(tmp_path / "merged")
    torch.testing.assert_close(merged(*prompt(base)), expected, rtol=1e-4, atol=1e-4)


def test_a_model_with_adapters_is_not_saved_as_if_it_were_plain(tmp_path):
    with pytest.raises(CheckpointError, match="save_adapter"):
        save_model(adapted(), tmp_path / "model")


def prompt(model):
    input_ids, pixel_values = asked()
    return input_ids.where(input_ids != IMAGE_TOKEN_ID, torch.tensor(model.image_token_id)), pixel_values


# -- names


def rename(directory, **replacements):
    tensors = load_file(directory / WEIGHTS_NAME)
    for old, new in replacements.items():
        tensors = {name.replace(old, new): value for name, value in tensors.items()}
    save_file(tensors, directory / WEIGHTS_NAME)
    return directory


def fused(tensors, names, together):
    """Adapters of several modules as one of a fused module, with the same A: what upstream's classes have."""
    a = tensors[f"{names[0]}.lora_A.weight"]
    b = torch.cat([tensors.pop(f"{name}.lora_B.weight") for name in names])
    for name in names:
        del tensors[f"{name}.lora_A.weight"]
    return tensors | {f"{together}.lora_A.weight": a, f"{together}.lora_B.weight": b}


def test_names_of_upstream_s_class_are_read(tmp_path):
    """`attn.qkv` is one module there, with one A for all three."""
    directory = written(tmp_path, decoder=["q", "down"], vision=["qkv"], projector=["fc2"])
    tensors = load_file(directory / WEIGHTS_NAME)
    for layer in range(2):
        stem = f"{PREFIX}model.vision_tower.encoder.layer.{layer}.attention"
        names = [f"{stem}.{kind}_proj" for kind in "qkv"]
        for name in names:  # make them alike, so that one A says it all
            tensors[f"{name}.lora_A.weight"] = tensors[f"{names[0]}.lora_A.weight"].clone()
        save_file(tensors, directory / WEIGHTS_NAME)
    expected = tiny_model("qwen2")
    load_adapter(expected, directory)
    for layer in range(2):
        stem = f"{PREFIX}model.vision_tower.encoder.layer.{layer}.attention"
        names = [f"{stem}.{kind}_proj" for kind in "qkv"]
        tensors = fused(tensors, names, f"{PREFIX}vision_model.encoder.layers.{layer}.attn.qkv")
    tensors = {
        name.replace("model.model.language_model.", "model.language_model.model.").replace(
            "model.model.multi_modal_projector.linear_2", "model.mlp1.3"
        ): value
        for name, value in tensors.items()
    }
    save_file(tensors, directory / WEIGHTS_NAME)
    model = tiny_model("qwen2")
    load_adapter(model, directory)
    torch.testing.assert_close(logits(model), logits(expected), rtol=1e-5, atol=1e-5)
    # and back: the fused one becomes three for transformers' class
    again = save_adapter(model, tmp_path / "again")
    assert f"{PREFIX}model.vision_tower.encoder.layer.0.attention.k_proj.lora_A.weight" in load_file(
        again / WEIGHTS_NAME
    )
    third = tiny_model("qwen2")
    load_adapter(third, again)
    torch.testing.assert_close(logits(third), logits(expected), rtol=1e-5, atol=1e-5)


def test_internlm2_s_interleaved_weights_are_put_in_our_order(tmp_path):
    """wqkv of upstream's InternLM2: per kv head its queries, its key, its value."""
    directory = tmp_path / "adapter"
    directory.mkdir()
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 32, generator=generator), torch.randn(64, 2, generator=generator)
    stem = "base_model.model.model.layers.0.attention.wqkv"  # as upstream's wrap_llm_lora names it
    save_file({f"{stem}.lora_A.weight": a, f"{stem}.lora_B.weight": b}, directory / WEIGHTS_NAME)
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["attention.wqkv"]}
    (directory / CONFIG_NAME).write_text(json.dumps(config))
    model, base = tiny_model("internlm2"), tiny_model("internlm2")
    load_adapter(model, directory)
    merge_lora(model)
    found = model.decoder.layers[0].attention.qkv.weight - base.decoder.layers[0].attention.qkv.weight
    delta = (2.0 * b @ a).unflatten(0, (2, 4, 8))  # (kv heads, 2 queries + key + value, head dim, K)
    expected = torch.cat([delta[:, :2].flatten(0, 2), delta[:, 2].flatten(0, 1), delta[:, 3].flatten(0, 1)])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("model.model.language_model.", "model.language_model.model."),  # transformers before 4.52
        ("model.model.language_model.", "model.model."),  # the language model by itself
        (".lora_A.weight", ".lora_A.default.weight"),  # a state_dict that nobody cleaned
    ],
)
def test_other_names_of_the_same_modules_are_read(old, new, tmp_path):
    directory = written(tmp_path, vision=(), projector=())
    expected = logits(adapted(vision=(), projector=()))
    rename(directory, **{old: new})
    model = tiny_model("qwen2")
    load_adapter(model, directory)
    torch.testing.assert_close(logits(model), expected, rtol=1e-5, atol=1e-5)


def test_targets_are_words_where_these_say_it_and_whole_names_where_not():
    everything = {"a.q_proj", "b.q_proj", "b.k_proj"}
    assert shortest_targets({"b.k_proj"}, everything) == ["k_proj"]
    assert shortest_targets({"a.q_proj"}, everything) == ["a.q_proj"]


def test_patterns_are_matched_as_peft_does():
    config = AdapterConfig(r=8, alpha=16, rank_pattern={"o_proj": 2, r"layers\.1\..*": 3})
    assert config.rank_of("model.layers.1.self_attn.o_proj") == 2
    assert config.rank_of("model.layers.1.self_attn.q_proj") == 3
    assert config.rank_of("model.layers.11.self_attn.q_proj") == 8
    assert asdict(config)["alpha"] == config.alpha_of("anything") == 16


# -- hostile and mistaken files


def changed(directory, **fields):
    file = directory / CONFIG_NAME
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))
    return directory


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"peft_type": "IA3"}, "IA3"),
        ({"bias": "all"}, "bias"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"init_lora_weights": "pissa"}, "pissa"),
        ({"target_parameters": ["mlp.experts.gate_up_proj"]}, "target_parameters"),
        ({"r": "8"}, "r is '8'"),
        ({"r": 5}, "rank 5"),
        ({"lora_alpha": float("nan")}, "lora_alpha"),
        ({"rank_pattern": {"(a+)+b": 2}}, "pattern"),
        ({"rank_pattern": {"q_proj": -1}}, "rank_pattern"),
        ({"use_dora": "yes"}, "use_dora"),
        ({"use_dora": True}, "lora_magnitude_vector"),
    ],
)
def test_a_configuration_that_would_be_computed_wrongly_is_refused(fields, words, tmp_path):
    directory, model = changed(written(tmp_path), **fields), tiny_model("qwen2")
    with pytest.raises(CheckpointError, match=words.replace("(", r"\(")):
        load_adapter(model, directory)
    assert not has_lora(model)


def test_a_pickle_is_refused(tmp_path):
    directory = written(tmp_path)
    (directory / WEIGHTS_NAME).rename(directory / "adapter_model.bin")
    with pytest.raises(CheckpointError, match="pickle"):
        load_adapter(tiny_model("qwen2"), directory)


def test_modules_that_the_model_does_not_have_are_named_with_the_nearest(tmp_path):
    directory = rename(written(tmp_path), **{"layers.1.self_attn.q_proj": "layers.7.self_attn.q_proj"})
    with pytest.raises(CheckpointError, match=r"layers\.7\.self_attn\.q_proj \(nearest: .*q_proj\)"):
        load_adapter(tiny_model("qwen2"), directory)


def test_tensors_of_another_width_are_refused_with_both_shapes(tmp_path):
    directory = written(tmp_path)
    model = tiny_model("qwen2", text={"hidden_size": 48, "head_dim": 12})
    with pytest.raises(CheckpointError, match=r"lora_[AB].* is \[.*\]; this model and rank 4 make it \["):
        load_adapter(model, directory)


@pytest.mark.parametrize("extra", ["lm_head.lora_embedding_A", "model.language_model.norm.weight"])
def test_tensors_that_are_no_adapter_s_are_refused(extra, tmp_path):
    directory = written(tmp_path)
    tensors = load_file(directory / WEIGHTS_NAME) | {PREFIX + extra: torch.zeros(32)}
    save_file(tensors, directory / WEIGHTS_NAME)
    with pytest.raises(CheckpointError, match=extra):
        load_adapter(tiny_model("qwen2"), directory)


def test_half_an_adapter_and_whole_numbers_are_refused(tmp_path):
    directory = written(tmp_path)
    tensors = load_file(directory / WEIGHTS_NAME)
    name = f"{PREFIX}model.multi_modal_projector.linear_1.lora_B.weight"
    save_file({key: value for key, value in tensors.items() if key != name}, directory / WEIGHTS_NAME)
    with pytest.raises(CheckpointError, match="expected lora_A, lora_B"):
        load_adapter(tiny_model("qwen2"), directory)
    save_file(tensors | {name: tensors[name].to(torch.int8)}, directory / WEIGHTS_NAME)
    with pytest.raises(CheckpointError, match="int8"):
        load_adapter(tiny_model("qwen2"), directory)


def test_a_checkpoint_is_no_adapter_and_two_adapters_are_one_too_many(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="adapter_config.json"):
        load_adapter(tiny_model("qwen2"), tmp_path)
    with pytest.raises(ConfigError, match="merge"):
        load_adapter(adapted(), written(tmp_path))
    with pytest.raises(ConfigError, match="no adapters"):
        save_adapter(tiny_model("qwen2"), tmp_path / "none")

"""Tensor parallelism by itself: what can be divided, and the order of fused rows. With processes: tests/e2e."""

import json

import pytest
import torch

from fakes import tiny_model, tiny_model_config
from internvl.errors import CheckpointError, ConfigError
from internvl.nn.lora import LoraConfig
from internvl.train.config import (
    ObjectiveSection,
    OptimizerSection,
    RunSection,
    TrainConfig,
)
from internvl.train.dataset import DataConfig
from internvl.train.parallel import Ranks, grouped, sum_over_ranks
from internvl.train.recipes import to_tree
from internvl.train.setup import check_output
from internvl.train.tensor_parallel import _fused, _order, check_divides, restore_order


def test_a_share_of_the_ordered_rows_is_a_model_with_a_share_of_the_heads():
    q, k, v = torch.arange(8), torch.arange(100, 104), torch.arange(200, 204)
    shares = torch.cat((q, k, v))[_order((8, 4, 4), 2)].chunk(2)
    assert shares[0].tolist() == [0, 1, 2, 3, 100, 101, 200, 201]
    assert shares[1].tolist() == [4, 5, 6, 7, 102, 103, 202, 203]


@pytest.mark.parametrize("n", [2, 4])
def test_restoring_the_order_gives_the_weights_back(n):
    model = tiny_model("qwen2", text={"num_heads": 8, "num_kv_heads": 4}, vision={"num_heads": 4})
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    moved = dict(state)
    for fused in _fused(model):
        for kind in ("weight", "bias"):
            name = f"{fused.name}.{kind}"
            if name in moved:
                moved[name] = moved[name][_order(fused.parts, n)]
    names = [fused.name for fused in _fused(model)]
    assert len(names) == 2 * 2 + 2  # qkv and gate_up of two decoder layers, qkv of two vision layers
    assert not torch.equal(
        moved["decoder.layers.0.attention.qkv.bias"], state["decoder.layers.0.attention.qkv.bias"]
    )
    restored = restore_order(moved, model, n)
    assert restored.keys() == state.keys()
    assert all(torch.equal(restored[name], state[name]) for name in state)


@pytest.mark.parametrize(
    ("config", "n", "words"),
    [
        (tiny_model_config("qwen2"), 4, "2 key-value heads of the decoder; possible here: 1, 2"),
        (tiny_model_config("qwen2", vision={"num_heads": 3}), 2, "3 attention heads of the vision tower"),
        (tiny_model_config("qwen2", text={"intermediate_size": 49}), 2, "49 MLP columns of the decoder"),
        (tiny_model_config("qwen3_moe"), 2, "mixtures of experts cannot be divided"),
        (tiny_model_config("gpt_oss"), 2, "attention sinks"),
    ],
)
def test_what_does_not_divide_is_refused_with_what_does(config, n, words):
    with pytest.raises(ConfigError, match=f"run.tensor_parallel = {n}.*{words}"):
        check_divides(config, n)


def test_a_tower_whose_heads_share_one_norm_keeps_its_attention_whole():
    check_divides(tiny_model_config("qwen2", vision={"num_heads": 3, "qk_norm": True}), 2)


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"lora": LoraConfig()}, r"\[lora\]"),
        ({"objective": ObjectiveSection(kind="mpo")}, "objective.kind = 'mpo'"),
        ({"objective": ObjectiveSection(dense_weight=0.5)}, "dense_weight"),
        ({"optimizer": OptimizerSection(kind="muon")}, "muon"),
        ({"run": RunSection(tensor_parallel=2, compile=True)}, "run.compile"),
    ],
)
def test_what_has_no_divided_form_is_refused_by_name(sections, words):
    with pytest.raises(ConfigError, match=f"does not go with .*{words}"):
        TrainConfig(**{"run": RunSection(tensor_parallel=2)} | sections)


def test_groups_read_one_part_of_the_data_each():
    parts = [grouped(Ranks(rank, 4), 2) for rank in range(4)]
    assert [(where.data_rank, where.data_size) for where in parts] == [(0, 2), (0, 2), (1, 2), (1, 2)]
    assert sum_over_ranks({"n": torch.tensor(3.0)}, Ranks()) == {"n": 3.0}
    with pytest.raises(ConfigError, match="torchrun --nproc-per-node 2"):
        grouped(Ranks(0, 1), 2)


def test_an_update_counts_groups_not_processes():
    run = RunSection(global_batch_size=8, micro_batch_size=2, tensor_parallel=2)
    assert run.accumulation(4) == 2
    run = RunSection(epochs=1, micro_batch_size=2, tensor_parallel=2)
    config = TrainConfig(run=run, data=DataConfig(packing=False))
    assert config.with_steps(32, 4).run.steps == 8


def test_a_run_goes_on_only_with_the_order_that_its_weights_have(tmp_path):
    (tmp_path / "recipe.json").write_text(json.dumps(to_tree(TrainConfig(output=str(tmp_path)))))
    with pytest.raises(CheckpointError, match="tensor_parallel was another"):
        check_output(tmp_path, TrainConfig(output=str(tmp_path), run=RunSection(tensor_parallel=2)))

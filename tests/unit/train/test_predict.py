"""What a run is said to cost follows from its batches and its model."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from fakes import tiny_model
from internvl.train.batch import IGNORE_INDEX
from internvl.train.config import FreezeSection, RunSection, TrainConfig
from internvl.train.dataset import DataConfig
from internvl.train.freezing import apply_freezing
from internvl.train.predict import lengths_of, predict
from training import make_sample, packed, padded

ROWS = [make_sample(seed, tiles=1) for seed in range(4)]
CPU = torch.device("cpu")


def config(**run):
    return TrainConfig(data=DataConfig(max_tokens=256), run=RunSection(precision="float32", **run))


def filled(batch, count):
    """A packed row with a last document that only fills it."""
    width = batch.input_ids.shape[1]
    return dataclasses.replace(
        batch,
        input_ids=F.pad(batch.input_ids, (0, count)),
        labels=F.pad(batch.labels, (0, count), value=IGNORE_INDEX),
        position_ids=F.pad(batch.position_ids, (0, count)),
        loss_weight=F.pad(batch.loss_weight, (0, count)),
        cu_seqlens=F.pad(batch.cu_seqlens, (0, 1), value=width + count),
    )


def test_what_fills_a_row_is_no_token_of_it():
    batch = packed(ROWS)
    tokens = sum(row.num_tokens for row in ROWS)
    fuller = filled(batch, 256 - tokens)
    assert lengths_of(fuller) == lengths_of(batch) == [row.num_tokens for row in ROWS]
    found = predict(config(), tiny_model().requires_grad_(True), [fuller], device=CPU)
    assert found.tokens_per_step == tokens
    assert found.packing_efficiency == pytest.approx(tokens / 256)


def test_padding_counts_against_padded_batches():
    batch = padded(ROWS)
    settings = dataclasses.replace(config(), data=DataConfig(packing=False))
    found = predict(settings, tiny_model().requires_grad_(True), [batch], device=CPU)
    assert found.packing_efficiency == pytest.approx(
        sum(row.num_tokens for row in ROWS) / batch.input_ids.numel()
    )


def test_frozen_parts_have_weights_but_neither_gradients_nor_optimizer():
    model = tiny_model().requires_grad_(True)
    whole = predict(config(), model, [packed(ROWS)], device=CPU)
    apply_freezing(model, FreezeSection(vision=True, decoder=True))
    frozen = predict(config(), model, [packed(ROWS)], device=CPU)
    assert whole.gradient_bytes == whole.weight_bytes == whole.optimizer_bytes // 2
    assert frozen.weight_bytes == whole.weight_bytes
    projector = sum(p.numel() for p in model.projector.parameters())
    assert frozen.gradient_bytes == 4 * projector
    assert frozen.flops_per_step < whole.flops_per_step


def test_an_update_of_several_batches_on_several_ranks_multiplies():
    model, batch = tiny_model().requires_grad_(True), packed(ROWS)
    one = predict(config(), model, [batch], device=CPU)
    many = predict(config(grad_accum_steps=3), model, [batch], num_ranks=2, device=CPU)
    assert many.tokens_per_step == 6 * one.tokens_per_step
    assert many.weight_bytes == one.weight_bytes // 2


def test_precision_is_what_the_device_multiplies_fast():
    from internvl.nn.device import has_fast_kernels
    from internvl.train.setup import with_precision

    fast = has_fast_kernels(torch.bfloat16, CPU)
    auto = TrainConfig(data=DataConfig(max_tokens=256))
    assert auto.run.precision == "auto"
    assert with_precision(auto, CPU).run.precision == ("bf16" if fast else "float32")
    assert with_precision(auto, torch.device("cuda")).run.precision == "bf16"
    asked = with_precision(auto, CPU)
    assert with_precision(asked, torch.device("cuda")).run.precision == asked.run.precision

"""The counted work of a step is what torch's own counter sees, for every way of freezing and every loss."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fakes import tiny_model
from internvl.nn.lora import LoraConfig, add_lora
from internvl.train.config import FreezeSection, ObjectiveSection, RunSection, TrainConfig
from internvl.train.dataset import DataConfig
from internvl.train.dense import HEADS, DenseHeads, unasked
from internvl.train.flops import work_of
from internvl.train.freezing import apply_freezing
from internvl.train.objectives import SupervisedObjective, TokenLoss
from internvl.train.predict import predict
from training import make_sample, packed

ATTENTION = ("bmm", "baddbmm")  # what attention without a fused kernel is made of


def counted(losses, batch, objective):
    """(products with weights, products of attention) of a forward and a backward pass."""
    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), counter:
        terms = objective(losses, batch).terms
        torch.stack([term.sum() for term in terms.values()]).sum().backward()
    totals = {str(op).split(".")[-1]: flops for op, flops in counter.get_flop_counts()["Global"].items()}
    attention = sum(totals.get(name, 0) for name in ATTENTION)
    return sum(totals.values()) - attention, attention


def make_batch(side=56):
    """Rows with two tiles; with dense targets where one tile is asked everything and the other nothing."""
    batch = packed([make_sample(1, tiles=1), make_sample(4, tiles=1)])
    patches, tokens = (side // 14) ** 2, (side // 28) ** 2
    rows = [unasked(1, patches, tokens) for _ in range(2)]
    for values in rows[0].values():
        values[:] = 0
        values.reshape(-1)[::3] = 5
    dense = {name: torch.from_numpy(np.concatenate([row[name] for row in rows])).long() for name in HEADS}
    pixels = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    return dataclasses.replace(batch, pixel_values=pixels, dense=dense)


FREEZING = {
    "nothing": FreezeSection(),
    "vision": FreezeSection(vision=True),
    "vision and decoder": FreezeSection(vision=True, decoder=True),
    "decoder": FreezeSection(decoder=True),
    "vision but for its last layer": FreezeSection(vision=True, train_vision_layers=1),
}


@pytest.mark.parametrize("freeze", FREEZING.values(), ids=FREEZING)
@pytest.mark.parametrize("family", ["qwen2", "qwen3"])
def test_answers_cost_what_the_counter_sees(freeze, family):
    model = tiny_model(family).requires_grad_(True)
    apply_freezing(model, freeze)
    batch = make_batch()
    weights, _ = counted(TokenLoss(model), batch, SupervisedObjective())
    work = work_of(model)
    patches = batch.num_tiles * 17**2
    attention = work.vision_attention.operations(patches) * 2 * model.config.vision.hidden_size
    assert work.batch(batch) - attention == weights


@pytest.mark.parametrize("side", [56, 28])
@pytest.mark.parametrize("answers", [False, True])
def test_dense_supervision_costs_what_the_counter_sees(answers, side):
    model = tiny_model().requires_grad_(True)
    apply_freezing(model, FreezeSection(decoder=not answers))
    batch = make_batch(side)
    if side == 28 and answers:
        batch = fewer_tokens(batch, model.image_token_id)
    losses = TokenLoss(model, DenseHeads(model.config))
    weights, attention = counted(
        losses, batch, SupervisedObjective(answers=float(answers), places=dict.fromkeys(HEADS, 1.0))
    )
    work = work_of(model, tile_size=side, answers=answers, dense=True)
    ours = batch.num_tiles * ((side // 14) ** 2 + 1) ** 2
    ours = work.vision_attention.operations(ours) * 2 * model.config.vision.hidden_size
    assert work.batch(batch) - ours == weights
    if not answers:
        assert attention == ours
        without = work_of(model, answers=True, tile_size=side)
        assert work.decoder.operations(1) == 0 < without.decoder.operations(1)


def fewer_tokens(batch, image_token_id):
    """As many image tokens as smaller tiles have: one each instead of four."""
    ids, labels = batch.input_ids[0], batch.labels[0]
    place = (ids == image_token_id).long().cumsum(0)
    kept = (ids != image_token_id) | (place % 4 == 1)
    return dataclasses.replace(
        batch,
        input_ids=ids[kept][None],
        labels=labels[kept][None],
        loss_weight=batch.loss_weight[0][kept][None],
        position_ids=batch.position_ids[0][kept][None],
        cu_seqlens=torch.tensor([0, int(kept.sum())], dtype=torch.int32),
    )


@pytest.mark.parametrize("quantize", [None, "int4"])
def test_adapters_cost_no_gradients_of_the_weights_beneath(quantize):
    model = tiny_model("qwen2").requires_grad_(True)
    add_lora(model, LoraConfig(r=2, decoder="all-linear", quantize=quantize))
    apply_freezing(model, FreezeSection(projector=False))
    batch = make_batch()
    weights, _ = counted(TokenLoss(model), batch, SupervisedObjective())
    work = work_of(model)
    vision = work.vision_attention.operations(2 * 17**2) * 2 * model.config.vision.hidden_size
    assert work.batch(batch) - vision == pytest.approx(weights, rel=0.02)


def test_attention_among_tokens_counts_what_causality_lets_see():
    model = tiny_model().requires_grad_(True)
    batch = packed([make_sample(3, tiles=0)])  # one document
    _, attention = counted(TokenLoss(model), batch, SupervisedObjective())
    work = work_of(model)
    assert work.batch(batch, lengths=[batch.num_tokens]) - work.batch(batch) == attention / 2


def test_a_prediction_leaves_out_a_decoder_that_does_not_run():
    model = tiny_model().requires_grad_(True)
    apply_freezing(model, FreezeSection(decoder=True))
    config = TrainConfig(
        data=DataConfig(max_tokens=256),
        run=RunSection(precision="float32"),
        freeze=FreezeSection(decoder=True),
    )
    dense = dataclasses.replace(config, objective=ObjectiveSection(kind="dense"))
    rows = [make_batch()]
    cpu = torch.device("cpu")
    answers, places = (predict(each, model, rows, device=cpu) for each in (config, dense))
    assert places.activation_bytes < answers.activation_bytes
    work = work_of(model, answers=False, dense=True)
    assert places.flops_per_step == pytest.approx(work.batch(rows[0]) * 4 / 3)  # recompute

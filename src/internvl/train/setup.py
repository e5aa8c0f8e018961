"""From a recipe to a run that is ready: model, data, optimizer, checkpoints; and from its end to a model on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import copyfile

import torch
from safetensors.torch import load_file, save_file

from internvl.checkpoint.load import (
    load_model,
    read_image_token_id,
    read_model_config,
    resolve_directory,
)
from internvl.checkpoint.save import save_model
from internvl.errors import CheckpointError
from internvl.models.deepen import deepen, deeper_config
from internvl.models.internvl import InternVLModel
from internvl.models.local_init import init_local_tower
from internvl.nn.device import has_fast_kernels
from internvl.nn.lora import add_lora, has_lora, merge_lora
from internvl.nn.recompute import set_recompute
from internvl.preprocess.processor import Processor
from internvl.train.checkpointing import Checkpoints
from internvl.train.config import Precision, TrainConfig
from internvl.train.dense import DenseHeads
from internvl.train.flops import Work, peak_flops, work_of
from internvl.train.freezing import apply_freezing, set_drop_path
from internvl.train.loop import Trainer, Watchers
from internvl.train.objectives import Objective, SupervisedObjective, TokenLoss
from internvl.train.optimizer import WeightAverage, make_optimizer
from internvl.train.parallel import Ranks, grouped, shard, whole
from internvl.train.preference import PreferenceObjective, answer_logps
from internvl.train.recipes import to_tree
from internvl.train.report import RunLog
from internvl.train.run_data import Batches, ValidationRows, make_processor, make_source, with_steps
from internvl.train.tensor_parallel import check_divides, restore_order

RECIPE_NAME = "recipe.json"
FINAL_NAME = "final"
HEADS_NAME = "dense_heads.safetensors"
"""Beside a model that a later stage goes on from; no loader needs it."""


@dataclass(slots=True)
class Prepared:
    """A run before its first step of this call."""

    trainer: Trainer
    processor: Processor
    resumed: bool
    batches: Batches
    """What the trainer learns from."""
    validation: ValidationRows | None
    """What it is measured on."""


def prepare(config: TrainConfig, where: Ranks, watchers: Watchers | None = None) -> Prepared:
    """Load, freeze, share out and resume.

    Raises:
        ConfigError: The recipe does not fit the model or the data.
        CheckpointError: The output directory holds another run.
    """
    output = Path(config.output)
    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    where = grouped(where, config.run.tensor_parallel)
    config = with_precision(config, where.device)
    check_output(output, config)
    processor = make_processor(config)
    config = with_steps(config, processor, where.size)
    model = make_model(config)
    if where.tensor > 1:
        check_divides(model.config, where.tensor)
    heads = make_heads(config, model)
    batches = make_source(config, processor, where)
    validation = ValidationRows(config, processor, where) if config.validation.given else None
    losses = TokenLoss(model, heads).to(where.device)
    objective = make_objective(config, where)
    shard(losses, where, config.run.precision)
    if config.run.compile:
        for layer in (*model.vision.layers, *model.decoder.layers):
            layer.compile()
    optimizer = make_optimizer(losses, config.optimizer)
    if where.tensor > 1:
        for group in optimizer.param_groups:
            group["foreach"] = False  # one call for all weights takes only those of one mesh
    decay = config.optimizer.ema_decay
    dtype = torch.float32 if config.run.precision == "float32" else torch.bfloat16
    trainer = Trainer(
        config=config,
        losses=losses,
        objective=objective,
        optimizer=optimizer,
        source=batches,
        log=RunLog(None),
        checkpoints=Checkpoints(
            output / "checkpoints",
            keep=config.run.keep_checkpoints,
            max_piece_bytes=config.run.max_piece_bytes,
            where=where,
        ),
        where=where,
        average=WeightAverage(losses.named_parameters(), decay) if decay else None,
        watchers=watchers or Watchers(),
        work=work_of_run(config, model) if where.size == 1 else None,
        peak=peak_flops(where.device, dtype) if where.size == 1 else 0.0,
    )
    resumed = trainer.resume()
    if where.is_first:
        output.mkdir(parents=True, exist_ok=True)
        (output / RECIPE_NAME).write_text(json.dumps(to_tree(config), indent=2) + "\n", encoding="utf-8")
        trainer.log = RunLog(output, first_step=trainer.step, tensorboard=config.run.tensorboard)
    if trainer.watchers.validation is None:
        trainer.watchers.validation = validation
    return Prepared(trainer, processor, resumed, batches, validation)


def with_precision(config: TrainConfig, device: torch.device) -> TrainConfig:
    """The config with what `run.precision = "auto"` means on this device."""
    if config.run.precision != "auto":
        return config
    precision: Precision = "bf16" if has_fast_kernels(torch.bfloat16, device) else "float32"
    return replace(config, run=replace(config.run, precision=precision))


def make_model(config: TrainConfig, *, device: str | None = None) -> InternVLModel:
    """The model as the recipe wants it: weights, adapters, what is frozen, drop path. `device="meta"`: shapes only."""
    dtype = torch.bfloat16 if config.run.precision == "bf16_params" else torch.float32
    layers = {"vision_layers": config.model.vision_layers, "decoder_layers": config.model.decoder_layers}
    if config.model.from_scratch or device == "meta":
        directory = resolve_directory(config.model.path, None)
        shape = deeper_config(read_model_config(directory), **layers)
        with torch.device(device or "cpu"):
            generator = None if device == "meta" else torch.Generator().manual_seed(config.seed)
            model = InternVLModel(shape, image_token_id=read_image_token_id(directory), generator=generator)
        if config.model.tower_init == "local" and generator is not None:
            init_local_tower(model.vision, generator)
        model = model.to(dtype)
    else:
        model = load_model(config.model.path, dtype=dtype)
        if any(layers.values()):
            model = deepen(model, **layers)
    if config.lora is not None:
        add_lora(model, config.lora, torch.Generator().manual_seed(config.seed))
    apply_freezing(model, config.freeze)
    if config.model.drop_path is not None:
        set_drop_path(model, config.model.drop_path)
    set_recompute(model, config.run.recompute)
    return model


def make_heads(config: TrainConfig, model: InternVLModel) -> DenseHeads | None:
    """The heads that ask what lies where, if the loss has them: those of the stage before, or fresh ones."""
    if not config.objective.asks_places:
        return None
    heads = DenseHeads(model.config, torch.Generator().manual_seed(config.seed))
    kept = Path(config.model.path) / HEADS_NAME
    if kept.is_file() and not config.model.from_scratch:
        heads.load_state_dict(load_file(kept), strict=False)  # a head that came later begins fresh
    return heads


def work_of_run(config: TrainConfig, model: InternVLModel) -> Work:
    """What a step costs: of the model, frozen as it is, only what this loss runs."""
    return work_of(
        model,
        tile_size=config.data.tile_size,
        answers=config.objective.kind != "dense",
        dense=config.objective.asks_places,
    )


def make_objective(config: TrainConfig, where: Ranks) -> Objective:
    """The loss; of pairs with its frozen reference, which is the model that training starts from."""
    section = config.objective
    if not section.is_preference:
        share = 1.0 if section.kind == "dense" else section.dense_weight
        places = {name: share * weight for name, weight in section.places.weights().items()} if share else {}
        return SupervisedObjective(answers=float(section.kind == "sft"), places=places)
    weights = {
        "mpo": (section.dpo_weight, section.bco_weight, section.nll_weight),
        "dpo": (1.0, 0.0, 0.0),
        "bco": (0.0, 1.0, 0.0),
    }[section.kind]
    dtype = torch.bfloat16 if config.run.precision == "bf16_params" else torch.float32
    reference = TokenLoss(load_model(config.model.path, dtype=dtype, device=where.device)).requires_grad_(
        False
    )
    shard(reference, where, config.run.precision)
    return PreferenceObjective(
        reference=lambda batch: answer_logps(reference, batch),
        beta=section.beta,
        dpo_weight=weights[0],
        bco_weight=weights[1],
        nll_weight=weights[2],
        mean_over=section.bco_mean,
    )


def check_output(output: Path, config: TrainConfig) -> None:
    """Refuse a directory of a run that learnt something else.

    What may change between starts of one run: how long it is, how often it is saved and watched, where it runs.
    """
    path = output / RECIPE_NAME
    if not path.exists():
        return
    then = json.loads(path.read_text(encoding="utf-8"))
    now = json.loads(json.dumps(to_tree(config)))
    for section in ("model", "data", "freeze", "lora", "objective"):
        before, after = then.get(section), now[section]
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            changed = [key for key in after if key != "num_workers" and before.get(key) != after[key]]
            name = f"{section}.{changed[0]}" if changed else ""
        else:
            name = section if before != after else ""
        if name:
            raise CheckpointError(
                f"{output} holds a run whose {name} was another; choose another output, or remove that directory"
            )
    kept = then.get("optimizer", {})
    for key, before, after in (
        ("kind", kept.get("kind", "adamw"), config.optimizer.kind),
        ("ema_decay", bool(kept.get("ema_decay")), bool(config.optimizer.ema_decay)),
    ):
        if before != after:
            raise CheckpointError(
                f"{output} holds a run whose optimizer.{key} was another, so that its state does not fit; choose "
                "another output, or set it back"
            )
    if then.get("run", {}).get("tensor_parallel", 1) != config.run.tensor_parallel:
        raise CheckpointError(
            f"{output} holds a run whose run.tensor_parallel was another, which decides the order of its weights; "
            "choose another output, or set it back"
        )


def export(trainer: Trainer, config: TrainConfig) -> Path | None:
    """Write the trained model (averaged weights, where kept) as a checkpoint directory; None on ranks but the first.

    Adapters alone are written in PEFT's files, unless export.merge_lora.
    """
    from internvl.checkpoint.adapters_peft import save_adapter

    target = Path(config.output) / FINAL_NAME
    model = trainer.losses.model
    heads = trainer.losses.heads
    with trainer.average.applied() if trainer.average is not None else nullcontext():
        # all ranks together, before the first one goes on alone
        asked = {} if heads is None else {name: whole(t).cpu() for name, t in heads.state_dict().items()}
        if trainer.where.size > 1:
            model = _gathered(model, config, trainer.where)
            if not trainer.where.is_first:
                return None
        if has_lora(model) and not config.export.merge_lora:
            return save_adapter(model, target, base=config.model.path, overwrite=target.exists())
        if has_lora(model):
            merge_lora(model)
        written = save_as(model, target, config)
        inherited = Path(config.model.path) / HEADS_NAME
        if asked:
            save_file(asked, target / HEADS_NAME)
        elif not config.model.from_scratch and inherited.is_file():  # for a later stage that asks again
            copyfile(inherited, target / HEADS_NAME)
        return written


def save_as(model: InternVLModel, target: Path, config: TrainConfig) -> Path:
    """Write a model in the dtype of the export; the model itself keeps its own."""
    with torch.device("meta"):
        copy = InternVLModel(model.config, image_token_id=model.image_token_id)
    dtype = getattr(torch, config.export.dtype)
    weights = {name: parameter.detach().to("cpu", dtype) for name, parameter in model.state_dict().items()}
    copy.load_state_dict(weights, assign=True)
    copy.decoder.tie_weights()
    return save_model(
        copy,
        target,
        layout=config.export.layout,
        tokenizer_from=resolve_directory(config.model.path, None),
        overwrite=target.exists(),
    )


def _gathered(model: InternVLModel, config: TrainConfig, where: Ranks) -> InternVLModel:
    """The whole model on the CPU of the first rank, from the shares of all."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    state = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if not where.is_first:
        return model
    whole = InternVLModel(model.config, image_token_id=model.image_token_id)
    if config.lora is not None:
        add_lora(whole, config.lora)
    whole.load_state_dict(restore_order(state, whole, where.tensor) if where.tensor > 1 else state)
    return whole

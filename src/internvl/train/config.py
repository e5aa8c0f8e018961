"""What a training run is, as frozen data: model, data, what is trained, loss, optimizer, schedule, and the run itself.

`train.recipes` reads it from TOML; a section there is a field of `TrainConfig` here. Counts that can be derived from
others (accumulation from the global batch) are methods, not fields.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from internvl.config.model import Layout
from internvl.errors import ConfigError
from internvl.nn.lora import LoraConfig
from internvl.nn.recompute import Recompute
from internvl.train.dataset import DataConfig

Precision = Literal["auto", "float32", "bf16", "bf16_params"]
ScheduleKind = Literal["cosine", "wsd", "linear", "constant"]
ObjectiveKind = Literal["sft", "mpo", "dpo", "bco", "dense"]
BcoMean = Literal["update", "micro_batch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSection:
    """What training starts from."""

    path: str = "nano"
    """A checkpoint directory, a hub id, or nano; config and tokenizer are always taken from here."""
    from_scratch: bool = False
    """Take the shape of `path` but not its weights; they are drawn from the run's seed."""
    tower_init: Literal["normal", "local"] = "normal"
    """Of a vision tower from scratch. local: it begins with edges and neighbours (`models.local_init`), from which it
    learns print far faster."""
    vision_layers: int = 0
    """Go on with so many layers in the vision tower (`models.deepen`); 0: with those of `path`."""
    decoder_layers: int = 0
    """The same of the decoder."""
    drop_path: float | None = None
    """Stochastic depth of the vision tower, rising from 0 at its first layer to this; None: the checkpoint's own."""

    def __post_init__(self) -> None:
        if self.tower_init != "normal" and not self.from_scratch:
            raise ConfigError("model.tower_init says how a tower is drawn; set model.from_scratch = true")
        if self.from_scratch and (self.vision_layers or self.decoder_layers):
            raise ConfigError(
                "model.vision_layers deepens a trained model; with from_scratch write a config instead"
            )
        if self.drop_path is not None and not 0 <= self.drop_path < 1:
            raise ConfigError(f"model.drop_path is {self.drop_path}; expected 0 <= drop_path < 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationSection:
    """Rows that are measured and never learnt from; cut as [data] says, in order, once."""

    meta: tuple[str, ...] = ()
    sources: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    root: str = ""

    @property
    def given(self) -> bool:
        """Whether there are any."""
        return bool(self.meta or self.sources)


@dataclass(frozen=True, slots=True, kw_only=True)
class FreezeSection:
    """What is not trained. Stages: vision and decoder frozen (projector warm-up), decoder frozen, nothing frozen.

    None: trained, unless the run has adapters ([lora]), beside which only parts set to false are trained whole.
    """

    vision: bool | None = None
    projector: bool | None = None
    decoder: bool | None = None
    train_vision_layers: int = 0
    """Last layers of a frozen vision tower that are trained all the same."""

    def __post_init__(self) -> None:
        _at_least(0, freeze__train_vision_layers=self.train_vision_layers)
        if self.train_vision_layers and not self.vision:
            raise ConfigError(
                "freeze.train_vision_layers means layers of a frozen tower; set freeze.vision = true"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacesSection:
    """Weights of the questions to places (`train.dense`) among each other; 0: not asked."""

    patch_glyph: float = 0.3
    token_glyphs: float = 0.3
    patch_thing: float = 0.2
    token_thing: float = 0.2

    def __post_init__(self) -> None:
        _at_least(
            0,
            objective__places__patch_glyph=self.patch_glyph,
            objective__places__token_glyphs=self.token_glyphs,
            objective__places__patch_thing=self.patch_thing,
            objective__places__token_thing=self.token_thing,
        )

    def weights(self) -> dict[str, float]:
        """By the name of the head."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveSection:
    """The loss: next-token prediction, learning from pairs of answers, or only what lies where (dense)."""

    kind: ObjectiveKind = "sft"
    dense_weight: float = 0.0
    """Beside sft: also ask patches and image tokens what they show, where data.dense knows it."""
    places: PlacesSection = field(default_factory=PlacesSection)
    beta: float = 0.1
    """Scale of rewards (dpo, bco, mpo)."""
    dpo_weight: float = 0.8
    bco_weight: float = 0.2
    nll_weight: float = 1.0
    """Of mpo; dpo and bco take their own term alone."""
    bco_mean: BcoMean = "update"
    """When the running mean of rewards moves that bco and mpo compare answers with: once in an update, with all its
    answers, so that accumulating is the large batch, for one more forward pass; or with each micro-batch, as the
    reference's does."""

    def __post_init__(self) -> None:
        _at_least(0, objective__dense_weight=self.dense_weight, objective__beta=self.beta)
        _at_least(0, objective__dpo_weight=self.dpo_weight, objective__bco_weight=self.bco_weight)
        _at_least(0, objective__nll_weight=self.nll_weight)

    @property
    def is_preference(self) -> bool:
        """Whether rows hold pairs of answers."""
        return self.kind not in ("sft", "dense")

    @property
    def asks_places(self) -> bool:
        """Whether heads that are no part of the model are trained along."""
        return self.kind == "dense" or self.dense_weight > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerSection:
    """AdamW or Muon, rates by part, clipping, and the moving average of the weights."""

    kind: Literal["adamw", "muon"] = "adamw"
    """muon: the matrices of the layers take orthogonalised steps (`train.muon`), all else AdamW's; the same learning
    rates serve. It learns faster from scratch."""
    learning_rate: float = 4e-5
    vision_learning_rate: float | None = None
    """None: `learning_rate`; so the two below."""
    projector_learning_rate: float | None = None
    decoder_learning_rate: float | None = None
    vision_layer_decay: float = 1.0
    """Each layer of the vision tower learns this much slower than the one above it."""
    weight_decay: float = 0.05
    decay_vectors: bool = False
    """Decay norms, biases and embeddings too."""
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    clip_norm: float = 1.0
    """Largest norm of all gradients together; 0: not clipped."""
    ema_decay: float = 0.0
    """Keep a moving average of the weights, which is what is validated and exported; 0: none."""

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < math.inf:
            raise ConfigError(f"optimizer.learning_rate is {self.learning_rate}; expected a positive number")
        _at_least(
            0,
            optimizer__vision_learning_rate=self.vision_learning_rate or 0.0,
            optimizer__projector_learning_rate=self.projector_learning_rate or 0.0,
            optimizer__decoder_learning_rate=self.decoder_learning_rate or 0.0,
            optimizer__weight_decay=self.weight_decay,
            optimizer__eps=self.eps,
            optimizer__clip_norm=self.clip_norm,
        )
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"optimizer.betas is {list(self.betas)}; expected two numbers, 0 <= beta < 1")
        if not 0 <= self.ema_decay < 1:
            raise ConfigError(f"optimizer.ema_decay is {self.ema_decay}; expected 0 <= ema_decay < 1")
        if not 0 < self.vision_layer_decay <= 1:
            raise ConfigError(
                f"optimizer.vision_layer_decay is {self.vision_layer_decay}; expected 0 < decay <= 1"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSection:
    """How the learning rates move over the run; all of them together."""

    kind: ScheduleKind = "cosine"
    warmup_steps: int | None = None
    """None: `warmup_ratio` of the run."""
    warmup_ratio: float = 0.03
    decay_ratio: float = 0.15
    """wsd: the last share of the run, over which the rate falls (warm-up, stable, decay)."""
    floor: float = 0.0
    """Where it ends, as a share of the full rate."""

    def __post_init__(self) -> None:
        for name in ("warmup_ratio", "decay_ratio", "floor"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"schedule.{name} is {getattr(self, name)}; expected a share in [0, 1]")
        _at_least(0, schedule__warmup_steps=self.warmup_steps or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSection:
    """The run around the steps."""

    steps: int = 1000
    """Updates in all."""
    epochs: float = 0.0
    """Instead of `steps`: this often through the rows, where these are not packed; 0: `steps` counts."""
    global_batch_size: int = 0
    """Rows (or packed rows) of an update, over all ranks; 0: `micro_batch_size` x `grad_accum_steps` x ranks."""
    micro_batch_size: int = 1
    """Rows of a forward pass on one rank; packed rows come one by one."""
    grad_accum_steps: int = 1
    """Forward passes of an update; follows from `global_batch_size` where that is set."""
    precision: Precision = "auto"
    """bf16: float32 weights, products in bfloat16; bf16_params: everything in bfloat16 (half the memory); auto: bf16,
    but float32 on CPUs without bfloat16 instructions."""
    device: str = "auto"
    """auto: CUDA where there is one."""
    recompute: Recompute = True
    """Compute activations again in the backward pass instead of keeping them: the least memory for a third more work.
    selective: products and attention are kept, all else is cheap; false: everything is kept."""
    tensor_parallel: int = 1
    """Neighbouring processes that compute one batch together, each its share of every layer's heads and MLP columns:
    for models whose layers are too large for one device. FSDP shares out the rest over these groups."""
    compile: bool = False
    """torch.compile the layers; pays on a GPU and long runs."""
    max_bad_steps: int = 10
    """Refused updates (loss or gradients not finite) in a row after which the run stops."""
    log_every: int = 1
    save_every: int = 200
    """Steps between checkpoints; there is always one at the end."""
    keep_checkpoints: int = 3
    """The newest ones stay; 0: all."""
    validate_every: int = 0
    """Steps between measurements on data.validation; 0: only at the end."""
    validate_batches: int = 50
    sample_every: int = 0
    """Steps between answers written to validation rows; 0: never."""
    num_samples: int = 4
    max_minutes: float = 0.0
    """Stop, saved, after this long; 0: no limit. The next start of the same run goes on from there. Where one command
    runs several recipes, the minutes are those of the command."""
    max_piece_bytes: int = 2**30
    """Files of a checkpoint are cut at about this size."""
    tensorboard: bool = True
    threads: int = 0
    """Of torch on the CPU; 0: torch's own choice."""

    def __post_init__(self) -> None:
        _at_least(1, run__steps=self.steps, run__micro_batch_size=self.micro_batch_size)
        _at_least(1, run__grad_accum_steps=self.grad_accum_steps, run__log_every=self.log_every)
        _at_least(1, run__tensor_parallel=self.tensor_parallel)
        _at_least(1, run__max_bad_steps=self.max_bad_steps, run__save_every=self.save_every)
        _at_least(
            0, run__global_batch_size=self.global_batch_size, run__keep_checkpoints=self.keep_checkpoints
        )
        _at_least(0, run__epochs=self.epochs, run__max_minutes=self.max_minutes, run__threads=self.threads)
        _at_least(0, run__validate_every=self.validate_every, run__sample_every=self.sample_every)
        _at_least(1, run__validate_batches=self.validate_batches, run__num_samples=self.num_samples)
        _at_least(1, run__max_piece_bytes=self.max_piece_bytes)
        if self.global_batch_size and self.grad_accum_steps > 1:
            raise ConfigError(
                "run.global_batch_size and run.grad_accum_steps both say how large an update is; set one of them"
            )

    def data_parts(self, num_ranks: int) -> int:
        """How many batches are computed at once: ranks, or groups of `tensor_parallel` ranks."""
        return max(1, num_ranks // self.tensor_parallel)

    def accumulation(self, num_ranks: int) -> int:
        """Forward passes of an update on each rank.

        Raises:
            ConfigError: The global batch is no multiple of what one pass on all ranks takes.
        """
        if not self.global_batch_size:
            return self.grad_accum_steps
        num_parts = self.data_parts(num_ranks)
        at_once = self.micro_batch_size * num_parts
        if self.global_batch_size % at_once:
            raise ConfigError(
                f"run.global_batch_size {self.global_batch_size} is not a multiple of run.micro_batch_size "
                f"{self.micro_batch_size} x {num_parts} ranks"
            )
        return self.global_batch_size // at_once


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSection:
    """The trained model that a finished run leaves under `final`."""

    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    layout: Layout = "github"
    merge_lora: bool = False
    """Adapters are added to the weights, which gives a whole model; else `final` holds them alone, in PEFT's files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """One training run."""

    output: str = "runs/train"
    """Directory of the run: log, checkpoints, plots, and the trained model under `final`."""
    seed: int = 0
    """Of weights drawn, of drop path, and of the order of the data."""
    notes: str = ""
    """What this is; shown, not used."""
    model: ModelSection = field(default_factory=ModelSection)
    data: DataConfig = field(default_factory=DataConfig)
    validation: ValidationSection = field(default_factory=ValidationSection)
    freeze: FreezeSection = field(default_factory=FreezeSection)
    lora: LoraConfig | None = None
    """Low-rank adapters; a recipe has them when it has the section."""
    objective: ObjectiveSection = field(default_factory=ObjectiveSection)
    optimizer: OptimizerSection = field(default_factory=OptimizerSection)
    schedule: ScheduleSection = field(default_factory=ScheduleSection)
    run: RunSection = field(default_factory=RunSection)
    export: ExportSection = field(default_factory=ExportSection)

    def __post_init__(self) -> None:
        frozen = self.freeze.vision and self.freeze.projector and self.freeze.decoder
        if frozen and self.lora is None and not self.freeze.train_vision_layers:
            raise ConfigError(
                "freeze.vision, freeze.projector and freeze.decoder leave nothing to train; "
                "free one of them, or add a section [lora]"
            )
        if self.data.packing and self.run.micro_batch_size > 1 and not self.objective.is_preference:
            raise ConfigError(
                f"run.micro_batch_size is {self.run.micro_batch_size}, but packed rows come one by one; raise "
                "data.max_tokens instead, or set data.packing = false"
            )
        if self.run.tensor_parallel > 1:
            self._check_tensor_parallel()

    def _check_tensor_parallel(self) -> None:
        """Refuse what has no form whose layers are divided."""
        without = {
            "[lora]": self.lora is not None,
            f"objective.kind = {self.objective.kind!r}": self.objective.kind != "sft",
            "objective.dense_weight": self.objective.dense_weight > 0,
            f"optimizer.kind = {self.optimizer.kind!r}": self.optimizer.kind != "adamw",
            "run.compile": self.run.compile,
        }
        for what, there in without.items():
            if there:
                raise ConfigError(
                    f"run.tensor_parallel = {self.run.tensor_parallel} does not go with {what}; leave it 1: FSDP then "
                    "shares out the weights over all processes"
                )

    @property
    def counts_rows(self) -> bool:
        """Whether the rows say how many updates there are: `run.epochs`, or `data.num_epochs` without packing."""
        packed = self.data.packing and not self.objective.is_preference
        return bool(self.run.epochs) or (self.data.num_epochs is not None and not packed)

    def with_steps(self, num_rows: int, num_ranks: int) -> TrainConfig:
        """Return the config with `run.steps` worked out from `run.epochs` or `data.num_epochs` over `num_rows` rows.

        Raises:
            ConfigError: How many rows an update takes is not known before: they are packed.
        """
        if not self.counts_rows:
            return self
        if self.data.packing and not self.objective.is_preference:
            raise ConfigError(
                "run.epochs needs rows that are not packed, of which an update takes a fixed number; set run.steps, or "
                "data.num_epochs: the run then ends with the data"
            )
        rows_per_step = (
            self.run.micro_batch_size * self.run.accumulation(num_ranks) * self.run.data_parts(num_ranks)
        )
        epochs = self.run.epochs or self.data.num_epochs or 0
        steps = max(1, math.ceil(num_rows * epochs / rows_per_step - 1e-9))
        if not self.run.epochs:
            steps = min(steps, self.run.steps)
        return replace(self, run=replace(self.run, steps=steps))

    def validation_data(self) -> DataConfig:
        """How validation rows are read: once, in their order, nothing left to chance."""
        section = self.validation
        return replace(
            self.data,
            meta=section.meta,
            sources=section.sources,
            root=section.root,
            num_epochs=1,
            num_workers=0,
            jpeg_augment=False,
            frame_sampling="middle",
            group_by_length=False,
        )


def _at_least(least: int, **values: float) -> None:
    """Refuse values below `least`; a name's `__` stands for the dot of its section."""
    for name, value in values.items():
        if not least <= value < math.inf:  # nor is NaN
            raise ConfigError(f"{name.replace('__', '.')} is {value}; expected at least {least}")

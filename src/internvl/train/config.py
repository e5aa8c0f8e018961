"""What a training run is, as frozen data: model, data, what is trained, loss, optimizer, schedule, and the run itself.

`train.recipes` reads it from TOML; a section there is a field of `TrainConfig` here. Counts that can be derived from
others (accumulation from the global batch) are methods, not fields.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from internvl.errors import ConfigError

Precision = Literal["float32", "bf16", "bf16_params"]
ScheduleKind = Literal["cosine", "wsd", "linear", "constant"]
ObjectiveKind = Literal["sft", "mpo", "dpo", "bco"]
Averaging = Literal["token", "sample", "square"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSection:
    """What training starts from."""

    path: str = "nano"
    """A checkpoint directory, a hub id, or nano; config and tokenizer are always taken from here."""
    from_scratch: bool = False
    """Take the shape of `path` but not its weights; they are drawn from the run's seed."""
    drop_path: float | None = None
    """Stochastic depth of the vision tower, rising from 0 at its first layer to this; None: the checkpoint's own."""

    def __post_init__(self) -> None:
        if self.drop_path is not None and not 0 <= self.drop_path < 1:
            raise ConfigError(f"model.drop_path is {self.drop_path}; expected 0 <= drop_path < 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSection:
    """Rows, how they are cut and how they become batches."""

    meta: tuple[str, ...] = ()
    """Meta JSON files of the family ({name: {root, annotation, ...}}), or row files (JSONL, parquet, tar shards)."""
    root: str = ""
    """Where the pictures of row files lie; "": beside each file. A meta file has roots of its own."""
    validation: tuple[str, ...] = ()
    """The same, for rows that are measured and never learnt from."""
    max_tokens: int = 4096
    """Longest conversation; also the length of a packed row."""
    min_tiles: int = 1
    max_tiles: int | None = None
    """Tiles of one picture; None: the checkpoint's."""
    packing: bool = True
    """Documents one after the other in one row with attention within each; False: padded rows."""
    max_packed_tiles: int = 48
    """Tiles in one packed row."""
    packing_buffer: int = 20
    """Unfinished packed rows among which the best fit is looked for."""
    averaging: Averaging = "square"
    """Weight of a label: 1 (token), 1 / labels of its sample (sample), or the square root of that (square)."""
    weighting: Literal["rows", "sqrt_rows", "listed"] = "rows"
    """Share of each data set in the mixture."""
    group_by_length: bool = False
    """Padded rows of similar length go together."""
    jpeg_augment: bool | None = None
    """Compress pictures at random quality; None: as each data set of the meta file says."""
    on_bad_row: Literal["stop", "skip"] = "stop"
    """A row that cannot be used stops the run with its file and line, or is counted and listed."""
    num_workers: int = 2
    """Processes that read and cut rows; 0: the training process itself."""

    def __post_init__(self) -> None:
        _at_least(1, data__max_tokens=self.max_tokens, data__min_tiles=self.min_tiles)
        _at_least(1, data__max_packed_tiles=self.max_packed_tiles, data__packing_buffer=self.packing_buffer)
        _at_least(0, data__num_workers=self.num_workers)
        if self.max_tiles is not None and self.max_tiles < self.min_tiles:
            raise ConfigError(f"data.max_tiles {self.max_tiles} is below data.min_tiles {self.min_tiles}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FreezeSection:
    """What is not trained. Stages: vision and decoder frozen (projector warm-up), decoder frozen, nothing frozen."""

    vision: bool = False
    projector: bool = False
    decoder: bool = False
    train_vision_layers: int = 0
    """Last layers of a frozen vision tower that are trained all the same."""

    def __post_init__(self) -> None:
        _at_least(0, freeze__train_vision_layers=self.train_vision_layers)
        if self.train_vision_layers and not self.vision:
            raise ConfigError(
                "freeze.train_vision_layers means layers of a frozen tower; set freeze.vision = true"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraSection:
    """Low-rank adapters; rank 0 = none on that part. A part with adapters is frozen otherwise."""

    decoder_rank: int = 0
    vision_rank: int = 0
    projector_rank: int = 0
    alpha_over_rank: float = 2.0
    dropout: float = 0.05
    dora: bool = False
    quantize: Literal["none", "int8", "nf4"] = "none"
    """How the frozen weights under the adapters are held (QLoRA)."""
    merge: bool = False
    """Export the whole model with the adapters merged, not the adapters alone."""

    def __post_init__(self) -> None:
        _at_least(0, lora__decoder_rank=self.decoder_rank, lora__vision_rank=self.vision_rank)
        _at_least(0, lora__projector_rank=self.projector_rank)
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"lora.dropout is {self.dropout}; expected 0 <= dropout < 1")

    @property
    def active(self) -> bool:
        """Whether there are adapters at all."""
        return bool(self.decoder_rank or self.vision_rank or self.projector_rank)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveSection:
    """The loss: next-token prediction, or learning from pairs of answers."""

    kind: ObjectiveKind = "sft"
    beta: float = 0.1
    """Scale of rewards (dpo, bco, mpo)."""
    dpo_weight: float = 0.8
    bco_weight: float = 0.2
    nll_weight: float = 1.0
    """Of mpo; dpo and bco take their own term alone, and `nll_weight` where it is set for them."""

    @property
    def is_preference(self) -> bool:
        """Whether rows hold pairs of answers."""
        return self.kind != "sft"


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerSection:
    """AdamW, its rates by part, clipping, and the moving average of the weights."""

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
        if self.learning_rate <= 0:
            raise ConfigError(f"optimizer.learning_rate is {self.learning_rate}; expected a positive number")
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


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSection:
    """The run around the steps."""

    steps: int = 1000
    """Updates in all."""
    global_batch_size: int = 0
    """Rows (or packed rows) of an update, over all ranks; 0: `micro_batch_size` x `grad_accum_steps` x ranks."""
    micro_batch_size: int = 1
    """Rows of a forward pass on one rank; packed rows come one by one."""
    grad_accum_steps: int = 1
    """Forward passes of an update; follows from `global_batch_size` where that is set."""
    precision: Precision = "bf16"
    """bf16: float32 weights, products in bfloat16; bf16_params: everything in bfloat16 (half the memory)."""
    device: str = "auto"
    """auto: CUDA where there is one."""
    recompute: bool = True
    """Compute activations again in the backward pass instead of keeping them."""
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
    """Stop, saved, after this long; 0: no limit. The next start of the same run goes on from there."""
    max_piece_bytes: int = 2**30
    """Files of a checkpoint are cut at about this size."""
    tensorboard: bool = True

    def __post_init__(self) -> None:
        _at_least(1, run__steps=self.steps, run__micro_batch_size=self.micro_batch_size)
        _at_least(1, run__grad_accum_steps=self.grad_accum_steps, run__log_every=self.log_every)
        _at_least(1, run__max_bad_steps=self.max_bad_steps, run__save_every=self.save_every)
        _at_least(
            0, run__global_batch_size=self.global_batch_size, run__keep_checkpoints=self.keep_checkpoints
        )
        if self.global_batch_size and self.grad_accum_steps > 1:
            raise ConfigError(
                "run.global_batch_size and run.grad_accum_steps both say how large an update is; set one of them"
            )

    def accumulation(self, num_ranks: int) -> int:
        """Forward passes of an update on each rank.

        Raises:
            ConfigError: The global batch is no multiple of what one pass on all ranks takes.
        """
        if not self.global_batch_size:
            return self.grad_accum_steps
        at_once = self.micro_batch_size * num_ranks
        if self.global_batch_size % at_once:
            raise ConfigError(
                f"run.global_batch_size {self.global_batch_size} is not a multiple of run.micro_batch_size "
                f"{self.micro_batch_size} x {num_ranks} ranks"
            )
        return self.global_batch_size // at_once


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
    data: DataSection = field(default_factory=DataSection)
    freeze: FreezeSection = field(default_factory=FreezeSection)
    lora: LoraSection = field(default_factory=LoraSection)
    objective: ObjectiveSection = field(default_factory=ObjectiveSection)
    optimizer: OptimizerSection = field(default_factory=OptimizerSection)
    schedule: ScheduleSection = field(default_factory=ScheduleSection)
    run: RunSection = field(default_factory=RunSection)

    def __post_init__(self) -> None:
        frozen = self.freeze.vision and self.freeze.projector and self.freeze.decoder
        if frozen and not self.lora.active and not self.freeze.train_vision_layers:
            raise ConfigError(
                "freeze.vision, freeze.projector and freeze.decoder leave nothing to train; "
                "free one of them, or set lora.decoder_rank"
            )
        if self.data.packing and self.run.micro_batch_size > 1:
            raise ConfigError(
                f"run.micro_batch_size is {self.run.micro_batch_size}, but packed rows come one by one; raise "
                "data.max_tokens instead, or set data.packing = false"
            )


def _at_least(least: int, **values: int) -> None:
    """Refuse values below `least`; a name's `__` stands for the dot of its section."""
    for name, value in values.items():
        if value < least:
            raise ConfigError(f"{name.replace('__', '.')} is {value}; expected at least {least}")

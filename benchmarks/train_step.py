"""How many tokens a second does a training step learn from, beside transformers' Trainer?

Both train the same random model on the same conversations of mixed length (a few long answers, many short ones), with
AdamW in the same precision, one process. Ours packs them into rows with attention within each; the peer pads each
batch to its longest, which is what Trainer does with a collator of its own. Only tokens of conversations count, not
padding. A round is one pass of each side over all conversations, after a step that is not counted; the two take turns
within one run, so that a busy machine slows both.

    ./run bench train_step [--shape tiny|1b] [--samples N] [--rounds R] [--precision float32|bf16] [--apart]

Prints a line per round and ends with one JSON line; MFU is against one large product measured at the start. `--apart`
gives each side a process of its own in every round, which is for models of which two do not fit into memory (1b in
float32: 14 GB of weights, gradients and AdamW's state a side); both then compute activations again, ours all but
products and attention (Trainer knows all or nothing), and `--peer-rows` says how many rows the peer's batches have.
"""

import argparse
import json
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch
from torch import nn

from internvl.config import ModelConfig, ProjectorConfig, TextConfig, VisionConfig
from internvl.models.internvl import InternVLModel
from internvl.nn.recompute import set_recompute
from internvl.train.batch import IGNORE_INDEX, TrainSample
from internvl.train.collate import collate_packed
from internvl.train.config import OptimizerSection
from internvl.train.flops import measured_flops, work_of
from internvl.train.objectives import SupervisedObjective, TokenLoss
from internvl.train.optimizer import make_optimizer
from internvl.train.packing import BestFitPacker
from internvl.train.parallel import Ranks
from internvl.train.step import TrainStep

#: Shape -> decoder width, MLP, layers, heads, kv heads, head dim, vocabulary; vision width, layers; tile side.
SHAPES = {
    "tiny": ((256, 768, 6, 4, 2, 64, 8192), (192, 6), 112),
    "1b": ((896, 4864, 24, 14, 2, 64, 151_674), (1024, 24), 448),
}
ROW_TOKENS = 2048


def make_config(shape: str) -> ModelConfig:
    (width, inner, layers, heads, groups, head_dim, vocab), (vision, depth), side = SHAPES[shape]
    return ModelConfig(
        vision=VisionConfig(
            hidden_size=vision,
            intermediate_size=4 * vision,
            num_layers=depth,
            num_heads=vision // 64,
            image_size=side,
        ),
        projector=ProjectorConfig(),
        text=TextConfig(
            family="qwen2",
            vocab_size=vocab,
            hidden_size=width,
            intermediate_size=inner,
            num_layers=layers,
            num_heads=heads,
            num_kv_heads=groups,
            head_dim=head_dim,
            qkv_bias=True,
            max_position=32768,
        ),
        image_size=side,
    )


def make_samples(config: ModelConfig, image_token_id: int, count: int, seed: int = 0) -> list[TrainSample]:
    """Conversations of 40 to 1500 tokens, lengths log-uniform, two thirds with one tile; a third of each is learnt."""
    chance, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    samples = []
    for number in range(count):
        length = round(40 * (1500 / 40) ** chance.random())
        tiles = int(number % 3 > 0)
        ids = torch.randint(0, image_token_id, (length,), generator=generator)
        pictures = torch.full((tiles * config.tokens_per_tile,), image_token_id)
        ids = torch.cat((ids[:20], pictures, ids[20:]))
        labels = ids.clone()
        labels[: len(ids) - max(2, length // 3)] = IGNORE_INDEX
        side = config.image_size
        pixels = torch.randn(tiles, 3, side, side, generator=generator) if tiles else None
        samples.append(TrainSample(input_ids=ids, labels=labels, pixel_values=pixels))
    return samples


class Ours:
    """Packed rows through our step."""

    def __init__(
        self,
        model: InternVLModel,
        samples: list[TrainSample],
        precision: str,
        device: torch.device,
        *,
        recompute: bool,
    ):
        model.requires_grad_(True).train().to(device)
        set_recompute(model, "selective" if recompute else False)
        packer = BestFitPacker(ROW_TOKENS, 48)
        groups = [group for sample in samples for group in packer.add(sample)] + packer.flush()
        self.batches = [collate_packed(group) for group in groups]
        self.first = collate_packed([min(samples, key=lambda sample: sample.num_tokens)])
        optimizer = make_optimizer(model, OptimizerSection(learning_rate=1e-5))
        self.step = TrainStep(
            TokenLoss(model),
            SupervisedObjective(),
            optimizer,
            precision=precision,
            where=Ranks(device=device),
        )
        self.device = device

    def measure(self) -> float:
        """Seconds of a pass."""
        self.step([self.first])
        began = time.perf_counter()
        for batch in self.batches:
            self.step([batch])
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began


class Peer:
    """transformers' model and Trainer on padded batches."""

    def __init__(
        self,
        directory: Path,
        samples: list[TrainSample],
        pad: int,
        precision: str,
        device: torch.device,
        *,
        rows: int,
        recompute: bool,
    ):
        from transformers import InternVLForConditionalGeneration

        self.model = InternVLForConditionalGeneration.from_pretrained(directory, dtype=torch.float32)
        self.samples, self.pad, self.precision, self.device = samples, pad, precision, device
        self.rows, self.recompute = rows, recompute

    def collate(self, samples: list[TrainSample]) -> dict[str, torch.Tensor]:
        fill = nn.utils.rnn.pad_sequence
        ids = fill([s.input_ids for s in samples], batch_first=True, padding_value=self.pad)
        mask = fill([torch.ones_like(s.input_ids) for s in samples], batch_first=True)
        labels = fill([s.labels for s in samples], batch_first=True, padding_value=IGNORE_INDEX)
        inputs = {"input_ids": ids, "attention_mask": mask, "labels": labels}
        tiles = [s.pixel_values for s in samples if s.pixel_values is not None]
        return inputs | ({"pixel_values": torch.cat(tiles)} if tiles else {})

    def measure(self) -> float:
        """Seconds of a pass: an epoch of `Trainer.train`, with a batch before it that is not counted."""
        from transformers import Trainer, TrainerCallback, TrainingArguments

        marks: list[float] = []
        first = min(self.samples, key=lambda sample: sample.num_tokens)
        order = [first] * self.rows + random.Random(0).sample(self.samples, len(self.samples))

        class Clock(TrainerCallback):
            def on_step_end(self, args, state, control, **kwargs):
                marks.append(time.perf_counter())

        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                output_dir=folder,
                per_device_train_batch_size=self.rows,
                gradient_checkpointing=self.recompute,
                num_train_epochs=1,
                train_sampling_strategy="sequential",
                learning_rate=1e-5,
                report_to=[],
                logging_strategy="no",
                save_strategy="no",
                remove_unused_columns=False,
                disable_tqdm=True,
                bf16=self.precision == "bf16",
                use_cpu=self.device.type == "cpu",
                seed=0,
            )
            trainer = Trainer(
                model=self.model,
                args=arguments,
                train_dataset=order,  # type: ignore[arg-type]
                data_collator=self.collate,
                callbacks=[Clock()],
            )
            trainer.train()
        return marks[-1] - marks[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="tiny")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=96)
    parser.add_argument("--precision", choices=("float32", "bf16"), default="float32")
    parser.add_argument("--peer-rows", type=int, default=4)
    parser.add_argument("--apart", action="store_true")
    parser.add_argument("--side", choices=("ours", "peer"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config = make_config(options.shape)
    image_token_id = config.text.vocab_size - 1
    samples = make_samples(config, image_token_id, options.samples)
    if options.side:
        print(json.dumps(make_side(options.side, config, samples, options, device).measure()))
        return
    peak = measured_flops(device, torch.bfloat16 if options.precision == "bf16" else torch.float32)
    sides = {}
    if not options.apart:
        sides = {name: make_side(name, config, samples, options, device) for name in ("ours", "peer")}
    tokens = sum(sample.num_tokens for sample in samples)
    rounds = []
    for number in range(options.rounds):
        found = {}
        for name in ("ours", "peer"):
            found[name] = tokens / (sides[name].measure() if sides else measure_apart(name))
        rounds.append((found["ours"], found["peer"]))
        mine, theirs = rounds[-1]
        print(
            f"round {number + 1}: ours {mine:,.0f} tokens/s, transformers {theirs:,.0f}, {mine / theirs:.2f} x",
            flush=True,
        )
    mine, theirs = (statistics.median(values) for values in zip(*rounds, strict=True))
    labels = sum(int((s.labels != IGNORE_INDEX).sum()) for s in samples)
    with torch.device("meta"):
        work = work_of(InternVLModel(config, image_token_id=image_token_id))
    done = work.step(tokens=tokens, labels=labels, tiles=sum(s.num_tiles for s in samples))
    record = {
        "benchmark": "train_step",
        "machine": platform.machine(),
        "device": str(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "shape": options.shape,
        "precision": options.precision,
        "samples": options.samples,
        "peer_rows": options.peer_rows,
        "recompute": options.apart,
        "ours_tokens_per_s": round(mine, 1),
        "transformers_tokens_per_s": round(theirs, 1),
        "ratio": round(mine / theirs, 2),
        "ours_mfu": round(mine / tokens * done / peak, 3),
        "transformers_mfu": round(theirs / tokens * done / peak, 3),
    }
    print(json.dumps(record))


def make_side(
    name: str,
    config: ModelConfig,
    samples: list[TrainSample],
    options: argparse.Namespace,
    device: torch.device,
) -> Ours | Peer:
    """The same random model on one side."""
    from internvl.checkpoint.save import save_model

    model = InternVLModel(
        config, image_token_id=config.text.vocab_size - 1, generator=torch.Generator().manual_seed(0)
    )
    if name == "ours":
        return Ours(model, samples, options.precision, device, recompute=options.apart)
    with tempfile.TemporaryDirectory() as folder:
        directory = save_model(model, Path(folder) / "model", layout="hf")
        del model
        return Peer(
            directory, samples, 0, options.precision, device, rows=options.peer_rows, recompute=options.apart
        )


def measure_apart(name: str) -> float:
    """One side's seconds, in a process of its own."""
    command = [sys.executable, __file__, *sys.argv[1:], "--side", name]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    main()

"""How long does the engine take for a decode step beside the model's forward pass?

Everything between two forward passes is counted: scheduling, sampling over a vocabulary of 151674, incremental text,
stop rules, deltas into the callers' queues. The model is small (its time is not counted), the vocabulary is Qwen2.5's.

    ./run bench overhead [--batch B ...] [--new T] [--sample]

Prints a line per batch size and ends with one JSON line. There is no peer: the numbers are milliseconds per step, by
the clock and by what the engine's thread computed itself. Where the second is less, it waited: for the other threads
of a product, for the caller's turn, or for whatever else the machine was doing, if the difference is large.
"""

import argparse
import json
import platform
import statistics
import time
from dataclasses import dataclass, field

import torch

from decode import toy_processor
from internvl.config import ModelConfig, ProjectorConfig, TextConfig, VisionConfig
from internvl.engine.config import EngineConfig
from internvl.engine.engine import Engine
from internvl.models.internvl import InternVLModel
from internvl.types import GenerationConfig, ModelInputs

VOCAB = 151_674


def make_model() -> InternVLModel:
    text = TextConfig(
        family="qwen2",
        vocab_size=VOCAB,
        hidden_size=64,
        intermediate_size=128,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        head_dim=16,
        qkv_bias=True,
    )
    vision = VisionConfig(hidden_size=32, intermediate_size=64, num_layers=1, num_heads=2, image_size=56)
    config = ModelConfig(vision=vision, projector=ProjectorConfig(), text=text, image_size=56)
    return InternVLModel(config, image_token_id=VOCAB - 1).requires_grad_(False).eval()


@dataclass
class Moment:
    """Seconds, by the clock and of this thread's computing."""

    wall: float = field(default_factory=time.perf_counter)
    cpu: float = field(default_factory=time.thread_time)


def measure(model: InternVLModel, *, batch: int, new: int, sample: bool) -> tuple[list[float], list[float]]:
    """Milliseconds between the forward passes of steps in which every answer gets a token: wall and CPU."""
    spans: list[tuple[Moment, Moment, int]] = []
    length = (64 + new) // 16 * 16 + 16  # whole cache blocks
    config = EngineConfig(session_len=length, max_batch_size=batch, cache_max_tokens=batch * length)
    gen_config = GenerationConfig(max_new_tokens=new, ignore_eos=True)
    if sample:
        gen_config = gen_config.replace(do_sample=True, temperature=0.8, top_p=0.9, top_k=40)
    with Engine(model, toy_processor(), config) as engine:  # type: ignore[arg-type]
        runner = engine._runner
        forward = runner.compute

        def timed(chunks):
            started = Moment()
            logits = forward(chunks)
            spans.append((started, Moment(), sum(chunk.end - chunk.start == 1 for chunk in chunks)))
            return logits

        runner.compute = timed
        ids = torch.randint(1, 1000, (batch, 32), generator=torch.Generator().manual_seed(0))
        engine.generate([ModelInputs(input_ids=row) for row in ids], gen_config)
    gaps = [
        (before[1], after[0])
        for before, after in zip(spans, spans[1:], strict=False)
        if before[2] == after[2] == batch
    ]
    return (
        [1000 * (end.wall - start.wall) for start, end in gaps],
        [1000 * (end.cpu - start.cpu) for start, end in gaps],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--new", type=int, default=100)
    parser.add_argument(
        "--sample", action="store_true", help="temperature, top-k and top-p instead of greedy"
    )
    options = parser.parse_args()
    model = make_model()
    results = []
    for batch in options.batch:
        wall, cpu = measure(model, batch=batch, new=options.new, sample=options.sample)
        result = {
            "median_ms": statistics.median(wall),
            "p95_ms": sorted(wall)[int(0.95 * len(wall))],
            "cpu_ms": statistics.median(cpu),
        }
        results.append({"batch": batch} | {name: round(value, 2) for name, value in result.items()})
        print(
            f"batch {batch}: {result['median_ms']:.2f} ms a step beside the model"
            f" (95 %: {result['p95_ms']:.2f} ms; CPU {result['cpu_ms']:.2f} ms)",
            flush=True,
        )
    record = {
        "benchmark": "overhead",
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "sample": options.sample,
        "new": options.new,
        "results": results,
    }
    print(json.dumps(record))


if __name__ == "__main__":
    main()

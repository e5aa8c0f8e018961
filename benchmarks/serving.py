"""How many picture questions a second does the engine answer when 32 people ask at once, against transformers?

Work: 32 questions that arrive together, each about one tile, with a text and an answer of mixed lengths; several
    ask about the same picture (`--pictures`, 8 by default; 32 = everybody brings another one).
Peer: the same weights behind transformers' `generate`, in the two ways it is used: a queue of one question at
    a time, and static batches (padded to the longest prompt, decoded to the longest answer).
Then a conversation: how long until the first token of a second question about a picture, as a share of the first.

    ./run bench serving [--model nano|1b] [--pictures P] [--questions N] [--batch B] [--rounds R]
                        [--quantize int8|int4] [--peers queue static]

Sides are interleaved, so that other load on the machine hits all alike; only ratios count. Prints a line per side and
ends with one JSON line.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
import transformers
from torch import Tensor

from decode import toy_processor
from internvl.checkpoint.convert import convert
from internvl.checkpoint.load import load_model
from internvl.config.presets import find
from internvl.engine.config import EngineConfig
from internvl.engine.engine import Engine
from internvl.models.internvl import InternVLModel
from internvl.models.pack import pack_linears
from internvl.types import GenerationConfig, MediaUsage, ModelInputs, TileGrid
from one_billion import Peer, make_ours, make_peer

NANO = Path(__file__).parents[1] / "src" / "internvl" / "assets" / "nano"


@dataclass(frozen=True, slots=True)
class Question:
    inputs: ModelInputs
    num_new: int


@dataclass(slots=True)
class Times:
    """Seconds since all questions arrived, of every token of every answer."""

    tokens: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    answers: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))

    @property
    def makespan(self) -> float:
        """Until the last answer is whole; padded steps of a static batch count only where another batch waits."""
        return max(times[-1] for times in self.tokens.values())

    def first(self) -> list[float]:
        return [times[0] for times in self.tokens.values()]

    def between(self) -> list[float]:
        return [b - a for times in self.tokens.values() for a, b in zip(times, times[1:], strict=False)]


def make_questions(model: InternVLModel, count: int, pictures: int, seed: int = 0) -> list[Question]:
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    config = model.config
    shape = (3, config.image_size, config.image_size)
    tiles = [torch.randn(1, *shape, generator=generator) for _ in range(pictures)]
    num_image_tokens = config.tokens_per_tile
    questions = []
    for number in range(count):
        picture = number % pictures
        ids = [1, 2, 3, *[model.image_token_id] * num_image_tokens, 4]
        ids += [rng.randrange(5, 250) for _ in range(rng.randint(8, 48))]
        media = MediaUsage(
            index=0,
            width=shape[1],
            height=shape[2],
            grid=TileGrid(1, 1),
            thumbnail=False,
            num_tokens=num_image_tokens,
            content_hash=f"picture {picture}",
        )
        inputs = ModelInputs(input_ids=torch.tensor(ids), pixel_values=tiles[picture], media=[media])
        questions.append(Question(inputs, rng.randint(8, 64)))
    return questions


def run_ours(engine: Engine, questions: list[Question]) -> Times:
    times, began = Times(), time.perf_counter()
    configs = [GenerationConfig(max_new_tokens=q.num_new, ignore_eos=True) for q in questions]
    for delta in engine.stream_all([q.inputs for q in questions], configs):
        assert delta.finish_reason != "error", delta.error_message
        times.answers[delta.index] += delta.token_ids
        times.tokens[delta.index] += [time.perf_counter() - began] * len(delta.token_ids)
    return times


class Clock(transformers.LogitsProcessor):
    """Notes when each step's logits are there."""

    def __init__(self) -> None:
        self.steps: list[float] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self.steps.append(time.perf_counter())
        return scores


def run_peer(peer: Peer, questions: list[Question], batch: int) -> Times:
    times, began = Times(), time.perf_counter()
    for start in range(0, len(questions), batch):
        group = questions[start : start + batch]
        longest = max(len(q.inputs.input_ids) for q in group)
        ids = torch.zeros(len(group), longest, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, question in enumerate(group):
            length = len(question.inputs.input_ids)
            ids[row, longest - length :], mask[row, longest - length :] = question.inputs.input_ids, 1
        num_new, clock = max(q.num_new for q in group), Clock()
        with torch.inference_mode():
            found = peer.generate(
                input_ids=ids,
                attention_mask=mask,
                pixel_values=torch.cat([q.inputs.pixel_values for q in group]).to(peer.dtype),
                max_new_tokens=num_new,
                min_new_tokens=num_new,
                do_sample=False,
                logits_processor=transformers.LogitsProcessorList([clock]),
            )
        for row, question in enumerate(group):
            times.answers[start + row] = found[row, longest:][: question.num_new].tolist()
            times.tokens[start + row] = [step - began for step in clock.steps[: question.num_new]]
    return times


def second_turn(engine: Engine, model: InternVLModel) -> tuple[float, float]:
    """Seconds to the first token of a question about a new picture, and of the next one about the same."""
    pairs = []
    for seed in range(1000, 1003):
        question = make_questions(model, 1, 1, seed)[0]
        named = replace(question.inputs.media[0], content_hash=f"new {seed}")
        ids, seconds = question.inputs.input_ids, []
        for _ in range(2):
            inputs = ModelInputs(input_ids=ids, pixel_values=question.inputs.pixel_values, media=[named])
            times = run_ours(engine, [Question(inputs, 16)])
            seconds.append(times.tokens[0][0])
            more = torch.randint(5, 250, (24,), generator=torch.Generator().manual_seed(seed))
            ids = torch.cat((ids, torch.tensor(times.answers[0]), more))
        pairs.append(seconds)
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def load(name: str, quantize: str | None) -> tuple[InternVLModel, Peer]:
    if name == "1b":
        config = find("InternVL3-1B").config
        return make_ours(config, torch.float32, quantize), make_peer(config, torch.float32)
    model = load_model(NANO, dtype="float32")
    with tempfile.TemporaryDirectory() as directory:
        convert(NANO, Path(directory) / "hf", layout="hf")
        peer = Peer.from_pretrained(Path(directory) / "hf", dtype=torch.float32)
    pack_linears(model, quantize)  # type: ignore[arg-type]
    peer.generation_config.eos_token_id = None
    return model, peer.eval().requires_grad_(False)


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", choices=("nano", "1b"), default="nano")
    parser.add_argument("--questions", type=int, default=32)
    parser.add_argument("--pictures", type=int, default=8)
    parser.add_argument("--batch", type=int, default=8, help="of the peer's static batches")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quantize", choices=("int8", "int4"))
    parser.add_argument("--peers", nargs="*", choices=("queue", "static"), default=("queue", "static"))
    options = parser.parse_args()

    model, peer = load(options.model, options.quantize)
    questions = make_questions(model, options.questions, options.pictures)
    longest = max(len(q.inputs.input_ids) + q.num_new for q in questions)
    rounds: dict[str, list[Times]] = defaultdict(list)
    for number in range(options.rounds):
        # a fresh engine knows no picture and no prompt yet
        config = EngineConfig(
            session_len=longest + 64,
            max_batch_size=options.questions,
            cache_max_tokens=options.questions * (longest + 16),
        )
        sides = ["ours", *options.peers]
        for side in sides if number % 2 == 0 else reversed(sides):
            if side == "ours":
                with Engine(model, toy_processor(), config) as engine:  # type: ignore[arg-type]
                    rounds[side].append(run_ours(engine, questions))
            else:
                rounds[side].append(run_peer(peer, questions, 1 if side == "queue" else options.batch))

    results = {}
    for side, found in rounds.items():
        makespan = statistics.median(times.makespan for times in found)
        first = [value for times in found for value in times.first()]
        between = [value for times in found for value in times.between()]
        results[side] = {
            "requests_s": round(len(questions) / makespan, 3),
            "ttft_p50_s": round(percentile(first, 0.5), 3),
            "ttft_p99_s": round(percentile(first, 0.99), 3),
            "itl_p50_ms": round(1000 * percentile(between, 0.5), 1),
            "itl_p99_ms": round(1000 * percentile(between, 0.99), 1),
        }
        if options.model == "nano":  # the 1B shapes have other random weights on each side
            results[side]["same_answers"] = sum(
                found[0].answers[i] == rounds["ours"][0].answers[i] for i in range(len(questions))
            )
        print(f"{side}: {results[side]}", flush=True)
    ratio = None
    if options.peers:
        best = max(results[side]["requests_s"] for side in options.peers)
        ratio = round(results["ours"]["requests_s"] / best, 2)
        print(f"{ratio} x the requests a second of the better peer")

    session = EngineConfig(session_len=longest + 256, max_batch_size=1)
    with Engine(model, toy_processor(), session) as engine:  # type: ignore[arg-type]
        first_s, second_s = second_turn(engine, model)
    print(f"second turn about a picture: {1000 * second_s:.0f} ms of {1000 * first_s:.0f} ms", end=" ")
    print(f"= {100 * second_s / first_s:.1f} %")
    record = {
        "benchmark": "serving",
        "machine": platform.machine(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        **vars(options),
        "results": results,
        "ratio": ratio,
        "second_turn_share": round(second_s / first_s, 4),
    }
    print(json.dumps(record))


if __name__ == "__main__":
    main()

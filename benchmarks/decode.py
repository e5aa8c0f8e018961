"""How many tokens a second does the engine decode, against transformers' generate on the same weights?

Peer: transformers' Qwen2ForCausalLM with its own cache and sdpa, greedy. Same random Qwen2-shaped decoder (8
    layers, 512 wide, 32000 tokens), same prompts, same lengths; the answers are checked to be equal. Our
    side is the whole engine: queue, scheduler, sampler, incremental text (of a toy tokenizer).
    Rounds are interleaved, so that other load on the machine hits both sides alike; only ratios count.

    ./run bench decode [--rounds N] [--batch B ...] [--prompt T] [--new T] [--dtype float32|bfloat16]

Prints a line per batch size and ends with one JSON line.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from types import SimpleNamespace

import torch
import transformers

from internvl.config import ModelConfig, ProjectorConfig, RopeConfig, TextConfig, VisionConfig
from internvl.engine.config import EngineConfig
from internvl.engine.engine import Engine
from internvl.models.internvl import InternVLModel
from internvl.types import GenerationConfig, ModelInputs

VOCAB = 32000


def make_model(dtype: torch.dtype) -> InternVLModel:
    text = TextConfig(
        family="qwen2",
        vocab_size=VOCAB,
        hidden_size=512,
        intermediate_size=1408,
        num_layers=8,
        num_heads=8,
        num_kv_heads=2,
        head_dim=64,
        qkv_bias=True,
        rope=RopeConfig(theta=1e6),
    )
    vision = VisionConfig(hidden_size=32, intermediate_size=64, num_layers=1, num_heads=2, image_size=56)
    config = ModelConfig(vision=vision, projector=ProjectorConfig(), text=text, image_size=56)
    model = InternVLModel(config, image_token_id=VOCAB - 1).requires_grad_(False)
    for parameter in model.decoder.parameters():
        if parameter.dim() > 1:
            parameter.mul_(4)  # far from ties, so that both sides can be held to the same answer
    return model.to(dtype).eval()


def make_peer(model: InternVLModel) -> transformers.Qwen2ForCausalLM:
    """The same numbers under transformers' names."""
    text = model.config.text
    config = transformers.Qwen2Config(
        vocab_size=text.vocab_size,
        hidden_size=text.hidden_size,
        intermediate_size=text.intermediate_size,
        num_hidden_layers=text.num_layers,
        num_attention_heads=text.num_heads,
        num_key_value_heads=text.num_kv_heads,
        rms_norm_eps=text.norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": text.rope.theta},
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    peer = transformers.Qwen2ForCausalLM(config).to(model.dtype).eval().requires_grad_(False)
    decoder, theirs = model.decoder, peer.model
    theirs.embed_tokens.weight.copy_(decoder.embed.weight)
    theirs.norm.weight.copy_(decoder.norm.weight)
    peer.lm_head.weight.copy_(decoder.lm_head.weight)
    for layer, their in zip(decoder.layers, theirs.layers, strict=True):
        attention = their.self_attn
        for name in ("weight", "bias"):
            parts = getattr(layer.attention.qkv, name).split(layer.attention.splits)
            for proj, part in zip((attention.q_proj, attention.k_proj, attention.v_proj), parts, strict=True):
                getattr(proj, name).copy_(part)
        attention.o_proj.weight.copy_(layer.attention.out.weight)
        gate, up = layer.mlp.gate_up.weight.chunk(2)
        their.mlp.gate_proj.weight.copy_(gate)
        their.mlp.up_proj.weight.copy_(up)
        their.mlp.down_proj.weight.copy_(layer.mlp.down.weight)
        their.input_layernorm.weight.copy_(layer.attention_norm.weight)
        their.post_attention_layernorm.weight.copy_(layer.mlp_norm.weight)
    return peer


def toy_processor() -> SimpleNamespace:
    """What the engine needs of a processor when prompts come as ids."""
    tokenizer = SimpleNamespace(
        decode=lambda ids, skip_special_tokens: "".join(chr(0x4E00 + i % 20000) for i in ids),
        id_to_token=str,
        token_to_id=lambda text: None,
        special_token_ids=frozenset(),
    )
    return SimpleNamespace(
        tokenizer=tokenizer,
        template=SimpleNamespace(stop_tokens=()),
        stop_token_ids=(),
        skip_special_tokens=True,
        config=SimpleNamespace(layout="github"),
    )


def alternate(sides: dict[str, Callable], rounds: int) -> dict[str, float]:
    """Median seconds of each side; a round runs every side once, in changing order."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name in list(sides) if number % 2 else list(reversed(sides)):
            started = time.perf_counter()
            sides[name]()
            if number:  # the first round warms up
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def compare(
    engine: Engine, peer: transformers.Qwen2ForCausalLM, *, batch: int, prompt: int, new: int, rounds: int
) -> dict:
    ids = torch.randint(1, VOCAB - 1, (batch, prompt), generator=torch.Generator().manual_seed(batch))
    inputs = [ModelInputs(input_ids=row) for row in ids]

    def ours(length: int) -> list[list[int]]:
        return [r.token_ids for r in engine.generate(inputs, GenerationConfig(max_new_tokens=length))]

    def theirs(length: int) -> list[list[int]]:
        with torch.inference_mode():
            mask = torch.ones_like(ids)
            out = peer.generate(ids, attention_mask=mask, max_new_tokens=length, do_sample=False)
        return out[:, prompt:].tolist()

    equal = ours(new) == theirs(new)
    # One token is the prompt's pass; what the others take beyond it is decoding.
    sides = {
        f"{name} {length}": lambda run=run, length=length: run(length)
        for name, run in (("ours", ours), ("transformers", theirs))
        for length in (1, new)
    }
    seconds = alternate(sides, rounds)
    speed = {
        name: batch * (new - 1) / (seconds[f"{name} {new}"] - seconds[f"{name} 1"])
        for name in ("ours", "transformers")
    }
    prefill = {name: batch * prompt / seconds[f"{name} 1"] for name in ("ours", "transformers")}
    return {
        "batch": batch,
        "equal_answers": equal,
        "decode_tokens_per_s": {name: round(value, 1) for name, value in speed.items()},
        "decode_ratio": round(speed["ours"] / speed["transformers"], 2),
        "prefill_tokens_per_s": {name: round(value) for name, value in prefill.items()},
        "prefill_ratio": round(prefill["ours"] / prefill["transformers"], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--prompt", type=int, default=256)
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    options = parser.parse_args()

    model = make_model(getattr(torch, options.dtype))
    peer = make_peer(model)
    config = EngineConfig(
        session_len=options.prompt + options.new,
        max_batch_size=max(options.batch),
        enable_prefix_caching=False,  # every round computes its prompts
    )
    results = []
    with Engine(model, toy_processor(), config) as engine:  # type: ignore[arg-type]
        for batch in options.batch:
            result = compare(
                engine, peer, batch=batch, prompt=options.prompt, new=options.new, rounds=options.rounds
            )
            results.append(result)
            speed = result["decode_tokens_per_s"]
            print(
                f"batch {batch}: decode {speed['ours']} against {speed['transformers']} tokens/s"
                f" = {result['decode_ratio']} x, prefill {result['prefill_ratio']} x,"
                f" answers {'equal' if result['equal_answers'] else 'NOT equal'}",
                flush=True,
            )
    record = {
        "benchmark": "decode",
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "dtype": options.dtype,
        "prompt": options.prompt,
        "new": options.new,
        "results": results,
    }
    print(json.dumps(record))


if __name__ == "__main__":
    main()

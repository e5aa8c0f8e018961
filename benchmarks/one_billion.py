"""How fast is the 1B shape (InternViT-300M + Qwen2.5-0.5B, random weights) on this CPU, beside transformers?

Peer: transformers' InternVLForConditionalGeneration of the same sizes, sdpa. It runs in the dtype that is asked for
    (`--peer-dtype`), which should be the faster one here: bfloat16 where the CPU multiplies it, else float32.
    Our side is what `pipeline` makes: packed layers, and the whole engine for everything with a decoder.
    Rounds are interleaved, so that other load on the machine hits both sides alike; only ratios count.

    ./run bench one_billion [--quantize int8|int4] [--dtype D] [--peer-dtype D] [--rounds N] [--points vit prefill ...]

Prints a line per point and ends with one JSON line. Needs about 9 GB of memory in float32.
"""

import argparse
import json
import platform
import resource

import torch
import transformers

from decode import alternate, toy_processor
from internvl.config.model import ModelConfig
from internvl.config.presets import find
from internvl.engine.config import EngineConfig
from internvl.engine.engine import Engine
from internvl.models.internvl import InternVLModel
from internvl.models.pack import pack_linears
from internvl.types import GenerationConfig, ModelInputs

TILES = {"vit-1": 1, "vit-7": 7}
PREFILL = {"prefill-1024": 1024, "prefill-4096": 4096}
DECODE = {
    "decode-1x1k": (1, 1024),
    "decode-1x4k": (1, 4096),
    "decode-8x1k": (8, 1024),
    "decode-32x512": (32, 512),
}
"""Sequences, prompt tokens."""
NEW = 17
"""Tokens of an answer; decoding is what those after the first take."""
DEFAULT = ("vit-1", "prefill-1024", "decode-1x1k", "decode-8x1k")

Peer = transformers.InternVLForConditionalGeneration


def make_ours(config: ModelConfig, dtype: torch.dtype, quantize: str | None) -> InternVLModel:
    generator = torch.Generator().manual_seed(0)
    model = InternVLModel(config, image_token_id=config.text.vocab_size - 1, generator=generator)
    model = model.requires_grad_(False).to(dtype).eval()
    pack_linears(model, quantize)  # type: ignore[arg-type]
    return model


def make_peer(config: ModelConfig, dtype: torch.dtype) -> Peer:
    text, vision = config.text, config.vision
    peer_config = transformers.InternVLConfig(
        vision_config={
            "hidden_size": vision.hidden_size,
            "intermediate_size": vision.intermediate_size,
            "num_hidden_layers": vision.num_layers,
            "num_attention_heads": vision.num_heads,
            "image_size": [448, 448],
            "patch_size": [14, 14],
            "attention_bias": vision.qkv_bias,
        },
        text_config={
            "model_type": "qwen2",
            "hidden_size": text.hidden_size,
            "intermediate_size": text.intermediate_size,
            "num_hidden_layers": text.num_layers,
            "num_attention_heads": text.num_heads,
            "num_key_value_heads": text.num_kv_heads,
            "vocab_size": text.vocab_size,
            "tie_word_embeddings": text.tie_embeddings,
            "bos_token_id": None,
            "eos_token_id": None,
        },
        image_token_id=text.vocab_size - 1,
    )
    torch.set_default_dtype(dtype)
    try:
        peer = transformers.InternVLForConditionalGeneration(peer_config)
    finally:
        torch.set_default_dtype(torch.float32)
    return peer.eval().requires_grad_(False)


def compare_vision(ours: InternVLModel, peer: Peer, tiles: int, rounds: int) -> dict[str, float]:
    pixels = torch.randn(tiles, 3, 448, 448, generator=torch.Generator().manual_seed(tiles))

    def run_ours() -> None:
        with torch.inference_mode():
            for tile in pixels.to(ours.dtype).split(1):  # as the engine's runner does on a CPU
                ours.image_embeds(tile)

    def run_peer() -> None:
        with torch.inference_mode():
            peer.get_image_features(pixel_values=pixels.to(peer.dtype))

    seconds = alternate({"ours": run_ours, "transformers": run_peer}, rounds)
    return {name: 1000 * value / tiles for name, value in seconds.items()}


def compare_prefill(ours: InternVLModel, peer: Peer, prompt: int, rounds: int) -> dict[str, float]:
    """Prompt tokens a second, to the first token of the answer."""
    ids = torch.randint(1, 1000, (1, prompt), generator=torch.Generator().manual_seed(prompt))
    # every round computes its prompt
    config = EngineConfig(session_len=prompt + 1, max_batch_size=1, enable_prefix_caching=False)
    with Engine(ours, toy_processor(), config) as engine:  # type: ignore[arg-type]
        seconds = alternate(
            {
                "ours": lambda: answer(engine, ids, 1),
                "transformers": lambda: peer_answer(peer, ids, 1),
            },
            rounds,
        )
    return {name: prompt / value for name, value in seconds.items()}


def compare_decode(ours: InternVLModel, peer: Peer, batch: int, prompt: int, rounds: int) -> dict[str, float]:
    """Tokens a second of all sequences together, after prompts that both sides have in their caches."""
    ids = torch.randint(1, 1000, (batch, prompt), generator=torch.Generator().manual_seed(batch))
    config = EngineConfig(
        session_len=prompt + NEW, max_batch_size=batch, cache_max_tokens=batch * (prompt + NEW + 16)
    )
    cache = filled_cache(peer, batch, prompt - 1)
    with Engine(ours, toy_processor(), config) as engine:  # type: ignore[arg-type]
        answer(engine, ids, 1)
        assert engine.stats().num_cached_blocks >= batch * (prompt // 16), "the prompts were not kept"

        def run_peer(length: int) -> None:
            peer_answer(peer, ids, length, cache)
            cache.crop(-length)

        sides = {
            f"{name} {length}": lambda run=run, length=length: run(length)
            for name, run in (("ours", lambda n: answer(engine, ids, n)), ("transformers", run_peer))
            for length in (1, NEW)
        }
        seconds = alternate(sides, rounds)
    return {
        name: batch * (NEW - 1) / (seconds[f"{name} {NEW}"] - seconds[f"{name} 1"])
        for name in ("ours", "transformers")
    }


def answer(engine: Engine, ids: torch.Tensor, length: int) -> None:
    config = GenerationConfig(max_new_tokens=length, ignore_eos=True)
    for response in engine.generate([ModelInputs(input_ids=row) for row in ids], config):
        assert response.generate_token_len == length, response


def peer_answer(
    peer: Peer, ids: torch.Tensor, length: int, cache: transformers.DynamicCache | None = None
) -> None:
    with torch.inference_mode():
        found = peer.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            past_key_values=cache,
            max_new_tokens=length,
            min_new_tokens=length,
            do_sample=False,
        )
    assert found.shape[1] == ids.shape[1] + length


def filled_cache(peer: Peer, batch: int, length: int) -> transformers.DynamicCache:
    """Keys and values of `length` tokens that nobody said: attention takes as long with any numbers."""
    text = peer.config.text_config
    head_dim = text.hidden_size // text.num_attention_heads
    cache = transformers.DynamicCache(config=text)
    for layer in range(text.num_hidden_layers):
        keys, values = torch.randn(2, batch, text.num_key_value_heads, length, head_dim, dtype=peer.dtype)
        cache.update(keys, values, layer)
    return cache


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quantize", choices=("int8", "int4"))
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--peer-dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--points", nargs="+", default=DEFAULT, choices=(*TILES, *PREFILL, *DECODE))
    options = parser.parse_args()

    config = find("InternVL3-1B").config
    ours = make_ours(config, getattr(torch, options.dtype), options.quantize)
    peer = make_peer(config, getattr(torch, options.peer_dtype))
    results = []
    for point in options.points:
        if point in TILES:
            found, unit = compare_vision(ours, peer, TILES[point], options.rounds), "ms a tile"
            ratio = found["transformers"] / found["ours"]
        elif point in PREFILL:
            found, unit = compare_prefill(ours, peer, PREFILL[point], options.rounds), "tokens/s"
            ratio = found["ours"] / found["transformers"]
        else:
            found, unit = compare_decode(ours, peer, *DECODE[point], options.rounds), "tokens/s"
            ratio = found["ours"] / found["transformers"]
        shown = {name: round(value, 1) for name, value in found.items()}
        results.append({"point": point, "unit": unit, **shown, "ratio": round(ratio, 2)})
        print(
            f"{point}: ours {shown['ours']}, transformers {shown['transformers']} {unit} = {ratio:.2f} x",
            flush=True,
        )
    record = {
        "benchmark": "one_billion",
        "machine": platform.machine(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "quantize": options.quantize,
        "dtype": options.dtype,
        "peer_dtype": options.peer_dtype,
        "results": results,
        "peak_rss_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
    }
    print(json.dumps(record))


if __name__ == "__main__":
    main()

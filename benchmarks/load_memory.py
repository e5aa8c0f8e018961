"""How much memory and time does loading take?

Writes a random checkpoint with the shapes of InternVL3-1B (bf16, GitHub layout, shards, about 1.9 GB) into
a temporary directory and loads it in a fresh process; does the same with transformers' `from_pretrained` on
the twin that `internvl convert` makes of it. What counts is the highest resident set while loading, less
what the imports alone need, over the size of the weight files. Target for us: at most 1.15.

    python benchmarks/load_memory.py [--small] [--keep DIRECTORY]

Prints a table and ends with one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

TARGET = 1.15
SHARD_BYTES = 500 * 10**6
SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<img>",
    "</img>",
    "<IMG_CONTEXT>",
    "<box>",
    "</box>",
)

#: InternVL3-1B: InternViT-300M and Qwen2.5-0.5B.
FULL = {
    "C": 1024,
    "vit_layers": 24,
    "vit_heads": 16,
    "D": 896,
    "layers": 24,
    "heads": 14,
    "kv": 2,
    "ffn": 4864,
}
FULL |= {"vocab": 151674, "image": 448}
SMALL = {"C": 128, "vit_layers": 4, "vit_heads": 4, "D": 128, "layers": 4, "heads": 4, "kv": 2, "ffn": 512}
SMALL |= {"vocab": 32000, "image": 224}

LOADERS = {
    "internvl": """
from internvl.checkpoint.load import load_model
import_rss()
model = load_model({path!r}, dtype="auto")
""",
    "transformers": """
from transformers import InternVLForConditionalGeneration
import transformers.models.qwen2.modeling_qwen2
import_rss()
model = InternVLForConditionalGeneration.from_pretrained({path!r}, dtype="auto")
""",
}

CHILD = """
import json, re, time, torch
def status(key):
    return int(re.search(key + r":\\s+(\\d+) kB", open("/proc/self/status").read()).group(1)) * 1024
record = {{}}
def import_rss():
    record["imports"] = status("VmRSS")
    record["start"] = time.perf_counter()
{loader}
record["load_s"] = time.perf_counter() - record.pop("start")
record["peak"] = status("VmHWM")
with torch.inference_mode():
    ids = torch.arange(8, 24)[None]
    logits = model(input_ids=ids)
    logits = getattr(logits, "logits", logits)
record["first_logits"] = logits[0, -1, :4].float().tolist()
record["peak_after_forward"] = status("VmHWM")
record["parameters"] = sum(p.numel() for p in model.parameters())
print(json.dumps(record))
"""


def tensors(size: dict[str, int]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes in the GitHub layout."""
    C, D, ffn, head_dim = size["C"], size["D"], size["ffn"], size["D"] // size["heads"]
    positions = (size["image"] // 14) ** 2 + 1
    yield "vision_model.embeddings.class_embedding", (1, 1, C)
    yield "vision_model.embeddings.patch_embedding.weight", (C, 3, 14, 14)
    yield "vision_model.embeddings.patch_embedding.bias", (C,)
    yield "vision_model.embeddings.position_embedding", (1, positions, C)
    for layer in range(size["vit_layers"]):
        at = f"vision_model.encoder.layers.{layer}."
        for name in ("norm1", "norm2"):
            yield from ((f"{at}{name}.weight", (C,)), (f"{at}{name}.bias", (C,)))
        yield from ((f"{at}ls1", (C,)), (f"{at}ls2", (C,)))
        for name, rows, columns in (
            ("attn.qkv", 3 * C, C),
            ("attn.proj", C, C),
            ("mlp.fc1", 4 * C, C),
            ("mlp.fc2", C, 4 * C),
        ):
            yield from ((f"{at}{name}.weight", (rows, columns)), (f"{at}{name}.bias", (rows,)))
    yield from (("mlp1.0.weight", (4 * C,)), ("mlp1.0.bias", (4 * C,)))
    yield from (("mlp1.1.weight", (D, 4 * C)), ("mlp1.1.bias", (D,)))
    yield from (("mlp1.3.weight", (D, D)), ("mlp1.3.bias", (D,)))
    yield "language_model.model.embed_tokens.weight", (size["vocab"], D)
    for layer in range(size["layers"]):
        at = f"language_model.model.layers.{layer}."
        for name, heads in (("q_proj", size["heads"]), ("k_proj", size["kv"]), ("v_proj", size["kv"])):
            yield f"{at}self_attn.{name}.weight", (heads * head_dim, D)
            yield f"{at}self_attn.{name}.bias", (heads * head_dim,)
        yield f"{at}self_attn.o_proj.weight", (D, D)
        yield f"{at}mlp.gate_proj.weight", (ffn, D)
        yield f"{at}mlp.up_proj.weight", (ffn, D)
        yield f"{at}mlp.down_proj.weight", (D, ffn)
        yield f"{at}input_layernorm.weight", (D,)
        yield f"{at}post_attention_layernorm.weight", (D,)
    yield "language_model.model.norm.weight", (D,)
    yield "language_model.lm_head.weight", (size["vocab"], D)


def write_checkpoint(directory: Path, size: dict[str, int]) -> int:
    """Random bf16 weights in shards, config and a token tokenizer; return the bytes of weights."""
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(0)
    shards: list[list[tuple[str, tuple[int, ...]]]] = [[]]
    filled = total = 0
    for name, shape in tensors(size):
        num_bytes = 2 * torch.Size(shape).numel()
        if filled + num_bytes > SHARD_BYTES and shards[-1]:
            shards.append([])
            filled = 0
        shards[-1].append((name, shape))
        filled, total = filled + num_bytes, total + num_bytes
    weight_map = {}
    for number, shard in enumerate(shards, start=1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        weights = {
            name: torch.empty(shape, dtype=torch.bfloat16).normal_(0, 0.02, generator=generator)
            if len(shape) > 1
            else torch.ones(shape, dtype=torch.bfloat16)
            for name, shape in shard
        }
        save_file(weights, directory / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(weights, file)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    (directory / "config.json").write_text(json.dumps(config(size)))
    write_tokenizer(directory)
    return total


def config(size: dict[str, int]) -> dict[str, object]:
    """config.json in the GitHub layout."""
    return {
        "architectures": ["InternVLChatModel"],
        "model_type": "internvl_chat",
        "template": "internvl2_5",
        "force_image_size": size["image"],
        "downsample_ratio": 0.5,
        "ps_version": "v2",
        "select_layer": -1,
        "dynamic_image_size": True,
        "use_thumbnail": True,
        "max_dynamic_patch": 12,
        "vision_config": {
            "model_type": "intern_vit_6b",
            "hidden_size": size["C"],
            "intermediate_size": 4 * size["C"],
            "num_hidden_layers": size["vit_layers"],
            "num_attention_heads": size["vit_heads"],
            "image_size": size["image"],
            "patch_size": 14,
            "qkv_bias": True,
            "qk_normalization": False,
            "norm_type": "layer_norm",
            "layer_norm_eps": 1e-6,
        },
        "llm_config": {
            "architectures": ["Qwen2ForCausalLM"],
            "model_type": "qwen2",
            "vocab_size": size["vocab"],
            "hidden_size": size["D"],
            "intermediate_size": size["ffn"],
            "num_hidden_layers": size["layers"],
            "num_attention_heads": size["heads"],
            "num_key_value_heads": size["kv"],
            "rms_norm_eps": 1e-6,
            "rope_theta": 1000000.0,
            "max_position_embeddings": 32768,
            "tie_word_embeddings": False,
        },
    }


def write_tokenizer(directory: Path) -> None:
    """A tokenizer of single bytes and the special tokens: loading asks it for the image token."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    tokenizer.save(str(directory / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": SPECIAL[0],
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))


def measure(loader: str, directory: Path) -> dict[str, float]:
    """Load in a fresh process, so that nothing but the load is counted."""
    code = CHILD.format(loader=LOADERS[loader].format(path=str(directory)))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    if result.returncode:
        sys.exit(f"{loader} failed:\n{result.stderr[-3000:]}")
    return json.loads(result.stdout.strip().splitlines()[-1])


def commit() -> str:
    """The present commit, or empty outside a repository."""
    if not shutil.which("git"):
        return ""
    here = Path(__file__).parent
    result = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True, check=False
    )
    return result.stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", action="store_true", help="a few MB: checks the script, measures nothing")
    parser.add_argument("--keep", type=Path, help="write the checkpoints here and leave them")
    arguments = parser.parse_args()
    from internvl.checkpoint.convert import convert

    size = SMALL if arguments.small else FULL
    with tempfile.TemporaryDirectory() as scratch:
        root = arguments.keep or Path(scratch)
        source, twin = root / "github", root / "hf"
        source.mkdir(parents=True)
        num_bytes = write_checkpoint(source, size)
        start = time.perf_counter()
        convert(source, twin, layout="hf")
        convert_s = time.perf_counter() - start
        # Twice: the first run warms the page cache for this one and for its peer alike; the second counts.
        records = {}
        for loader, directory in (("internvl", source), ("transformers", twin)) * 2:
            records[loader] = measure(loader, directory)
    print(f"weights {num_bytes / 1e9:.2f} GB bf16, {torch_version()}, converted in {convert_s:.1f} s")
    print(f"{'loader':14}{'imports':>10}{'peak':>10}{'peak/size':>11}{'less imports':>14}{'seconds':>9}")
    for loader, record in records.items():
        record["peak_over_size"] = record["peak"] / num_bytes
        record["ratio"] = (record["peak"] - record["imports"]) / num_bytes
        print(
            f"{loader:14}{record['imports'] / 1e9:8.2f}GB{record['peak'] / 1e9:8.2f}GB"
            f"{record['peak_over_size']:11.2f}{record['ratio']:14.2f}{record['load_s']:9.2f}"
        )
    ratio = records["internvl"]["ratio"]
    print(f"target: at most {TARGET} less imports -> {'met' if ratio <= TARGET else 'MISSED'}")
    machine = {"machine": platform.platform(), "cpus": os.cpu_count(), "commit": commit()}
    print(
        json.dumps(
            {"benchmark": "load_memory", "bytes": num_bytes, **machine, "convert_s": convert_s, **records}
        )
    )


def torch_version() -> str:
    import torch

    return f"torch {torch.__version__}"


if __name__ == "__main__":
    main()

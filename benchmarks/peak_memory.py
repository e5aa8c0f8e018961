"""How much memory does one answer take, from loading to its last token?

Writes a random checkpoint with the shapes of InternVL3-1B (bf16, 1.9 GB), opens it with `pipeline` in a fresh process
    for one conversation at a time (batch 1, 4096 tokens) and asks about a picture behind a long text. What counts is
    the highest resident set, less what the imports alone need, over the bytes of the weights as they are held.
    Target: at most 1.3.

    ./run bench peak_memory [--quantize int8 int4 none] [--dtype D] [--small]

Prints a line per way of holding the weights and ends with one JSON line.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from load_memory import FULL, SMALL, commit, write_checkpoint

TARGET = 1.3
CHILD = """
import json, re, torch
def status(key):
    return int(re.search(key + r":\\s+(\\d+) kB", open("/proc/self/status").read()).group(1)) * 1024
from internvl import EngineConfig, GenerationConfig, pipeline
from internvl.engine.engine import Engine
import internvl.checkpoint.load, internvl.engine.worker, PIL.Image
record = {{"imports": status("VmRSS")}}
config = EngineConfig(session_len=4096, max_batch_size=1, quantize={quantize!r}, dtype={dtype!r})
pipe = pipeline({path!r}, backend_config=config)
record["loaded"], record["peak_loading"] = status("VmRSS"), status("VmHWM")
picture = PIL.Image.effect_noise((448, 448), 64).convert("RGB")
answer = pipe(("a" * {length}, picture), gen_config=GenerationConfig(max_new_tokens=64, ignore_eos=True))
record["tokens"] = answer.input_token_len + answer.generate_token_len
record["peak"] = status("VmHWM")
record["weights"] = pipe.engine.memory.weights
print(json.dumps(record))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--quantize", nargs="*", choices=("none", "int8", "int4"), default=("none", "int8", "int4")
    )
    parser.add_argument("--dtype", default="auto", choices=("auto", "float32", "bfloat16"))
    parser.add_argument("--small", action="store_true", help="a few MB: checks the script, measures nothing")
    options = parser.parse_args()
    results = {}
    length = 3500 if options.small else 3580  # with the picture's 256 tokens and the roles', 64 short of 4096
    with tempfile.TemporaryDirectory() as directory:
        num_bytes = write_checkpoint(Path(directory), SMALL if options.small else FULL)
        for kind in options.quantize:
            quantize = None if kind == "none" else kind
            code = CHILD.format(length=length, path=directory, quantize=quantize, dtype=options.dtype)
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(f"{kind} failed:\n{done.stderr[-3000:]}")
            record = json.loads(done.stdout.strip().splitlines()[-1])
            record["ratio"] = round((record["peak"] - record["imports"]) / record["weights"], 3)
            results[kind] = record
            print(
                f"{kind:5} weights {record['weights'] / 1e9:.2f} GB, peak {record['peak'] / 1e9:.2f} GB (loading"
                f" {record['peak_loading'] / 1e9:.2f}), imports {record['imports'] / 1e9:.2f},"
                f" {record['tokens']} tokens: {record['ratio']:.2f} x the weights"
                f" ({'met' if record['ratio'] <= TARGET else 'MISSED'})",
                flush=True,
            )
    machine = {"machine": platform.platform(), "cpus": os.cpu_count(), "commit": commit()}
    print(json.dumps({"benchmark": "peak_memory", "file_bytes": num_bytes, **machine, "results": results}))


if __name__ == "__main__":
    main()

"""Put a trained nano into the package: `python scripts/ship_nano.py runs/nano/20-blocks/final`.

Weights become bfloat16; the heads of dense supervision stay behind. With a DIRECTORY they come along: what a later
training goes on from, `recipes/nano/weights`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from internvl.checkpoint.load import load_model
from internvl.checkpoint.save import save_model
from internvl.train.setup import HEADS_NAME

ASSETS = Path(__file__).parents[1] / "src" / "internvl" / "assets" / "nano"


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("directory", type=Path, nargs="?")
    args = parser.parse_args()
    model = load_model(args.checkpoint, dtype="bfloat16")
    print(save_model(model, args.directory or ASSETS, tokenizer_from=args.checkpoint, overwrite=True))
    if args.directory is not None:
        heads = {
            name: tensor.to(torch.bfloat16)
            for name, tensor in load_file(args.checkpoint / HEADS_NAME).items()
        }
        save_file(heads, args.directory / HEADS_NAME)


if __name__ == "__main__":
    main()

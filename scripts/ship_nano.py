"""Put a trained nano into the package: `python scripts/ship_nano.py runs/nano/5-blocks/final`.

Weights become bfloat16; the heads of dense supervision stay behind.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from internvl.checkpoint.load import load_model
from internvl.checkpoint.save import save_model

ASSETS = Path(__file__).parents[1] / "src" / "internvl" / "assets" / "nano"


def main() -> None:
    """Write the package's files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    args = parser.parse_args()
    model = load_model(args.checkpoint, dtype="bfloat16")
    print(save_model(model, ASSETS, tokenizer_from=args.checkpoint, overwrite=True))


if __name__ == "__main__":
    main()

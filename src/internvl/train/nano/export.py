"""A training checkpoint -> the shipped model: `python -m internvl.train.nano.export runs/nano/2-answer.pt DIRECTORY`.

The dense heads stay behind; weights become bfloat16 and lie beside the tokenizer that they were trained with.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from internvl.checkpoint.save import save_model
from internvl.models.internvl import InternVLModel
from internvl.train.nano.conversation import ConversationEncoder
from internvl.train.nano.model_config import ASSETS, nano_config

PREFIX = "model."
"""Names of the model's own tensors in a `Trainee`; the heads have another."""


def read_model(checkpoint: Path, tokenizer: Path = ASSETS) -> InternVLModel:
    """The model of a training checkpoint, float32, without its heads; the tile size follows from its positions."""
    state = torch.load(checkpoint, weights_only=True)["trainee"]
    weights = {name.removeprefix(PREFIX): tensor for name, tensor in state.items() if name.startswith(PREFIX)}
    grid = round((weights["vision.position_embedding"].shape[1] - 1) ** 0.5)
    config = nano_config(grid * weights["vision.patch_embedding.weight"].shape[-1])
    model = InternVLModel(config, image_token_id=ConversationEncoder(tokenizer).image_token_id)
    model.load_state_dict(weights)
    return model.eval()


def export(checkpoint: Path, directory: Path, *, tokenizer: Path = ASSETS) -> Path:
    """Write the checkpoint directory (GitHub layout, bfloat16); an older one there is replaced."""
    model = read_model(checkpoint, tokenizer).to(torch.bfloat16)
    return save_model(model, directory, tokenizer_from=tokenizer, overwrite=True)


def main() -> None:
    """Export from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("directory", type=Path, nargs="?", default=ASSETS)
    args = parser.parse_args()
    export(args.checkpoint, args.directory)


if __name__ == "__main__":
    main()

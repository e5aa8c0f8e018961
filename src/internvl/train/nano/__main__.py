"""Train nano: `python -m internvl.train.nano recipes/nano-first/1-see.toml ... --shared ../shared --out runs/nano`.

Each recipe is one stage; a stage starts from the one before it, and from its own checkpoint if there is one.
"""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from internvl.models.internvl import InternVLModel
from internvl.train.nano.config import StageConfig, read_stage
from internvl.train.nano.conversation import ConversationEncoder
from internvl.train.nano.dataset import NanoDataset
from internvl.train.nano.held_out import answer_accuracy
from internvl.train.nano.loop import Run, Trainee, make_optimizer, train
from internvl.train.nano.model_config import ASSETS, nano_config


def make_trainee(stage: StageConfig, start: Path | None, image_token_id: int) -> Trainee:
    """A fresh model, or the weights of an earlier stage grown to this tile size."""
    trainee = Trainee(InternVLModel(nano_config(stage.image_size), image_token_id=image_token_id))
    if start is not None:
        state = torch.load(start, weights_only=True)["trainee"]
        name = "model.vision.position_embedding"
        state[name] = grow_positions(state[name], trainee.model.config.vision.grid_size)
        trainee.load_state_dict(state)
    return trainee


def grow_positions(positions: torch.Tensor, grid: int) -> torch.Tensor:
    """Bicubic, as the vision tower itself does off its grid: (1, 1 + P, C) -> (1, 1 + grid * grid, C)."""
    old = round((positions.shape[1] - 1) ** 0.5)
    if old == grid:
        return positions
    rest = positions[:, 1:].unflatten(1, (old, old)).permute(0, 3, 1, 2)  # (1, P, C) -> (1, C, old, old)
    rest = F.interpolate(rest, size=(grid, grid), mode="bicubic", align_corners=False)
    return torch.cat((positions[:, :1], rest.flatten(2).transpose(1, 2)), dim=1)


def main() -> None:
    """Train the stages named on the command line, in order."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="+", type=Path)
    parser.add_argument(
        "--shared", type=Path, help="folder that holds data/; without it: shapes and made-up words"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/nano"))
    parser.add_argument("--start", type=Path, help="checkpoint of an earlier stage")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--probe", type=int, default=48, help="held-out pictures per skill at each checkpoint"
    )
    parser.add_argument("--minutes", type=float, help="stop (saved) after this long")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(args.threads)
    deadline = None if args.minutes is None else time.time() + 60 * args.minutes
    start = args.start
    for recipe in args.recipes:
        stage = read_stage(recipe)
        encoder = ConversationEncoder(ASSETS)
        trainee = make_trainee(stage, start, encoder.image_token_id)
        run = Run(trainee, stage, args.out, make_optimizer(trainee, stage))
        run.resume()
        dataset = NanoDataset(
            stage,
            encoder if stage.language_weight else None,
            args.shared,
            length=stage.steps * stage.items_per_step,
        )

        def probe(run: Run, stage: StageConfig = stage, encoder: ConversationEncoder = encoder) -> None:
            found = answer_accuracy(
                run.trainee.model, encoder, args.shared, stage.difficulty, count=args.probe
            )
            shown = " ".join(f"{skill} {share:.2f}" for skill, share in found.items())
            logging.getLogger(__name__).info("%s step %d held out: %s", stage.name, run.step, shown)

        train(
            run,
            dataset,
            workers=args.workers,
            deadline=deadline,
            on_save=probe if stage.language_weight else None,
        )
        start = args.out / f"{stage.name}.pt"


if __name__ == "__main__":
    main()

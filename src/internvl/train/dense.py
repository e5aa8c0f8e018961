"""Training-only heads that say what lies where in generated pictures; they are no part of the model.

Generated data knows the box of every glyph and object (`data.sample.Marks`). Asking each patch and each image token for
them teaches a vision tower far faster than a few answer tokens a picture do; answers then only have to learn to read
out. Legend: `N` tiles, `P` patches per tile, `K` image tokens per tile, `C` vision width, `D` decoder width.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internvl.config.model import ModelConfig
from internvl.data.charset import PRINTED
from internvl.data.sample import Marks
from internvl.preprocess.tiling import fit_scale

SLOTS = 6
"""Glyphs whose middles may lie in one image token, in reading order; the rest are not asked for."""
NOTHING_WEIGHT = 0.1
"""Weight of "nothing here" in the losses: most places are empty."""
NUM_GLYPHS = len(dict.fromkeys(PRINTED)) + 2
"""Nothing, the characters of `PRINTED`, and any other."""
NUM_THINGS = 2048
"""Nothing, and the names of objects by `thing_class`."""

#: Targets of a batch of tiles, int64; class 0 is nothing: "patch_glyph" and "patch_thing" (N, P), "token_glyphs"
#: (N, K, SLOTS), "token_thing" (N, K).
Targets = dict[str, Tensor]
HEADS: Mapping[str, tuple[str, int, int]] = {
    "patch_glyph": ("patch", 1, NUM_GLYPHS),
    "token_glyphs": ("token", SLOTS, NUM_GLYPHS),
    "patch_thing": ("patch", 1, NUM_THINGS),
    "token_thing": ("token", 1, NUM_THINGS),
}
"""Head -> (where it looks, answers a place, classes)."""


@lru_cache(maxsize=1)
def _glyph_classes() -> dict[str, int]:
    return {character: n for n, character in enumerate(dict.fromkeys(PRINTED), 1)}


def glyph_class(character: str) -> int:
    """Return the class of a character, from 1."""
    return _glyph_classes().get(character, NUM_GLYPHS - 1)


@lru_cache(maxsize=4096)
def thing_class(name: str) -> int:
    """Return the class of an object's name, from 1; a checksum, so that no list has to be kept (few names collide)."""
    from zlib import crc32

    return 1 + crc32(name.encode()) % (NUM_THINGS - 1)


def tile_targets(
    glyphs: Marks | None,
    things: Marks | None,
    size: tuple[float, float],
    *,
    columns: int,
    rows: int,
    fit: bool,
    extra: int,
    grid: int,
    factor: int,
    patch_size: int,
) -> dict[str, np.ndarray]:
    """Return what each place of one picture's tiles should say; int16, by head, with a leading N = tiles.

    Args:
        glyphs: Characters with their boxes in pixels of the picture; None: unknown, which is never asked for (-1).
        things: Objects, likewise.
        size: Width and height of the picture.
        columns: Tiles side by side, over which the picture is stretched.
        rows: Tiles below each other.
        fit: The picture was not stretched, but enlarged in its shape (policy "fit").
        extra: Tiles behind these (the overview), which are not asked.
        grid: Patches along a side of a tile.
        factor: Patches along a side of an image token.
        patch_size: Pixels along a side of a patch.
    """
    found = {}
    shape = (rows * grid, columns * grid)
    if fit:  # as if the picture went on to the end of the grid
        scale = fit_scale(size, (shape[1] * patch_size, shape[0] * patch_size)) / patch_size
        size = (shape[1] / scale, shape[0] / scale)
    tokens = (shape[0] // factor, shape[1] // factor)
    for name, marks, classes, places in (
        ("patch_glyph", glyphs, glyph_class, shape),
        ("patch_thing", things, thing_class, shape),
        ("token_thing", things, thing_class, tokens),
    ):
        if marks is None:
            painted = np.full(places, -1, np.int16)
        else:
            labels = np.array([classes(mark) for mark in marks.names], np.int16)
            painted = _paint(_scaled(marks.boxes, size, places), labels, places)
        found[name] = _by_tile(painted, places[0] // rows, extra)
    slots = np.full((*tokens, SLOTS), -1 if glyphs is None else 0, np.int16)
    if glyphs is not None:
        labels = np.array([glyph_class(mark) for mark in glyphs.names], np.int16)
        boxes = _scaled(glyphs.boxes, size, tokens)
        used = np.zeros(tokens, np.int64)
        middles = (boxes[:, :2] + boxes[:, 2:]) / 2
        inside = np.all((middles >= 0) & (middles < (tokens[1], tokens[0])), axis=1)
        for (x, y), label in zip(middles[inside].astype(int).tolist(), labels[inside].tolist(), strict=True):
            if used[y, x] < SLOTS:
                slots[y, x, used[y, x]] = label
                used[y, x] += 1
    found["token_glyphs"] = _by_tile(slots, grid // factor, extra)
    return found


def _scaled(boxes: np.ndarray, size: tuple[float, float], shape: tuple[int, int]) -> np.ndarray:
    factor = np.array([shape[1] / size[0], shape[0] / size[1]] * 2, np.float32)
    return boxes.reshape(-1, 4) * factor


def _paint(boxes: np.ndarray, labels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Give each place the mark whose box holds its middle, and the place of each mark's middle that mark."""
    painted = np.zeros(shape, np.int16)
    first = np.ceil(boxes[:, :2] - 0.5).astype(int)
    last = np.ceil(boxes[:, 2:] - 0.5).astype(int)  # exclusive
    for n in np.flatnonzero(np.all(last > first, axis=1)).tolist():
        (x0, y0), (x1, y1) = np.maximum(first[n], 0), np.maximum(last[n], 0)
        painted[y0:y1, x0:x1] = labels[n]
    middles = np.floor((boxes[:, :2] + boxes[:, 2:]) / 2).astype(int)
    inside = np.all((middles >= 0) & (middles < (shape[1], shape[0])), axis=1)
    painted[middles[inside, 1], middles[inside, 0]] = labels[inside]
    return painted


def _by_tile(places: np.ndarray, side: int, extra: int) -> np.ndarray:
    """(rows * side, columns * side, ...) -> (rows * columns + extra, side * side, ...), extra tiles unasked."""
    rows, columns = places.shape[0] // side, places.shape[1] // side
    rest = places.shape[2:]
    tiles = places.reshape(rows, side, columns, side, *rest).swapaxes(1, 2)
    tiles = tiles.reshape(rows * columns, side * side, *rest)
    return np.concatenate([tiles, np.full((extra, *tiles.shape[1:]), -1, np.int16)])


def unasked(num_tiles: int, patches: int, tokens: int) -> dict[str, np.ndarray]:
    """Return targets that ask for nothing: pictures about which nothing is known."""
    shapes = {"patch": (num_tiles, patches), "token": (num_tiles, tokens)}
    return {
        name: np.full((*shapes[where], *([answers] if answers > 1 else [])), -1, np.int16)
        for name, (where, answers, _) in HEADS.items()
    }


class DenseHeads(nn.Module):
    """One linear classifier per question of `HEADS`."""

    def __init__(self, config: ModelConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        widths = {"patch": config.vision.hidden_size, "token": config.text.hidden_size}
        self.heads = nn.ModuleDict(
            {
                name: nn.Linear(widths[where], answers * classes)
                for name, (where, answers, classes) in HEADS.items()
            }
        )
        with torch.no_grad():
            for name, parameter in self.heads.named_parameters():
                if name.endswith("bias"):
                    parameter.zero_()
                else:
                    parameter.normal_(0.0, 0.02, generator=generator)

    def forward(self, vision_features: Tensor, image_embeds: Tensor, targets: Targets) -> dict[str, Tensor]:
        """Return the weighted sum of losses by head, from features (N, P, C) and embeddings (N, K, D).

        Only places that are asked for and a sample of the empty ones reach a head: both together are the loss.
        """
        losses = {}
        for name, head in self.heads.items():
            where, answers, classes = HEADS[name]
            places = vision_features if where == "patch" else image_embeds
            labels = targets[name]
            if answers > 1:
                logits = head(places[(labels >= 0).any(-1)])
                labels = labels[(labels >= 0).any(-1)]
                logits = logits.unflatten(-1, (answers, classes)).flatten(0, -2)
            else:
                logits, labels = head(places[labels >= 0]), labels[labels >= 0]
            weight = _class_weights(classes, logits)
            losses[name] = F.cross_entropy(logits, labels.flatten(), weight=weight, reduction="sum")
        return losses

    def unasked(self) -> dict[str, Tensor]:
        """Return losses of 0 that have gradients, of 0: of a batch that asks nothing, beside others that do."""
        return {
            name: 0.0 * torch.stack([parameter.sum() for parameter in head.parameters()]).sum()
            for name, head in self.heads.items()
        }

    @staticmethod
    def denominators(targets: Targets) -> dict[str, Tensor]:
        """What the sums are divided by: the weight of all that is asked for, by head."""
        counts = {}
        for name in HEADS:
            labels = targets[name]
            something = (labels > 0).sum(dtype=torch.float64)
            counts[name] = something + NOTHING_WEIGHT * (labels == 0).sum(dtype=torch.float64)
        return counts


def _class_weights(classes: int, like: Tensor) -> Tensor:
    weight = torch.ones(classes, dtype=like.dtype, device=like.device)
    weight[0] = NOTHING_WEIGHT
    return weight

"""Training-only heads that say what lies where, thrown away at export.

Generated pictures know the box of every glyph and object. Asking each patch and each image token for them teaches the
vision tower far faster than a few answer tokens a picture do; the language loss then only has to learn to read out.
Legend: `N` tiles, `P` patches per tile, `K` image tokens per tile, `C` vision width, `D` decoder width.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internvl.config.model import ModelConfig
from internvl.data.charset import CHARACTER_CLASSES
from internvl.data.colours import COLOUR_CLASSES
from internvl.data.objects import OBJECT_CLASSES
from internvl.data.scene import Box, Scene

SLOTS = 5
"""Glyphs whose middles may lie in one image token, in reading order; the rest are not asked for."""
EMPTY_WEIGHT = 0.1
"""Weight of "nothing here" in the losses: most places are empty."""
HEADS = {
    "patch_glyph": len(CHARACTER_CLASSES) + 1,
    "patch_object": len(OBJECT_CLASSES) + 1,
    "patch_colour": len(COLOUR_CLASSES) + 1,
    "token_glyphs": SLOTS * (len(CHARACTER_CLASSES) + 1),
    "token_object": len(OBJECT_CLASSES) + 1,
    "token_colour": len(COLOUR_CLASSES) + 1,
}

#: Letters are by far the hardest to tell apart.
HEAD_WEIGHTS = {
    "patch_glyph": 0.5,
    "patch_object": 0.15,
    "patch_colour": 0.1,
    "token_glyphs": 0.4,
    "token_object": 0.1,
    "token_colour": 0.05,
}

Targets = dict[str, np.ndarray]
"""Class per place, 0 = nothing: patch_* (P,), token_glyphs (K, SLOTS), token_* (K,); int64."""


def dense_targets(scene: Scene, grid: int, factor: int) -> Targets:
    """What each of `grid` x `grid` patches and (grid / factor)^2 image tokens should say.

    A patch names the glyph and the object that cover most of it; a token names those whose middles lie in it.
    """
    tokens = grid // factor
    cover = {name: np.zeros((grid, grid), np.float32) for name in ("glyph", "object")}
    patch = {name: np.zeros((grid, grid), np.int64) for name in ("glyph", "object", "colour")}
    glyphs = np.zeros((tokens, tokens, SLOTS), np.int64)
    used = np.zeros((tokens, tokens), np.int64)
    token_object = np.zeros((tokens, tokens), np.int64)
    token_colour = np.zeros((tokens, tokens), np.int64)
    for glyph in scene.glyphs:
        label = CHARACTER_CLASSES.get(glyph.character, 0)
        rows, columns, area = _overlap(glyph.box, grid)
        better = area > cover["glyph"][rows, columns]
        cover["glyph"][rows, columns][better] = area[better]
        patch["glyph"][rows, columns][better] = label
        row, column = _cell(glyph.box, tokens)
        if used[row, column] < SLOTS:
            glyphs[row, column, used[row, column]] = label
            used[row, column] += 1
    for item in scene.objects:
        label, colour = OBJECT_CLASSES[item.name], 0 if item.colour is None else COLOUR_CLASSES[item.colour]
        rows, columns, area = _overlap(item.box, grid)
        better = area > cover["object"][rows, columns]
        cover["object"][rows, columns][better] = area[better]
        patch["object"][rows, columns][better] = label
        patch["colour"][rows, columns][better] = colour
        row, column = _cell(item.box, tokens)
        token_object[row, column], token_colour[row, column] = label, colour
    return {
        "patch_glyph": patch["glyph"].ravel(),
        "patch_object": patch["object"].ravel(),
        "patch_colour": patch["colour"].ravel(),
        "token_glyphs": glyphs.reshape(-1, SLOTS),
        "token_object": token_object.ravel(),
        "token_colour": token_colour.ravel(),
    }


def _cell(box: Box, grid: int) -> tuple[int, int]:
    """(row, column) of the middle of a box."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return min(grid - 1, max(0, int(y * grid))), min(grid - 1, max(0, int(x * grid)))


def _overlap(box: Box, grid: int) -> tuple[slice, slice, np.ndarray]:
    """The rows and columns of patches that a box touches, and how much of each it covers (at least a quarter)."""
    spans, shares = [], []
    for low, high in ((box[1], box[3]), (box[0], box[2])):
        first = min(grid - 1, max(0, int(low * grid)))
        last = min(grid - 1, max(first, int(high * grid)))
        edges = np.arange(first, last + 1)
        shares.append(np.clip(np.minimum(edges + 1, high * grid) - np.maximum(edges, low * grid), 0, 1))
        spans.append(slice(first, last + 1))
    area = np.outer(shares[0], shares[1]).astype(np.float32)
    return spans[0], spans[1], np.where(area >= 0.25, area, 0)


class DenseHeads(nn.Module):
    """One linear classifier per question of `HEADS`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        widths = {"patch": config.vision.hidden_size, "token": config.text.hidden_size}
        self.heads = nn.ModuleDict(
            {name: nn.Linear(widths[name.split("_")[0]], classes) for name, classes in HEADS.items()}
        )

    def forward(
        self, vision_features: Tensor, image_embeds: Tensor, targets: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Mean losses by head, from features (N, P, C), embeddings (N, K, D) and targets with a leading N."""
        losses = {}
        for name, head in self.heads.items():
            logits = head(vision_features if name.startswith("patch") else image_embeds)
            labels = targets[name]
            if name == "token_glyphs":
                logits = logits.unflatten(
                    -1, (SLOTS, -1)
                )  # (N, K, SLOTS * classes) -> (N, K, SLOTS, classes)
            weight = torch.ones(logits.shape[-1])
            weight[0] = EMPTY_WEIGHT
            losses[name] = F.cross_entropy(logits.flatten(0, -2), labels.flatten(), weight=weight)
        return losses

    @torch.no_grad()
    def accuracy(
        self, vision_features: Tensor, image_embeds: Tensor, targets: Mapping[str, Tensor]
    ) -> dict[str, float]:
        """Share of the places with something that are named right, by head."""
        found = {}
        for name, head in self.heads.items():
            logits = head(vision_features if name.startswith("patch") else image_embeds)
            if name == "token_glyphs":
                logits = logits.unflatten(-1, (SLOTS, -1))
            there = targets[name] > 0
            found[name] = (logits.argmax(-1)[there] == targets[name][there]).float().mean().item()
        return found

"""Scenes -> batches: pictures, dense targets, and conversations with labels.

An item is a pure function of the stage and its index, so a resumed run sees what an uninterrupted one would.
Shapes: `B` sequences (one picture each at most), `T` tokens, `N` tiles.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from internvl.data.generate import Assets, Skill, load_assets, make_scene
from internvl.data.scene import Scene
from internvl.preprocess.transforms import normalize
from internvl.train.nano.config import StageConfig
from internvl.train.nano.conversation import IGNORE_INDEX, ConversationEncoder
from internvl.train.nano.dense import HEADS, Targets, dense_targets


@dataclass(slots=True, kw_only=True)
class Item:
    """One conversation and its picture; a silent picture has no ids."""

    ids: list[int]
    labels: list[int]
    """As `ids` where the loss counts, else IGNORE_INDEX; not shifted."""
    tile: np.ndarray | None
    """uint8 (S, S, 3)."""
    targets: Targets | None


@dataclass(slots=True, kw_only=True)
class Batch:
    """A micro-batch, padded on the right."""

    input_ids: Tensor
    """(B, T) int64; B counts conversations."""
    labels: Tensor
    """(B, T) int64, IGNORE_INDEX where nothing is learnt; not shifted."""
    attention_mask: Tensor
    """(B, T) int64, 0 at padding."""
    pixel_values: Tensor | None
    """(N, 3, S, S) float32: the pictures of the sequences that have one, in their order, then the silent ones; None
    without pictures."""
    num_silent: int
    """Pictures that no sequence shows."""
    targets: dict[str, Tensor]
    """By head, each with a leading N; empty without pictures."""


class NanoDataset(Dataset[Item]):
    """The endless stream of one stage, addressable by index."""

    def __init__(
        self, stage: StageConfig, encoder: ConversationEncoder | None, shared: Path | None, *, length: int
    ) -> None:
        self.stage, self.encoder, self.shared, self.length = stage, encoder, shared, length
        self._names = tuple(stage.mixture)
        self._weights = tuple(stage.mixture.values())

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Item:
        rng = random.Random(f"{self.stage.name}/{self.stage.seed}/{index}")
        silent = index % self.stage.items_per_step >= self.stage.batch_size
        skill = "page" if silent else rng.choices(self._names, self._weights)[0]
        if skill == "chat":
            assert self.encoder is not None
            ids, labels = self.encoder.small_talk(rng)
            return Item(ids=ids, labels=labels, tile=None, targets=None)
        assets = load_assets(self.shared)
        scene = _scene(skill, self.stage, index, assets)
        size = self.stage.image_size
        targets = dense_targets(scene, size // 14, 2)
        ids, labels = (
            ([], [])
            if silent or self.encoder is None
            else self.encoder.about(rng, scene, self.stage.turns, size, skill)
        )
        return Item(ids=ids, labels=labels, tile=squash(scene.image, size), targets=targets)


def _scene(skill: str, stage: StageConfig, index: int, assets: Assets) -> Scene:
    known: Skill = skill  # type: ignore[assignment]  # StageConfig checked it
    return make_scene(known, stage.seed, index, assets, difficulty=stage.difficulty)


def squash(image: Image.Image, size: int) -> np.ndarray:
    """One tile of a picture, as `preprocess.tiling` cuts it when max_tiles is 1: uint8 (S, S, 3)."""
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))


def collate(items: Sequence[Item], pad_id: int = 0) -> Batch:
    """Pad conversations and stack pictures, those that nobody talks about last."""
    silent = [item for item in items if not item.ids]
    items = [item for item in items if item.ids]
    length = max((len(item.ids) for item in items), default=0)
    input_ids = torch.full((len(items), length), pad_id, dtype=torch.int64)
    labels = torch.full((len(items), length), IGNORE_INDEX, dtype=torch.int64)
    mask = torch.zeros((len(items), length), dtype=torch.int64)
    for row, item in enumerate(items):
        n = len(item.ids)
        input_ids[row, :n] = torch.tensor(item.ids, dtype=torch.int64)
        labels[row, :n] = torch.tensor(item.labels, dtype=torch.int64)
        mask[row, :n] = 1
    tiles = [item.tile for item in (*items, *silent) if item.tile is not None]
    found = [item.targets for item in (*items, *silent) if item.targets is not None]
    return Batch(
        input_ids=input_ids,
        labels=labels,
        attention_mask=mask,
        pixel_values=normalize(np.stack(tiles)) if tiles else None,
        num_silent=len(silent),
        targets={name: torch.from_numpy(np.stack([t[name] for t in found])) for name in HEADS}
        if found
        else {},
    )


def batches(dataset: NanoDataset, *, first_step: int, steps: int, workers: int) -> Iterator[Batch]:
    """Batches of updates `first_step` .. `steps` - 1, in order, made by `workers` low-priority processes."""
    size = dataset.stage.items_per_step
    order = [list(range(step * size, (step + 1) * size)) for step in range(first_step, steps)]
    loader = DataLoader(
        dataset, batch_sampler=order, collate_fn=collate, num_workers=workers, worker_init_fn=_be_nice,
        prefetch_factor=6 if workers else None,
    )  # fmt: skip
    return iter(loader)


def _be_nice(worker: int) -> None:
    os.nice(5)
    torch.set_num_threads(1)

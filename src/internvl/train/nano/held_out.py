"""How often the whole answer is right on held-out pictures, without generating.

Greedy decoding gives exactly the expected answer when, and only when, each of its tokens is the likeliest after the
ones before it: one forward pass over question and answer tells. Fast enough for every checkpoint of a run.
"""

from __future__ import annotations

import random
from pathlib import Path

import torch

from internvl.data.generate import SKILLS, Difficulty, load_assets, make_scene
from internvl.data.questions import primary_turn
from internvl.models.internvl import InternVLModel
from internvl.preprocess.chat_template import SHUSHENG_WANXIANG
from internvl.train.nano.conversation import IGNORE_INDEX, ConversationEncoder
from internvl.train.nano.dataset import Item, collate, squash
from internvl.train.nano.dense import dense_targets

GROUP = 32
"""Pictures per forward pass."""


@torch.no_grad()
def answer_accuracy(
    model: InternVLModel,
    encoder: ConversationEncoder,
    shared: Path | None,
    difficulty: Difficulty,
    *,
    count: int,
    seed: int = 77,
) -> dict[str, float]:
    """Share of exactly right answers to each skill's main question, over `count` held-out pictures each."""
    model.eval()
    assets = load_assets(shared)
    size = model.config.image_size
    found: dict[str, float] = {}
    for skill in SKILLS:
        right = 0
        for first in range(0, count, GROUP):
            items = []
            for index in range(first, min(count, first + GROUP)):
                scene = make_scene(skill, seed, index, assets, difficulty=difficulty, split="held_out")
                turn = primary_turn(random.Random(index), skill, scene)
                ids, labels = encoder.encode(
                    [turn], system=SHUSHENG_WANXIANG, num_image_tokens=(size // encoder.cell) ** 2
                )
                targets = dense_targets(scene, size // 14, 2)
                items.append(Item(ids=ids, labels=labels, tile=squash(scene.image, size), targets=targets))
            batch = collate(items)
            logits = model(batch.input_ids, batch.pixel_values)  # (B, T, V)
            labels_after = batch.labels[:, 1:]
            hit = (logits[:, :-1].argmax(-1) == labels_after) | (labels_after == IGNORE_INDEX)
            right += int(hit.all(dim=1).sum())
        found[skill] = right / count
    return found

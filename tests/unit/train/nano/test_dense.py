"""Dense targets name what lies where."""

import numpy as np
import pytest
import torch
from PIL import Image

from internvl.data.charset import CHARACTER_CLASSES
from internvl.data.colours import COLOUR_CLASSES
from internvl.data.objects import OBJECT_CLASSES
from internvl.data.scene import Glyph, Scene, SceneObject
from internvl.train.nano.dense import HEAD_WEIGHTS, HEADS, SLOTS, DenseHeads, dense_targets
from internvl.train.nano.model_config import nano_config

IMAGE = Image.new("RGB", (8, 8))


def scene(glyphs=(), objects=()):
    return Scene(image=IMAGE, background=None, glyphs=list(glyphs), objects=list(objects))


def test_a_token_names_the_glyphs_whose_middles_lie_in_it_from_left_to_right():
    glyphs = [
        Glyph("A", (0.05, 0.1, 0.15, 0.2)),
        Glyph("b", (0.15, 0.1, 0.2, 0.2)),
        Glyph("9", (0.3, 0.1, 0.4, 0.2)),
    ]
    found = dense_targets(scene(glyphs), grid=8, factor=2)["token_glyphs"]
    assert found.shape == (16, SLOTS)
    assert found[0].tolist()[:3] == [CHARACTER_CLASSES["A"], CHARACTER_CLASSES["b"], 0]
    assert found[1].tolist()[:2] == [CHARACTER_CLASSES["9"], 0]
    assert not found[2:].any()


def test_a_patch_names_what_covers_most_of_it():
    glyphs = [Glyph("A", (0.0, 0.0, 0.25, 0.125)), Glyph("b", (0.25, 0.0, 0.3, 0.125))]
    found = dense_targets(scene(glyphs), grid=8, factor=2)["patch_glyph"].reshape(8, 8)
    assert found[0, :3].tolist() == [CHARACTER_CLASSES["A"], CHARACTER_CLASSES["A"], CHARACTER_CLASSES["b"]]
    assert not found[1:].any()


def test_objects_are_named_and_coloured_where_they_lie():
    item = SceneObject("star", "red", (0.5, 0.5, 1.0, 1.0))
    found = dense_targets(scene(objects=[item]), grid=8, factor=2)
    patches = found["patch_object"].reshape(8, 8)
    assert (patches[4:, 4:] == OBJECT_CLASSES["star"]).all()
    assert not patches[:4].any()
    assert found["token_object"].reshape(4, 4)[3, 3] == OBJECT_CLASSES["star"]
    assert np.count_nonzero(found["token_object"]) == 1
    assert found["token_colour"].reshape(4, 4)[3, 3] == COLOUR_CLASSES["red"]


def test_more_glyphs_than_slots_are_left_out():
    glyphs = [Glyph("i", (x / 100, 0.1, (x + 1) / 100, 0.2)) for x in range(SLOTS + 3)]
    found = dense_targets(scene(glyphs), grid=8, factor=2)["token_glyphs"]
    assert np.count_nonzero(found) == SLOTS


def test_text_at_the_edge_stays_inside_the_grid():
    glyphs = [Glyph("x", (0.98, 0.98, 1.2, 1.2)), Glyph("y", (-0.2, -0.2, 0.01, 0.01))]
    found = dense_targets(scene(glyphs), grid=8, factor=2)
    assert found["patch_glyph"].shape == (64,)


def test_heads_give_one_loss_each_and_perfect_features_a_perfect_score():
    config = nano_config(112)
    heads = DenseHeads(config)
    targets = {name: torch.from_numpy(t)[None] for name, t in dense_targets(scene(), 8, 2).items()}
    features = torch.zeros(1, 64, config.vision.hidden_size)
    embeds = torch.zeros(1, 16, config.text.hidden_size)
    losses = heads(features, embeds, targets)
    assert set(losses) == set(HEADS) == set(HEAD_WEIGHTS)
    with torch.no_grad():
        for head in heads.heads.values():
            head.bias.zero_()
            head.weight.zero_()
        heads.heads["patch_object"].bias[3] = 50.0
    targets["patch_object"][:] = 3
    assert heads(features, embeds, targets)["patch_object"].item() == pytest.approx(0, abs=1e-3)
    assert heads.accuracy(features, embeds, targets)["patch_object"] == 1.0

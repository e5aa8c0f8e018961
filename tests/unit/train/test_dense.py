"""Dense supervision: a mark in a picture is asked for on the tile, patch and token where it lies."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from fakes import tiny_model
from internvl.data.sample import Marks
from internvl.preprocess.tiling import cut_tiles, fitted_size
from internvl.train.config import ModelSection, ObjectiveSection, TrainConfig
from internvl.train.dense import (
    HEADS,
    NOTHING_WEIGHT,
    NUM_GLYPHS,
    NUM_THINGS,
    SLOTS,
    DenseHeads,
    glyph_class,
    thing_class,
    tile_targets,
    unasked,
)
from internvl.train.objectives import SupervisedObjective, TokenLoss
from internvl.train.setup import HEADS_NAME, make_heads
from internvl.types import TileGrid
from training import make_sample, packed

GRID, FACTOR, PATCH = 4, 2, 14
SIDE = GRID * PATCH


def marks(*found):
    names, boxes = zip(*found, strict=True) if found else ((), ())
    return Marks(tuple(names), np.array(boxes, np.float32).reshape(-1, 4))


def targets(glyphs=None, things=None, size=(SIDE, SIDE), columns=1, rows=1, fit=False, extra=0):
    return tile_targets(
        glyphs,
        things,
        size,
        columns=columns,
        rows=rows,
        fit=fit,
        extra=extra,
        grid=GRID,
        factor=FACTOR,
        patch_size=PATCH,
    )


@pytest.mark.parametrize("fit", [False, True])
@pytest.mark.parametrize("size", [(168, 112), (300, 90), (90, 300)])
@pytest.mark.parametrize("seed", range(4))
def test_a_box_lies_on_the_patches_that_show_it(size, fit, seed):
    """The oracle is a picture of the box, cut by the code that cuts pictures."""
    rng = np.random.default_rng(seed)
    cut = TileGrid(3, 2)
    x, y = rng.uniform(0, 0.6, 2) * size
    w, h = rng.uniform(0.3, 0.4, 2) * size
    box = (round(x), round(y), round(x + w), round(y + h))
    image = Image.new("RGB", size)
    image.paste((255, 255, 255), box)
    tiles = cut_tiles(image, grid=cut, image_size=SIDE, thumbnail=True, fit=fit)
    if fit:  # what is no picture is black, too
        wide, high = fitted_size(size, (3 * SIDE, 2 * SIDE))
        canvas = np.zeros((2 * SIDE, 3 * SIDE, 3), np.uint8)
        canvas[:high, :wide] = np.asarray(image.resize((wide, high), Image.Resampling.BICUBIC))
        parts = canvas.reshape(2, SIDE, 3, SIDE, 3).swapaxes(1, 2)
        tiles[:6] = parts.reshape(6, SIDE, SIDE, 3)
    found = targets(things=marks(("cup", box)), size=size, columns=3, rows=2, fit=fit, extra=1)
    for name, grid in (("patch_thing", GRID), ("token_thing", GRID // FACTOR)):
        assert found[name].shape == (7, grid**2)
        light = tiles[:6, :, :, 0].reshape(6, grid, SIDE // grid, grid, SIDE // grid).mean((2, 4)) / 255
        light = light.reshape(6, -1)
        asked = found[name][:6] == thing_class("cup")
        assert asked.any()
        assert not asked[light < 0.02].any()
        assert asked[light > 0.98].all()
        assert (found[name][:6][~asked] == 0).all()


def test_what_is_not_known_and_tiles_behind_the_grid_are_not_asked():
    glyphs = marks(("a", (0, 0, 14, 14)))
    found = targets(glyphs=glyphs, columns=2, rows=1, size=(2 * SIDE, SIDE), extra=2)
    for name in ("patch_thing", "token_thing"):
        assert (found[name] == -1).all()  # nobody said what objects there are
    for name in ("patch_glyph", "token_glyphs"):
        assert (found[name][:2] >= 0).all()
        assert (found[name][2:] == -1).all()
    nothing = unasked(3, GRID**2, (GRID // FACTOR) ** 2)
    assert nothing.keys() == found.keys() == HEADS.keys()
    assert all((values == -1).all() and len(values) == 3 for values in nothing.values())


def test_a_picture_without_marks_shows_nothing_everywhere():
    found = targets(glyphs=marks(), things=marks())
    assert all((values == 0).all() for values in found.values())


def test_letters_fill_the_slots_of_their_token_in_reading_order():
    word = "reading!"  # eight letters in one token of 28 pixels, of which six are asked for
    places = [(28 + 3 * n, 2, 31 + 3 * n, 8) for n in range(8)]
    below = [(40, 16, 44, 24)]
    glyphs = marks(*zip(word, places, strict=True), ("x", below[0]))
    slots = targets(glyphs=glyphs)["token_glyphs"]
    assert slots.shape == (1, 4, SLOTS)
    assert slots[0, 1].tolist() == [glyph_class(c) for c in word[:SLOTS]]
    few = marks(("x", (2, 16, 6, 24)), ("y", (8, 16, 12, 24)), ("z", (30, 30, 40, 44)))
    slots = targets(glyphs=few)["token_glyphs"][0]
    assert slots[0].tolist() == [glyph_class("x"), glyph_class("y"), 0, 0, 0, 0]
    assert slots[3].tolist() == [glyph_class("z"), 0, 0, 0, 0, 0]
    assert not slots[1].any()


def test_letters_on_several_tiles_fall_on_the_token_of_their_tile():
    glyphs = marks(("a", (1, 1, 9, 9)), ("b", (SIDE + 30, SIDE + 30, SIDE + 40, SIDE + 40)))
    slots = targets(glyphs=glyphs, size=(2 * SIDE, 2 * SIDE), columns=2, rows=2)["token_glyphs"]
    where = np.argwhere(slots > 0)
    assert where.tolist() == [[0, 0, 0], [3, 3, 0]]
    assert (slots[0, 0, 0], slots[3, 3, 0]) == (glyph_class("a"), glyph_class("b"))


def test_a_stretched_picture_and_a_fitted_one_ask_in_different_places():
    size = (2 * SIDE, SIDE // 2)  # four times as wide as high, on one tile
    glyphs = marks(("a", (SIDE, 0, SIDE + 28, 28)))
    stretched, fitted = (
        targets(glyphs=glyphs, size=size, fit=fit)["patch_glyph"][0] for fit in (False, True)
    )
    assert np.argwhere(stretched.reshape(GRID, GRID))[:, 0].max() == GRID - 1  # as high as the tile
    assert np.argwhere(fitted.reshape(GRID, GRID)).tolist() == [[0, 2]]


def test_a_letter_smaller_than_a_patch_is_on_the_patch_of_its_middle():
    found = targets(glyphs=marks(("i", (15, 29, 18, 33))))["patch_glyph"][0].reshape(GRID, GRID)
    assert np.argwhere(found).tolist() == [[2, 1]]


def test_boxes_beyond_the_picture_are_cut_off_and_not_an_error():
    far = marks(("a", (-30, -30, 10, 10)), ("b", (50, 50, 90, 90)), ("c", (300, 300, 310, 310)))
    found = targets(glyphs=far)["patch_glyph"][0].reshape(GRID, GRID)
    assert found[0, 0] == glyph_class("a")
    assert glyph_class("c") not in found
    assert targets(glyphs=far)["token_glyphs"].max() <= max(map(glyph_class, "ab"))


def test_classes_tell_letters_apart_and_keep_nothing_and_other_free():
    assert len({glyph_class(c) for c in "abcXYZ019.,"}) == 11
    assert glyph_class("漢") == NUM_GLYPHS - 1
    assert all(0 < glyph_class(c) < NUM_GLYPHS for c in "aé漢")
    assert thing_class("cup") == thing_class("cup") != thing_class("dog")
    assert all(0 < thing_class(name) < NUM_THINGS for name in ("cup", "dog", ""))


def test_the_loss_counts_only_what_is_asked_and_empty_places_little():
    model = tiny_model()
    heads = DenseHeads(model.config, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(2, 16, model.config.vision.hidden_size, generator=generator)
    embeds = torch.randn(2, 4, model.config.text.hidden_size, generator=generator)
    known = targets(glyphs=marks(("a", (0, 0, 14, 14))), things=marks())
    both = {
        name: torch.from_numpy(np.concatenate([known[name], rest])).long()
        for name, rest in unasked(1, 16, 4).items()
    }
    alone = {name: values[:1] for name, values in both.items()}
    losses, expected = heads(features, embeds, both), heads(features[:1], embeds[:1], alone)
    for name in HEADS:
        torch.testing.assert_close(losses[name], expected[name])
    counts = DenseHeads.denominators(both)
    assert counts["patch_glyph"] == pytest.approx(1 + 15 * NOTHING_WEIGHT)
    assert counts["token_glyphs"] == pytest.approx(1 + (4 * SLOTS - 1) * NOTHING_WEIGHT)
    assert counts["patch_thing"] == pytest.approx(16 * NOTHING_WEIGHT)


@pytest.mark.parametrize("answers", [True, False])
def test_a_batch_that_asks_no_place_costs_nothing_and_reaches_every_head(answers):
    """Several processes add up the same names, whatever pictures each of them has."""
    losses = TokenLoss(tiny_model().requires_grad_(True), DenseHeads(tiny_model().config))
    objective = SupervisedObjective(answers=float(answers), places=dict.fromkeys(HEADS, 0.25))
    for tiles in (0, 1):
        terms = objective(losses, packed([make_sample(3, tiles=tiles)])).terms
        assert terms.keys() == objective.weights.keys()
        assert all(terms[name] == 0 for name in HEADS)
        torch.stack(list(terms.values())).sum().backward()
        assert all(not p.grad.any() for p in losses.heads.parameters())


def test_heads_of_before_go_on_and_one_that_came_later_begins_fresh(tmp_path):
    model = tiny_model()
    config = TrainConfig(model=ModelSection(path=str(tmp_path)), objective=ObjectiveSection(kind="dense"))
    before = DenseHeads(model.config, torch.Generator().manual_seed(5)).state_dict()
    kept = {name: tensor for name, tensor in before.items() if "token_thing" not in name}
    save_file(kept, tmp_path / HEADS_NAME)
    heads = make_heads(config, model).state_dict()
    fresh = DenseHeads(model.config, torch.Generator().manual_seed(config.seed)).state_dict()
    assert heads.keys() == before.keys()
    for name, tensor in heads.items():
        assert torch.equal(tensor, (before if name in kept else fresh)[name]), name

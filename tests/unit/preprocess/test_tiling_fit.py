"""Tiles that keep a picture's shape: enlarged until it touches the grid, grey behind it, nothing lost."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fakes import tiny_model_config
from internvl.preprocess.processor import Processor, TileLimits
from internvl.preprocess.tile_policy import choose_grid
from internvl.preprocess.tiling import MOST_ENLARGED, PADDING, cut_tiles, fitted_size
from internvl.preprocess.tokenizer import load_tokenizer
from internvl.types import TileGrid
from tiny_tokenizers import TEMPLATE_OF, write_tokenizer

SIDES = st.integers(1, 3000)
SMALL = st.integers(1, 90)


def picture(width, height, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def put_together(tiles, grid):
    """(N, S, S, 3) -> the canvas (rows * S, columns * S, 3)."""
    side = tiles.shape[1]
    parts = tiles[: grid.num_tiles].reshape(grid.rows, grid.columns, side, side, 3)
    return parts.swapaxes(1, 2).reshape(grid.rows * side, grid.columns * side, 3)


@given(SIDES, SIDES, SIDES, SIDES)
def test_a_fitted_picture_touches_the_canvas_or_is_half_as_large_again_and_keeps_its_shape(
    width, height, wide, high
):
    w, h = fitted_size((width, height), (wide, high))
    assert 1 <= w <= wide
    assert 1 <= h <= high
    scale = min(wide / width, high / height)
    if scale <= MOST_ENLARGED:
        assert w == wide or h == high
    scale = min(scale, MOST_ENLARGED)
    assert abs(w - width * scale) <= max(0.5, 1 - width * scale) + 1e-6
    assert abs(h - height * scale) <= max(0.5, 1 - height * scale) + 1e-6


@settings(max_examples=40)
@given(SMALL, SMALL, st.integers(1, 3), st.integers(1, 3), st.booleans())
def test_tiles_hold_the_whole_picture_in_the_upper_left_and_grey_elsewhere(
    width, height, columns, rows, thumbnail
):
    image, grid = picture(width, height), TileGrid(columns, rows)
    tiles = cut_tiles(image, grid=grid, image_size=28, thumbnail=thumbnail, fit=True)
    canvas = put_together(tiles, grid)
    size = fitted_size(image.size, (28 * columns, 28 * rows))
    w, h = size
    assert np.array_equal(canvas[:h, :w], np.asarray(image.resize(size, Image.Resampling.BICUBIC)))
    assert (canvas[h:] == PADDING).all()
    assert (canvas[:, w:] == PADDING).all()


@pytest.mark.parametrize("grid", [TileGrid(1, 1), TileGrid(3, 1), TileGrid(2, 3)])
@pytest.mark.parametrize("scale", [38, 56, 100])
def test_a_picture_of_the_grids_own_shape_is_cut_as_ever(grid, scale):
    image = picture(grid.columns * scale, grid.rows * scale)
    plain, fitted = (cut_tiles(image, grid=grid, image_size=56, fit=fit) for fit in (False, True))
    assert np.array_equal(plain, fitted)


def test_a_square_stays_a_square_where_plain_tiles_stretch_it():
    line = Image.new("RGB", (300, 40), "white")
    line.paste((0, 0, 0), (10, 10, 30, 30))
    for fit, expected in ((True, 1.0), (False, 150 / 20)):
        tiles = cut_tiles(line, grid=TileGrid(1, 1), image_size=300, fit=fit)
        dark = tiles[0, :, :, 0] < 60
        assert np.ptp(np.nonzero(dark)[0]) / np.ptp(np.nonzero(dark)[1]) == pytest.approx(expected, rel=0.1)


@given(SIDES, SIDES, st.booleans(), st.integers(1, 24))
def test_the_policy_spends_tiles_as_auto_does(width, height, dense, most):
    grids = [
        choose_grid((width, height), policy=name, dense=dense, max_tiles=most) for name in ("fit", "auto")
    ]
    assert grids[0] == grids[1]


@pytest.fixture(scope="module")
def make_processor(tmp_path_factory):
    directory = write_tokenizer(tmp_path_factory.mktemp("qwen"), "qwen")

    def make(**fields):
        return Processor(tiny_model_config(template=TEMPLATE_OF["qwen"], **fields), load_tokenizer(directory))

    return make


def test_a_model_that_was_trained_so_is_shown_pictures_so_unless_asked_otherwise(make_processor):
    message = [{"role": "user", "content": [{"type": "image", "image": picture(200, 30)}]}]
    fit, plain = make_processor(tile_policy="fit"), make_processor()

    def tiles(processor, policy=None):
        return processor(message, tile_limits=TileLimits(policy=policy))

    own = tiles(fit)
    asked = tiles(plain, "fit")
    assert np.array_equal(own.pixel_values, asked.pixel_values)
    assert own.media[0].grid == tiles(plain, "auto").media[0].grid
    stretched = tiles(fit, "auto")
    assert not np.array_equal(stretched.pixel_values, own.pixel_values)
    assert stretched.media[0].content_hash != own.media[0].content_hash

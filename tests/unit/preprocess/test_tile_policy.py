"""The optional policy: resolution kept, tiles saved, limits held."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from internvl.errors import ConfigError, MediaError
from internvl.preprocess.tile_policy import auto_grid, choose_grid, is_dense
from internvl.preprocess.tiling import tile_grid

SIDES = st.integers(1, 20000)


def page(width=1240, height=1754) -> Image.Image:
    """Lines of fine strokes, as dense as print."""
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    for y in range(100, height - 100, 24):
        for x in range(100, width - 100, 6):
            draw.rectangle((x, y, x + 1, y + 11), fill="black")
    return image


def photo(width=1240, height=1754) -> Image.Image:
    """Soft shapes with some grain."""
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (7, 5, 3), dtype=np.uint8))
    soft = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)
    return Image.fromarray((soft + rng.integers(-9, 10, soft.shape)).clip(0, 255).astype(np.uint8))


@given(SIDES, SIDES, st.sampled_from([1, 6, 12, 40]))
def test_reference_is_the_default_policy(width, height, max_tiles):
    assert choose_grid((width, height), max_tiles=max_tiles) == tile_grid(width, height, max_tiles=max_tiles)


@given(SIDES, SIDES, st.booleans(), st.integers(1, 5), st.integers(0, 30))
def test_auto_respects_both_limits(width, height, dense, min_tiles, extra):
    grid = auto_grid(width, height, dense=dense, min_tiles=min_tiles, max_tiles=min_tiles + extra)
    assert min_tiles <= grid.num_tiles <= min_tiles + extra


@given(SIDES, SIDES, st.booleans())
def test_auto_takes_the_fewest_tiles_that_keep_the_resolution(width, height, dense):
    wanted = 1.5 if dense else 1.0
    grid = auto_grid(width, height, dense=dense, max_tiles=24)
    kept = min(448 * grid.columns / width, 448 * grid.rows / height) / wanted
    others = [
        (i * j, min(448 * i / width, 448 * j / height) / wanted)
        for i in range(1, 25)
        for j in range(1, 24 // i + 1)
    ]
    if kept >= 0.8:
        assert all(share < 0.8 for tiles, share in others if tiles < grid.num_tiles)
    else:
        assert kept == max(share for _, share in others)


@pytest.mark.parametrize(
    ("size", "reference", "auto"),
    [
        ((448, 448), 1, 1),
        ((500, 375), 12, 1),
        ((640, 480), 12, 2),
        ((1024, 768), 12, 4),
        ((3840, 2160), 8, 12),
    ],
)
def test_small_photos_cost_less_than_the_reference(size, reference, auto):
    assert choose_grid(size).num_tiles == reference
    assert choose_grid(size, policy="auto").num_tiles == auto


def test_a_dense_page_gets_more_tiles_than_a_photo_of_its_size():
    assert choose_grid(photo(), policy="auto") == (3, 4)
    assert choose_grid(page(), policy="auto") == (4, 5)
    assert choose_grid((2480, 3508), policy="auto", dense=True) == (4, 6)


def test_a_given_limit_binds_dense_pages_too():
    assert choose_grid(page(), policy="auto", max_tiles=4).num_tiles <= 4
    assert choose_grid(page(), policy="auto", detail="low").num_tiles <= 6


def test_detail_is_lmdeploys_scale():
    size = (4000, 4000 * 5 // 7)
    grids = [choose_grid(size, detail=detail) for detail in ("low", "medium", "high")]
    assert grids == [tile_grid(*size, max_tiles=limit) for limit in (6, 12, 24)]


def test_a_models_own_limit_holds_when_nothing_is_asked():
    assert choose_grid((640, 480), default_max_tiles=1) == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"policy": "smart"}, "tile_policy='smart'"),
        ({"detail": "ultra"}, "detail='ultra'"),
        ({"detail": "low", "max_tiles": 3}, "give one of them"),
        ({"max_tiles": 0}, "min_tiles"),
    ],
)
def test_wrong_wishes_are_named(arguments, match):
    with pytest.raises(ConfigError, match=match):
        choose_grid((10, 10), **arguments)


def test_empty_pictures_are_refused_under_both_policies():
    for policy in ("reference", "auto"):
        with pytest.raises(MediaError):
            choose_grid((0, 5), policy=policy)


def test_print_is_dense_and_photos_blanks_and_specks_are_not():
    assert is_dense(page())
    assert is_dense(page(620, 877))
    assert not is_dense(photo())
    assert not is_dense(Image.new("RGB", (1240, 1754), "white"))
    assert not is_dense(Image.new("RGB", (1, 1)))
    assert not is_dense(Image.new("RGB", (9000, 1)))

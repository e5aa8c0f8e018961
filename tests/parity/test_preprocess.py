"""Tiles and pixel values against the recorded reference."""

import hashlib
import json

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from golden import GOLDEN, requires_golden
from internvl.preprocess.tiling import cut_tiles, tile_grid
from internvl.preprocess.transforms import CLIP, IMAGENET, SIGLIP, normalize, pad_to_square

pytestmark = [pytest.mark.parity, requires_golden]

FOLDER = GOLDEN / "preprocess"
ITEMS = json.loads((FOLDER / "golden.json").read_text())["items"] if FOLDER.is_dir() else []


@pytest.fixture(scope="module")
def tensors():
    return load_file(FOLDER / "golden.safetensors")


def as_reference_opens(file: str) -> Image.Image:
    """The reference neither rotates nor composites: quirk 1 of FACTS.md."""
    with Image.open(GOLDEN / "images" / file) as image:
        return image.convert("RGB")


def test_every_recorded_grid_is_reproduced():
    recorded = json.loads((FOLDER / "grids.json").read_text())
    wrong = [
        (row, grid)
        for row in recorded["rows"]
        for w, h, size, low, high, *expected in [row]
        if list(grid := tile_grid(w, h, min_tiles=low, max_tiles=high, image_size=size)) != expected
    ]
    assert not wrong


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item["file"])
def test_tiles_are_bit_equal_to_the_recorded_ones(item, tensors):
    image = as_reference_opens(item["file"])
    assert hashlib.sha256(np.asarray(image).tobytes()).hexdigest() == item["rgb_sha256"]
    for case in item["cases"]:
        size = case["image_size"]
        grid = tile_grid(*image.size, min_tiles=case["min_num"], max_tiles=case["max_num"], image_size=size)
        tiles = cut_tiles(image, grid=grid, image_size=size, thumbnail=case["use_thumbnail"])
        assert list(grid) == case["grid"], case
        assert len(tiles) == case["num_tiles"], case
        assert hashlib.sha256(tiles.tobytes()).hexdigest() == case["tiles_u8_sha256"], case
        if "u8_key" in case:
            np.testing.assert_array_equal(tiles, tensors[case["u8_key"]])
        if "pixel_sub_key" in case:
            pixels = normalize(tiles).numpy()
            np.testing.assert_allclose(
                pixels[:3, :, ::64, ::64], tensors[case["pixel_sub_key"]], atol=1e-6, rtol=0
            )
            recorded = case["pixel_values_stats"]
            means = pixels.mean(axis=(2, 3), dtype=np.float64).ravel()
            np.testing.assert_allclose(means, recorded["mean"], atol=2e-5, rtol=0)


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item["file"])
def test_single_tile_transforms_match(item, tensors):
    image = as_reference_opens(item["file"])
    ways = {
        "max1": (image, IMAGENET),
        "pad2square": (pad_to_square(image), IMAGENET),
        "clip": (image, CLIP),
        "siglip": (image, SIGLIP),
    }
    compared = 0
    for name, (picture, stats) in ways.items():
        key = f"{item['file']}.s28.{name}.pixel_values"
        if key in tensors:
            tiles = cut_tiles(picture, grid=tile_grid(1, 1), image_size=28)
            np.testing.assert_allclose(
                normalize(tiles, stats=stats).numpy(), tensors[key], atol=1e-6, rtol=0, err_msg=name
            )
            compared += 1
    assert compared >= 2

"""uint8 tiles -> floats."""

import numpy as np
import pytest
import torch
from PIL import Image

from internvl.preprocess.transforms import IMAGENET, SIGLIP, normalize, pad_to_square


def test_pixels_are_scaled_shifted_and_put_channels_first():
    tiles = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)
    pixels = normalize(tiles)
    assert pixels.shape == (2, 3, 4, 4)
    assert pixels.dtype == torch.float32
    assert pixels.is_contiguous()
    for n, y, x, c in [(0, 0, 0, 0), (1, 3, 2, 1), (0, 2, 3, 2)]:
        expected = (tiles[n, y, x, c] / 255 - IMAGENET.mean[c]) / IMAGENET.std[c]
        assert pixels[n, c, y, x].item() == pytest.approx(expected, abs=1e-6)


def test_read_only_tiles_are_accepted_and_left_alone():
    tiles = np.full((1, 2, 2, 3), 255, dtype=np.uint8)
    tiles.flags.writeable = False
    assert torch.equal(normalize(tiles, stats=SIGLIP), torch.ones(1, 3, 2, 2))
    assert (tiles == 255).all()


@pytest.mark.parametrize(
    "tiles", [np.zeros((1, 2, 2, 3)), np.zeros((2, 2, 3), np.uint8), np.zeros((1, 3, 2, 2), np.uint8)]
)
def test_other_arrays_are_refused(tiles):
    with pytest.raises(ValueError, match=r"expected uint8 \(N, S, S, 3\)"):
        normalize(tiles)


@pytest.mark.parametrize("size", [(5, 3), (3, 5), (4, 4)])
def test_padding_centres_the_picture_on_the_mean_colour(size):
    square = pad_to_square(Image.new("RGB", size, "red"))
    assert square.size == (max(size), max(size))
    colours = {colour: count for count, colour in square.getcolors()}
    assert colours.pop((255, 0, 0)) == size[0] * size[1]
    assert set(colours) <= {(123, 116, 103)}

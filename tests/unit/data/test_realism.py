"""Photographs: boxes go where the ink goes."""

import random

import numpy as np
import pytest
from PIL import Image, ImageDraw

from internvl.data.realism import move_boxes, photograph


def drawing():
    image = Image.new("RGB", (420, 300), (250, 250, 250))
    box = [150, 90, 260, 170]
    ImageDraw.Draw(image).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=(0, 0, 0))
    return image, box


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("weights", [(0, 1, 0), (0, 0, 1)])
def test_a_box_moves_with_its_ink(seed, weights):
    image, box = drawing()
    photo = photograph(random.Random(seed), image, text_px=30, weights=weights)
    x0, y0, x1, y1 = (round(v) for v in photo.box(box))
    dark = 255 - np.asarray(photo.image.convert("L")).astype(int)[y0 - 6 : y1 + 6, x0 - 6 : x1 + 6]
    marked = dark > (np.percentile(dark, 90) + np.percentile(dark, 2)) / 2
    rows, columns = np.flatnonzero(marked.mean(axis=1) > 0.3), np.flatnonzero(marked.mean(axis=0) > 0.3)
    found = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    expected = (6, 6, x1 - x0 + 6, y1 - y0 + 6)
    # a turned rectangle is smaller than the upright box around it
    assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) <= 9


@pytest.mark.parametrize("seed", range(8))
def test_forward_undoes_backward(seed):
    image, _ = drawing()
    photo = photograph(random.Random(seed), image, text_px=30, weights=(0, 0, 1))
    points = np.array([(30.0, 40.0), (380.0, 20.0), (210.0, 150.0), (60.0, 280.0)])
    warp = photo.warp
    back = warp.sources(warp.forward(points)) - np.asarray(warp.offset)
    assert np.abs(back - points).max() < 0.2


def test_a_clean_picture_stays_as_it_is():
    image, box = drawing()
    photo = photograph(random.Random(1), image, text_px=30, weights=(1, 0, 0))
    truth = {"cells": [{"box": list(box)}]}
    move_boxes(truth, photo)
    assert photo.image is image
    assert truth == {"cells": [{"box": box}]}


def test_every_box_of_a_truth_moves():
    image, box = drawing()
    photo = photograph(random.Random(2), image, text_px=30, weights=(0, 0, 1))
    truth = {"a": [{"box": list(box), "text": "x"}], "b": {"c": {"box": list(box)}}}
    move_boxes(truth, photo)
    assert truth["a"][0]["box"] == truth["b"]["c"]["box"] == photo.box(box) != box


def test_text_never_gets_too_small():
    image, _ = drawing()
    for seed in range(40):
        photo = photograph(random.Random(seed), image, text_px=15, weights=(0, 1, 1))
        assert photo.text_px >= 12.99

"""Frame numbers equal the reference's, for chat (model cards) and for training."""

import json

import pytest
from golden import GOLDEN, requires_golden

from internvl.media.frame_sampling import fps_indices, interval_indices, segment_indices

pytestmark = [pytest.mark.parity, requires_golden]


def recorded(name):
    return json.loads((GOLDEN / "preprocess" / "frames.json").read_text())[name]


def test_segments_equal_the_model_cards_get_index():
    rows = recorded("model_card_get_index")
    assert len(rows) > 50
    for row in rows:
        first, last = 0, row["max_frame"]
        if row["bound"]:
            first, last = round(row["bound"][0] * row["fps"]), round(row["bound"][1] * row["fps"])
        indices = segment_indices(first, min(last, row["max_frame"]), row["num_segments"])
        assert indices == row["indices"], row


def test_training_indices_equal_get_frame_indices():
    rows = recorded("get_frame_indices")
    assert len(rows) > 300
    for row in rows:
        if row["sample"] == "middle":
            indices = interval_indices(row["vlen"], row["num_frames"])
        else:
            rate = float(row["sample"].removeprefix("fps"))
            indices = fps_indices(row["vlen"], row["input_fps"], rate, row["max_num_frames"])
        assert indices == row["indices"], row

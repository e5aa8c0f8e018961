"""Videos as the reference sees them: frame numbers, for chat and for training, and prompts."""

import json

import pytest
from PIL import Image

from golden import GOLDEN, requires_golden
from internvl import load_processor
from internvl.media.frame_sampling import fps_indices, interval_indices, segment_indices
from internvl.preprocess.processor import TileLimits
from recorded_chats import GITHUB, HF, read_recording

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


def frames_of(names):
    return [Image.open(GOLDEN / "images" / name) for name in names]


@pytest.mark.parametrize("name", GITHUB)
def test_a_video_is_asked_about_as_the_model_cards_do(name):
    directory = GOLDEN / "checkpoints" / name
    recording = read_recording(directory)
    case = recording["cases"].get("video")
    if case is None:
        pytest.skip("no video recorded")
    video = {"type": "video", "video": frames_of([entry["file"] for entry in recording["frames"]])}
    asked = case["question"].rpartition("<image>\n")[2]
    inputs = load_processor(directory)(
        [{"role": "user", "content": [video, {"type": "text", "text": asked}]}]
    )
    assert inputs.prompt == case["prompt"]
    assert inputs.input_ids.tolist() == case["input_ids"]
    assert [item.kind for item in inputs.media] == ["frame"] * len(recording["frames"])
    by_hand = load_processor(directory)(
        [{"role": "user", "content": [video, {"type": "text", "text": case["question"]}]}]
    )
    assert by_hand.input_ids.tolist() == case["input_ids"]


@pytest.mark.parametrize("name", HF)
def test_a_video_is_asked_about_as_transformers_does(name):
    directory = GOLDEN / "checkpoints_hf" / name
    processor, recording = load_processor(directory), read_recording(directory)
    for case_name in ("video", "image_and_video"):
        case = recording["cases"][case_name]
        sources = {"image": frames_of(case["images"][:1]), "video": [frames_of(case["video_frames"])]}
        content = [
            part if part["type"] == "text" else {**part, part["type"]: sources[part["type"]][0]}
            for part in case["messages"][0][0]["content"]
        ]
        limits = TileLimits(max_tiles=case["processor_kwargs"].get("max_patches", 12))
        inputs = processor([{"role": "user", "content": content}], tile_limits=limits)
        assert inputs.input_ids.tolist() == case["input_ids"][0], case_name
        assert len(inputs.pixel_values) == case["num_tiles"]

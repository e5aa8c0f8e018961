"""Prompts, ids and pixels of every recorded conversation, of both checkpoint layouts.

Pictures are handed over opened: then intake changes nothing about them (FACTS 6.1).
"""

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from golden import GOLDEN, requires_golden
from internvl.checkpoint.hf_config import read_model_config
from internvl.preprocess.processor import Processor, TileLimits
from internvl.preprocess.tokenizer import load_tokenizer
from recorded_chats import GITHUB, HF, messages_of, picture_parts, read_recording

pytestmark = [pytest.mark.parity, requires_golden]


def load(directory):
    processor = Processor(read_model_config(directory), load_tokenizer(directory))
    return processor, read_recording(directory)


def open_picture(name):
    return Image.open(GOLDEN / "images" / name)


def recorded_pixels(recording, names):
    files = [
        recording.get("frames_pixel_values_file")
        if name == "frames"
        else recording["images"][int(name[5:])].get("pixel_values_file")
        for name in names
    ]
    if None in files:  # the 448-pixel checkpoint records no pixels; its tiles are tested in test_tiling
        return None
    return torch.cat([load_file(GOLDEN / file)["pixel_values"] for file in files])


@pytest.mark.parametrize("name", GITHUB)
def test_github_conversations_equal_the_recorded_ones(name):
    processor, recording = load(GOLDEN / "checkpoints" / name)
    assert processor.template.name == recording["template"]
    for case_name, case in recording["cases"].items():
        if case_name == "batch_chat":
            continue
        inputs = processor(messages_of(recording, case))
        assert inputs.prompt == case["prompt"], case_name
        assert [inputs.input_ids.tolist()] == torch.tensor(case["input_ids"]).view(1, -1).tolist(), case_name
        assert processor.stop_token_ids[0] == case["eos_token_id"]
        if case["pixel_values"] is None:
            assert inputs.pixel_values is None
            continue
        expected = recorded_pixels(recording, case["pixel_values"])
        if expected is not None:
            torch.testing.assert_close(inputs.pixel_values, expected, rtol=0, atol=1e-6)
        if case["num_patches_list"] is not None:
            assert [usage.num_tiles for usage in inputs.media] == case["num_patches_list"]


@pytest.mark.parametrize("name", GITHUB)
def test_each_conversation_of_a_recorded_batch_equals_its_row(name):
    processor, recording = load(GOLDEN / "checkpoints" / name)
    case = recording["cases"]["batch_chat"]
    rows = zip(case["questions"], case["pixel_values"], case["prompts"], strict=True)
    encoded = []
    for question, image, prompt in rows:
        text = {"type": "text", "text": question}
        inputs = processor([{"role": "user", "content": [*picture_parts(recording, [image]), text]}])
        assert inputs.prompt == prompt
        encoded.append(inputs.input_ids.tolist())
    batch = processor.tokenizer.pad(encoded, "left")
    assert batch.input_ids == case["input_ids"]
    assert batch.attention_mask == case["attention_mask"]


def hf_messages(case, conversation, pictures):
    """Fill the recorded conversation: pictures in order, a video as its frames (see below)."""
    messages = []
    for message in case["messages"][conversation]:
        content = []
        for part in message["content"]:
            if part["type"] == "image":
                content.append({"type": "image", "image": open_picture(next(pictures))})
            else:
                content.append(part)
        messages.append({"role": message["role"], "content": content})
    return messages


def hf_limits(case):
    known = {"max_patches", "crop_to_patches"}
    assert set(case["processor_kwargs"]) <= known
    crop = case["processor_kwargs"].get("crop_to_patches", True)
    return TileLimits(max_tiles=case["processor_kwargs"].get("max_patches", 12) if crop else 1)


@pytest.mark.parametrize("name", HF)
def test_transformers_conversations_equal_the_recorded_ones(name):
    processor, recording = load(GOLDEN / "checkpoints_hf" / name)
    tensors = load_file(GOLDEN / "checkpoints_hf" / name / "golden" / "golden.safetensors")
    for case_name, case in recording["cases"].items():
        if case["video_frames"]:
            continue  # next test
        pictures = iter(case["images"])
        tiles, encoded = [], []
        for conversation in range(len(case["messages"])):
            inputs = processor(hf_messages(case, conversation, pictures), tile_limits=hf_limits(case))
            encoded.append(inputs.input_ids.tolist())
            block = "<img>" + "<IMG_CONTEXT>" * processor.config.tokens_per_tile
            assert block in inputs.prompt or not inputs.media
            if inputs.pixel_values is not None:
                tiles.append(inputs.pixel_values)
        batch = processor.tokenizer.pad(encoded, "left")
        assert batch.input_ids == case["input_ids"], case_name
        assert batch.attention_mask == case["attention_mask"], case_name
        assert sum(map(len, tiles)) == case["num_tiles"]
        recorded = tensors.get(f"{case_name}.pixel_values")
        if recorded is not None:
            # recorded with torchvision's resize, which differs by a few grey levels (FACTS 6.1)
            assert (torch.cat(tiles) - recorded).abs().mean() < 0.01


@pytest.mark.parametrize("name", HF)
def test_a_recorded_video_equals_its_frames_as_pictures(name):
    processor, recording = load(GOLDEN / "checkpoints_hf" / name)
    for case_name in ("video", "image_and_video"):
        case = recording["cases"][case_name]
        frames = [
            {"type": "image", "image": open_picture(file), "max_tiles": 1} for file in case["video_frames"]
        ]
        shown = "".join(f"Frame{n}: <image>\n" for n in range(1, len(frames) + 1))
        content = []
        for part in case["messages"][0][0]["content"]:
            if part["type"] == "image":
                picture = {"type": "image", "image": open_picture(case["images"][0])}
                content += [picture, {"type": "text", "text": "<image>\n"}]
            elif part["type"] == "video":
                content += [*frames, {"type": "text", "text": shown}]
            else:
                content.append(part)
        inputs = processor([{"role": "user", "content": content}], tile_limits=hf_limits(case))
        if case_name == "video":
            # transformers puts a line end between the frames and one more after the last
            assert inputs.input_ids.tolist() == case["input_ids"][0]
        assert len(inputs.pixel_values) == case["num_tiles"]


@pytest.mark.parametrize("name", HF)
def test_tiles_equal_transformers_with_pillow(name):
    processor, recording = load(GOLDEN / "checkpoints_hf" / name)
    tensors = load_file(GOLDEN / "checkpoints_hf" / name / "golden" / "golden.safetensors")
    compared = 0
    for entry in recording["processing"]:
        tiles = processor.tiles(open_picture(entry["file"]), max_tiles=entry["max_patches"])
        assert list(tiles.shape) == entry["shape"], entry
        if entry["key"] is not None:
            torch.testing.assert_close(tiles, tensors[f"{entry['key']}.pil"], rtol=0, atol=1e-6)
            compared += 1
    assert compared

"""A video in a message is its frames: where they stand, what they cost, what may be said about them."""

import base64

import numpy as np
import pytest

from internvl import load_video
from internvl.errors import MediaError, RequestError
from internvl.media.frame_sampling import segment_indices
from internvl.media.limits import AddressPolicy
from internvl.preprocess.processor import Processor, TileLimits
from tiny_clips import HEIGHT, WIDTH, numbered, write_clip
from tiny_engines import tiny_parts

FRAMES = [numbered(n) for n in range(3)]
IMAGE = {"type": "image", "image": numbered(9), "max_tiles": 1}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clips") / "a.mp4")


@pytest.fixture(params=["internvl2_5", "internvl_hf"])
def processor(request):
    return Processor(tiny_parts()[1].config, tiny_parts()[1].tokenizer, request.param)


def video(frames=FRAMES, **options):
    return {"type": "video", "video": frames, **options}


def ask(processor, *parts, **options):
    content = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
    return processor([{"role": "user", "content": content}], **options)


def asked(processor, *parts):
    """The text of the only message, pictures as <image>."""
    prompt = ask(processor, *parts).prompt
    block = "<img>" + "<IMG_CONTEXT>" * processor.config.tokens_per_tile + "</img>"
    return prompt.replace(block, "<image>").rpartition("user\n")[2].partition("<|im_end|>")[0]


THREE = "Frame1: <image>\nFrame2: <image>\nFrame3: <image>"


def test_frames_stand_before_the_question_a_line_each(processor):
    assert asked(processor, video(), "What?") == f"{THREE}\nWhat?"


def test_a_video_placeholder_is_filled_by_all_frames(processor):
    assert asked(processor, "Watch: <video>\nWhat?", video()) == f"Watch: {THREE}\nWhat?"


def test_a_text_may_name_every_frame_itself(processor):
    text = "Frame-1: <image>\nFrame-2: <image>\nFrame-3: <image>\nWhat?"
    assert asked(processor, text, video()) == text


def test_a_picture_and_a_video_keep_their_order(processor):
    assert asked(processor, IMAGE, video(), "What?") == f"<image>\n{THREE}\nWhat?"
    assert asked(processor, "<image> and <video>?", video(), IMAGE) == f"<image> and {THREE}?"
    assert asked(processor, "This: <image>?", video(), IMAGE) == f"{THREE}\nThis: <image>?"


def test_each_video_counts_its_own_frames(processor):
    two = video(FRAMES[:1])
    assert asked(processor, two, two, "?") == "Frame1: <image>\nFrame1: <image>\n?"
    assert [item.video for item in ask(processor, two, video(), "?").media] == [0, 1, 1, 1]


def test_without_a_video_its_placeholder_is_text(processor):
    assert asked(processor, "What does <video> mean?") == "What does <video> mean?"


@pytest.mark.parametrize("text", ["<video> <video>", "<image>", "<image> <image>", "<image> <video>"])
def test_placeholders_and_videos_have_to_match(processor, text):
    with pytest.raises(RequestError, match="placeholder"):
        ask(processor, text, video())


def test_a_frame_is_one_tile_and_says_where_it_comes_from(processor, clip):
    inputs = ask(processor, video(clip, num_frames=4, start=0.5, end=1.5), "?")
    indices = segment_indices(12, 36, 4)
    assert [item.frame_index for item in inputs.media] == indices
    assert [item.timestamp_s for item in inputs.media] == [round(index / 24, 3) for index in indices]
    assert {(item.kind, item.width, item.height, item.num_tiles) for item in inputs.media} == {
        ("frame", WIDTH, HEIGHT, 1)
    }
    assert len(inputs.pixel_values) == 4
    # the engine's wishes for pictures do not cut frames up
    limited = ask(processor, video(clip, num_frames=2), "?", tile_limits=TileLimits(min_tiles=3, max_tiles=6))
    assert len(limited.pixel_values) == 2


def test_frames_may_be_cut_finer_on_request(processor, clip):
    inputs = ask(processor, video(clip, num_frames=2, max_tiles=12, thumbnail=False), "?")
    assert [item.num_tiles for item in inputs.media] == [12, 12]
    assert len(inputs.pixel_values) == 24


def test_a_frame_is_the_same_picture_as_the_frame_given_as_a_picture(processor, clip):
    frames = load_video(clip, num_frames=2).frames
    pictures = [{"type": "image", "image": frame, "max_tiles": 1} for frame in frames]
    as_video, as_pictures = ask(processor, video(clip, num_frames=2), "?"), ask(processor, *pictures, "?")
    assert np.array_equal(as_video.pixel_values, as_pictures.pixel_values)
    assert [item.content_hash for item in as_video.media] == [item.content_hash for item in as_pictures.media]


def test_a_plan_decodes_nothing_but_says_what_the_call_will_cost(processor, clip, monkeypatch):
    part = video(load_video(clip, num_frames=5))
    messages = [{"role": "user", "content": [part, {"type": "text", "text": "?"}]}]
    cost = processor(messages).media
    monkeypatch.setattr("internvl.media.video_file.VideoFile.read", None)
    planned = processor.plan(messages)
    assert [item.num_tokens for item in planned] == [item.num_tokens for item in cost]
    assert [item.timestamp_s for item in planned] == [item.timestamp_s for item in cost]


def test_a_video_that_is_held_is_decoded_once(processor, clip, monkeypatch):
    held = load_video(clip, num_frames=5)
    first = ask(processor, video(held), "?")
    monkeypatch.setattr("internvl.media.video_file.VideoFile.read", None)
    again = ask(processor, video(held), "And now?")
    assert np.array_equal(first.pixel_values, again.pixel_values)


def test_a_video_url_is_read_where_local_files_are_not(processor, clip):
    processor.policy = AddressPolicy(allow_local_files=False)
    url = "data:video/mp4;base64," + base64.b64encode(clip.read_bytes()).decode()
    part = {"type": "video_url", "video_url": {"url": url, "num_frames": 3}}
    assert len(ask(processor, part, "?").media) == 3
    with pytest.raises(MediaError, match=r"messages\[0\]\.content\[0\]: .*local files are not read"):
        ask(processor, {"type": "video_url", "video_url": str(clip)}, "?")


def test_a_video_in_an_earlier_turn_keeps_its_place(processor, clip):
    messages = [
        {"role": "user", "content": [video(clip, num_frames=2), {"type": "text", "text": "What?"}]},
        {"role": "assistant", "content": "A bar."},
        {"role": "user", "content": [IMAGE, {"type": "text", "text": "And this?"}]},
    ]
    inputs = processor(messages)
    assert [item.kind for item in inputs.media] == ["frame", "frame", "image"]
    assert [item.index for item in inputs.media] == [0, 1, 2]

"""Pictures and videos are told apart by what they hold; a name counts only where there is nothing to see."""

from pathlib import Path

import numpy as np
import pytest

from internvl import load_video
from internvl.chat.call_forms import looks_like_media, user_message
from internvl.media.kind import media_kind
from internvl.vl import encode_image_base64, encode_video_base64, load_image
from internvl.vl import load_video as load_arrays
from tiny_clips import numbered, numbers_in, write_clip, write_gif


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    directory = tmp_path_factory.mktemp("media")
    write_clip(directory / "clip.mp4", 8)
    (directory / "video.png").write_bytes((directory / "clip.mp4").read_bytes())
    write_gif(directory / "moving.gif")
    write_gif(directory / "still.gif", 1)
    write_clip(directory / "moving.png.apng", 4, codec="apng", pixel_format="rgb24")
    numbered(1).save(directory / "picture.mp4", "PNG")
    (directory / "empty.mp4").touch()
    (directory / "frames").mkdir()
    numbered(1).save(directory / "frames" / "1.png")
    (directory / "nothing").mkdir()
    return directory


@pytest.mark.parametrize("name", ["clip.mp4", "video.png", "moving.gif", "moving.png.apng", "frames"])
def test_what_moves_is_a_video_whatever_its_name(folder, name):
    path = folder / name
    assert media_kind(path) == media_kind(str(path)) == media_kind(path.as_uri()) == "video"
    if path.is_file():
        assert media_kind(path.read_bytes()) == "video"
    assert user_message(("?", str(path)))["content"][0] == {"type": "video", "video": str(path)}
    assert looks_like_media(str(path))


@pytest.mark.parametrize("name", ["still.gif", "picture.mp4", "empty.mp4", "nothing"])
def test_everything_else_is_read_as_a_picture(folder, name):
    assert media_kind(folder / name) == "image"
    assert user_message(("?", folder / name))["content"][0]["type"] == "image"


def test_where_there_is_nothing_to_see_the_name_decides():
    for name in ("missing.mp4", "https://host/a.MOV?x=1", "http://host/b.webm", "data:video/mp4;base64,AA"):
        assert media_kind(name) == "video"
        assert looks_like_media(name)
    for name in (
        "missing.png",
        "https://host/a.png?v=.mp4",
        "https://host/watch",
        "data:image/png;base64,AA",
        "",
    ):
        assert media_kind(name) == "image"
    assert media_kind(Path("missing.mkv")) == "video"


def test_opened_videos_and_arrays_of_frames_are_videos(folder):
    array = np.zeros((2, 4, 4, 3), np.uint8)
    loaded = load_arrays(folder / "clip.mp4", num_frames=2)
    for video in (load_video(folder / "clip.mp4"), array, loaded, (array, {"fps": 1.0})):
        assert media_kind(video) == "video"
        assert user_message(("?", video))["content"][0]["type"] == "video"
    for picture in (array[0], numbered(1), (array, array), None):
        assert media_kind(picture) == "image"


def test_lmdeploys_load_video_returns_frames_and_facts(folder):
    frames, metadata = load_arrays(str(folder / "clip.mp4"), num_frames=4)
    assert frames.shape == (4, 48, 64, 3)
    assert frames.dtype == np.uint8
    assert metadata["total_num_frames"] == 8
    assert metadata["frames_indices"] == list(load_video(folder / "clip.mp4", num_frames=4).indices)
    assert metadata["duration"] == pytest.approx(8 / 24, abs=0.001)


def test_a_hostile_gif_is_looked_at_in_bounded_steps(folder):
    endless = b"GIF89a" + b"\1\0\1\0\0\0\0" + b"!\xfe" + b"\1x" * 300_000
    assert media_kind(endless) in ("image", "video")


def test_lmdeploys_encoders_make_what_a_message_takes(folder):
    picture = numbered(5)
    url = "data:image/png;base64," + encode_image_base64(picture)
    assert load_image(url).tobytes() == picture.tobytes()
    file = load_video("data:video/mp4;base64," + encode_video_base64(folder / "clip.mp4"), num_frames=4)
    frames = load_arrays(folder / "clip.mp4", num_frames=4)
    shown = load_video("data:video/jpeg;base64," + encode_video_base64(frames))
    assert numbers_in(shown) == numbers_in(file) == list(file.indices)

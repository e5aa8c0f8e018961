"""The token bill of a request that does not fit: what costs how much, and what to change."""

import pytest

from internvl.engine.context import check_context
from internvl.errors import ContextLengthError
from internvl.types import MediaUsage, TileGrid


def usage(index, **fields):
    fields = {"width": 640, "height": 480, "grid": TileGrid(1, 1), "thumbnail": False, **fields}
    return MediaUsage(index=index, num_tokens=256, **fields)


def bill(*media, **changes):
    sizes = {"num_prompt_tokens": 9000, "max_new_tokens": 100, "session_len": 1000, "model_context": 32768}
    with pytest.raises(ContextLengthError) as caught:
        check_context(media=media, **{**sizes, **changes})
    return str(caught.value)


def test_a_video_is_one_line_of_the_bill_and_its_frames_can_be_fewer():
    frames = [usage(n, kind="frame", video=0) for n in range(32)]
    message = bill(*frames, usage(32), usage(33, kind="frame", video=1))
    assert "8192  video 1, 32 frames, each 640x480: 1x1 tiles = 1 x 256" in message
    assert "256  image 33, 640x480" in message
    assert "256  video 2, 1 frame," in message
    assert "num_frames" in message
    assert "fewer pictures" not in message
    assert len(message.splitlines()) == 7


def test_pictures_are_a_line_each():
    message = bill(usage(0), usage(1))
    assert "256  image 1" in message
    assert "256  image 2" in message
    assert "fewer pictures" in message
    assert "num_frames" not in message

"""Bounds: the token bill, the blocks that fit into memory, and the pictures that are kept."""

import pytest
import torch

from fakes import tiny_text_config
from internvl.config.memory import kv_bytes_per_token
from internvl.engine.config import EngineConfig
from internvl.engine.context import check_context, room_for_answer
from internvl.engine.feature_cache import FeatureCache
from internvl.engine.memory import fitting_blocks
from internvl.errors import CapacityError, ContextLengthError
from internvl.nn.device import free_bytes
from internvl.types import MediaUsage, TileGrid


def picture(index, columns, rows):
    thumbnail = columns * rows > 1
    tiles = columns * rows + thumbnail
    grid = TileGrid(columns, rows)
    size = {"width": 100 * columns, "height": 100 * rows}
    return MediaUsage(index=index, grid=grid, thumbnail=thumbnail, num_tokens=256 * tiles, **size)


def check(media=(), prompt=100, answer=50, session=8192, context=32768):
    check_context(
        num_prompt_tokens=prompt + sum(item.num_tokens for item in media),
        media=media,
        max_new_tokens=answer,
        session_len=session,
        model_context=context,
    )


def test_what_fits_exactly_is_accepted():
    check(prompt=100, answer=28, session=128)
    with pytest.raises(ContextLengthError):
        check(prompt=100, answer=29, session=128)


def test_the_bill_adds_up_and_says_what_to_do():
    with pytest.raises(ContextLengthError) as caught:
        check([picture(0, 4, 3), picture(1, 4, 3), picture(2, 1, 1)], answer=1500)
    assert str(caught.value).splitlines() == [
        "the request needs 8512 tokens, session_len is 8192:",
        "      100  text, roles and picture marks",
        "     3328  image 1, 400x300: 4x3 tiles + overview = 13 x 256",
        "     3328  image 2, 400x300: 4x3 tiles + overview = 13 x 256",
        "      256  image 3, 100x100: 1x1 tiles = 1 x 256",
        "     1500  answer (max_new_tokens)",
        'To make it fit: fewer tiles per picture (EngineConfig.max_tiles, or "max_tiles" beside the picture);'
        " fewer pictures; a smaller max_new_tokens; a larger EngineConfig.session_len (at least 8512;"
        " this model's context is 32768).",
    ]


def test_only_what_can_help_is_suggested():
    with pytest.raises(ContextLengthError) as caught:
        check(prompt=9000, context=8192)
    assert "fewer" not in str(caught.value)
    assert "EngineConfig.session_len" not in str(caught.value)


def test_an_answer_gets_the_room_that_is_left_and_at_least_one_token():
    assert room_for_answer(100, 8192, 512) == 512
    assert room_for_answer(8000, 8192, 512) == 192
    assert room_for_answer(8192, 8192, 512) == 1


def blocks(free, **options):
    config = EngineConfig(max_batch_size=8, **options)
    text = tiny_text_config()
    return fitting_blocks(config, text, session_len=1000, dtype=torch.float32, free=free)


def test_as_many_blocks_as_the_allowed_share_of_memory_holds():
    block = 16 * kv_bytes_per_token(tiny_text_config(), "float32")
    assert blocks(None) == 8 * 63
    assert blocks(10_000 * block) == 8 * 63
    assert blocks(1000 * block, cache_max_entry_count=0.31) == 310
    with pytest.raises(CapacityError, match=r"session_len to 992 or less"):
        blocks(62 * block, cache_max_entry_count=1.0)


def test_this_machine_has_memory():
    free = free_bytes(torch.device("cpu"))
    assert free is None or free > 10**7


def features(size):
    return torch.zeros(1, 1, size, dtype=torch.float32)


def test_the_pictures_used_least_recently_make_room():
    cache = FeatureCache(max_bytes=4 * 100)
    for name in "abcd":
        cache.put(name, features(25))
    assert cache.get("a") is not None
    cache.put("e", features(30))
    assert [name for name in "abcde" if cache.get(name) is not None] == ["a", "d", "e"]
    assert cache.size_bytes == 4 * 80


def test_what_is_too_large_or_has_no_name_is_not_kept():
    cache = FeatureCache(max_bytes=4 * 100)
    cache.put("a", features(50))
    cache.put("big", features(101))
    cache.put("", features(1))
    assert len(cache) == 1
    assert cache.get("") is None
    assert cache.get("a") is not None


def test_a_kept_picture_does_not_hold_its_neighbours():
    together = torch.zeros(10, 1, 5)
    cache = FeatureCache(max_bytes=10**6)
    cache.put("a", together[:1])
    assert cache.get("a").untyped_storage().nbytes() == 20

"""Bounds: the token bill, the blocks that fit into memory, and the pictures that are kept."""

import pytest
import torch

from fakes import tiny_model, tiny_text_config
from internvl.config.memory import kv_bytes_per_token
from internvl.engine.config import EngineConfig
from internvl.engine.context import check_context, room_for_answer
from internvl.engine.feature_cache import FeatureCache
from internvl.engine.memory import plan_memory
from internvl.errors import CapacityError, ConfigError, ContextLengthError
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


def plan(free, session_len=1000, **options):
    options = {"max_batch_size": 8, "vision_cache_bytes": 0, **options}
    return plan_memory(EngineConfig(**options), tiny_model(), session_len=session_len, free=free)


def asked(session_len, free, **options):
    return plan_memory(
        EngineConfig(session_len=session_len, **options), tiny_model(), session_len=session_len, free=free
    )


BLOCK = 16 * (kv_bytes_per_token(tiny_text_config(), "float32") + 4 * 32)
"""Keys, values and features."""
ASIDE = 10**8
"""More than the tiny model needs for anything but its cache."""


def test_whole_sessions_where_memory_holds_them_and_its_allowed_share_otherwise():
    assert plan(None).num_blocks == plan(10**12).num_blocks == 8 * 63
    assert plan(ASIDE + 10**9, cache_max_entry_count=310 * BLOCK / (ASIDE + 10**9)).num_blocks in (309, 310)


def test_what_the_models_work_needs_is_set_aside():
    tiles = 250 * 3 * 56 * 56 * 4
    free = plan(None).activations + tiles + 200 * BLOCK
    found = plan(free, cache_max_entry_count=1.0)
    assert found.num_blocks == 200
    assert found.kv_cache + found.activations + tiles <= free
    assert plan(free, cache_max_entry_count=1.0, vision_cache_bytes=10**5).num_blocks < found.num_blocks
    assert plan(free, cache_max_entry_count=1.0, prefill_chunk_tokens=64).num_blocks > found.num_blocks


def test_a_session_that_was_asked_for_and_does_not_fit_is_refused():
    with pytest.raises(
        CapacityError, match=r"session_len=4000 needs .* GB .* Set EngineConfig.session_len to \d+ or"
    ):
        asked(4000, ASIDE, cache_max_entry_count=1e-3)
    assert plan(None, max_batch_size=99).num_blocks == 8 * 63
    assert plan(None, max_batch_size=99, cache_max_tokens=10**6).num_blocks == 99 * 63
    with pytest.raises(ConfigError, match="cache_max_tokens 500 holds no conversation of session_len=1000"):
        asked(1000, None, cache_max_tokens=500)
    assert plan(None, cache_max_tokens=500).session_len == 496
    assert plan(None, cache_max_tokens=1100).num_blocks == 68


def test_a_session_length_that_nobody_asked_for_shrinks_instead(caplog):
    share = 300 * BLOCK / ASIDE
    found = plan(ASIDE, session_len=16384, cache_max_entry_count=share)
    assert found.session_len == 4096
    assert "sessions of 4096 tokens, not of 16384" in caplog.text
    with pytest.raises(CapacityError):
        plan(ASIDE, session_len=16384, cache_max_entry_count=50 * BLOCK / ASIDE)


def test_the_plan_can_be_read():
    assert plan(None).describe().startswith("8064 tokens, sessions of 1000; GB: weights 0.00, kv cache 0.00")


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

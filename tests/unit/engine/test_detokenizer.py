"""The pieces of an answer add up to the decoded whole, and no piece holds half a character."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from internvl.engine.detokenizer import MAX_UNFINISHED, Detokenizer


def decode_bytes(ids: list[int]) -> str:
    """A byte-level tokenizer of one byte per token."""
    return bytes(ids).decode("utf-8", errors="replace")


def decode_words(ids: list[int]) -> str:
    """A sentencepiece-like tokenizer: word marks become spaces, the first one is dropped."""
    words = ["▁a", "▁big", "cat", "▁", "s", "▁你", "好"]
    return "".join(words[i] for i in ids).replace("▁", " ").removeprefix(" ")


def pieces(decode, ids):
    detokenizer = Detokenizer(decode)
    return [*(detokenizer.push(i) for i in ids), detokenizer.flush()]


@given(st.text(max_size=40))
def test_text_comes_out_whole_and_never_half_a_character(text):
    parts = pieces(decode_bytes, list(text.encode()))
    assert "".join(parts) == text
    if "\ufffd" not in text:
        assert not any("\ufffd" in part for part in parts)


@given(st.binary(max_size=60))
def test_broken_bytes_come_out_as_the_decoder_shows_them(data):
    assert "".join(pieces(decode_bytes, list(data))) == decode_bytes(list(data))


@given(st.lists(st.integers(0, 6), max_size=30))
def test_the_space_between_words_depends_on_what_came_before(ids):
    assert "".join(pieces(decode_words, ids)) == decode_words(ids)


def test_a_letter_is_shown_as_soon_as_its_last_byte_is_there():
    assert pieces(decode_bytes, list("né".encode())) == ["n", "", "é", ""]


def test_a_stream_of_broken_bytes_does_not_wait_for_ever():
    parts = pieces(decode_bytes, [0xFF] * (MAX_UNFINISHED * 3))
    assert "".join(parts) == "\ufffd" * MAX_UNFINISHED * 3
    assert len(parts[-1]) <= MAX_UNFINISHED


@pytest.mark.parametrize("ids", [[], [0xE4], [0xE4, 0xBD]])
def test_what_is_unfinished_at_the_end_is_shown_at_the_end(ids):
    assert pieces(decode_bytes, ids)[-1] == decode_bytes(ids)

"""Stop strings, trimming and the loop guard look at the text, not at how it arrives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from internvl.engine.stopping import EdgeTrimmer, LoopGuard, StopStrings
from internvl.errors import ConfigError

ALPHABET = st.sampled_from("ab \n<|")


def cut(text: str, cuts: list[int]) -> list[str]:
    places = sorted({0, len(text), *(c % (len(text) + 1) for c in cuts)})
    return [text[a:b] for a, b in zip(places, places[1:], strict=False)]


def run(stops: StopStrings, pieces: list[str]) -> tuple[list[str], bool]:
    shown = []
    for piece in pieces:
        text, stopped = stops.push(piece)
        shown.append(text)
        if stopped:
            return shown, True
    return [*shown, stops.flush()], False


def oracle(text: str, stops: list[str], keep: bool) -> tuple[str, bool]:
    """Read letter by letter; the first letter that completes a stop string ends it."""
    for end in range(1, len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop)]
        if found:
            return (text[:end] if keep else text[: end - max(map(len, found))]), True
    return text, False


@given(
    st.text(ALPHABET, max_size=30),
    st.lists(st.text(ALPHABET, min_size=1, max_size=4), max_size=3),
    st.lists(st.integers(0, 40), max_size=12),
    st.booleans(),
)
def test_an_answer_stops_at_the_same_place_however_it_is_cut(text, stops, cuts, keep):
    shown, stopped = run(StopStrings(stops, keep_match=keep), cut(text, cuts))
    assert ("".join(shown), stopped) == oracle(text, stops, keep)


def test_text_that_may_become_a_stop_string_waits_and_the_rest_does_not():
    stops = StopStrings(["<|end|>"])
    assert stops.push("yes <|e") == ("yes ", False)
    assert stops.push("gg ") == ("<|egg ", False)
    assert stops.push("<|en") == ("", False)
    assert stops.push("d|> more") == ("", True)


def test_a_stop_string_before_the_least_length_is_ordinary_text():
    stops = StopStrings(["."])
    assert stops.push("a.b", armed=False) == ("a.b", False)
    assert stops.push("c.d") == ("c", True)


@given(st.text(ALPHABET, max_size=30), st.lists(st.integers(0, 40), max_size=12))
def test_trimmed_pieces_add_up_to_the_trimmed_text(text, cuts):
    trimmer = EdgeTrimmer()
    assert "".join(trimmer.push(piece) for piece in cut(text, cuts)) == text.strip()


def first_loop(token_ids: list[int], size: int, threshold: int) -> int | None:
    """Length of the shortest beginning that ends in `threshold` equal n-grams."""
    for end in range(1, len(token_ids) + 1):
        for n in range(1, size + 1):
            start = end - n * threshold
            if start >= 0 and token_ids[start:end] == token_ids[end - n : end] * threshold:
                return end
    return None


@given(st.lists(st.integers(0, 2), max_size=40), st.integers(1, 5), st.integers(2, 4))
def test_the_guard_closes_exactly_when_an_ngram_has_repeated_often_enough(token_ids, size, threshold):
    guard = LoopGuard(size, threshold)
    closed = (end for end in range(1, len(token_ids) + 1) if guard.closed(token_ids[:end]))
    assert next(closed, None) == first_loop(token_ids, size, threshold)


def test_a_guard_that_could_never_close_is_refused():
    with pytest.raises(ConfigError, match="repetition_ngram_threshold"):
        LoopGuard(4, 0)

"""What ends an answer, in which order, and what is shown of it."""

import pytest

from internvl.engine.answer import Answer, StopRules, join
from internvl.types import GenerationConfig, TokenLogprob

STOP = 0


def spell(ids):
    return "".join("" if i == STOP else chr(i) for i in ids)


def answer(*, stop_strings=(), trim=False, **fields):
    rules = StopRules(stop_token_ids=frozenset([STOP]), stop_strings=stop_strings, trim=trim)
    return Answer(GenerationConfig(**fields), rules, decode=spell, token_text=lambda i: "<stop>")


def feed(made, text):
    """Push letters ("$" is the stop token) until the answer ends."""
    pieces = []
    for letter in text:
        pieces.append(made.push(STOP if letter == "$" else ord(letter)))
        if pieces[-1].finish_reason:
            break
    return join(pieces)


def test_a_stop_token_counts_but_does_not_show():
    whole = feed(answer(), "hello$")
    assert (whole.text, whole.finish_reason) == ("hello", "stop")
    assert whole.token_ids[-1] == STOP


def test_a_stop_token_shows_when_asked_for():
    assert feed(answer(include_stop_str_in_output=True), "hello$").text == "hello<stop>"


def test_a_stop_string_ends_the_text_before_it():
    whole = feed(answer(stop_strings=("END",)), "the END is near")
    assert (whole.text, whole.finish_reason) == ("the ", "stop")


def test_text_held_for_a_stop_string_shows_when_the_answer_ends_otherwise():
    assert feed(answer(stop_strings=("END",)), "the E$").text == "the E"
    assert feed(answer(stop_strings=("END",), max_new_tokens=5), "the EN").text == "the E"
    made = answer(stop_strings=("END",))
    feed(made, "the EN")
    assert made.finish("abort").text == "EN"


def test_the_length_ends_an_answer_at_exactly_that_many_tokens():
    whole = feed(answer(max_new_tokens=3), "hello")
    assert (whole.text, whole.finish_reason, len(whole.token_ids)) == ("hel", "length", 3)


def test_a_stop_at_the_last_token_is_a_stop():
    assert feed(answer(max_new_tokens=3), "he$").finish_reason == "stop"
    assert feed(answer(max_new_tokens=3, stop_strings=("l",)), "hel").finish_reason == "stop"


def test_a_loop_ends_with_its_own_reason():
    whole = feed(answer(repetition_ngram_size=2, repetition_ngram_threshold=3), "xababab")
    assert (whole.text, whole.finish_reason) == ("xababab", "repetition")


def test_before_the_least_length_stop_tokens_are_masked_and_stop_strings_are_text():
    made = answer(min_new_tokens=4, stop_strings=("b",))
    assert set(made.masked_token_ids) == {STOP}
    whole = feed(made, "abaabz")
    assert whole.text == "abaa"
    assert not set(made.masked_token_ids)


def test_trimming_drops_white_space_around_the_text():
    assert feed(answer(trim=True), "  a b \n$").text == "a b"
    kept = answer(trim=True, include_stop_str_in_output=True, stop_strings=("\n",))
    assert feed(kept, " a\n").text == " a\n"


def test_log_probabilities_stay_with_their_tokens():
    made = answer()
    pieces = [made.push(ord(letter), TokenLogprob(ord(letter), -1.0)) for letter in "ab"]
    assert [entry.token_id for entry in join(pieces).logprobs] == [ord("a"), ord("b")]


@pytest.mark.parametrize("reason", ["abort", "error"])
def test_an_end_from_outside_carries_its_reason(reason):
    made = answer()
    feed(made, "ab")
    assert made.finish(reason).finish_reason == made.finish_reason == reason

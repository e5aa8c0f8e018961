"""Thoughts apart from answers, wherever the stream is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from internvl.chat.reasoning import (
    HARMONY_CHANNELS,
    THINK_TAGS,
    THINKING_SYSTEM,
    ReasoningSplitter,
    with_thinking,
)

CASES = [
    ("<think>Hm.</think>\n\nYes.", "Hm.", "Yes."),
    ("\n<think>\nHm.\nSo:\n</think>\nYes.", "Hm.\nSo:", "Yes."),
    ("Yes.", "", "Yes."),
    ("  Yes. <think>no thought</think>", "", "  Yes. <think>no thought</think>"),
    ("<think>cut off", "cut off", ""),
    ("<think>cut off </thi", "cut off </thi", ""),
    ("<think></think>Yes.", "", "Yes."),
    ("<think>a</think>", "a", ""),
    ("<think>a</think>b</think>c", "a", "b</think>c"),
    ("<thin", "", "<thin"),
    ("", "", ""),
    ("\n", "", "\n"),
]


def split(pieces, marks=THINK_TAGS):
    splitter = ReasoningSplitter(marks)
    parts = [*map(splitter.push, pieces), splitter.flush()]
    return "".join(part.reasoning for part in parts), "".join(part.content for part in parts)


@pytest.mark.parametrize(("text", "reasoning", "content"), CASES)
def test_an_answer_is_taken_apart(text, reasoning, content):
    assert split([text]) == (reasoning, content)


@pytest.mark.parametrize(("text", "reasoning", "content"), CASES)
def test_the_place_of_the_cuts_changes_nothing(text, reasoning, content):
    assert split(list(text)) == (reasoning, content)
    for place in range(len(text)):
        assert split([text[:place], text[place:]]) == (reasoning, content)


@given(
    st.lists(st.sampled_from(["<think>", "</think>", "<", "th", "</", " ", "\n", "a", "ü"]), max_size=12),
    st.data(),
)
def test_any_stream_gives_what_the_whole_gives(words, data):
    text = "".join(words)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert split(pieces) == split([text])


def test_thoughts_are_shown_before_they_are_complete():
    splitter = ReasoningSplitter()
    assert splitter.push("<think>One. Two").reasoning == "One. Two"
    assert splitter.push(" three").reasoning == " three"
    assert splitter.push("</think>Done").content == "Done"
    assert splitter.push(" now").content == " now"


def test_the_channels_of_gpt_oss_are_thoughts_and_answer():
    thought = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes."
    for pieces in ([thought], list(thought)):
        assert split(pieces, HARMONY_CHANNELS) == ("Hm.", "Yes.")
    plain = "<|channel|>final<|message|>Yes."
    for pieces in ([plain], list(plain)):
        assert split(pieces, HARMONY_CHANNELS) == ("", "Yes.")
    tagged = "<|channel|>final<|message|><think>Hm.</think>\nYes."
    for pieces in ([tagged], list(tagged)):
        assert split(pieces, HARMONY_CHANNELS) == ("Hm.", "Yes.")


def test_the_request_to_think_stands_before_the_system_messages_own_words():
    question = {"role": "user", "content": "Hi"}
    assert with_thinking([question]) == [{"role": "system", "content": THINKING_SYSTEM}, question]
    briefly = {"role": "system", "content": "Be brief."}
    assert with_thinking([briefly, question])[0]["content"] == f"{THINKING_SYSTEM}\n\nBe brief."
    parts = {"role": "system", "content": [{"type": "text", "text": "Be brief."}]}
    texts = [part["text"] for part in with_thinking([parts, question])[0]["content"]]
    assert "".join(texts) == f"{THINKING_SYSTEM}\n\nBe brief."
    assert with_thinking([{"role": "system", "content": ""}])[0]["content"] == THINKING_SYSTEM

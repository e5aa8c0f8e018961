"""Content and calls out of a streamed answer, wherever it is cut and however broken it is."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from internvl.chat.tool_parser import ToolCallParser
from internvl.preprocess.tool_format import HERMES, PLUGIN

NAMES = ("get_weather", "add")


def parse(pieces, tool_format=HERMES):
    parser = ToolCallParser(tool_format, NAMES)
    read = [*map(parser.push, pieces), parser.flush()]
    calls = [(call.name, json.loads(call.arguments)) for _, calls in read for call in calls]
    return "".join(content for content, _ in read), calls


def call(name="add", arguments='{"a": 1}', end="\n</tool_call>"):
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}{end}'


ADD = ("add", {"a": 1})
CASES = [
    ("Hello.", "Hello.", []),
    (call(), "", [ADD]),
    (f"I will add.\n\n{call()}", "I will add.", [ADD]),
    (f"{call()}\n{call('get_weather', '{}')}", "", [ADD, ("get_weather", {})]),
    (f"a {call()} b {call()} c ", "a b c ", [ADD, ADD]),
    (call(end=""), "", [ADD]),  # the end token came instead of the closing mark
    (call(end="\n"), "", [ADD]),
    ('<tool_call>{"name": "add"}</tool_call>', "", [("add", {})]),
    (call(arguments='"{\\"a\\": 1}"'), "", [ADD]),
    (call(arguments='{"x": "</tool_call> <tool_call>"}'), "", [("add", {"x": "</tool_call> <tool_call>"})]),
    (call(arguments='{"x": "Köln \\u00e9 \\n"}'), "", [("add", {"x": "Köln é \n"})]),
    # none of these is a call, so all of it is text
    *(
        (text, text, [])
        for text in (
            "<tool_call>",
            "<tool_call>\nadd(1)\n</tool_call>",
            '<tool_call>\n{"name": "add", "arguments": {"a": 1}',
            '<tool_call>\n{"name": "add", "arguments": {"a": "never closed</tool_call>',
            call("unknown"),
            call(arguments="[1]"),
            call(arguments='"[1]"'),
            call(arguments='{"a": NaN}'),
            '<tool_call>\n["add"]\n</tool_call>',
            '<tool_call>\n{"name": ["add"]}\n</tool_call>',
            "<tool_call>" + "[" * 3000 + "</tool_call>",
            "a < b and <tool",
        )
    ),
    (f"<tool_call> broken {call()} end", "<tool_call> broken end", [ADD]),
    (f"<tool_call>\nx\n</tool_call>\n{call()}", "<tool_call>\nx\n</tool_call>", [ADD]),
]


@pytest.mark.parametrize(("text", "content", "calls"), CASES)
def test_content_and_calls_are_told_apart(text, content, calls):
    assert parse([text]) == (content, calls)


@pytest.mark.parametrize(("text", "content", "calls"), CASES)
def test_the_place_of_the_cuts_changes_nothing(text, content, calls):
    if len(text) < 1000:
        assert parse(list(text)) == (content, calls)
    assert parse([text[n : n + 7] for n in range(0, len(text), 7)]) == (content, calls)


@given(
    st.lists(
        st.sampled_from(
            [call(), "<tool_call>", "</tool_call>", "{", '"', '"name": "add"', "}", "<", " ", "\n", "a"]
        ),
        max_size=10,
    ),
    st.data(),
)
def test_any_stream_gives_what_the_whole_gives(words, data):
    text = "".join(words)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert parse(pieces) == parse([text])


def test_a_call_comes_with_its_closing_mark_and_text_at_once():
    parser = ToolCallParser(HERMES, NAMES)
    assert parser.push("Let me")[0] == "Let me"
    assert parser.push(" see. ") == (" see.", [])
    assert parser.push(call(end="")) == ("", [])
    content, calls = parser.push("</tool_call>")
    assert (content, [each.name for each in calls]) == ("", ["add"])


def test_calls_have_names_of_their_own():
    parser = ToolCallParser(HERMES, NAMES)
    _, calls = parser.push(call() + call())
    assert len({each.id for each in calls}) == 2
    assert all(each.id.startswith("call_") for each in calls)


def test_plugins_of_internlm_are_read_too():
    text = 'I look.<|action_start|><|plugin|>\n{"name": "get_weather", "parameters": {"city": "Köln"}}<|action_end|>\n'
    for pieces in ([text], list(text)):
        assert parse(pieces, PLUGIN) == ("I look.", [("get_weather", {"city": "Köln"})])

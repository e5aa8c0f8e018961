"""What a request may say about tools."""

import pytest

from internvl.chat.tools import MAX_TOOLS, read_tool_use
from internvl.errors import RequestError

ADD = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}, "strict": True}}
NOW = {"type": "function", "function": {"name": "now", "description": "The time"}}
FLAT = {"type": "function", "name": "flat", "parameters": {"type": "object"}, "description": None}


def names(use):
    return [tool.name for tool in use.tools]


def test_without_a_choice_the_model_may_call_any():
    use = read_tool_use([ADD, NOW])
    assert (use.mode, names(use), use.parallel) == ("auto", ["add", "now"], True)
    assert [tool.strict for tool in use.tools] == [True, False]
    assert use.shown == (ADD, NOW)


def test_no_tools_and_the_choice_none_mean_no_tools():
    for use in (
        read_tool_use(),
        read_tool_use([]),
        read_tool_use([ADD], "none"),
        read_tool_use(None, "auto"),
    ):
        assert (use.mode, use.tools, use.shown) == ("none", (), ())


@pytest.mark.parametrize(
    "choice",
    [{"type": "function", "function": {"name": "now"}}, {"type": "function", "name": "now"}],
)
def test_one_function_is_called_once_and_all_are_shown(choice):
    use = read_tool_use([ADD, NOW], choice)
    assert (use.mode, names(use), use.parallel) == ("required", ["now"], False)
    assert use.shown == (ADD, NOW)


def test_allowed_tools_narrow_the_choice():
    tools = [{"type": "function", "function": {"name": "now"}}]
    inner = {"mode": "required", "tools": tools}
    for choice in ({"type": "allowed_tools", "allowed_tools": inner}, {"type": "allowed_tools", **inner}):
        use = read_tool_use([ADD, NOW], choice)
        assert (use.mode, names(use), use.parallel) == ("required", ["now"], True)


def test_the_flat_form_of_responses_is_shown_in_the_other():
    use = read_tool_use([FLAT])
    assert names(use) == ["flat"]
    assert use.shown[0]["function"]["name"] == "flat"


def function(**fields):
    return {"type": "function", "function": {"name": "f", **fields}}


@pytest.mark.parametrize(
    ("tools", "choice", "words"),
    [
        ("add", None, ["tools is str"]),
        ([3], None, ["tools[0]", "int"]),
        ([{"type": "web_search"}], None, ["tools[0]", "web_search"]),
        ([{"type": "function", "function": "f"}], None, ["tools[0].function is str"]),
        ([ADD, {"type": "function", "function": {}}], None, ["tools[1].function.name"]),
        ([function(name="two words")], None, ["two words"]),
        ([function(name="x" * 65)], None, ["64"]),
        ([ADD, ADD], None, ["second 'add'"]),
        ([function(parameters=[])], None, ["parameters is list"]),
        ([function(parameter={})], None, ["parameter", "Did you mean 'parameters'"]),
        ([function(strict="yes")], None, ["strict"]),
        ([function(description=3)], None, ["description"]),
        ([function(parameters={"x": object()})], None, ["JSON"]),
        ([function(name=f"f{n}") for n in range(MAX_TOOLS + 1)], None, [str(MAX_TOOLS)]),
        (None, "required", ["no tools"]),
        ([ADD], "always", ["always"]),
        ([ADD], {"type": "function", "function": {"name": "ad"}}, ["'ad'", "Did you mean 'add'"]),
        ([ADD], {"type": "function"}, ["none of the tools"]),
        ([ADD], {"type": "allowed_tools"}, ["allowed_tools"]),
        ([ADD], {"type": "allowed_tools", "mode": "auto", "tools": []}, ["allowed_tools"]),
    ],
)
def test_what_cannot_be_right_is_refused_with_its_place(tools, choice, words):
    with pytest.raises(RequestError) as caught:
        read_tool_use(tools, choice)
    assert all(word in str(caught.value) for word in words), str(caught.value)

"""Which answers the grammar of tools, thoughts and formats admits, token by token."""

import functools
import json

import pytest
import torch

from internvl.chat.answer_grammar import answer_grammar
from internvl.chat.reasoning import THINK_TAGS
from internvl.chat.tools import read_tool_use
from internvl.engine.grammar import Grammars
from internvl.errors import RequestError
from internvl.preprocess.tool_format import HERMES, PLUGIN
from internvl.types import GenerationConfig
from tiny_engines import tiny_parts

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "$defs": {"city": {"enum": ["Köln", "Bonn"]}},
            "type": "object",
            "properties": {"city": {"$ref": "#/$defs/city"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
STRICT = {"type": "function", "function": {**WEATHER["function"], "strict": True}}
NOW = {"type": "function", "function": {"name": "now"}}

IN_KOELN = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Köln"}}\n</tool_call>'
IN_PARIS = IN_KOELN.replace("Köln", "Paris")
THE_TIME = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
THOUGHT = "<think>\nHm { </tool_call\n</think>\n\n"
JSON = {"json_schema": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}}

#: With marks that are tokens (Qwen) and without (Phi-3).
FAMILIES = ("qwen2", "phi3")


@functools.cache
def tokenizer_and_grammars(family):
    tokenizer = tiny_parts(family)[1].tokenizer
    return tokenizer, Grammars(tokenizer)


def admits(
    text,
    *,
    family="qwen2",
    tool_format=HERMES,
    thinking=False,
    tool_choice=None,
    tools=(),
    parallel=True,
    **wanted,
):
    """Whether the constraint of such a request lets `text` through and may end behind it."""
    tokenizer, grammars = tokenizer_and_grammars(family)
    grammar = answer_grammar(
        GenerationConfig(**wanted).answer_format,
        read_tool_use(list(tools), tool_choice, parallel),
        tool_format=tool_format,
        tokenizer=tokenizer,
        thinking=THINK_TAGS if thinking else None,
    )
    end = tokenizer.vocab_size  # a token of our own, so that only the grammar decides
    constraint = grammars.constraint(GenerationConfig(grammar=grammar).answer_format, [end])
    for token in tokenizer.encode("\n" + text)[len(tokenizer.encode("\n")) :]:
        if constraint.finished or not torch.isfinite(constraint.mask(torch.zeros(end + 1))[token]):
            return False
        constraint.advance(token)
    return constraint.finished or bool(torch.isfinite(constraint.mask(torch.zeros(end + 1))[end]))


@pytest.mark.parametrize("family", FAMILIES)
def test_required_calls_come_alone_and_fit_their_schemas(family):
    def good(text, **more):
        return admits(text, family=family, tools=[WEATHER, NOW], tool_choice="required", **more)

    assert good(IN_KOELN)
    assert good(THE_TIME)
    assert good(f"{IN_KOELN}\n{THE_TIME}")
    assert not good(f"{IN_KOELN}\n{THE_TIME}", parallel=False)
    assert good(THE_TIME, parallel=False)
    assert not good("The weather is fine.")
    assert not good(f"Well. {IN_KOELN}")
    assert not good(IN_PARIS)
    assert not good(IN_KOELN.replace("get_weather", "get_money"))
    assert not good(IN_KOELN.replace("</tool_call>", ""))


def test_a_named_function_is_the_only_one():
    named = {"type": "function", "function": {"name": "now"}}
    assert admits(THE_TIME, tools=[WEATHER, NOW], tool_choice=named)
    assert not admits(IN_KOELN, tools=[WEATHER, NOW], tool_choice=named)


@pytest.mark.parametrize("family", FAMILIES)
def test_strict_tools_leave_words_free_and_hold_calls_to_their_schemas(family):
    def good(text, **more):
        return admits(text, family=family, tools=[STRICT, NOW], **more)

    assert good("The weather is fine.")
    assert good("")
    assert good(f"Well.\n{IN_KOELN}")
    assert good(f"{IN_KOELN}\n{THE_TIME}")
    assert not good(IN_PARIS)
    assert not good(f"Well.\n{IN_PARIS}")
    assert good(THE_TIME, parallel=False)
    assert not good(f"{IN_KOELN}\n{THE_TIME}", parallel=False)


@pytest.mark.parametrize("family", FAMILIES)
def test_thoughts_may_come_before_a_format(family):
    for wanted, text in (
        (JSON, '{"a": 12}'),
        ({"regex": "x/y+"}, "x/yy"),
        ({"choice": ["ja", "nein"]}, "nein"),
    ):
        assert admits(THOUGHT + text, family=family, thinking=True, **wanted)
        assert admits(text, family=family, thinking=True, **wanted)
        assert not admits(THOUGHT, family=family, thinking=True, **wanted)
        assert not admits(THOUGHT + "else", family=family, thinking=True, **wanted)


@pytest.mark.parametrize("family", FAMILIES)
def test_with_a_format_and_tools_the_answer_is_either(family):
    def good(text):
        return admits(text, family=family, tools=[WEATHER, NOW], thinking=True, **JSON)

    assert good('{"a": 12}')
    assert good(IN_KOELN)
    assert good(THOUGHT + IN_KOELN)
    assert not good(IN_PARIS)
    assert not good("The weather is fine.")
    assert not good('{"a": 12}' + IN_KOELN)


def test_plugins_are_held_to_their_schemas_too():
    call = '<|action_start|><|plugin|>\n{"name": "get_weather", "parameters": {"city": "Köln"}}<|action_end|>'

    def good(text):
        return admits(text, family="internlm2", tool_format=PLUGIN, tools=[WEATHER], tool_choice="required")

    assert good(call)
    assert good(call + call)
    assert not good(call.replace("Köln", "Paris"))


def test_what_needs_no_grammar_gets_none():
    tokenizer, _ = tokenizer_and_grammars("qwen2")
    rest = {"tool_format": HERMES, "tokenizer": tokenizer}
    schema = GenerationConfig(**JSON).answer_format
    assert answer_grammar(None, read_tool_use([WEATHER, NOW]), thinking=THINK_TAGS, **rest) is None
    assert answer_grammar(schema, read_tool_use(), thinking=None, **rest) is None
    assert answer_grammar(schema, read_tool_use([NOW], "none"), thinking=None, **rest) is None


def test_a_grammar_of_its_own_joins_with_nothing():
    with pytest.raises(RequestError, match="cannot be joined"):
        admits("a", grammar='start: "a"', tools=[NOW])


def test_a_tool_whose_schema_cannot_be_followed_is_named():
    odd = {
        "type": "function",
        "function": {"name": "odd", "parameters": {"type": "array", "uniqueItems": True}},
    }
    with pytest.raises(RequestError, match="uniqueItems"):
        admits("a", tools=[odd], tool_choice="required")


def test_the_order_of_arguments_is_the_schemas():
    properties = {key: {"type": "integer"} for key in ("b", "a")}
    tool = {"type": "object", "properties": properties, "required": ["a", "b"], "additionalProperties": False}
    tools = [{"type": "function", "function": {"name": "now", "parameters": tool}}]
    assert admits(THE_TIME.replace("{}", json.dumps({"b": 1, "a": 2})), tools=tools, tool_choice="required")
    assert not admits(
        THE_TIME.replace("{}", json.dumps({"a": 1, "b": 2})), tools=tools, tool_choice="required"
    )

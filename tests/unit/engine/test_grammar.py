"""Constraints by themselves: whatever the scores say, an answer that ends has its format. No model."""

import functools
import json
import re
import sys
import tempfile
import threading
from pathlib import Path

import jsonschema_rs
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from internvl.engine.grammar import Grammars
from internvl.engine.grammar_source import (
    MAX_CHARS,
    MAX_CHOICE_CHARS,
    MAX_EXPRESSION_CHARS,
    MAX_PROPERTIES,
    MAX_RULE_CHARS,
    grammar_source,
)
from internvl.errors import ConfigError, MissingDependencyError, RequestError
from internvl.preprocess.tokenizer import GROUNDING_TOKENS, load_tokenizer
from internvl.types import GenerationConfig
from tiny_tokenizers import KINDS, write_tokenizer

#: One kind for each way of making bytes of tokens.
SOME_KINDS = ("qwen", "internlm2", "phi3", "metaspace_json")
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "größe": {"type": "integer", "minimum": 0, "maximum": 250},
        "tags": {"type": "array", "items": {"enum": ["a", "b/c", 'd"e', "你"]}, "maxItems": 3},
    },
    "required": ["name", "größe", "tags"],
    "additionalProperties": False,
}


@functools.cache
def grammars(kind):
    with tempfile.TemporaryDirectory() as directory:
        return Grammars(load_tokenizer(write_tokenizer(Path(directory) / kind, kind)))


def end_of(tokenizer):
    return next(i for name in ("<|im_end|>", "<|end|>", "<|return|>") if (i := tokenizer.token_to_id(name)))


def wander(kind, seed=0, limit=400, rows=0, **wanted):
    """An answer of random tokens under a constraint: its text (None if it did not end) and its ids."""
    own = grammars(kind)
    tokenizer = own._tokenizer
    end = end_of(tokenizer)
    constraint = own.constraint(GenerationConfig(**wanted).answer_format, [end])
    rng = np.random.default_rng(seed)
    ids = []
    while not constraint.finished and len(ids) < limit:
        scores = torch.from_numpy(rng.standard_normal(tokenizer.vocab_size + rows))
        ids.append(int(constraint.mask(scores).argmax()))
        constraint.advance(ids[-1])
    text = own.decode([i for i in ids if i != end])
    return (text if constraint.finished else None), ids


def strings():
    lengths = st.tuples(st.integers(0, 4), st.integers(4, 10)).map(
        lambda pair: {"type": "string", "minLength": pair[0], "maxLength": pair[1]}
    )
    patterns = st.sampled_from([r"^[a-z]{1,5}$", r"^\d{3}-\d{2}$", r"^(yes|no)$", r"^[äöü]+x{0,2}$"])
    bounded = patterns.map(lambda pattern: {"type": "string", "pattern": pattern, "maxLength": 12})
    formats = st.sampled_from(["date", "uuid", "ipv4"]).map(lambda name: {"type": "string", "format": name})
    return lengths | bounded | formats


def leaves():
    numbers = st.tuples(st.sampled_from(["integer", "number"]), st.integers(-99, 0), st.integers(1, 999)).map(
        lambda t: {"type": t[0], "minimum": t[1], "maximum": t[2]}
    )
    constants = st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5)
    return (
        strings()
        | numbers
        | st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"type": ["boolean", "null"]}])
        | st.lists(constants, min_size=1, max_size=4).map(lambda values: {"enum": values})
        | constants.map(lambda value: {"const": value})
    )


def containers(inner):
    arrays = st.tuples(inner, st.integers(0, 1), st.integers(1, 3)).map(
        lambda t: {"type": "array", "items": t[0], "minItems": t[1], "maxItems": t[2]}
    )
    keys = st.sampled_from(["a", "name", 'quo"te', "größe", "a b", "$ref"])
    objects = st.tuples(st.dictionaries(keys, inner, max_size=4), st.randoms()).map(
        lambda t: {
            "type": "object",
            "properties": t[0],
            "required": [key for key in t[0] if t[1].random() < 0.6],
            "additionalProperties": False,
        }
    )
    return arrays | objects | st.lists(inner, min_size=1, max_size=3).map(lambda each: {"anyOf": each})


SCHEMAS = st.recursive(leaves(), containers, max_leaves=6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(schema=SCHEMAS, kind=st.sampled_from(SOME_KINDS), seed=st.integers(0, 1000))
def test_an_answer_under_a_schema_parses_and_validates(schema, kind, seed):
    text, _ = wander(kind, seed, limit=2000, json_schema=schema)
    assert text is not None  # every part is bounded, so every answer ends
    jsonschema_rs.validator_for(schema, validate_formats=True).validate(json.loads(text))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_every_kind_of_tokenizer_can_write_json(kind, seed):
    text, _ = wander(kind, seed, json_schema=PERSON)
    jsonschema_rs.validate(PERSON, json.loads(text))
    assert list(json.loads(text)) == list(PERSON["properties"])  # in the schema's order


REGEXES = (
    r"[a-c]{2,5}-[0-9]{3}",
    r"(yes|no)( indeed)?",
    r"^\$?[0-9]{1,3}(,[0-9]{3}){0,2}\.[0-9]{2}$",
    r'a/b\\"[^a-z]{1,4}',
    r"<\|im_end\|>[xy]",
    r"你好[，。]{1,3}",
    r"(?i)ab?c",
    r"",
    r" leading and trailing ",
)


@pytest.mark.parametrize("regex", [regex for regex in REGEXES if regex])
@pytest.mark.parametrize("kind", SOME_KINDS)
def test_an_answer_matches_the_whole_expression(kind, regex):
    for seed in range(4):
        text, _ = wander(kind, seed, regex=regex)
        assert text is not None
        assert re.fullmatch(regex, text), (regex, text)


@settings(max_examples=40, deadline=None)
@given(
    choices=st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=5),
    kind=st.sampled_from(SOME_KINDS),
    seed=st.integers(0, 1000),
)
def test_a_choice_is_one_of_them_and_each_can_come(choices, kind, seed):
    text, _ = wander(kind, seed, choice=choices)
    assert text in choices
    only = choices[seed % len(choices)]
    assert wander(kind, seed, choice=[only])[0] == only


def test_a_grammar_of_its_own_is_followed():
    lark = 'start: expr\nexpr: NUMBER | "(" expr "+" expr ")"\nNUMBER: /[0-9]/'
    for seed in range(8):
        text, _ = wander("qwen", seed, grammar=lark)
        assert text is None or re.fullmatch(r"[0-9+()]+", text)
        assert text is None or text.count("(") == text.count("+")


def test_rows_beyond_the_vocabulary_and_control_tokens_never_come():
    tokenizer = grammars("qwen")._tokenizer
    constraint = grammars("qwen").constraint(GenerationConfig(regex="(.|\n)*").answer_format, [])
    allowed = torch.isfinite(constraint.mask(torch.zeros(tokenizer.vocab_size + 9)))
    assert not allowed[tokenizer.vocab_size :].any()
    marks = {tokenizer.token_to_id(mark) for mark in GROUNDING_TOKENS}
    assert allowed[sorted(marks)].all()
    assert not allowed[sorted(tokenizer.control_token_ids - marks)].any()
    assert allowed.sum() > 300


def test_the_end_token_comes_only_where_the_format_may_end():
    own = grammars("qwen")
    tokenizer = own._tokenizer
    end = end_of(tokenizer)
    constraint = own.constraint(GenerationConfig(regex="ab?c*").answer_format, [end])
    endings = []
    for letter in "abcc":
        endings.append(bool(torch.isfinite(constraint.mask(torch.zeros(tokenizer.vocab_size))[end])))
        constraint.advance(tokenizer.token_to_id(letter))
    assert endings == [False, True, True, True]
    assert not constraint.finished
    constraint.advance(end)
    assert constraint.finished


@pytest.mark.parametrize("kind", SOME_KINDS)
def test_one_token_is_admitted_where_the_mask_lets_it_through_or_spells_it_otherwise(kind):
    own = grammars(kind)
    tokenizer = own._tokenizer
    end = end_of(tokenizer)
    rng = np.random.default_rng(0)
    for wanted in ({"json_schema": PERSON}, {"regex": "(a|bc)*d?"}, {"choice": ["the picture", "the image"]}):
        constraint = own.constraint(GenerationConfig(**wanted).answer_format, [end])
        while not constraint.finished:
            allowed = torch.isfinite(constraint.mask(torch.zeros(tokenizer.vocab_size + 3)))
            admitted = [constraint.admits(i) for i in range(tokenizer.vocab_size + 3)]
            assert all(admitted[i] for i in allowed.nonzero().flatten())
            assert admitted[end] == bool(allowed[end])
            extra = [i for i, yes in enumerate(admitted) if yes and not allowed[i]]
            assert all(allowed.sum() == 1 and tokenizer.token_bytes(i) is not None for i in extra)
            constraint.advance(int(rng.choice(np.flatnonzero(admitted))))


def test_a_format_that_cannot_go_on_is_finished_without_an_end_token():
    text, ids = wander("qwen", json_schema={"const": "x"})
    assert text == '"x"'
    assert end_of(grammars("qwen")._tokenizer) not in ids


@pytest.mark.parametrize("kind", ["qwen", "internlm2", "phi3", "gpt_oss"])
def test_what_is_forced_is_spelled_as_the_model_is_used_to(kind):
    text = "Please describe the image in detail"
    tokenizer = grammars(kind)._tokenizer
    _, ids = wander(kind, choice=[text])
    usual = tokenizer.encode("\n" + text, special=False)
    assert ids == usual[-len(ids) :]


def test_json_is_written_without_needless_blanks_unless_the_schema_asks_for_them():
    for seed in range(5):
        text, _ = wander("qwen", seed, json_schema=PERSON)
        assert not re.search(r"\s", re.sub(r'"(\\.|[^"\\])*"|(?<=[,:]) ', "", text))
    wide = {**PERSON, "x-guidance": {"whitespace_pattern": r"\n {0,8}"}}
    texts = [wander("qwen", seed, json_schema=wide)[0] for seed in range(5)]
    assert any("\n" in text for text in texts)
    assert all(set(json.loads(text)) == set(PERSON["properties"]) for text in texts)


def admitted(schema, text, kind="qwen"):
    own = grammars(kind)
    constraint = own.constraint(GenerationConfig(json_schema=schema).answer_format, [])
    for token in own._tokenizer.encode(text, special=False):
        if constraint.finished or not constraint.admits(token):
            return False
        constraint.advance(token)
    return constraint.finished


def test_an_object_that_names_its_keys_has_no_others_unless_the_schema_says_so():
    number = {"type": "integer"}
    named = {"type": "object", "properties": {"a": number, "b": number}, "required": ["a"]}
    for schema in (named, {"$defs": {"n": named}, "$ref": "#/$defs/n"}):
        assert admitted(schema, '{"a": 1, "b": 2}')
        assert admitted(schema, '{"a": 1}')
        assert not admitted(schema, '{"a": 1, "c": 2}')
    assert admitted({**named, "additionalProperties": True}, '{"a": 1, "c": 2}')
    assert admitted({**named, "required": ["c"]}, '{"c": 2}')
    assert admitted({"type": "object"}, '{"c": 2}')
    assert admitted({"const": named}, json.dumps(named))


def test_keys_from_several_places_stay_together():
    def part(key):
        return {"type": "object", "properties": {key: {"type": "integer"}}, "required": [key]}

    assert admitted({"allOf": [part("a"), part("b")]}, '{"a": 1, "b": 2}')
    assert admitted({"$defs": {"p": part("a")}, **part("b"), "$ref": "#/$defs/p"}, '{"b": 1, "a": 2}')


UNFOLLOWABLE = [
    ({"json_schema": {"type": "object", "if": {}, "not": {}}}, ["if"]),
    ({"json_schema": {"type": "string", "format": "no-such"}}, ["no-such"]),
    ({"json_schema": {"type": "strin"}}, ["strin"]),
    ({"json_schema": {"type": "array", "uniqueItems": True}}, ["uniqueItems", "lenient"]),
    ({"json_schema": {"$ref": "https://example.org/schema.json"}}, ["example.org"]),
    ({"json_schema": {"$ref": "#/$defs/none"}}, ["json_schema"]),
    ({"json_schema": "{"}, ["no JSON"]),
    ({"json_schema": "[1]"}, ["expected an object"]),
    ({"json_schema": {"type": "integer", "multipleOf": 982451653}}, ["json_schema"]),
    ({"regex": "(ab"}, ["regex", "unclosed"]),
    ({"regex": r"(?=a)b"}, ["look-ahead"]),
    ({"regex": r"(a)\1"}, ["backreferences"]),
    ({"regex": "(" * 5000 + "a" + ")" * 5000}, ["regex"]),
    ({"grammar": "start: nothing"}, ["grammar", "nothing"]),
    ({"grammar": "start: " + "(" * 5000 + '"a"' + ")" * 5000}, ["nested"]),
    ({"regex": "a" * (MAX_EXPRESSION_CHARS + 1)}, ["regex", str(MAX_EXPRESSION_CHARS)]),
    ({"choice": ["a" * MAX_CHOICE_CHARS, "b"]}, ["choice", str(MAX_CHOICE_CHARS)]),
    ({"json_schema": {"description": "a" * MAX_CHARS}}, ["json_schema", str(MAX_CHARS)]),
    ({"grammar": "start: " + '"a"? ' * (MAX_RULE_CHARS // 5)}, ["grammar", str(MAX_RULE_CHARS)]),
    (
        {"json_schema": {"properties": dict.fromkeys(map(str, range(MAX_PROPERTIES + 1)), {})}},
        ["5001", "5000"],
    ),
    ({"grammar": 'start: %json {"type": "array", "items": ' + "[" * 200 + "]" * 200 + "}"}, ["nested"]),
]

LONG = "[a-z]?" * (MAX_EXPRESSION_CHARS // 12 + 1)
"""Half of what one answer's patterns may have, and a little more."""


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": LONG * 2},
        {"anyOf": [{"type": "string", "pattern": LONG}, {"type": "array", "items": {"pattern": LONG}}]},
        {"$defs": {"a": {"pattern": LONG}}, "properties": {"pattern": {"pattern": LONG}}},
        {"patternProperties": {LONG: {}, LONG + "y": {}}},
        {"propertyNames": {"pattern": LONG}, "additionalProperties": {"pattern": LONG}},
        {"x-guidance": {"whitespace_pattern": LONG}, "not": {"pattern": LONG}},
    ],
)
def test_patterns_are_counted_together_wherever_they_stand_in_a_schema(schema):
    one = json.dumps({"pattern": LONG})
    two = f"start: a b\na: %json {one}\nb: %json {one}"
    for wanted in (
        {"json_schema": schema},
        {"grammar": two},
        {"grammar": f"start: %json {json.dumps(schema)}"},
    ):
        with pytest.raises(RequestError, match="patterns together.*16384"):
            grammar_source(GenerationConfig(**wanted).answer_format)


def test_what_only_looks_like_a_pattern_is_not_counted():
    values = [{"pattern": LONG * 2}]
    schema = {"enum": values, "default": values, "properties": {"pattern": {"const": "a"}}}
    grammar_source(GenerationConfig(json_schema=schema).answer_format)
    large = json.dumps({"description": "a" * (MAX_CHARS - 100)})
    grammar_source(GenerationConfig(grammar=f"start: %json {large}").answer_format)


@pytest.mark.parametrize(("wanted", "words"), UNFOLLOWABLE)
def test_what_cannot_be_followed_is_refused_with_its_name(wanted, words):
    with pytest.raises(RequestError) as caught:
        grammars("qwen").constraint(GenerationConfig(**wanted).answer_format)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_schema_that_is_too_deep_is_refused():
    schema = {"type": "string"}
    for _ in range(80):
        schema = {"type": "array", "items": schema}
    wander("qwen", json_schema=schema)  # deep, but no mistake
    for _ in range(80):
        schema = {"type": "array", "items": schema}
    with pytest.raises(RequestError, match="nested"):
        wander("qwen", json_schema=schema)


@pytest.mark.parametrize("size", [1000, 4000])
def test_a_long_chain_of_definitions_ends_nobody(size):
    links = {
        f"d{n}": {"type": "object", "properties": {"x": {"$ref": f"#/$defs/d{n + 1}"}}} for n in range(size)
    }
    schema = {"$defs": {**links, f"d{size}": {"type": "null"}}, "$ref": "#/$defs/d0"}
    failures = []

    def ask():
        try:
            wander("qwen", limit=3, json_schema=schema)
        except RequestError as error:
            failures.append(error)

    thread = threading.Thread(target=ask)  # as a server would, on a small stack
    thread.start()
    thread.join()
    assert all("json_schema" in str(error) for error in failures)


def test_an_expression_that_explodes_ends_the_answer_with_an_error_and_soon():
    constraint = grammars("qwen").constraint(
        GenerationConfig(regex=r"((a{1,100}){1,100}){1,100}").answer_format
    )
    tokenizer = grammars("qwen")._tokenizer

    def go_on():
        for _ in range(200):
            constraint.mask(torch.zeros(tokenizer.vocab_size))
            constraint.advance(tokenizer.token_to_id("a"))

    with pytest.raises(RequestError, match="too complex"):
        go_on()


def test_what_the_vocabulary_cannot_spell_is_said():
    with tempfile.TemporaryDirectory() as directory:
        own = Grammars(load_tokenizer(write_tokenizer(Path(directory), "qwen")))
    own._tokenizer.token_bytes = lambda i: b"a" if i == 5 else None
    constraint = own.constraint(GenerationConfig(regex="ab").answer_format)
    constraint.advance(5)
    with pytest.raises(RequestError, match="no token"):
        constraint.mask(torch.zeros(own._tokenizer.vocab_size))


def test_equal_formats_are_compiled_once_and_answers_do_not_share_their_place(monkeypatch):
    with tempfile.TemporaryDirectory() as directory:
        own = Grammars(load_tokenizer(write_tokenizer(Path(directory), "qwen")))
    compiled = []
    compile_format = own._compile
    monkeypatch.setattr(own, "_compile", lambda each: compiled.append(each) or compile_format(each))
    wanted = GenerationConfig(regex="ab").answer_format
    first, second = own.constraint(wanted), own.constraint(wanted)
    a, b = (own._tokenizer.token_to_id(letter) for letter in "ab")
    first.advance(a)
    assert torch.isfinite(first.mask(torch.zeros(own._tokenizer.vocab_size))[b])
    assert not torch.isfinite(second.mask(torch.zeros(own._tokenizer.vocab_size))[b])
    assert len(compiled) == 1
    for n in range(9):  # only so much is remembered
        schema = {"type": "null", "description": "a" * (MAX_CHARS - 100 - n)}
        own.constraint(GenerationConfig(json_schema=schema).answer_format)
    own.constraint(wanted)
    assert compiled.count(wanted) == 2


def test_many_threads_may_compile_at_once():
    with tempfile.TemporaryDirectory() as directory:
        own = Grammars(load_tokenizer(write_tokenizer(Path(directory), "qwen")))
    made = []
    threads = [
        threading.Thread(
            target=lambda n=n: made.append(own.constraint(GenerationConfig(regex=f"a{n % 3}").answer_format))
        )
        for n in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 12


def test_without_the_library_the_message_says_how_to_get_it(monkeypatch):
    with tempfile.TemporaryDirectory() as directory:
        own = Grammars(load_tokenizer(write_tokenizer(Path(directory), "qwen")))
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'internvl\[structured\]'"):
        own.constraint(GenerationConfig(regex="a").answer_format)


class Model:
    """What a pydantic model looks like from outside."""

    @staticmethod
    def model_json_schema():
        return PERSON


@pytest.mark.parametrize(
    "wanted",
    [
        {"json_schema": PERSON},
        {"json_schema": json.dumps(PERSON)},
        {"json_schema": Model},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "p", "schema": PERSON}}},
    ],
)
def test_a_schema_may_come_in_any_dress(wanted):
    assert json.loads(GenerationConfig(**wanted).answer_format.value) == PERSON


def test_the_words_of_openai_and_lmdeploy_are_understood():
    def read(**fields):
        return GenerationConfig(response_format=fields).answer_format

    assert read(type="text") is None
    assert read(type="regex_schema", regex_schema="a+") == ("regex", "a+")
    assert isinstance(json.loads(wander("qwen", 1, response_format={"type": "json_object"})[0] or "{}"), dict)
    assert GenerationConfig().answer_format is None


@pytest.mark.parametrize(
    "wanted",
    [
        {"response_format": {"type": "yaml"}},
        {"response_format": "json"},
        {"response_format": {"type": "json_schema"}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "no schema"}}},
        {"response_format": {"type": "regex_schema", "regex_schema": 3}},
        {"json_schema": 3},
        {"json_schema": {"enum": [object()]}},
        {"regex": ""},
        {"choice": []},
        {"choice": "yes"},
        {"choice": ["a", ""]},
        {"grammar": ""},
        {"regex": "a", "choice": ["a"]},
        {"response_format": {"type": "json_object"}, "json_schema": {}},
    ],
)
def test_what_makes_no_format_is_refused_where_it_is_written(wanted):
    with pytest.raises(ConfigError):
        GenerationConfig(**wanted)

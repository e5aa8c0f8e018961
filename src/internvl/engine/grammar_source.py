"""`AnswerFormat` -> the grammar text that llguidance compiles; sizes checked, here and nowhere else. No torch.

JSON follows the schema's order of keys and is written as Python's json.dumps or JavaScript's JSON.stringify
write it: at most one space, and only behind a comma or colon. Models that may put blanks anywhere sometimes
go on with them for ever.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from internvl.answer_format import AnswerFormat
from internvl.errors import MissingDependencyError, RequestError

# Compiling takes time and memory by the square of what these bound: at the limits a second or two, and up to 200 MB;
# 100 kB of "[a-z]?[a-z]?..." would take 8 s and 1 GB.

#: Characters of a schema, or of a grammar with the schemas in it.
MAX_CHARS = 256 * 1024
#: Characters of an expression, or of all in one answer's schemas (pattern, patternProperties, whitespace_pattern).
MAX_EXPRESSION_CHARS = 16 * 1024
#: Characters of all choices together.
MAX_CHOICE_CHARS = 32 * 1024
#: Characters of a grammar without the schemas in it.
MAX_RULE_CHARS = 64 * 1024
#: Properties of all objects in one answer's schemas; OpenAI's limit too.
MAX_PROPERTIES = 5000
#: Objects and arrays inside each other in a schema.
MAX_DEPTH = 100

_VALUES = ("const", "enum", "default", "examples")
"""Keywords behind which stand values, not schemas."""

JSON_STYLE = {"item_separator": ", ?", "key_separator": ": ?", "whitespace_flexible": False}
"""Options of the library's that a schema may overrule with an "x-guidance" of its own."""


def grammar_source(answer_format: AnswerFormat) -> str:
    """Return the grammar of a format.

    Raises:
        RequestError: It is too large, too deep or no JSON. What the library cannot follow, it says later.
    """
    kind, value = answer_format
    if kind == "json_schema":
        return json.dumps({"grammars": [{"json_schema": _schema(str(value))}]})
    if kind == "regex":
        return _lark(f"start: {regex_terminal(str(value))}")
    if kind == "choice":
        return _lark(f"start: CHOICE\nCHOICE: {choice_terminal(value)}")
    _check_grammar(str(value))
    return _lark(str(value))


def json_rule(schema: str) -> str:
    """Return a schema (JSON text) as it stands in a Lark rule, checked like a format of its own."""
    return "%json " + json.dumps(_schema(schema))


def regex_terminal(regex: str) -> str:
    """Return an expression as it stands in a Lark rule, checked."""
    _check_size("regex", len(regex), MAX_EXPRESSION_CHARS)
    return f"/{library().regex_to_lark(regex)}/"


def choice_terminal(choices: Iterable[str]) -> str:
    """Return texts to choose from as they stand in a Lark rule, checked."""
    choices = list(choices)
    _check_size("choice", sum(map(len, choices)), MAX_CHOICE_CHARS)
    return " | ".join(map(lark_string, choices))


def lark_string(text: str) -> str:
    """Return a text as it stands in a Lark rule."""
    return json.dumps(text)


def library() -> Any:
    """Return llguidance, or raise MissingDependencyError."""
    try:
        import llguidance
    except ImportError as error:
        raise MissingDependencyError(
            "constrained answers (response_format, json_schema, regex, choice, grammar, strict or required tools)"
            " need llguidance: pip install 'internvl[structured]'"
        ) from error
    return llguidance


def _lark(text: str) -> str:
    return json.dumps({"grammars": [{"lark_grammar": text}]})


def _schema(text: str) -> Any:
    """Parse and check a schema; set how JSON is written and which keys objects have, unless it says so itself."""
    _check_size("json_schema", len(text), MAX_CHARS)
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the answer's json_schema is no JSON: {error}") from error
    if not isinstance(schema, dict):
        raise RequestError(f"the answer's json_schema is {schema!r:.80}; expected an object")
    nodes = _objects_inside(schema)
    _check_parts(nodes)
    if not any(map(_joins, nodes)):
        for node in filter(_names_its_keys, nodes):
            node["additionalProperties"] = False
    own = schema.get("x-guidance")
    return {**schema, "x-guidance": {**JSON_STYLE, **(own if isinstance(own, dict) else {})}}


def _objects_inside(schema: Any) -> list[dict[str, Any]]:
    """Return the objects of a schema, itself first; raise RequestError if they are nested too deep."""
    found: list[dict[str, Any]] = []
    level, depth = [schema], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise RequestError(
                f"the answer's json_schema is nested more than {MAX_DEPTH} deep. Move parts of it into $defs"
            )
        objects = [each for each in level if isinstance(each, dict)]
        lists = [each for each in level if isinstance(each, list)]
        found += objects
        level = [child for each in objects for key, child in each.items() if key not in _VALUES]
        level += [child for each in lists for child in each]
    return found


def _joins(node: dict[str, Any]) -> bool:
    """Whether an object's keys may come from several places, so that none of them knows all."""
    parts = node.get("allOf")
    several = isinstance(parts, list) and len(parts) > 1
    return several or (
        "properties" in node and any(key in node for key in ("allOf", "anyOf", "oneOf", "$ref"))
    )


def _names_its_keys(node: dict[str, Any]) -> bool:
    """Whether this is the schema of an object that lists its keys and says nothing of others.

    It admits others then, and weak models invent some without end; none is what its author means.
    """
    names, required = node.get("properties"), node.get("required", [])
    others = ("additionalProperties", "patternProperties", "unevaluatedProperties", "minProperties")
    listed = isinstance(names, dict) and isinstance(required, list) and all(key in names for key in required)
    return listed and node.get("type") == "object" and not any(key in node for key in others)


def _check_grammar(text: str) -> None:
    """Check a grammar's rules, and the schemas in it, which the library compiles together."""
    _check_size("grammar", len(text), MAX_CHARS)
    num_rule_chars, start = len(text), 0
    nodes: list[dict[str, Any]] = []
    while (found := _JSON_RULE.search(text, start)) is not None:
        try:
            schema, start = json.JSONDecoder().raw_decode(text, found.end())
        except (ValueError, RecursionError):
            start = found.end()  # no JSON: the library will say so
            continue
        nodes += _objects_inside(schema)
        num_rule_chars -= start - found.end()
    _check_size("grammar, without schemas,", num_rule_chars, MAX_RULE_CHARS)
    _check_parts(nodes)


_JSON_RULE = re.compile(r"%json\s*(?=\{)")


def _check_parts(nodes: list[dict[str, Any]]) -> None:
    """Check what the objects of an answer's schemas hold together."""
    num_chars = sum(len(each) for node in nodes for each in _expressions(node))
    _check_size("json_schema, in all its patterns together,", num_chars, MAX_EXPRESSION_CHARS)
    num_properties = sum(
        len(node["properties"]) for node in nodes if isinstance(node.get("properties"), dict)
    )
    if num_properties > MAX_PROPERTIES:
        raise RequestError(
            f"the answer's json_schema names {num_properties} properties; the limit is {MAX_PROPERTIES}"
        )


def _expressions(node: dict[str, Any]) -> Iterator[str]:
    """Yield the regular expressions of a schema's object, not of those inside."""
    for name in ("pattern", "whitespace_pattern"):
        if isinstance(node.get(name), str):
            yield node[name]
    named = node.get("patternProperties")
    if isinstance(named, dict):
        yield from named


def _check_size(what: str, num_chars: int, limit: int) -> None:
    if num_chars > limit:
        raise RequestError(
            f"the answer's {what} has {num_chars} characters; the limit is {limit}. Make it shorter"
        )

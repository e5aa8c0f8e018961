"""`AnswerFormat` -> the grammar text that llguidance compiles; sizes checked. No torch.

JSON follows the schema's order of keys and is written as Python's json.dumps or JavaScript's JSON.stringify
write it: at most one space, and only behind a comma or colon. Models that may put blanks anywhere sometimes
go on with them for ever.
"""

from __future__ import annotations

import json
from typing import Any

from internvl.answer_format import AnswerFormat
from internvl.errors import MissingDependencyError, RequestError

#: Characters of a schema, expression or grammar, and of all choices together.
MAX_CHARS = 256 * 1024
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
    _check_size(kind, value if isinstance(value, str) else "".join(value))
    if kind == "json_schema":
        return json.dumps({"grammars": [{"json_schema": _schema(str(value))}]})
    if kind == "regex":
        return _lark(f"start: {regex_terminal(str(value))}")
    if kind == "choice":
        return _lark("start: CHOICE\nCHOICE: " + " | ".join(map(lark_string, value)))
    return _lark(str(value))


def json_rule(schema: str) -> str:
    """Return a schema (JSON text) as it stands in a Lark rule, checked like a format of its own."""
    _check_size("json_schema", schema)
    return "%json " + json.dumps(_schema(schema))


def regex_terminal(regex: str) -> str:
    """Return an expression as it stands in a Lark rule."""
    return f"/{library().regex_to_lark(regex)}/"


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
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the answer's json_schema is no JSON: {error}") from error
    if not isinstance(schema, dict):
        raise RequestError(f"the answer's json_schema is {schema!r:.80}; expected an object")
    nodes = _objects_inside(schema)
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


def _check_size(kind: str, text: str) -> None:
    if len(text) > MAX_CHARS:
        raise RequestError(f"the answer's {kind} has {len(text)} characters; the limit is {MAX_CHARS}")

"""What an answer must look like: the fields of a request -> one checked constraint. No torch, no grammar library.

Called by `types.GenerationConfig`, so that a mistake shows where it is made; `engine.grammar` compiles the result.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from internvl.errors import ConfigError

#: Fields of GenerationConfig that constrain the answer; one of them may be set.
CONSTRAINTS = ("response_format", "json_schema", "regex", "choice", "grammar")


class AnswerFormat(NamedTuple):
    """What an answer must look like, whichever field asked for it."""

    kind: Literal["json_schema", "regex", "choice", "grammar"]
    value: str | tuple[str, ...]
    """JSON text of the schema, the expression, the choices, or the grammar."""


def read_answer_format(fields: Mapping[str, Any]) -> AnswerFormat | None:
    """Return what the fields named in `CONSTRAINTS` ask for; None: anything.

    Raises:
        ConfigError: Two of them are set, or one says nothing that can be read.
    """
    asked = [name for name in CONSTRAINTS if fields[name] is not None]
    if len(asked) > 1:
        raise ConfigError(
            f"GenerationConfig: {' and '.join(asked)} all constrain the answer; give one of them"
        )
    if not asked:
        return None
    name, value = asked[0], fields[asked[0]]
    if name == "response_format":
        return _read_response_format(value)
    return _answer_format(name, value, f"GenerationConfig.{name}")


def _read_response_format(value: Any) -> AnswerFormat | None:
    """Return what OpenAI's or LMDeploy's `response_format` asks for."""
    kind = value.get("type") if isinstance(value, Mapping) else None
    if kind == "text":
        return None
    if kind == "json_object":
        return AnswerFormat("json_schema", '{"type": "object"}')
    if kind not in ("json_schema", "regex_schema"):
        raise ConfigError(
            f"response_format is {value!r:.200}; expected an object whose type is text, json_object,"
            " json_schema or regex_schema"
        )
    inner = value.get(kind)
    if kind == "regex_schema":
        return _answer_format("regex", inner, "response_format.regex_schema")
    if isinstance(inner, Mapping) and "schema" in inner:
        return _answer_format("json_schema", inner["schema"], "response_format.json_schema.schema")
    raise ConfigError(
        f"response_format.json_schema is {inner!r:.200}; expected an object with a name and the schema"
    )


def _answer_format(kind: Any, value: Any, where: str) -> AnswerFormat:
    """Check one constraint. A schema becomes JSON text, the form that is compiled and remembered."""
    if kind == "choice":
        listed = isinstance(value, list | tuple) and len(value) > 0
        if not listed or not all(isinstance(each, str) and each for each in value):
            raise ConfigError(f"{where} is {value!r:.200}; expected a list of texts, none of them empty")
        return AnswerFormat(kind, tuple(dict.fromkeys(value)))
    if kind == "json_schema":
        value = _schema_text(value, where)
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{where} is {value!r:.200}; expected a text that is not empty")
    return AnswerFormat(kind, value)


def _schema_text(schema: Any, where: str) -> str:
    """Return a schema as JSON text, the order of its keys kept: answers follow it."""
    if isinstance(schema, str):
        return schema
    if callable(getattr(schema, "model_json_schema", None)):
        schema = schema.model_json_schema()
    if not isinstance(schema, Mapping):
        raise ConfigError(
            f"{where} is {type(schema).__name__}; expected an object, its JSON text or a pydantic model"
        )
    try:
        return json.dumps(schema, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{where} cannot be written as JSON: {error}") from error

"""pydantic's errors -> one sentence a field, with the field's path as JSON has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from internvl.media.source import short_name
from internvl.preprocess.messages import nearest
from internvl.server.errors import InvalidBody
from internvl.server.schemas.base import CHOICE

#: Errors told at once; the rest are counted.
_MOST = 5
#: Where FastAPI found the value; only parameters outside the body say so.
_PLACES = ("body", "query", "path", "header")


def invalid_body(errors: Sequence[Any]) -> InvalidBody:
    """Return the error to raise for what pydantic (or FastAPI) found."""
    told = [_tell(error) for error in errors[:_MOST]]
    message = "; ".join(
        f"{path}: {text}" if path and not text.startswith("unknown field") else text for path, text in told
    )
    if len(errors) > _MOST:
        message += f"; and {len(errors) - _MOST} more errors"
    return InvalidBody(message, param=told[0][0] or None)


def _tell(error: Any) -> tuple[str, str]:
    """Return the path of the field and what is wrong with it."""
    path, kind, context = _path(error["loc"]), error["type"], error.get("ctx", {})
    if kind == "json_invalid":
        return "", f"the body is not valid JSON: {context.get('error', error['msg'])}"
    if kind == "missing" and not path:
        return "", "the body is missing: expected JSON, with the header Content-Type: application/json"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return _tell_union(path, error)
    if kind == "unknown_fields":
        return _join(path, context["first"]), error["msg"] + (f" (in {path})" if path else "")
    if kind == "missing":
        return path, "this field is required"
    if not path and kind.startswith("model"):
        return "", "the body must be a JSON object, with the header Content-Type: application/json"
    message = error["msg"]
    return path, message[:1].lower() + message[1:]


def _tell_union(path: str, error: Any) -> tuple[str, str]:
    """A value that no member of a union fits; pydantic reports the name of what chose (`schemas.base`)."""
    value, context = error["input"], error["ctx"]
    field = context["discriminator"].removesuffix("()")
    if field.startswith("by_") or not isinstance(value, Mapping):
        return path, f"a value of this type ({_json_type(value)}) is not expected here"
    given = value.get(field)
    if not isinstance(given, str):
        return _join(path, field), "this field is required, as a string"
    names = [name.strip(" '").removeprefix(CHOICE) for name in context["expected_tags"].split(",")]
    return _join(path, field), f"{short_name(given)!r} is not known. {nearest(given, names)}"


def _json_type(value: Any) -> str:
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")


def _path(location: Sequence[Any]) -> str:
    path = ""
    parts = location[1:] if location and location[0] in _PLACES else location
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]" if path else ""
        elif not part.startswith(CHOICE):
            path = _join(path, part)
    return path


def _join(path: str, name: str) -> str:
    name = short_name(name)
    return f"{path}.{name}" if path else name

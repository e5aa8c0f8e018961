"""The metric of answers in JSON: which fields are exactly right."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from internvl.evaluation.text_metrics import plain
from internvl.evaluation.verdict import Truth, Verdict


def read_json(text: str) -> Any:
    """Return the first JSON object or list in a text (code fences and words around it do not matter); None: none.

    >>> read_json('Here it is:\\n```json\\n{"total": "3.50"}\\n```')
    {'total': '3.50'}
    """
    decoder = json.JSONDecoder()
    for start, letter in enumerate(text):
        if letter in "{[":
            try:
                return decoder.raw_decode(text, start)[0]
            except ValueError:
                continue
    return None


def fields(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield (path, value as text) of every leaf; keys are compared without regard to capitals and underscores."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from fields(inner, (*path, str(key).casefold().replace("_", " ").strip()))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from fields(inner, (*path, str(number)))
    else:
        yield path, "" if value is None else plain(str(value))


def json_kv_f1(answer: str, truth: Truth) -> Verdict:
    """F1 of the fields: 2 right / (fields given + fields expected); right is what is equal letter for letter.

    White space aside. Nested objects and lists count by their leaves; what is no JSON has no right field.

    Details: `right` and `fields`, whose ratio over a set is the share of fields that are exactly right.
    """
    expected = dict(fields(read_json(truth.text)))
    given = dict(fields(read_json(answer))) if answer else {}
    right = sum(path in given and given[path] == value for path, value in expected.items())
    return Verdict(2 * right / max(1, len(given) + len(expected)), {"right": right, "fields": len(expected)})

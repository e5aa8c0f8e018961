"""A streamed answer -> its content and the functions it asks for.

A call is given out whole, when its end has come: until then it may still turn out to be no call, and what is
no call (broken JSON, an unknown function) stays what it was, text.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection
from typing import Any

from internvl.preprocess.tool_format import ToolFormat
from internvl.types import ToolCall


class _NoCall(Exception):
    """What stands between the marks is no call."""


class ToolCallParser:
    """Finds calls in one answer. Marks may be cut anywhere between pieces.

    Blanks between content and a call belong to neither.
    """

    def __init__(self, tool_format: ToolFormat, names: Collection[str]) -> None:
        """`names`: the functions that may be called."""
        self._start = tool_format.call_start.strip()
        self._end = tool_format.call_end.strip()
        self._arguments_key = tool_format.arguments_key
        self._names = names
        self._held = ""
        """What is not given out yet; inside a call: what follows its opening mark."""
        self._lead: str | None = None
        """Inside a call: the mark and the blanks before it, in case it is none after all. None outside."""
        self._searched = 0
        """Characters of the held call that hold no end of it."""
        self._any_content = False
        self._blanks: str | None = None
        """Blanks since a call that no content follows yet."""

    def push(self, text: str) -> tuple[str, list[ToolCall]]:
        """Take the next piece; return the content and the calls that are certain now."""
        self._held += text
        return self._read(last=False)

    def flush(self) -> tuple[str, list[ToolCall]]:
        """Return what waited; the answer has ended. A call whose JSON is complete needs no closing mark."""
        return self._read(last=True)

    def _read(self, *, last: bool) -> tuple[str, list[ToolCall]]:
        content = ""
        calls: list[ToolCall] = []
        while True:
            if self._lead is None:
                before, found, rest = self._held.partition(self._start)
                if not found:
                    return content + self._certain_text(last=last), calls
                shown = before.rstrip()
                content += self._shown(shown)
                self._lead, self._held, self._searched = before[len(shown) :] + found, rest, 0
            try:
                call = self._read_call(last=last)
            except _NoCall:
                content += self._shown(self._lead)
                self._lead = None
                continue
            if call is None:
                return content, calls
            calls.append(call)
            self._lead, self._blanks = None, self._blanks or ""

    def _certain_text(self, *, last: bool) -> str:
        """Take out of the held text what cannot be part of a mark, nor blanks before one."""
        keep = 0
        if not last:
            sizes = range(len(self._start) - 1, 0, -1)
            keep = next((size for size in sizes if self._held.endswith(self._start[:size])), 0)
        certain = self._held[: len(self._held) - keep]
        certain = certain if last else certain.rstrip()
        self._held = self._held[len(certain) :]
        return self._shown(certain)

    def _shown(self, text: str) -> str:
        """Return what of `text` is content: blanks behind a call only where they part content from content."""
        if self._blanks is not None:
            words = text.lstrip()
            self._blanks += text[: len(text) - len(words)]
            if not words:
                return ""
            text = self._blanks + words if self._any_content else words
            self._blanks = None
        self._any_content |= bool(text)
        return text

    def _read_call(self, *, last: bool) -> ToolCall | None:
        """Take the call out of the held text; None: its end has not come."""
        while (end := self._held.find(self._end, self._searched)) >= 0:
            call = self._parse(self._held[:end])
            if call is not None:
                self._held = self._held[end + len(self._end) :]
                return call
            self._searched = end + len(self._end)  # the mark stands in a string of the arguments
        if not last:
            self._searched = max(self._searched, len(self._held) - len(self._end) + 1)
            return None
        call = self._parse(self._held)
        if call is None:
            raise _NoCall
        self._held = ""
        return call

    def _parse(self, text: str) -> ToolCall | None:
        """Return the call that `text` says, or None where it ends inside a string."""
        try:
            body = json.loads(text, parse_constant=_refuse)
        except json.JSONDecodeError as error:
            if error.msg.startswith("Unterminated string"):
                return None
            raise _NoCall from error
        except (ValueError, RecursionError) as error:
            raise _NoCall from error
        name = body.get("name") if isinstance(body, dict) else None
        if not isinstance(name, str) or name not in self._names:
            raise _NoCall
        arguments = body.get(self._arguments_key, {})
        if isinstance(arguments, str):  # some models write them as a text of their own
            try:
                arguments = json.loads(arguments, parse_constant=_refuse)
            except (ValueError, RecursionError) as error:
                raise _NoCall from error
        if not isinstance(arguments, dict):
            raise _NoCall
        text = json.dumps(arguments, ensure_ascii=False)
        return ToolCall(id=f"call_{secrets.token_hex(12)}", name=name, arguments=text)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")

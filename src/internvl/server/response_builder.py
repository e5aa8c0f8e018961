"""Deltas -> the items of a response, and the events that tell of their growth.

One path for both: without a stream the events are dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pydantic import BaseModel

from internvl.server.ids import new_id
from internvl.server.schemas.chat import TokenLogprob
from internvl.server.schemas.response_output import (
    AnswerItem,
    AnswerText,
    CallItem,
    OutputItem,
    ThoughtItem,
    ThoughtText,
)
from internvl.server.texts import LogprobTexts
from internvl.types import Response, ToolCall

Event = dict[str, Any]


class ResponseBuilder:
    """Collects the items of one answer."""

    def __init__(self, logprobs: LogprobTexts) -> None:
        self.output: list[OutputItem] = []
        self._logprobs = logprobs
        self._open: ThoughtItem | AnswerItem | None = None

    def push(self, delta: Response) -> Iterator[Event]:
        """Take the next delta; yield what it changes. The last one closes what is open."""
        if delta.reasoning_content:
            yield from self._think(delta.reasoning_content)
        found = self._logprobs.of(delta)
        logprobs = (found.content or []) if found is not None else []
        if delta.text or (logprobs and not delta.tool_calls):
            yield from self._say(delta.text, logprobs)
        for call in delta.tool_calls or ():
            yield from self._call(call)
        if delta.finish_reason is not None:
            whole = delta.finish_reason in ("stop", "tool_calls")
            if not self.output:
                yield from self._say("", [])
            yield from self._close("completed" if whole else "incomplete")

    def _think(self, text: str) -> Iterator[Event]:
        if not isinstance(self._open, ThoughtItem):
            yield from self._close("completed")
            content = [ThoughtText(text="")]
            yield from self._add(
                ThoughtItem(id=new_id("rs_"), status="in_progress", summary=[], content=content)
            )
        item = self._open
        assert isinstance(item, ThoughtItem)
        item.content[0].text += text
        yield self._event("response.reasoning_text.delta", item, content_index=0, delta=text)

    def _say(self, text: str, logprobs: list[TokenLogprob]) -> Iterator[Event]:
        if not isinstance(self._open, AnswerItem):
            yield from self._close("completed")
            content = AnswerText(text="", annotations=[], logprobs=[])
            yield from self._add(AnswerItem(id=new_id("msg_"), status="in_progress", content=[content]))
        item = self._open
        assert isinstance(item, AnswerItem)
        item.content[0].text += text
        item.content[0].logprobs += logprobs
        told = [each.model_dump() for each in logprobs]
        yield self._event("response.output_text.delta", item, content_index=0, delta=text, logprobs=told)

    def _call(self, call: ToolCall) -> Iterator[Event]:
        yield from self._close("completed")
        item = CallItem(id=new_id("fc_"), call_id=call.id, name=call.name, arguments="", status="in_progress")
        self.output.append(item)
        yield self._event("response.output_item.added", None, item=_dump(item))
        item.arguments, item.status = call.arguments, "completed"
        yield self._event("response.function_call_arguments.delta", item, delta=call.arguments)
        yield self._event(
            "response.function_call_arguments.done", item, arguments=call.arguments, name=call.name
        )
        yield self._event("response.output_item.done", None, item=_dump(item))

    def _add(self, item: ThoughtItem | AnswerItem) -> Iterator[Event]:
        self._open = item
        self.output.append(item)
        empty = {**_dump(item), "content": []}
        yield self._event("response.output_item.added", None, item=empty)
        yield self._event("response.content_part.added", item, content_index=0, part=_dump(item.content[0]))

    def _close(self, status: Any) -> Iterator[Event]:
        item, self._open = self._open, None
        if item is None:
            return
        item.status = status
        part = item.content[0]
        if isinstance(part, AnswerText):
            logprobs = [each.model_dump() for each in part.logprobs]
            yield self._event(
                "response.output_text.done", item, content_index=0, text=part.text, logprobs=logprobs
            )
        else:
            yield self._event("response.reasoning_text.done", item, content_index=0, text=part.text)
        yield self._event("response.content_part.done", item, content_index=0, part=_dump(part))
        yield self._event("response.output_item.done", None, item=_dump(item))

    def _event(self, kind: str, of: OutputItem | None, /, **fields: Any) -> Event:
        place = {} if of is None else {"item_id": of.id}
        return {"type": kind, "output_index": len(self.output) - 1, **place, **fields}


def numbered() -> Callable[[Event], Event]:
    """Return what gives events their `sequence_number`."""
    count = 0

    def number(event: Event) -> Event:
        nonlocal count
        count += 1
        return {**event, "sequence_number": count - 1}

    return number


def _dump(model: BaseModel) -> dict[str, Any]:
    return model.model_dump()

"""Questions -> answers: the next ones are prepared while the engine decodes all open ones together."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from dataclasses import dataclass
from time import sleep
from typing import TYPE_CHECKING, TypeVar

from internvl.errors import CapacityError, InternVLError, MediaError
from internvl.types import GenerationConfig, Message, Response

if TYPE_CHECKING:
    from internvl.engine.engine import Engine
    from internvl.engine.request import Request

T = TypeVar("T")
_RETRY_S = 0.05


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer, or why there is none."""

    text: str
    finish_reason: str
    """stop, length, repetition; "error": the request was refused; "media": the picture cannot be opened."""
    num_tokens: int = 0
    num_prompt_tokens: int = 0
    seconds: float = 0.0
    """From submission to the last token, beside others."""
    message: str = ""
    """Of an error."""


def ask_all(
    engine: Engine, questions: Iterator[tuple[T, Message, GenerationConfig]]
) -> Iterator[tuple[T, Answered]]:
    """Answer all questions, each in a conversation of its own; yield answers as they are complete.

    Questions are read a little ahead of what the engine decodes together. `max_new_tokens` is shortened to the room
    that the session has. Leaving early aborts what is open.
    """
    deltas: queue.SimpleQueue[Response] = queue.SimpleQueue()
    open_: dict[int, tuple[T, Request, list[str]]] = {}
    number, more = 0, True
    try:
        while more or open_:
            if more and len(open_) < engine.num_rows + 2:
                entry = next(questions, None)
                if entry is None:
                    more = False
                    continue
                item, message, config = entry
                outcome = _submit(engine, message, config, number, deltas)
                if isinstance(outcome, Answered):
                    yield item, outcome
                else:
                    open_[number] = item, outcome, []
                    number += 1
                continue
            delta = deltas.get()
            item, _, pieces = open_[delta.index]
            pieces.append(delta.text)
            if delta.finish_reason is not None:
                del open_[delta.index]
                yield item, _answered("".join(pieces), delta)
    finally:
        for _, request, _ in open_.values():
            request.abort()


def _submit(
    engine: Engine,
    message: Message,
    config: GenerationConfig,
    number: int,
    deltas: queue.SimpleQueue[Response],
) -> Request | Answered:
    try:
        inputs = engine.prepare([message])
        while True:
            try:
                return engine.submit(inputs, config, fit_answer=True, index=number, deltas=deltas)
            except CapacityError:
                sleep(_RETRY_S)  # the engine's thread makes room; the deltas wait in their queue
    except MediaError as error:
        return Answered("", "media", message=str(error))
    except InternVLError as error:
        return Answered("", "error", message=str(error))


def _answered(text: str, last: Response) -> Answered:
    reason = last.finish_reason or "error"
    if reason == "error":
        return Answered(text, reason, message=last.error_message or "")
    return Answered(
        text,
        reason,
        num_tokens=last.generate_token_len,
        num_prompt_tokens=last.input_token_len,
        seconds=last.usage.total_s,
    )

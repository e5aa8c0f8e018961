"""Thinking on and off: what the model is told, and what it thought apart from what it answered.

InternVL3.5 thinks before it answers when the system message asks for it in the words it was trained with
(model cards of InternVL3.5, "Thinking Mode"; they recommend sampling at temperature 0.6). Its thoughts then
stand in `<think>...</think>` at the beginning; GPT-OSS backbones write them into a channel of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from internvl.types import Message

THINKING_SYSTEM = (
    "You are an AI assistant that rigorously follows this response protocol:\n\n"
    "1. First, conduct a detailed analysis of the question. Consider different angles, potential solutions, and"
    " reason through the problem step-by-step. Enclose this entire thinking process within <think> and </think>"
    " tags.\n\n"
    "2. After the thinking section, provide a clear, concise, and direct answer to the user's question. Separate"
    " the answer from the think section with a newline.\n\n"
    "Ensure that the thinking process is thorough but remains focused on the query. The final answer should be"
    " standalone and not reference the thinking section."
)
"""System message that asks for thoughts."""

THINKING_DEFAULTS: Mapping[str, Any] = {"do_sample": True, "temperature": 0.6, "max_new_tokens": 4096}
"""Fields of `GenerationConfig` where the caller leaves all to us. The sampling is the model cards': greedy
thoughts tend to go in circles. The length has room for thoughts."""


class Marks(NamedTuple):
    """What surrounds thoughts at the beginning of an answer."""

    opening: str
    closing: str
    plain: str | None = None
    """Begins an answer without thoughts, or with thoughts in tags; not part of it."""


THINK_TAGS = Marks("<think>", "</think>")
HARMONY_CHANNELS = Marks(
    "<|channel|>analysis<|message|>",
    "<|end|><|start|>assistant<|channel|>final<|message|>",
    "<|channel|>final<|message|>",
)


def with_thinking(messages: Sequence[Mapping[str, Any]]) -> list[Message]:
    """Return the messages with the request to think at the beginning, before the system message's own words."""
    rest = [dict(message) for message in messages]
    if not rest or rest[0].get("role") != "system":
        return [{"role": "system", "content": THINKING_SYSTEM}, *rest]
    content = rest[0].get("content")
    if isinstance(content, str):
        joined: Any = f"{THINKING_SYSTEM}\n\n{content}" if content else THINKING_SYSTEM
    elif isinstance(content, list):
        joined = [{"type": "text", "text": f"{THINKING_SYSTEM}\n\n"}, *content]
    else:
        joined = content  # whoever checks the messages says what is wrong with it
    return [{**rest[0], "content": joined}, *rest[1:]]


class Split(NamedTuple):
    """A piece of an answer, taken apart."""

    reasoning: str = ""
    content: str = ""


class ReasoningSplitter:
    """Takes a streamed answer apart. Marks may be cut anywhere between pieces.

    An answer that does not begin with an opening mark is all content; thoughts that are never closed (the
    length ran out) are all reasoning. White space around the marks belongs to neither.
    """

    def __init__(self, marks: Marks = THINK_TAGS) -> None:
        self._marks = marks
        self._held = ""
        self._thought = False
        """Whether there are thoughts yet; blanks before them are none."""
        self._place = "before"
        """"before" anything, in the "reasoning", behind it ("between"), or in the "content"."""

    def push(self, text: str) -> Split:
        """Take the next piece; return what is certain of it."""
        self._held += text
        reasoning = ""
        if self._place == "before":
            self._open()
        if self._place == "reasoning":
            reasoning = self._read_reasoning()
        if self._place == "between":
            self._held = self._held.lstrip()
            if self._held:
                self._place = "content"
        if self._place != "content":
            return Split(reasoning)
        shown, self._held = self._held, ""
        return Split(reasoning, shown)

    def flush(self) -> Split:
        """Return what waited for the rest of a mark; the answer has ended."""
        shown, self._held = self._held, ""
        if self._place == "reasoning":
            return Split(reasoning=shown.rstrip())
        return Split(content="" if self._place == "between" else shown)

    def _open(self) -> None:
        """Find out how the answer begins, if that can be said yet."""
        text = self._held.lstrip()
        opening, plain = self._marks.opening, self._marks.plain
        if text.startswith(opening):
            self._held, self._place = text[len(opening) :], "reasoning"
        elif plain is not None and text.startswith(plain):
            self._held, self._marks = text[len(plain) :], THINK_TAGS
            self._open()
        elif not any(mark.startswith(text) for mark in (opening, plain) if mark):
            self._place = "content"

    def _read_reasoning(self) -> str:
        closing = self._marks.closing
        if not self._thought:
            self._held = self._held.lstrip()
            self._thought = bool(self._held)
        thought, found, rest = self._held.partition(closing)
        if found:
            self._held, self._place = rest, "between"
            return thought.rstrip()
        # what may be the beginning of the closing mark waits, and so do the blanks before it
        keep = next((n for n in range(len(closing) - 1, 0, -1) if thought.endswith(closing[:n])), 0)
        shown = thought[: len(thought) - keep].rstrip()
        self._held = thought[len(shown) :]
        return shown

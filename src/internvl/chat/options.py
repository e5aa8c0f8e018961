"""What a chat request says besides its messages: tools and thinking -> prompt, constraint, and how to read answers.

The one place where the pipeline, batch jobs and the server agree on it::

    options = read_chat_options(tools=..., tool_choice=..., enable_thinking=...)
    gen_config = options.gen_config(gen_config, engine.processor)
    request = engine.submit(options.conversation(messages), gen_config)
    readers = [options.reader(engine.processor) for _ in range(gen_config.n)]
    for delta in engine.stream(request):
        delta = readers[delta.choice].read(delta)   # text is content; reasoning_content and tool_calls apart
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from internvl.chat.answer_grammar import answer_grammar
from internvl.chat.reasoning import (
    HARMONY_CHANNELS,
    THINK_TAGS,
    THINKING_DEFAULTS,
    Marks,
    ReasoningSplitter,
    with_thinking,
)
from internvl.chat.tool_parser import ToolCallParser
from internvl.chat.tools import ToolUse, read_tool_use
from internvl.errors import RequestError
from internvl.preprocess.processor import Processor
from internvl.preprocess.tool_format import PLUGIN
from internvl.types import Conversation, GenerationConfig, Response, ToolCall


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """Tools and thinking of one request, checked. Made by `read_chat_options`."""

    tool_use: ToolUse = ToolUse()
    enable_thinking: bool | None = None
    """True: ask for thoughts and keep them apart; False: do not ask, but keep them apart all the same; None:
    leave everything as the model does it, thoughts in the text."""

    @property
    def plain(self) -> bool:
        """Whether there is nothing to do: answers need no reader."""
        return not self.tool_use.shown and self.enable_thinking is None

    def conversation(self, messages: Sequence[Mapping[str, Any]]) -> Conversation:
        """Return what to submit for these messages."""
        if self.enable_thinking:
            messages = with_thinking(messages)
        return Conversation(messages=messages, tools=self.tool_use.shown)

    def gen_config(self, gen_config: GenerationConfig | None, processor: Processor) -> GenerationConfig:
        """Return how to answer: constrained where tools and formats ask for it.

        Without a configuration, thinking has its own defaults (`THINKING_DEFAULTS`).

        Raises:
            RequestError: What is asked for cannot be joined.
        """
        if gen_config is None:
            gen_config = GenerationConfig(**(THINKING_DEFAULTS if self.enable_thinking else {}))
        if self.plain:
            return gen_config
        changes: dict[str, Any] = {}
        use, tool_format = self.tool_use, processor.tool_format
        marks = self._marks(processor)
        grammar = answer_grammar(
            gen_config.answer_format,
            use,
            tool_format=tool_format,
            tokenizer=processor.tokenizer,
            thinking=marks if self.enable_thinking else None,
        )
        if grammar is not None:
            changes = {"response_format": None, "json_schema": None, "regex": None, "choice": None}
            changes["grammar"] = grammar
        elif use.shown and not use.parallel:
            changes["stop_words"] = (*gen_config.stop_words, tool_format.call_end.strip())
        if (use.shown and tool_format is PLUGIN) or marks is HARMONY_CHANNELS:
            changes["skip_special_tokens"] = False  # the marks are special tokens, and have to be read
        return gen_config.replace(**changes)

    def reader(self, processor: Processor) -> AnswerReader:
        """Return what takes one answer apart; each of the `n` answers needs its own."""
        use = self.tool_use
        return AnswerReader(
            splitter=None if self.enable_thinking is None else ReasoningSplitter(self._marks(processor)),
            parser=ToolCallParser(processor.tool_format, [tool.name for tool in use.tools])
            if use.shown
            else None,
        )

    @staticmethod
    def _marks(processor: Processor) -> Marks:
        return HARMONY_CHANNELS if "gpt_oss" in processor.template.name else THINK_TAGS


def read_chat_options(
    *,
    tools: Any = None,
    tool_choice: Any = None,
    parallel_tool_calls: bool | None = None,
    enable_thinking: bool | None = None,
) -> ChatOptions:
    """Check what a request says besides its messages, in OpenAI's words.

    Args:
        tools: List of function tools.
        tool_choice: "none", "auto", "required", one function, or "allowed_tools".
        parallel_tool_calls: Several calls in one answer; None: yes.
        enable_thinking: See `ChatOptions`.

    Raises:
        RequestError: What is wrong, and where.
    """
    if not isinstance(enable_thinking, bool | None):
        raise RequestError(f"enable_thinking is {enable_thinking!r:.80}; expected true or false")
    use = read_tool_use(tools, tool_choice, parallel_tool_calls is not False)
    return ChatOptions(use, enable_thinking)


class AnswerReader:
    """Takes one streamed answer apart: thoughts, content, calls."""

    def __init__(self, *, splitter: ReasoningSplitter | None, parser: ToolCallParser | None) -> None:
        self._splitter = splitter
        self._parser = parser
        self._called = False

    def read(self, delta: Response) -> Response:
        """Return a delta whose `text` is content only; it may have become empty.

        With the last delta what waited comes too, and an answer that asks for calls has the finish_reason
        "tool_calls" instead of "stop".
        """
        last = delta.finish_reason is not None
        reasoning, text = None, delta.text
        calls: list[ToolCall] = []
        if self._splitter is not None:
            thought, text = self._splitter.push(text)
            if last:
                rest = self._splitter.flush()
                thought, text = thought + rest.reasoning, text + rest.content
            reasoning = thought or None
        if self._parser is not None:
            text, calls = self._parser.push(text)
            if last:
                more_text, more_calls = self._parser.flush()
                text, calls = text + more_text, calls + more_calls
        self._called |= bool(calls)
        reason = delta.finish_reason
        return replace(
            delta,
            text=text,
            reasoning_content=reasoning,
            tool_calls=calls or None,
            finish_reason="tool_calls" if reason == "stop" and self._called else reason,
        )

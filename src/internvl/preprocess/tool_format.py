"""Tools, calls and results -> words of the prompt, as the backbones were trained on them.

In: turns with calls and results, and the tools' definitions. Out: turns whose text says all of it. Two forms:
Qwen's (after Hermes), which other backbones follow best too as it is plain text, and InternLM2's and 3's
plugins, which have tokens of their own. Called by `preprocess.processor`; `chat.tools` reads the answers.

Sources: the chat templates of Qwen2.5 and Qwen3; InternLM's chat_format.md, "Function Call".
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from internvl.preprocess.messages import Call, Markup, Turn
from internvl.preprocess.tokenizer import Tokenizer

Part = str | Markup
Definition = Mapping[str, Any]


class ToolFormat(ABC):
    """How one kind of backbone writes about tools."""

    call_start: str
    """Before a call's JSON in an answer."""
    call_end: str
    """Behind it."""
    between_calls: str
    arguments_key: str
    """Name of the arguments in a call's JSON; the function's is "name"."""

    def spell(
        self, turns: Sequence[Turn], tools: Sequence[Definition], default_system: str | None
    ) -> list[Turn]:
        """Return turns without calls and results, which their text says now.

        `default_system` is the template's system message for conversations that bring none.
        """
        spelled: list[Turn] = []
        for turn in turns:
            if turn.role == "tool":
                self._add_result(spelled, turn)
            elif turn.calls:
                spelled.append(replace(turn, parts=(*turn.texts, *self._calls(turn)), calls=()))
            else:
                spelled.append(turn)
        return self._with_tools(spelled, tools, default_system) if tools else spelled

    def _calls(self, turn: Turn) -> list[Part]:
        parts: list[Part] = []
        for n, call in enumerate(turn.calls):
            before = self.between_calls if n or any(turn.texts) else ""
            parts += [Markup(before + self.call_start), self.call_text(call), Markup(self.call_end)]
        return parts

    def call_text(self, call: Call) -> str:
        """Return a call's JSON."""
        name = json.dumps(call.name, ensure_ascii=False)
        return f'{{"name": {name}, "{self.arguments_key}": {call.arguments}}}'

    @abstractmethod
    def _add_result(self, turns: list[Turn], result: Turn) -> None:
        """Append a tool's result to the turns."""

    @abstractmethod
    def _with_tools(
        self, turns: list[Turn], tools: Sequence[Definition], default_system: str | None
    ) -> list[Turn]:
        """Return the turns with the tools' definitions in the system message or behind it."""


class HermesFormat(ToolFormat):
    """Qwen2.5's and Qwen3's form."""

    call_start = "<tool_call>\n"
    call_end = "\n</tool_call>"
    between_calls = "\n"
    arguments_key = "arguments"

    def _add_result(self, turns: list[Turn], result: Turn) -> None:
        parts = (Markup("<tool_response>\n"), *result.texts, Markup("\n</tool_response>"))
        if turns and turns[-1].role == "tool":  # results in a row are one message
            before = turns.pop()
            parts = (*before.texts, Markup("\n"), *parts)
        turns.append(Turn(role="tool", parts=parts))

    def _with_tools(
        self, turns: list[Turn], tools: Sequence[Definition], default_system: str | None
    ) -> list[Turn]:
        own = turns[0].texts if turns[0].role == "system" else (default_system,) if default_system else ()
        head = (
            "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided"
        )
        head += " with function signatures within <tools></tools> XML tags:\n<tools>"
        tail = "\n</tools>\n\nFor each function call, return a json object with function name and arguments"
        tail += " within <tool_call></tool_call> XML tags:\n<tool_call>\n"
        tail += '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
        listed = "".join("\n" + json.dumps(tool, ensure_ascii=False) for tool in tools)
        blank = "\n\n" if any(own) else ""
        system = Turn(role="system", parts=(*own, Markup(blank + head), listed, Markup(tail)))
        return [system, *(turns[1:] if turns[0].role == "system" else turns)]


class PluginFormat(ToolFormat):
    """InternLM2's, 2.5's and 3's form."""

    call_start = "<|action_start|><|plugin|>\n"
    call_end = "<|action_end|>"
    between_calls = ""
    arguments_key = "parameters"

    TOKENS = ("<|plugin|>", "<|action_start|>", "<|action_end|>")

    def _add_result(self, turns: list[Turn], result: Turn) -> None:
        turns.append(
            Turn(role="tool", parts=result.parts, header="<|im_start|>environment name=<|plugin|>\n")
        )

    def _with_tools(
        self, turns: list[Turn], tools: Sequence[Definition], default_system: str | None
    ) -> list[Turn]:
        functions = json.dumps([tool.get("function", tool) for tool in tools], ensure_ascii=False)
        plugin = Turn(role="system", parts=(functions,), header="<|im_start|>system name=<|plugin|>\n")
        if turns[0].role == "system":
            return [turns[0], plugin, *turns[1:]]
        default = [] if default_system is None else [Turn(role="system", parts=(default_system,))]
        return [*default, plugin, *turns]


HERMES, PLUGIN = HermesFormat(), PluginFormat()


def tool_format_of(tokenizer: Tokenizer) -> ToolFormat:
    """Return the form that a backbone knows, by the tokens it has."""
    return PLUGIN if all(token in tokenizer.added_tokens for token in PluginFormat.TOKENS) else HERMES

"""What an answer may look like where thoughts, tool calls and a format meet -> one grammar.

The grammar is in llguidance's dialect of Lark (`GenerationConfig.grammar`). Only made where something has to be
held to: free answers with tools to choose from stay unconstrained.
"""

from __future__ import annotations

import json
import re

from internvl.answer_format import AnswerFormat
from internvl.chat.reasoning import Marks
from internvl.chat.tools import Tool, ToolUse
from internvl.engine.grammar_source import choice_terminal, json_rule, lark_string, regex_terminal
from internvl.errors import RequestError
from internvl.preprocess.tokenizer import Tokenizer
from internvl.preprocess.tool_format import ToolFormat

MAX_CALLS = 32
"""In one constrained answer."""

_TEXT = r"/(.|\n)+/"


def answer_grammar(
    answer_format: AnswerFormat | None,
    use: ToolUse,
    *,
    tool_format: ToolFormat,
    tokenizer: Tokenizer,
    thinking: Marks | None,
) -> str | None:
    """Return the grammar of an answer, or None where nothing beyond `answer_format` constrains it.

    Args:
        answer_format: What the answer's content must look like.
        use: Which functions it may or must call.
        tool_format: How calls are written.
        tokenizer: Marks that are tokens of its own are demanded as such.
        thinking: What surrounds thoughts, which may then come first.

    Raises:
        RequestError: A format that is a grammar of its own stands beside thoughts or tools.
    """
    must_call = use.mode == "required"
    may_call = must_call or (
        use.mode == "auto" and (answer_format is not None or any(tool.strict for tool in use.tools))
    )
    if not may_call and (answer_format is None or thinking is None):
        return None
    rules = _Rules(tokenizer)
    if may_call:
        rules.add_calls(use, tool_format)
    if must_call:
        answer = "calls"
    elif answer_format is not None:
        rules.add_body(answer_format)
        answer = "calls | body" if may_call else "body"
    else:
        answer = rules.add_free_text(use, tool_format)
    if thinking is not None:
        rules.add_thoughts(thinking)
        answer = f"thoughts? ({answer})"
    return "\n".join([f"start: {answer}", *rules.lines])


class _Rules:
    """Rules of a grammar in the making."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.lines: list[str] = []
        self._tokens = [
            token
            for token, entry in tokenizer.added_tokens.items()
            if tokenizer.token_bytes(entry.id) is None
        ]

    def add_calls(self, use: ToolUse, tool_format: ToolFormat) -> None:
        """`calls`: one or several calls; `call`: one of them; `function`: its JSON."""
        between = self.literal(tool_format.between_calls)
        more = f" ({between} call){{0,{MAX_CALLS - 1}}}" if use.parallel else ""
        start, end = self.literal(tool_format.call_start), self.literal(tool_format.call_end)
        self.lines += [f"calls: call{more}", f"call: {start} function {end}"]
        self.lines.append("function: " + " | ".join(f"function_{n}" for n in range(len(use.tools))))
        for n, tool in enumerate(use.tools):
            self.lines += [_function(n, tool, tool_format), f"arguments_{n}: {json_rule(tool.schema)}"]

    def add_body(self, answer_format: AnswerFormat) -> None:
        """`body`: the content in its format."""
        kind, value = answer_format
        if kind == "grammar":
            raise RequestError(
                "a grammar cannot be joined with tools or thinking; write them into the grammar, or leave them out"
            )
        if kind == "json_schema":
            body = json_rule(str(value))
        elif kind == "regex":
            body = regex_terminal(str(value))
        else:
            body = choice_terminal(value)
        self.lines.append(f"body: {body}")

    def add_free_text(self, use: ToolUse, tool_format: ToolFormat) -> str:
        """Return a rule body for any text with calls in it, each of which fits its schema."""
        # a mark that is spelled out in letters begins a call, too
        self.lines += [
            f"TEXT: {_TEXT} & ~/(.|\\n)*{_escaped(tool_format.call_start.strip())}(.|\\n)*/",
            f"lead[lazy]: /(.|\\n)*{_escaped(tool_format.call_start)}/",
            f"spelled_call: lead function {self.literal(tool_format.call_end)}",
        ]
        either = "(TEXT? call | spelled_call)"
        return f"{either}* TEXT?" if use.parallel else f"{either} | TEXT?"

    def add_thoughts(self, marks: Marks) -> None:
        """`thoughts`: thoughts between their marks, and the blanks behind them."""
        opening, closing = self.literal(marks.opening), self.literal(marks.closing)
        if self._has_token(marks.closing):
            self.lines += [f"thoughts: {opening} /(.|\\n)*/ {closing} BLANKS"]
        else:
            lazy = f"thought[lazy]: /(.|\\n)*{_escaped(marks.closing)}/"
            self.lines += [f"thoughts: {opening} thought BLANKS", lazy]
        self.lines.append(r"BLANKS: /[ \n]{0,4}/")

    def literal(self, text: str) -> str:
        """Return a text as a sequence of tokens and strings."""
        if not text:
            return ""
        pattern = "|".join(re.escape(token) for token in self._tokens)
        pieces = re.split(f"({pattern})", text) if pattern else [text]
        return " ".join(piece if piece in self._tokens else lark_string(piece) for piece in pieces if piece)

    def _has_token(self, text: str) -> bool:
        return any(token in text for token in self._tokens)


def _escaped(text: str) -> str:
    """Return an expression for this very text, as it stands between slashes."""
    return re.escape(text).replace("/", "\\/").replace("\\\n", "\\n")


def _function(n: int, tool: Tool, tool_format: ToolFormat) -> str:
    head = f'{{"name": {json.dumps(tool.name, ensure_ascii=False)}, "{tool_format.arguments_key}": '
    return f'function_{n}: {lark_string(head)} arguments_{n} "}}"'

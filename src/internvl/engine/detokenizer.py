"""ids -> text, one token at a time, never half a character. No torch.

A character may need several tokens (bytes of UTF-8), and what a token looks like may depend on the one
before it (sentencepiece drops the space of a first word). So each step decodes a short window that starts
before the new token and shows what the window gained; text that ends in U+FFFD is an unfinished character
and waits. The pieces add up to the decoded whole.
"""

from __future__ import annotations

from collections.abc import Callable

REPLACEMENT = "\ufffd"

#: Unfinished characters in a row after which they are broken bytes rather than a beginning. UTF-8 needs at
#: most 4.
MAX_UNFINISHED = 16

#: Tokens without text (skipped special ones) that stay in the window.
MAX_SILENT = 32


class Detokenizer:
    """Decodes one growing answer."""

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self._decode = decode
        self._window: list[int] = []
        self._num_context = 0  # tokens at the window's start that are shown already
        self._shown = ""  # what the window has shown so far

    def push(self, token_id: int) -> str:
        """Take the next token; return the text that is certain now, maybe none."""
        self._window.append(token_id)
        text = self._decode(self._window)
        certain = text.rstrip(REPLACEMENT)
        if len(text) - len(certain) > MAX_UNFINISHED:
            certain = text[:-1]
        new = self._show(certain)
        if new and certain == text:
            self._slide()
        elif not new and certain == text and len(self._window) > MAX_SILENT:
            self._window.pop()
        return new

    def flush(self) -> str:
        """Return what still waited; the answer has ended."""
        new = self._show(self._decode(self._window)) if self._window else ""
        self._slide()
        return new

    def _show(self, certain: str) -> str:
        if len(certain) <= len(self._shown):
            return ""
        new, self._shown = certain[len(self._shown) :], certain
        return new

    def _slide(self) -> None:
        """Keep only the tokens that came since the last slide: context for what comes next."""
        self._window = self._window[self._num_context :]
        self._num_context = len(self._window)
        self._shown = self._decode(self._window) if self._window else ""

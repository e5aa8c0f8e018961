"""ids -> text, one token at a time, never half a character. No torch.

A character may need several tokens (bytes of UTF-8), and what a token looks like may depend on its
neighbours: sentencepiece drops the space of a first word, some tokenizers put spaces around special tokens
or take them away before punctuation. So each step decodes a short window, a few shown tokens and the new
one, and shows what it gained; an end that the next token could still change waits. The pieces add up to
the decoded whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable

REPLACEMENT = "\ufffd"

#: Unfinished characters in a row after which they are broken bytes rather than a beginning. UTF-8 needs 4
#: at most.
MAX_UNFINISHED = 16

#: Shown tokens that stay in the window, at least: enough that the window's own beginning changes nothing
#: at its end.
CONTEXT = 8

#: Ends that may shrink: decoders with `clean_up_tokenization_spaces` make " ?" a "?" and " n't" a "n't".
_MAY_SHRINK = re.compile(r" (?:'[vr]?|n'?)?\Z")


class Detokenizer:
    """Decodes one growing answer."""

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self._decode = decode
        self._window: list[int] = []
        self._shown = ""
        """What the window has shown so far."""
        self._borders: list[int] = []
        """Places in the window up to which all was certain and shown: where another window may begin."""

    def push(self, token_id: int) -> str:
        """Take the next token; return the text that is certain now, maybe none."""
        self._window.append(token_id)
        text = self._decode(self._window)
        certain = text.rstrip(REPLACEMENT)
        if len(text) - len(certain) > MAX_UNFINISHED:
            certain = text[:-1]
        if " " in certain[-3:]:
            certain = _MAY_SHRINK.sub("", certain)
        new = self._show(certain)
        if certain == text:
            self._borders.append(len(self._window))
            self._slide()
        return new

    def flush(self) -> str:
        """Return what still waited; the answer has ended."""
        return self._show(self._decode(self._window)) if self._window else ""

    def _show(self, certain: str) -> str:
        """Return what `certain`, the window's text, adds to what the window has shown."""
        start = len(self._shown)
        if not certain.startswith(self._shown):
            # Slow sentencepiece decoders put a space before the *stretch* that a special token ends, so that
            # text shown long ago moves. Go on behind the same letters; that space is lost.
            start = _end_of_letters(certain, len(self._shown) - self._shown.count(" "))
        if len(certain) <= max(start, len(self._shown)):
            return ""
        self._shown = certain
        return certain[start:]

    def _slide(self) -> None:
        """Let the window begin at the last border that leaves enough context, once it is twice as long."""
        if len(self._window) < 2 * CONTEXT:
            return
        start = max((b for b in self._borders if b <= len(self._window) - CONTEXT), default=0)
        context = self._decode(self._window[start:])
        if start and context.strip():  # skipped tokens alone are no context
            self._window, self._shown = self._window[start:], context
            self._borders = [border - start for border in self._borders if border > start]


def _end_of_letters(text: str, count: int) -> int:
    """Return the place behind the first `count` characters of `text` that are no spaces."""
    for place, letter in enumerate(text):
        if count == 0:
            return place
        count -= letter != " "
    return len(text)

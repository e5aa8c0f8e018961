"""When an answer ends by what it says: stop strings across token boundaries, and the loop guard. No torch.

Both look at a growing answer and never at how it was cut into tokens or pieces: the same text stops at the
same place however it arrives.
"""

from __future__ import annotations

from collections.abc import Sequence

from internvl.errors import ConfigError


class StopStrings:
    """Lets text through until one of the stop strings is complete.

    Text that may still become a stop string is held back, so that nothing shown has to be taken back. Of
    several stop strings the one that is complete first wins; of those complete at once, the longest.
    """

    def __init__(self, stop_strings: Sequence[str], *, keep_match: bool = False) -> None:
        self._stops = tuple(stop for stop in stop_strings if stop)
        self._keep_match = keep_match
        self._held = ""

    def push(self, text: str, *, armed: bool = True) -> tuple[str, bool]:
        """Take the next text; return what may be shown and whether a stop string is now complete.

        While not `armed` (before `min_new_tokens`) a complete stop string is ordinary text.
        """
        if not self._stops:
            return text, False
        self._held += text
        if armed:
            ends = [
                (start + len(stop), start) for stop in self._stops if (start := self._held.find(stop)) >= 0
            ]
            if ends:
                end, start = min(ends)
                shown = self._held[: end if self._keep_match else start]
                self._held = ""
                return shown, True
        keep = self._longest_beginning()
        shown, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return shown, False

    def flush(self) -> str:
        """Return what was held back: the answer ended otherwise."""
        shown, self._held = self._held, ""
        return shown

    def _longest_beginning(self) -> int:
        """Characters at the end of the held text that may be the beginning of a stop string."""
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        for size in range(min(longest, len(self._held)), 0, -1):
            tail = self._held[-size:]
            if any(len(stop) > size and stop.startswith(tail) for stop in self._stops):
                return size
        return 0


class EdgeTrimmer:
    """Drops white space around an answer, as the reference's chat() does, without waiting for its end."""

    def __init__(self) -> None:
        self._started = False
        self._held = ""

    def push(self, text: str) -> str:
        """Take the next text; return it without leading and with no trailing white space so far."""
        text = self._held + text
        if not self._started:
            text = text.lstrip()
            self._started = bool(text)
        shown = text.rstrip()
        self._held = text[len(shown) :]
        return shown


class LoopGuard:
    """Notices that the last `threshold` n-grams are one n-gram again and again.

    For every period p up to `ngram_size` it counts how many tokens in a row equal the one p places before;
    the loop is closed when that reaches p x (threshold - 1). One comparison per period and token.
    """

    def __init__(self, ngram_size: int, threshold: int) -> None:
        if threshold < 2:
            raise ConfigError(
                f"repetition_ngram_size {ngram_size} needs repetition_ngram_threshold >= 2, not {threshold};"
                " leave repetition_ngram_size at 0 for no loop guard"
            )
        self._threshold = threshold
        self._runs = [0] * (ngram_size + 1)

    def closed(self, token_ids: Sequence[int]) -> bool:
        """Whether the answer so far, seen once per token, now ends in a loop."""
        last = len(token_ids) - 1
        found = False
        for period in range(1, min(len(self._runs), len(token_ids))):
            if token_ids[last] == token_ids[last - period]:
                self._runs[period] += 1
                found |= self._runs[period] >= period * (self._threshold - 1)
            else:
                self._runs[period] = 0
        return found

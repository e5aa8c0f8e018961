"""One growing answer: token ids in, text pieces and the reason to end out. No torch.

What ends an answer is decided here and nowhere else, in this order: a stop token, a stop string, the end of
its format, a loop, the length. The stop token is part of `token_ids` (so are its log-probability and its
cost) but not of the text.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from internvl.engine.detokenizer import Detokenizer
from internvl.engine.stopping import EdgeTrimmer, LoopGuard, StopStrings
from internvl.types import FinishReason, GenerationConfig, TokenLogprob

if TYPE_CHECKING:
    from internvl.engine.grammar import Constraint


@dataclass(slots=True)
class Piece:
    """What became certain since the last piece."""

    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish_reason: FinishReason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRules:
    """Where answers of one request end, and how their text is shown."""

    stop_token_ids: frozenset[int]
    stop_strings: tuple[str, ...] = ()
    trim: bool = False
    """Drop white space around the text."""


class Answer:
    """Collects the tokens of one answer and says what to show and when it is over."""

    def __init__(
        self,
        gen_config: GenerationConfig,
        rules: StopRules,
        *,
        decode: Callable[[list[int]], str],
        token_text: Callable[[int], str],
        constraint: Constraint | None = None,
    ) -> None:
        self.token_ids: list[int] = []
        self.finish_reason: FinishReason | None = None
        self._gen = gen_config
        self._rules = rules
        self._constraint = constraint
        self._token_text = token_text
        self._detokenizer = Detokenizer(decode)
        self._stops = StopStrings(rules.stop_strings, keep_match=gen_config.include_stop_str_in_output)
        self._trimmer = EdgeTrimmer() if rules.trim and not gen_config.include_stop_str_in_output else None
        self._guard = (
            LoopGuard(gen_config.repetition_ngram_size, gen_config.repetition_ngram_threshold)
            if gen_config.repetition_ngram_size
            else None
        )

    @property
    def masked_token_ids(self) -> Collection[int]:
        """Tokens that must not come next: the stop tokens, before `min_new_tokens`."""
        return self._rules.stop_token_ids if len(self.token_ids) < self._gen.min_new_tokens else ()

    def push(self, token_id: int, logprob: TokenLogprob | None = None) -> Piece:
        """Take the next token; return what to show, with `finish_reason` set when it was the last."""
        self.token_ids.append(token_id)
        piece = Piece(token_ids=[token_id], logprobs=[] if logprob is None else [logprob])
        if token_id in self._rules.stop_token_ids:
            shown = self._token_text(token_id) if self._gen.include_stop_str_in_output else ""
            return self._end(piece, "stop", self._rest(shown))
        armed = len(self.token_ids) >= self._gen.min_new_tokens
        text, stopped = self._stops.push(self._detokenizer.push(token_id), armed=armed)
        if stopped:
            return self._end(piece, "stop", text)
        if self._constraint is not None and self._constraint.finished:
            return self._end(piece, "stop", text + self._rest())
        if self._guard is not None and self._guard.closed(self.token_ids):
            return self._end(piece, "repetition", text + self._rest())
        if len(self.token_ids) >= self._gen.max_new_tokens:
            return self._end(piece, "length", text + self._rest())
        piece.text = self._trim(text)
        return piece

    def finish(self, reason: FinishReason) -> Piece:
        """End the answer from outside ("abort", "error"); return what was held back."""
        return self._end(Piece(), reason, self._rest())

    def _rest(self, last_text: str = "") -> str:
        """Text that waited for the rest of a character or of a stop string; neither can come any more."""
        text, stopped = self._stops.push(self._detokenizer.flush() + last_text)
        return text if stopped else text + self._stops.flush()

    def _end(self, piece: Piece, reason: FinishReason, text: str) -> Piece:
        piece.text = self._trim(text)
        piece.finish_reason = self.finish_reason = reason
        return piece

    def _trim(self, text: str) -> str:
        return text if self._trimmer is None else self._trimmer.push(text)


def join(pieces: Sequence[Piece]) -> Piece:
    """Return several pieces in a row as one."""
    whole = Piece()
    for piece in pieces:
        whole.text += piece.text
        whole.token_ids += piece.token_ids
        whole.logprobs += piece.logprobs
        whole.finish_reason = piece.finish_reason
    return whole

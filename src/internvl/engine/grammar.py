"""Constraints on answers: what an answer must look like -> which tokens may come next.

In: an `AnswerFormat` (JSON schema, expression, choices, grammar). Out: one `Constraint` per answer, which the
sampler asks before it chooses a token and tells what it chose. The parsing is llguidance's (extra
`structured`); here its vocabulary is made from our tokenizers, and what comes over the network is bounded.

Tokens are bytes to a grammar, so the text of a constrained answer is those bytes joined: no tokenizer's
habits with spaces stand between what was checked and what is shown. Legend: `V` vocabulary.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from internvl.answer_format import AnswerFormat
from internvl.engine.grammar_source import grammar_source, library
from internvl.errors import CapacityError, RequestError
from internvl.preprocess.tokenizer import GROUNDING_TOKENS, Segment, Tokenizer

if TYPE_CHECKING:
    import llguidance

#: Bounds on what one grammar may take; past them the library gives up with an error. A lexer state takes 1-2
#: kB, a mask's fuel about 15 ms.
LIMITS = {"max_lexer_states": 20_000, "max_grammar_size": 200_000, "verbose_errors": False}

#: Compiled grammars that are kept, by the characters of their sources.
CACHE_CHARS = 2**20

#: The library compiles by recursion and checks its own limits only far down: a chain of 1000 definitions ends
#: the process on the usual stack of 8 MiB. Pages that are not touched cost nothing.
COMPILER_STACK_BYTES = 256 * 2**20

_IGNORE = '. Leave it out, or have it ignored: "x-guidance": {"lenient": true} in the schema'

_SPECIAL = b"\xff"
"""Before the spelling of tokens that are no text; begins no UTF-8. A grammar names them like `<|im_end|>`."""


class Constraint:
    """Follows one answer through its grammar."""

    def __init__(
        self,
        matcher: llguidance.LLMatcher,
        end_token_ids: Collection[int],
        *,
        num_tokens: int,
        library_end_id: int,
    ) -> None:
        """Start at the beginning.

        Args:
            matcher: The compiled grammar; this answer's own copy.
            end_token_ids: Tokens that may end the answer where the grammar may end, and nowhere else.
            num_tokens: Size of the vocabulary.
            library_end_id: The token that the library takes for the only one that ends an answer.
        """
        self._matcher = matcher
        self._num_tokens = num_tokens
        self._library_end_id = library_end_id
        self._end_token_ids = list(end_token_ids)
        self.finished = False
        """Whether nothing can follow."""

    def mask(self, scores: Tensor) -> Tensor:
        """Return `scores` (V,) with -inf at every token that must not come next.

        Raises:
            RequestError: The grammar became too complex, or this vocabulary cannot go on with it.
        """
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        self._check()
        allowed = np.zeros(len(scores), dtype=bool)  # embeddings may have more rows than there are tokens
        known = np.unpackbits(bits, bitorder="little")[: len(scores)]
        allowed[: len(known)] = known
        allowed[self._library_end_id] = False
        allowed[self._end_token_ids] = self._matcher.is_accepting()
        return scores.masked_fill(torch.from_numpy(~allowed).to(scores.device), -torch.inf)

    def admits(self, token_id: int) -> bool:
        """Whether this token may come next: far cheaper than a mask, where one token is all one asks about."""
        if token_id in self._end_token_ids:
            return self._matcher.is_accepting()
        if token_id >= self._num_tokens or token_id == self._library_end_id:
            return False
        return self._matcher.validate_tokens([token_id]) == 1

    def advance(self, token_id: int) -> None:
        """Take the token that was chosen."""
        if token_id in self._end_token_ids:
            self.finished = True
            return
        self._matcher.consume_token(token_id)
        self._check()
        self.finished = self._matcher.is_stopped()

    def _check(self) -> None:
        if not self._matcher.is_error():
            return
        if self._matcher.get_error().startswith("NoExtension"):
            raise RequestError(
                "the answer cannot go on as its format demands: no token of this model says what must come next."
                " Check that the format admits any answer at all, and that the vocabulary has its letters"
            )
        raise RequestError(
            f"the answer's format became too complex to follow ({_one_line(self._matcher.get_error())})."
            " Simplify it: fewer nested repetitions, smaller bounds"
        )


class Grammars:
    """Compiles formats for one tokenizer and remembers the last ones. Any thread may ask."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Cheap; the vocabulary is read with the first constrained request (a second for 150,000 tokens)."""
        self._tokenizer = tokenizer
        self._lock = threading.Lock()
        self._compiled: OrderedDict[AnswerFormat, llguidance.LLMatcher] = OrderedDict()

    def constraint(self, answer_format: AnswerFormat, end_token_ids: Collection[int] = ()) -> Constraint:
        """Return a constraint for one more answer.

        Raises:
            RequestError: The format asks for what cannot be followed; the message says what.
            MissingDependencyError: llguidance is not installed.
        """
        with self._lock:
            matcher = self._compiled.get(answer_format)
            if matcher is None:
                matcher = self._compile(answer_format)
                self._compiled[answer_format] = matcher
                self._forget_oldest()
            self._compiled.move_to_end(answer_format)
            return Constraint(
                matcher.deep_copy(),
                end_token_ids,
                num_tokens=self._vocabulary.vocab_size,
                library_end_id=self._vocabulary.eos_token,
            )

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Return the text of a constrained answer: its tokens' bytes, joined."""
        return b"".join(self._bytes_of(i, skip_special_tokens) for i in ids).decode(errors="replace")

    def _bytes_of(self, token_id: int, skip_special_tokens: bool) -> bytes:
        text = self._tokenizer.token_bytes(token_id)
        if text is not None:
            return text
        if skip_special_tokens and token_id in self._tokenizer.special_token_ids:
            return b""
        return self._tokenizer.id_to_token(token_id).encode()

    def _forget_oldest(self) -> None:
        def size(answer_format: AnswerFormat) -> int:
            value = answer_format.value
            return len(value) if isinstance(value, str) else sum(map(len, value))

        while len(self._compiled) > 1 and sum(map(size, self._compiled)) > CACHE_CHARS:
            self._compiled.popitem(last=False)

    def _compile(self, answer_format: AnswerFormat) -> llguidance.LLMatcher:
        source = grammar_source(answer_format)
        limits = library().LLParserLimits(**LIMITS)
        vocabulary = self._vocabulary
        matchers: list[llguidance.LLMatcher] = []

        def compile_it() -> None:
            matchers.append(library().LLMatcher(vocabulary, source, log_level=0, limits=limits))

        _run_with_deep_stack(compile_it)
        matcher = matchers[0]
        if matcher.is_error():
            reason = _one_line(matcher.get_error())
            hint = (
                _IGNORE
                if any(word in reason for word in ("Unimplemented", "Unknown format", "oneOf"))
                else ""
            )
            raise RequestError(f"the answer's {answer_format.kind} cannot be followed: {reason}{hint}")
        return matcher

    @cached_property
    def _vocabulary(self) -> llguidance.LLTokenizer:
        words = _Words(self._tokenizer)
        vocabulary = library().LLTokenizer(library().TokenizerWrapper(words))
        words.greedy = vocabulary.greedy_tokenize
        return vocabulary


class _Words:
    """Our tokenizer as llguidance wants to see one: every token's bytes, and text -> ids."""

    bos_token_id = None

    def __init__(self, tokenizer: Tokenizer) -> None:
        texts = [tokenizer.token_bytes(i) for i in range(tokenizer.vocab_size)]
        names = {i: tokenizer.id_to_token(i) for i, text in enumerate(texts) if text is None}
        special = [i for i, name in names.items() if name]
        self.tokens = [b"" if text is None else text for text in texts]
        for i in special:
            self.tokens[i] = _SPECIAL + names[i].encode()
        # the library needs an end token; which ones end an answer is up to the constraint
        self.eos_token_id = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else special[0]
        self.special_token_ids = special
        self.greedy: Any = None
        self._tokenizer = tokenizer

    def __call__(self, text: str | bytes) -> list[int]:
        """Return the ids that the model would see: where a text is forced, only its usual spelling may come."""
        if isinstance(text, bytes):
            text = text.decode()
        for anchor in ("", "\n"):  # behind a line end, sentencepiece puts no word mark before the text
            ids = self._encode(anchor + text)
            size, wanted = 0, text.encode()
            for start in range(len(ids) - 1, -1, -1):
                size += len(self.tokens[ids[start]])
                if size >= len(wanted):
                    if b"".join(self.tokens[i] for i in ids[start:]) == wanted:
                        return ids[start:]
                    break
        return [] if self.greedy is None else list(self.greedy(text))

    def _encode(self, text: str) -> list[int]:
        tokenizer = self._tokenizer
        ids = tokenizer.encode_segments([Segment(text, GROUNDING_TOKENS)])
        return ids[len(tokenizer.prefix_ids) : len(ids) - len(tokenizer.suffix_ids)]


_stack_lock = threading.Lock()


def _run_with_deep_stack(work: Any) -> None:
    """Run `work` in a thread with a stack of COMPILER_STACK_BYTES and wait for it."""
    thread = threading.Thread(target=work, name="internvl-grammar")
    with _stack_lock:
        usual = threading.stack_size(COMPILER_STACK_BYTES)
        try:
            thread.start()
        except RuntimeError as error:
            raise CapacityError(
                "no thread could be started to compile the answer's format; try again"
            ) from error
        finally:
            threading.stack_size(usual)
    thread.join()


def _one_line(message: str) -> str:
    return " ".join(message.replace("<non-verbose/>", "").split())[:500]

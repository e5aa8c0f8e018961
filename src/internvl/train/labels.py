"""A conversation -> ids and labels, in the words of each family's training; ids are those of chat.

In: turns of a row whose pictures stand as `<image>`, and how many image tokens each picture has. Out: the ids and,
where the loss counts, the same ids again as labels. Called by `train.dataset`.

What is learnt is the answer and the token that ends it; headers, questions, system messages, results of functions
and line ends between turns are not. A `pretrain` turn is a text by itself: all of it is learnt but its image tokens.
Source: the recorded labels of the reference (`golden/training`), which it finds by other means: families up to V2 by
comparing lengths of token lists, with a warning and nothing learnt where they differ. Here the borders are exact.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Literal, NamedTuple

from internvl.errors import DataError, RequestError
from internvl.preprocess.chat_template import ChatTemplate, Frame
from internvl.preprocess.messages import Role, Turn
from internvl.preprocess.processor import IMAGE_END, IMAGE_START, Processor
from internvl.preprocess.tokenizer import Segment, Tokenizer
from internvl.train.batch import IGNORE_INDEX

RowRole = Literal["system", "human", "gpt", "function", "pretrain"]
IMAGE_PLACEHOLDER = "<image>"

#: Whose words a role's text is, which decides the special tokens that it may spell (`Processor.spellable`).
_CHAT_ROLE: dict[RowRole, Role] = {
    "system": "system",
    "human": "user",
    "gpt": "assistant",
    "function": "tool",
    "pretrain": "assistant",
}
_FIRST_TOKEN = re.compile(r"<[^<>]+>")
_THINKING = re.compile(r"\s*<think>(.*?)</think>(.*)", re.DOTALL)


class RowTurn(NamedTuple):
    """One message of a row, in the family's roles."""

    role: RowRole
    text: str


class Encoded(NamedTuple):
    """A conversation as the model is taught it; both lists have one entry a token."""

    input_ids: list[int]
    labels: list[int]
    """As `input_ids` where something is learnt, else IGNORE_INDEX; not shifted."""


class _Piece(NamedTuple):
    segment: Segment
    learn: bool = False
    num_image_tokens: int | None = None
    """A picture, which is never learnt, not even in a text; `segment` is empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingForm:
    """What a family's training does differently from chat."""

    strict_turns: bool = True
    """Question and answer in turn; an answer that nobody asked for is left out if it comes first (families up to
    V2). Otherwise any order."""
    keeps_empty: bool = False
    """An empty message is written whole; otherwise it is only its header, and an empty answer teaches nothing."""
    strips: bool = False
    """White space around messages is left out."""
    answer_head: str = ""
    """Part of the answer that stands before its text, and is learnt."""
    answer_end: str | None = None
    """Ends every answer; None: what the chat template puts there."""
    thinking: Frame | None = None
    """Around what stands in `<think>`; None: it is text like any other."""
    function: Frame | None = None
    """Around a function's result; None: as chat writes it (`preprocess.tool_format`)."""


_UP_TO_V2 = TrainingForm()
_FROM_V2_5 = TrainingForm(strict_turns=False, keeps_empty=True)
_GPT_OSS = TrainingForm(
    strict_turns=False,
    keeps_empty=True,
    answer_head="<|channel|>final<|message|>",
    # the reference's newer function; the older one ended answers by accident with <|end|> or <|return|>
    answer_end="<|return|>",
    thinking=Frame("<|channel|>analysis<|message|>", "<|end|><|start|>assistant"),
    function=Frame("<|start|>tool<|message|>", "<|end|>"),
)
FORMS = {
    "internlm2-chat": TrainingForm(strips=True),
    "internvl2_5": _FROM_V2_5,
    "internvl_hf": _FROM_V2_5,
    "internvl3_5_gpt_oss": _GPT_OSS,
    "internvl_hf_gpt_oss": _GPT_OSS,
}


def encode_turns(
    turns: Sequence[RowTurn], processor: Processor, image_tokens: Sequence[int], *, where: str = "row"
) -> Encoded:
    """Return the ids and labels of a conversation.

    Args:
        turns: In order. `<image>` in questions and `pretrain` texts stands for a picture; elsewhere it is text.
        processor: Its template and tokenizer are used.
        image_tokens: Image tokens of each picture, in the order of the placeholders.
        where: Names the row in errors.

    Raises:
        DataError: Turns in an order that the family does not know, or another number of placeholders than pictures.
    """
    form = FORMS.get(processor.template.name, _UP_TO_V2)
    writer = _Writer(processor, form, image_tokens, where)
    pieces = writer.write(list(turns))
    try:
        return _encode(pieces, processor)
    except RequestError as error:  # a text that cannot be encoded
        raise DataError(f"{where}: {error}") from error


class _Writer:
    """Turns -> pieces of text and whether they are learnt."""

    def __init__(
        self, processor: Processor, form: TrainingForm, image_tokens: Sequence[int], where: str
    ) -> None:
        self.template: ChatTemplate = processor.template
        self.tools = processor.tool_format
        self.spellable = processor.spellable
        self.form, self.where = form, where
        self.image_tokens = image_tokens
        self.num_shown = 0

    def write(self, turns: list[RowTurn]) -> list[_Piece]:
        pieces: list[_Piece] = []
        if turns and turns[0].role == "system":
            system: str | None = turns.pop(0).text
        elif all(turn.role == "pretrain" for turn in turns):
            system = None
        else:
            system = self.template.default_system
        if self.form.strict_turns:
            turns = self._in_turn(turns)
        if system is not None:
            frame = self.template.system
            pieces += [
                _Piece(Segment(frame.before)),
                _Piece(self._text("system", system)),
                _Piece(Segment(frame.after)),
            ]
        for turn in turns:
            pieces += self._turn(RowTurn(turn.role, turn.text.strip()) if self.form.strips else turn)
        if self.num_shown != len(self.image_tokens):
            raise DataError(
                f"{self.where}: {len(self.image_tokens)} pictures, but {self.num_shown} places for them "
                f"({IMAGE_PLACEHOLDER}) in the human turns. Write one for each picture, or none at all"
            )
        return pieces

    def _in_turn(self, turns: list[RowTurn]) -> list[RowTurn]:
        if turns and turns[0].role == "gpt":
            turns = turns[1:]
        asked = False
        for number, turn in enumerate(turns):
            if turn.role in ("human", "gpt"):
                if (turn.role == "human") == asked:
                    raise DataError(
                        f"{self.where}: turn {number} is a second {turn.role} turn in a row; template "
                        f"{self.template.name} has question and answer in turn. Join the two"
                    )
                asked = turn.role == "human"
        return turns

    def _turn(self, turn: RowTurn) -> list[_Piece]:
        if turn.role == "system":
            raise DataError(
                f"{self.where}: a system turn behind other turns; expected it first and only once"
            )
        if turn.role == "gpt":
            return self._answer(turn.text)
        if turn.role == "function":
            return self._result(turn.text)
        if turn.role == "pretrain":
            return self._with_images("pretrain", turn.text, learn=True)
        frame = self.template.user
        if not turn.text and not self.form.keeps_empty and self.template.drops_empty:
            return [_Piece(Segment(frame.before.rstrip(" ")))]
        return [
            _Piece(Segment(frame.before)),
            *self._with_images("human", turn.text, learn=False),
            _Piece(Segment(frame.after)),
        ]

    def _answer(self, text: str) -> list[_Piece]:
        form, frame = self.form, self.template.assistant
        if not text and not form.keeps_empty and self.template.drops_empty:
            return [_Piece(Segment(frame.before.rstrip(" ")))]
        pieces = [_Piece(Segment(frame.before))]
        thought = _THINKING.fullmatch(text) if form.thinking else None
        if form.thinking and thought:
            before, after = form.thinking
            pieces += [
                _Piece(Segment(before), True),
                _Piece(self._text("gpt", thought[1].strip()), True),
                _Piece(Segment(after), True),
            ]
            text = thought[2].strip()
        # what ends an answer is learnt, the line end behind it is not
        end = form.answer_end or frame.after
        stop, rest = end.rstrip("\n"), end[len(end.rstrip("\n")) :]
        pieces += [
            _Piece(Segment(form.answer_head), True),
            _Piece(self._text("gpt", text), True),
            _Piece(Segment(stop), True),
            _Piece(Segment(rest)),
        ]
        return pieces

    def _result(self, text: str) -> list[_Piece]:
        if self.form.function is not None:
            before, after = self.form.function
            return [
                _Piece(Segment(before)),
                _Piece(self._text("function", text)),
                _Piece(Segment(after)),
            ]
        (spelled,) = self.tools.spell([Turn(role="tool", parts=(text,))], (), None)
        frame = self.template.user
        spellable = self.spellable["tool"]
        return [
            _Piece(Segment(spelled.header or frame.before)),
            *(
                _Piece(Segment(part) if type(part) is not str else Segment(part, spellable))
                for part in spelled.texts
            ),
            _Piece(Segment(frame.after)),
        ]

    def _with_images(self, role: RowRole, text: str, *, learn: bool) -> list[_Piece]:
        texts = text.split(IMAGE_PLACEHOLDER)
        pieces = [_Piece(self._text(role, texts[0]), learn)]
        for after in texts[1:]:
            known = self.num_shown < len(self.image_tokens)
            count = self.image_tokens[self.num_shown] if known else 0  # too many are said in the end
            self.num_shown += 1
            pieces += [_Piece(Segment(""), num_image_tokens=count), _Piece(self._text(role, after), learn)]
        return pieces

    def _text(self, role: RowRole, text: str) -> Segment:
        return Segment(text, self.spellable[_CHAT_ROLE[role]])


def _encode(pieces: Sequence[_Piece], processor: Processor) -> Encoded:
    """Encode as one text; the border of a learnt stretch is where the text before it would end.

    The work is cut where a special token of the template begins and behind pictures: nothing is encoded across.
    """
    tokenizer = processor.tokenizer
    start, end = (tokenizer.token_to_id(name) for name in (IMAGE_START, IMAGE_END))
    ids: list[int] = []
    labels: list[int] = []
    for number, chunk in enumerate(_chunks(pieces, tokenizer)):
        if chunk[0].num_image_tokens is not None:
            assert start is not None  # Processor has looked
            assert end is not None
            new: Sequence[int] = [start, *[processor.image_token_id] * chunk[0].num_image_tokens, end]
        else:
            new = _words(tokenizer, chunk, first=number == 0)
        learnt = [IGNORE_INDEX] * len(new)
        for stretch in _stretches(chunk):
            border = _border(tokenizer, chunk, stretch, len(new), first=number == 0)
            learnt[border] = new[border]
        ids += new
        labels += learnt
    suffix = tokenizer.suffix_ids
    return Encoded([*ids, *suffix], labels + [IGNORE_INDEX] * len(suffix))


def _chunks(pieces: Sequence[_Piece], tokenizer: Tokenizer) -> list[Sequence[_Piece]]:
    chunks: list[list[_Piece]] = [[]]
    for piece in pieces:
        behind_picture = bool(chunks[-1]) and chunks[-1][-1].num_image_tokens is not None
        if chunks[-1] and (
            behind_picture or piece.num_image_tokens is not None or _begins_anew(piece, tokenizer)
        ):
            chunks.append([])
        chunks[-1].append(piece)
    return [chunk for chunk in chunks if chunk]


def _begins_anew(piece: _Piece, tokenizer: Tokenizer) -> bool:
    token = _FIRST_TOKEN.match(piece.segment.text) if piece.segment.tokens is None else None
    added = None if token is None else tokenizer.added_tokens.get(token[0])
    return added is not None and not added.lstrip and not added.single_word


def _border(
    tokenizer: Tokenizer, chunk: Sequence[_Piece], stretch: tuple[int, int], length: int, *, first: bool
) -> slice:
    """Return where a learnt stretch of a chunk's pieces lies among its `length` ids."""
    start, end = stretch
    begin = len(_known_words(tokenizer, tuple(piece.segment for piece in chunk[:start]), first))
    if end == len(chunk):
        return slice(begin, length)
    one_token = tokenizer.token_to_id(chunk[end - 1].segment.text) is not None
    if one_token:  # what follows stands by itself
        behind = tuple(piece.segment for piece in chunk[end:])
        return slice(begin, length - len(_known_words(tokenizer, behind, False)))
    return slice(begin, len(_words(tokenizer, chunk[:end], first=first)))


def _words(tokenizer: Tokenizer, pieces: Sequence[_Piece], *, first: bool) -> list[int]:
    """Encode pieces as they are behind a special token, or at the beginning (families put a word mark there)."""
    before = [] if first else [Segment(IMAGE_END)]
    found = tokenizer.encode_segments([*before, *(piece.segment for piece in pieces)])
    return found[0 if first else len(_anchor(tokenizer)) : len(found) - len(tokenizer.suffix_ids)]


@lru_cache(maxsize=16)
def _anchor(tokenizer: Tokenizer) -> tuple[int, ...]:
    found = tokenizer.encode_segments([Segment(IMAGE_END)])
    return tuple(found[: len(found) - len(tokenizer.suffix_ids)])


@lru_cache(maxsize=1024)
def _known_words(tokenizer: Tokenizer, segments: tuple[Segment, ...], first: bool) -> tuple[int, ...]:
    """`_words` of the template's own words, which come again in every row."""
    return tuple(_words(tokenizer, [_Piece(segment) for segment in segments], first=first))


def _stretches(pieces: Sequence[_Piece]) -> Iterator[tuple[int, int]]:
    """Yield (first, end) of each run of learnt pieces."""
    for learn, run in groupby(enumerate(pieces), key=lambda each: each[1].learn):
        if learn:
            numbers = [number for number, _ in run]
            yield numbers[0], numbers[-1] + 1


def truncated(encoded: Encoded, max_tokens: int) -> Encoded:
    """Cut a conversation off after so many tokens, as the reference does."""
    return Encoded(encoded.input_ids[:max_tokens], encoded.labels[:max_tokens])

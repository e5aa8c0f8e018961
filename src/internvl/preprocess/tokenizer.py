"""Text <-> token ids, for every tokenizer of the family; ids and text equal the reference's.

In: a checkpoint directory (tokenizer.json, vocab.json + merges.txt, or a sentencepiece tokenizer.model, with
the added tokens beside them). Out: a `Tokenizer`. Called by the processor, the detokenizer and training.

All kinds share one way of encoding: added tokens (`<|im_end|>`, `<img>`, ...) are found first, here, and the
text between them goes to the subword model. That is what makes prompts safe: a `Segment` says which added
tokens count in it, so what a user typed can never become `<|im_end|>`, while the subword model still sees
the template's words and the user's as one run, exactly as the reference does.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

from internvl.errors import CheckpointError, RequestError
from internvl.preprocess.tokenizer_files import AddedToken, SpecialNames, read_tokenizer_files

#: What a user may spell and mean: grounding marks are part of the family's question language.
GROUNDING_TOKENS = frozenset(("<ref>", "</ref>", "<box>", "</box>", "<quad>", "</quad>"))


class Segment(NamedTuple):
    """A stretch of a prompt and which added tokens its text may name."""

    text: str
    tokens: frozenset[str] | None = None
    """None: all of them (the template's own words); otherwise only these."""


class Batch(NamedTuple):
    """Sequences of one length: ids and which of them are real."""

    input_ids: list[list[int]]
    attention_mask: list[list[int]]


class Tokenizer(ABC):
    """Text <-> ids. Subclasses bring the subword model and its way of decoding."""

    def __init__(
        self,
        *,
        added: Mapping[str, AddedToken],
        names: SpecialNames,
        special: Iterable[str],
        prefix_ids: Sequence[int] = (),
        suffix_ids: Sequence[int] = (),
        clean_up: bool = False,
    ) -> None:
        """Take the added tokens and what is put around a text.

        Args:
            added: Spelling -> token, found before the subword model runs.
            names: Which tokens play which part.
            special: Spellings that `skip_special_tokens` drops.
            prefix_ids: Ids before every encoded text (a bos, where the family has one).
            suffix_ids: Ids after it.
            clean_up: Remove spaces before punctuation when decoding (as some checkpoints ask for).
        """
        self.added_tokens = dict(added)
        self.names = names
        self.prefix_ids = tuple(prefix_ids)
        self.suffix_ids = tuple(suffix_ids)
        self.clean_up = clean_up
        self._added_by_id = {token.id: token.content for token in self.added_tokens.values()}
        ids = (self.token_to_id(token) for token in special)
        #: One more than the largest id, added tokens included. The model's embedding may have more rows.
        self.vocab_size = max(self.subword_vocab_size, max(self._added_by_id, default=-1) + 1)
        #: Ids that `decode(..., skip_special_tokens=True)` leaves out.
        self.special_token_ids: frozenset[int] = frozenset(i for i in ids if i is not None)
        #: Ids that steer the model; text can only become one of them where its Segment allows it.
        self.control_token_ids: frozenset[int] = (
            self.special_token_ids
            | self._subword_control_ids()
            | {token.id for token in self.added_tokens.values() if token.special}
        )

    # -- what a subclass brings

    @property
    @abstractmethod
    def subword_vocab_size(self) -> int:
        """Entries of the subword model, added tokens not counted."""

    @abstractmethod
    def _encode_run(self, text: str, first: bool) -> list[int]:
        """Encode text that holds no added tokens; `first`: nothing stands before it."""

    @abstractmethod
    def _spelling(self, token_id: int) -> str:
        """Return the text from which the subword model makes this id."""

    @abstractmethod
    def _decode(self, ids: Sequence[int], skip: frozenset[int]) -> str:
        """Return the text of ids without those in `skip`."""

    @abstractmethod
    def _subword_token_to_id(self, token: str) -> int | None:
        """Look a token up in the subword model."""

    @abstractmethod
    def _subword_id_to_token(self, token_id: int) -> str | None:
        """Look an id up in the subword model; None outside it."""

    @abstractmethod
    def _subword_bytes(self, token_id: int) -> bytes | None:
        """Return what an id of the subword model adds to a text; None where it is no text."""

    def _subword_control_ids(self) -> frozenset[int]:
        """Ids of the subword model that stand for no text (sentencepiece's control pieces)."""
        return frozenset()

    def _finish(self, ids: list[int]) -> list[int]:
        """Last word on the ids of a whole text."""
        return ids

    # -- vocabulary

    def token_to_id(self, token: str) -> int | None:
        """Return the id of a token spelled exactly so, or None."""
        added = self.added_tokens.get(token)
        return self._subword_token_to_id(token) if added is None else added.id

    def id_to_token(self, token_id: int) -> str:
        """Return a token as the vocabulary spells it; empty for an id that has no token."""
        added = self._added_by_id.get(token_id)
        return added if added is not None else self._subword_id_to_token(token_id) or ""

    def token_bytes(self, token_id: int) -> bytes | None:
        """Return what a token adds in the middle of a text, as bytes of UTF-8, maybe part of a letter.

        None for what is no text: control tokens, the unknown token, words of the chat format (`<think>`), ids
        without a token. Grounding marks are text.
        """
        added = self._added_by_id.get(token_id)
        if added is not None:
            return added.encode() if added in GROUNDING_TOKENS else None
        if token_id in self.control_token_ids or token_id == self.unk_token_id:
            return None
        return self._subword_bytes(token_id) or None

    @property
    def bos_token_id(self) -> int | None:
        """Id that begins a text."""
        return None if self.names.bos is None else self.token_to_id(self.names.bos)

    @property
    def eos_token_id(self) -> int | None:
        """Id that ends a text. What ends an *answer* is the template's business."""
        return None if self.names.eos is None else self.token_to_id(self.names.eos)

    @property
    def pad_token_id(self) -> int | None:
        """Id that fills up shorter sequences."""
        return None if self.names.pad is None else self.token_to_id(self.names.pad)

    @property
    def unk_token_id(self) -> int | None:
        """Id of what the vocabulary cannot say."""
        return None if self.names.unk is None else self.token_to_id(self.names.unk)

    # -- encoding

    def encode(self, text: str, special: bool = True) -> list[int]:
        """Return the ids of a text.

        Args:
            text: Any text.
            special: True: as the reference does, added tokens by their spelling, with the tokenizer's own
                prefix and suffix. False: nothing in it is an added token, nothing is put around it.

        Raises:
            RequestError: The text is no Unicode (half a surrogate pair), or cannot be encoded without naming
                a control token.
        """
        if not special:
            return self._finish(self._encode_pieces([text])) if text else []
        return self.encode_segments([Segment(text)])

    def encode_segments(self, segments: Iterable[Segment]) -> list[int]:
        """Return the ids of a prompt made of trusted structure and text from outside.

        Added tokens count only inside one segment that allows them, or across neighbours that allow all. The
        text between them is encoded as one run across segment borders.
        """
        ids = self._finish(self._encode_pieces(self._split(segments)))
        return [*self.prefix_ids, *ids, *self.suffix_ids]

    def _split(self, segments: Iterable[Segment]) -> list[str | int]:
        """Return plain runs and ids of added tokens in the order of the text."""
        pieces: list[str | int] = []
        for text, allowed in _merge(segments):
            position = 0
            for match in self._finder(allowed).finditer(text):
                token = self.added_tokens[match.group()]
                if token.single_word and not _stands_alone(text, match.start(), match.end()):
                    continue
                _append(pieces, text[position : match.start()])
                pieces.append(token.id)
                position = match.end()
            _append(pieces, text[position:])
        return self._strip(pieces)

    def _strip(self, pieces: list[str | int]) -> list[str | int]:
        """Let tokens with lstrip or rstrip swallow the white space beside them, whoever wrote it (parity)."""
        for position, piece in enumerate(pieces):
            if not isinstance(piece, int):
                continue
            token = self.added_tokens[self._added_by_id[piece]]
            if token.rstrip and position + 1 < len(pieces):
                right = pieces[position + 1]
                pieces[position + 1] = right.lstrip() if isinstance(right, str) else right
            if token.lstrip and position > 0:
                left = pieces[position - 1]
                pieces[position - 1] = left.rstrip() if isinstance(left, str) else left
        return [piece for piece in pieces if piece != ""]

    def _encode_pieces(self, pieces: Sequence[str | int]) -> list[int]:
        ids: list[int] = []
        for position, piece in enumerate(pieces):
            if isinstance(piece, int):
                ids.append(piece)
            else:
                ids.extend(self._encode_safely(piece, first=position == 0))
        return ids

    def _encode_safely(self, text: str, first: bool) -> list[int]:
        """Encode a plain run so that no control id comes out of it.

        A subword vocabulary may hold entries that the checkpoint reuses as control tokens (InternLM2 keeps
        `<|im_end|>` at the id of the piece "[UNUSED_TOKEN_145]"). Such an entry is split after its first
        letter; the reference would let it through.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise RequestError(
                f"the text holds half a character (U+{ord(text[error.start]):04X}, one of a surrogate pair); "
                "expected valid Unicode. Send emoji and other rare characters whole."
            ) from error
        ids = self._encode_run(text, first)
        # the unknown token is what a letter outside the vocabulary becomes; it steers nothing
        offenders = self.control_token_ids.intersection(ids) - {self.unk_token_id}
        if not offenders:
            return ids
        cuts: set[int] = set()
        for spelling in filter(None, map(self._spelling, offenders)):
            cuts.update(match.start() + 1 for match in re.finditer(re.escape(spelling), text))
        # a normalizer may have changed the text before the match: then every letter stands alone
        inside = sorted(cut for cut in cuts or range(len(text)) if 0 < cut < len(text))
        if not inside:
            raise RequestError(f"{text!r:.80} is itself a control token of this model. Write it differently.")
        parts = [text[a:b] for a, b in zip([0, *inside], [*inside, len(text)], strict=True)]
        return [i for n, part in enumerate(parts) for i in self._encode_safely(part, first and n == 0)]

    def _finder(self, allowed: frozenset[str] | None) -> re.Pattern[str]:
        known = self.added_tokens.keys() if allowed is None else allowed & self.added_tokens.keys()
        return _pattern(frozenset(known))

    # -- decoding

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Return the text of ids; bytes that are no UTF-8 become U+FFFD, ids without a token nothing."""
        text = self._decode(ids, self.special_token_ids if skip_special_tokens else frozenset())
        return clean_up_spaces(text) if self.clean_up else text

    def pad(self, sequences: Sequence[Sequence[int]], side: Literal["left", "right"] = "left") -> Batch:
        """Fill up to the longest sequence with the pad id."""
        if self.pad_token_id is None:
            raise CheckpointError("this tokenizer has no pad token; encode one text at a time")
        width = max((len(ids) for ids in sequences), default=0)
        rows, masks = [], []
        for ids in sequences:
            fill = width - len(ids)
            padding, real = [self.pad_token_id] * fill, [1] * len(ids)
            rows.append([*padding, *ids] if side == "left" else [*ids, *padding])
            masks.append([0] * fill + real if side == "left" else real + [0] * fill)
        return Batch(rows, masks)


def load_tokenizer(directory: str | Path) -> Tokenizer:
    """Load the tokenizer of a checkpoint directory; files are data, no code of the checkpoint runs.

    Where tokenizer.json and tokenizer.model lie side by side, the one that the layout's reference reads wins:
    the sentencepiece file in the GitHub layout, tokenizer.json in transformers' own.

    Raises:
        CheckpointError: No vocabulary, or files that are broken, contradictory or far too large.
    """
    from internvl.preprocess.bpe_tokenizer import load_json_tokenizer, load_vocab_tokenizer
    from internvl.preprocess.sentencepiece_tokenizer import load_sentencepiece_tokenizer

    directory = Path(directory)
    if not directory.is_dir():
        raise CheckpointError(f"{directory} is not a directory; expected one with a tokenizer's files")
    files = read_tokenizer_files(directory)
    has_json = (directory / "tokenizer.json").is_file()
    has_model = (directory / "tokenizer.model").is_file()
    fast = files.model_type == "internvl" or files.tokenizer_class.endswith(("Fast", "TokenizersBackend"))
    if has_json and (fast or not has_model):
        return load_json_tokenizer(files)
    if has_model:
        return load_sentencepiece_tokenizer(files)
    if (directory / "vocab.json").is_file() and (directory / "merges.txt").is_file():
        return load_vocab_tokenizer(files)
    pickled = sorted(path.name for path in directory.iterdir() if path.suffix in (".pkl", ".pickle", ".bin"))
    hint = f" ({', '.join(pickled[:3])} are not read: pickles run code)" if pickled else ""
    raise CheckpointError(
        f"{directory} has no vocabulary{hint}; expected tokenizer.json, tokenizer.model, or vocab.json with "
        "merges.txt. Copy them from the released checkpoint."
    )


@lru_cache(maxsize=256)
def _pattern(tokens: frozenset[str]) -> re.Pattern[str]:
    """Leftmost-longest search for any of the tokens."""
    if not tokens:
        return re.compile(r"(?!)")
    return re.compile("|".join(re.escape(token) for token in sorted(tokens, key=lambda t: (-len(t), t))))


def _merge(segments: Iterable[Segment]) -> list[Segment]:
    """Join neighbours in which all tokens count; borders of outside text stay borders for added tokens."""
    merged: list[Segment] = []
    for segment in segments:
        if merged and segment.tokens is None and merged[-1].tokens is None:
            merged[-1] = Segment(merged[-1].text + segment.text)
        elif segment.text:
            merged.append(segment)
    return merged


def _append(pieces: list[str | int], text: str) -> None:
    if not text:
        return
    if pieces and isinstance(last := pieces[-1], str):
        pieces[-1] = last + text
    else:
        pieces.append(text)


def _stands_alone(text: str, start: int, end: int) -> bool:
    before, after = text[start - 1 : start], text[end : end + 1]
    return not (re.match(r"\w", before) or re.match(r"\w", after))


def clean_up_spaces(text: str) -> str:
    """Undo the spaces that old tokenizers put around punctuation (transformers' clean_up_tokenization)."""
    for spaced, tight in (
        (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"),
        (" n't", "n't"), (" 'm", "'m"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
    ):  # fmt: skip
        text = text.replace(spaced, tight)
    return text

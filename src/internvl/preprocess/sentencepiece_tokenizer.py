"""Sentencepiece vocabularies as the reference's slow tokenizers read them.

In: tokenizer.model and the added tokens beside it. Out: a `Tokenizer` for InternLM2, InternLM3, Llama-2, Yi,
Phi-3 and QLLaMA. The families differ in where a word mark (U+2581) is put and in the spaces around special
tokens when decoding; those differences are the fields of `PieceStyle`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sentencepiece

from internvl.config.files import read_bytes
from internvl.errors import CheckpointError
from internvl.preprocess.bpe_tokenizer import complete_added
from internvl.preprocess.sentencepiece_model import without_dummy_prefix
from internvl.preprocess.tokenizer import Tokenizer, clean_up_spaces
from internvl.preprocess.tokenizer_files import SpecialNames, TokenizerFiles

WORD_MARK = "\u2581"


@dataclass(frozen=True, slots=True, kw_only=True)
class PieceStyle:
    """How one family's slow tokenizer differs from the others."""

    mark_first: bool = False
    """One word mark before the whole text, none before later runs (Llama with legacy=False: Phi-3)."""
    drop_first_mark: bool = False
    """Decoding drops a word mark that begins a stretch of text."""
    space_before_special: Literal["never", "inside", "always"] = "never"
    """Decoding puts a space before a special token (but not between two); "inside": not at the very start."""
    clean_up_stretches: bool = False
    """Decoding removes spaces before punctuation in each stretch of text, whatever the config says."""


STYLES = {
    "llama": PieceStyle(mark_first=True, drop_first_mark=True),
    "llama_legacy": PieceStyle(drop_first_mark=True, space_before_special="inside"),
    "internlm2": PieceStyle(space_before_special="always", clean_up_stretches=True),
    "internlm3": PieceStyle(drop_first_mark=True),
}


class SentencePieceTokenizer(Tokenizer):
    """A sentencepiece model under the rules of one slow tokenizer."""

    def __init__(self, model: sentencepiece.SentencePieceProcessor, style: PieceStyle, **parts: Any) -> None:
        """Wrap a loaded model; `parts` as for `Tokenizer`."""
        self.model = model
        self.style = style
        super().__init__(**parts)
        additional = {
            name for name in self.names.additional if self.added_tokens[name].id >= self.subword_vocab_size
        }
        #: Added tokens that end a stretch of text when decoding; other special ones are decoded inside it.
        self._separate = (self.added_tokens.keys() - self.names.all) | additional

    @property
    def subword_vocab_size(self) -> int:
        """Pieces of the model."""
        return int(self.model.get_piece_size())

    def _encode_pieces(self, pieces: Sequence[str | int]) -> list[int]:
        if self.style.mark_first and pieces:
            plain = [piece.replace(WORD_MARK, " ") if isinstance(piece, str) else piece for piece in pieces]
            first = plain[0]
            pieces = [WORD_MARK + first, *plain[1:]] if isinstance(first, str) else [WORD_MARK, *plain]
        return super()._encode_pieces(pieces)

    def _finish(self, ids: list[int]) -> list[int]:
        if not self.style.mark_first or len(ids) < 2:
            return ids
        # parity: the mark goes again where it stands alone before a token that has a part (bos, <img>, ...)
        alone = ids[0] == self.model.piece_to_id(WORD_MARK) and ids[1] in self.special_token_ids
        return ids[1:] if alone else ids

    def _encode_run(self, text: str, first: bool) -> list[int]:
        return list(self.model.encode(text, out_type=int))

    def _spelling(self, token_id: int) -> str:
        return str(self.model.id_to_piece(token_id)).replace(WORD_MARK, " ")

    def _subword_token_to_id(self, token: str) -> int | None:
        i = int(self.model.piece_to_id(token))
        return None if i == self.model.unk_id() and token != self.model.id_to_piece(i) else i

    def _subword_id_to_token(self, token_id: int) -> str | None:
        return str(self.model.id_to_piece(token_id)) if 0 <= token_id < self.subword_vocab_size else None

    def _subword_bytes(self, token_id: int) -> bytes | None:
        model = self.model
        if not 0 <= token_id < self.subword_vocab_size:
            return None
        if model.is_unknown(token_id) or model.is_unused(token_id):
            return None
        piece = str(model.id_to_piece(token_id))
        if model.is_byte(token_id):
            return bytes([int(piece[3:5], 16)])  # "<0x0A>"
        return piece.replace(WORD_MARK, " ").encode()

    def _subword_control_ids(self) -> frozenset[int]:
        return frozenset(i for i in range(self.subword_vocab_size) if self.model.is_control(i))

    def _decode(self, ids: Sequence[int], skip: frozenset[int]) -> str:
        texts: list[str] = []
        stretch: list[str] = []
        for token in [self.id_to_token(i) for i in ids if i not in skip]:
            if token in self._separate:
                self._close(stretch, texts)
                texts.append(token)
                stretch = []
            else:
                stretch.append(token)
        if stretch:
            texts.append(self._decode_stretch(stretch))
        return " ".join(texts)

    def _close(self, stretch: list[str], texts: list[str]) -> None:
        text = self._decode_stretch(stretch) if stretch else ""
        if text:
            texts.append(text)

    def _decode_stretch(self, tokens: list[str]) -> str:
        """Decode pieces and special tokens that are part of the running text."""
        if self.style.drop_first_mark and tokens[0].startswith(WORD_MARK):
            tokens = [tokens[0][1:], *tokens[1:]]
        text, pieces, after_special = "", [], False
        for position, token in enumerate(tokens):
            if token not in self.names.all:
                pieces.append(token)
                after_special = False
                continue
            spaced = self.style.space_before_special
            if not after_special and (spaced == "always" or (spaced == "inside" and position > 0)):
                text += " "
            text += self.model.decode_pieces(pieces) + token
            pieces, after_special = [], True
        text += self.model.decode_pieces(pieces)
        return clean_up_spaces(text) if self.style.clean_up_stretches else text


def load_sentencepiece_tokenizer(files: TokenizerFiles) -> Tokenizer:
    """Load tokenizer.model with the style that tokenizer_config.json's class asks for."""
    path = files.directory / "tokenizer.model"
    style_name = _style_name(files)
    style = STYLES[style_name]
    content = read_bytes(path)
    model = sentencepiece.SentencePieceProcessor()
    try:
        model.LoadFromSerializedProto(without_dummy_prefix(content) if style.mark_first else content)
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path} is not a sentencepiece model: {error}") from error
    internlm = style_name == "internlm2"
    names = files.special_names(
        SpecialNames(bos="<s>", eos="</s>", unk="<unk>", pad="</s>" if internlm else None)
    )
    size = int(model.get_piece_size())
    pieces = {model.id_to_piece(i): i for i in range(size)}
    added = complete_added(files.added, names, pieces.get, size)
    return SentencePieceTokenizer(
        model,
        style,
        added=added,
        names=names,
        special=names.all,
        prefix_ids=_ids(added, names.bos) if files.flag("add_bos_token", True) else (),
        suffix_ids=_ids(added, names.eos) if files.flag("add_eos_token", False) else (),
        clean_up=files.flag("clean_up_tokenization_spaces", False),
    )


def _ids(added: Any, name: str | None) -> tuple[int, ...]:
    return () if name is None else (added[name].id,)


def _style_name(files: TokenizerFiles) -> str:
    name = files.tokenizer_class.removesuffix("Fast")
    if name == "InternLM2Tokenizer":
        return "internlm2"
    if name == "InternLM3Tokenizer":
        return "internlm3"
    if name in ("LlamaTokenizer", "PreTrainedTokenizer", ""):
        return "llama_legacy" if files.flag("legacy", True) else "llama"
    raise CheckpointError(
        f"{files.directory / 'tokenizer_config.json'}: tokenizer_class {name!r} with a sentencepiece model; "
        "expected LlamaTokenizer, InternLM2Tokenizer or InternLM3Tokenizer"
    )

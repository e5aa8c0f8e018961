"""Byte-level BPE and every other tokenizer.json, through the `tokenizers` library.

In: tokenizer.json, or vocab.json + merges.txt (Qwen). Out: a `Tokenizer`. The library gets the subword model
only; added tokens are found by the base class, so that text from outside cannot name them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers

from internvl.config.files import parse_json_object, read_json_object, read_text
from internvl.errors import CheckpointError
from internvl.preprocess.tokenizer import Tokenizer
from internvl.preprocess.tokenizer_files import (
    MAX_TOKEN_ID,
    AddedToken,
    SpecialNames,
    TokenizerFiles,
    added_tokens_from_list,
)

QWEN2_WORDS = "|".join(
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
        r"[^\r\n\p{L}\p{N}]?\p{L}+",
        r"\p{N}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)
"""How Qwen2, 2.5 and 3 cut text into words before merging: contractions, letters with one sign before them,
single digits, signs, line ends, other white space."""

_BYTE_TOKEN = re.compile(r"<0x[0-9A-F]{2}>")


class BpeTokenizer(Tokenizer):
    """A subword model of the `tokenizers` library under our own handling of added tokens."""

    def __init__(
        self, model: tokenizers.Tokenizer, *, decode_model: tokenizers.Tokenizer | None = None, **parts: Any
    ) -> None:
        """Wrap a model that has no added tokens.

        Args:
            model: Normalizer, pre-tokenizer, subword model and decoder.
            decode_model: The same with its added tokens, for decoders that are not byte-level.
            **parts: As for `Tokenizer`.
        """
        self.model = model
        self._decode_model = decode_model
        #: For runs that do not begin the text; differs where only the beginning gets a word mark.
        self._inner_model = _without_first_prefix(model)
        self._bytes: dict[int, bytes] = {}
        super().__init__(**parts)

    @property
    def subword_vocab_size(self) -> int:
        """Entries of the subword model."""
        return self.model.get_vocab_size(with_added_tokens=False)

    def _encode_run(self, text: str, first: bool) -> list[int]:
        model = self.model if first else self._inner_model
        return list(model.encode(text, add_special_tokens=False).ids)

    def _spelling(self, token_id: int) -> str:
        return self.model.decode([token_id], skip_special_tokens=False)

    def _decode(self, ids: Sequence[int], skip: frozenset[int]) -> str:
        kept = [i for i in ids if i not in skip]
        if self._decode_model is not None:
            return str(self._decode_model.decode(kept, skip_special_tokens=False))
        # joined before decoding, so that letters cut into several tokens come out whole
        return b"".join(map(self._bytes_of, kept)).decode("utf-8", errors="replace")

    def _subword_token_to_id(self, token: str) -> int | None:
        return self.model.token_to_id(token)

    def _subword_id_to_token(self, token_id: int) -> str | None:
        return self.model.id_to_token(token_id) if token_id >= 0 else None

    def _subword_bytes(self, token_id: int) -> bytes | None:
        token = self._subword_id_to_token(token_id)
        if token is None:
            return None
        if self._decode_model is None:
            return _bytes_of_letters(token)
        decoder = self._decode_model.decoder
        if _BYTE_TOKEN.fullmatch(token) and decoder.decode(["<0x41>"]) == "A":
            return bytes([int(token[3:5], 16)])
        # behind another token, as decoders drop a word mark that begins a text
        text = decoder.decode(["a", token])[1:]
        return None if "\ufffd" in text else text.encode()

    def _bytes_of(self, token_id: int) -> bytes:
        """Bytes of one id, remembered: of 150,000 tokens an answer uses a few hundred."""
        known = self._bytes.get(token_id)
        if known is None:
            token = self.id_to_token(token_id)
            known = token.encode() if token_id in self._added_by_id else _bytes_of_letters(token)
            self._bytes[token_id] = known
        return known


def load_vocab_tokenizer(files: TokenizerFiles) -> Tokenizer:
    """Load Qwen's vocab.json + merges.txt."""
    vocab = _read_vocab(files.directory / "vocab.json")
    merges = _read_merges(files.directory / "merges.txt")
    build = _guarded(files.directory / "merges.txt", lambda: models.BPE(vocab=vocab, merges=merges))
    model = tokenizers.Tokenizer(build)
    model.normalizer = normalizers.NFC()
    model.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    model.decoder = decoders.ByteLevel()
    end = "<|endoftext|>"
    names = files.special_names(SpecialNames(eos=end, pad=end, unk=end))
    added = complete_added(files.added, names, vocab.get, len(vocab))
    return BpeTokenizer(
        model,
        added=added,
        names=names,
        special=names.all,
        clean_up=files.flag("clean_up_tokenization_spaces", False),
    )


def load_json_tokenizer(files: TokenizerFiles) -> Tokenizer:
    """Load a tokenizer.json."""
    path = files.directory / "tokenizer.json"
    text = read_text(path)
    added = added_tokens_from_list(path, parse_json_object(path, text).get("added_tokens") or [])
    full = _guarded(path, lambda: tokenizers.Tokenizer.from_str(text))
    full.no_truncation()
    full.no_padding()
    prefix, suffix = _affixes(path, full)
    model = _bare(full)
    moved = [token.content for token in added.values() if full.token_to_id(token.content) != token.id]
    if moved:
        raise CheckpointError(f"{path}: added tokens {moved[:3]} are not at the ids that the file gives them")
    names = files.special_names(SpecialNames())
    for name in names.all - added.keys():  # transformers adds those that the vocabulary has
        if (known := full.token_to_id(name)) is not None:
            added[name] = AddedToken(content=name, id=known)
    byte_level = isinstance(full.decoder, decoders.ByteLevel)
    special = {name for name, token in added.items() if token.special or name in names.all}
    return BpeTokenizer(
        model,
        decode_model=None if byte_level else full,
        added=added,
        names=names,
        special=special,
        prefix_ids=prefix,
        suffix_ids=suffix,
        clean_up=files.flag("clean_up_tokenization_spaces", False),
    )


def complete_added(
    added: Any, names: SpecialNames, lookup: Callable[[str], int | None], size: int
) -> dict[str, AddedToken]:
    """Add the named special tokens that no list of added tokens mentions.

    They keep their id where the vocabulary has them and get the next free one otherwise, as in the reference.
    """
    complete = dict(added)
    free = max([size, *(token.id + 1 for token in complete.values())])
    for name in (names.bos, names.eos, names.unk, names.pad, *names.additional):
        if name is None or name in complete:
            continue
        known = lookup(name)
        complete[name] = AddedToken(content=name, id=free if known is None else known)
        free += known is None
    return complete


@cache
def byte_alphabet() -> dict[str, int]:
    """Return GPT-2's letters for bytes: printable ones stand for themselves, the rest for U+0100 and up."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in set(printable)]
    letters = {chr(byte): byte for byte in printable}
    return letters | {chr(256 + n): byte for n, byte in enumerate(hidden)}


def _bytes_of_letters(token: str) -> bytes:
    """Return the bytes that a token's letters stand for; a token with other letters is its own text."""
    alphabet = byte_alphabet()
    try:
        return bytes([alphabet[letter] for letter in token])
    except KeyError:
        return token.encode()


def _read_vocab(path: Path) -> dict[str, int]:
    vocab = read_json_object(path)
    for token, i in vocab.items():
        if isinstance(i, bool) or not isinstance(i, int) or not 0 <= i < MAX_TOKEN_ID:
            raise CheckpointError(f"{path}: {token!r:.80} has id {i!r:.40}; expected 0..{MAX_TOKEN_ID - 1}")
    if len(set(vocab.values())) != len(vocab):
        raise CheckpointError(f"{path}: two tokens share an id")
    return vocab


def _read_merges(path: Path) -> list[tuple[str, str]]:
    merges = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        line = line.rstrip("\r")
        if not line or (number == 1 and line.startswith("#version")):
            continue
        parts = line.split(" ")
        if len(parts) != 2:
            raise CheckpointError(f"{path}, line {number}: {line!r:.80}; expected two tokens and one space")
        merges.append((parts[0], parts[1]))
    return merges


def _affixes(path: Path, full: tokenizers.Tokenizer) -> tuple[list[int], list[int]]:
    """Return what the file's post-processor puts before and after a text (Llama-3's bos)."""
    plain = _guarded(path, lambda: full.encode("a", add_special_tokens=False).ids)
    dressed = _guarded(path, lambda: full.encode("a", add_special_tokens=True).ids)
    for start in range(len(dressed) - len(plain) + 1):
        if dressed[start : start + len(plain)] == plain:
            return list(dressed[:start]), list(dressed[start + len(plain) :])
    raise CheckpointError(
        f"{path}: the post-processor changes the text itself; expected tokens before or after it"
    )


def _bare(full: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """Return the subword model alone; the vocabulary is shared, added tokens and post-processor are left."""
    bare = tokenizers.Tokenizer(full.model)
    for part in ("normalizer", "pre_tokenizer", "decoder"):
        if getattr(full, part) is not None:
            setattr(bare, part, getattr(full, part))
    return bare


def _without_first_prefix(model: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """Return a model for later runs: Metaspace with prepend_scheme "first" marks only the start of a text."""
    marks = model.pre_tokenizer
    if not isinstance(marks, pre_tokenizers.Metaspace) or marks.prepend_scheme != "first":
        return model
    inner = _bare(model)
    inner.pre_tokenizer = pre_tokenizers.Metaspace(
        replacement=marks.replacement, prepend_scheme="never", split=marks.split
    )
    return inner


def _guarded(path: Path, build: Callable[[], Any]) -> Any:
    """Run the library on a file's content; its errors, panics of its Rust core included, name the file."""
    try:
        return build()
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise CheckpointError(f"{path} is not a tokenizer that can be loaded: {error}") from error
        raise

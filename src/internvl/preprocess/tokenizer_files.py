"""The files beside a tokenizer -> checked facts; nothing in them is executed.

In: a directory that may come from anywhere. Out: added tokens, special names and settings, each of the
expected type. Everything else is a CheckpointError that names the file. Called by `preprocess.tokenizer`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from internvl.config.files import read_json_object
from internvl.errors import CheckpointError

MAX_TOKEN_ID = 2**22
"""No vocabulary of the family exceeds 2**18."""
MAX_ADDED_TOKENS = 2**16
MAX_TOKEN_CHARS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedToken:
    """A token that is found in the text before the subword model runs."""

    content: str
    id: int
    special: bool = True
    lstrip: bool = False
    """Swallows white space to its left."""
    rstrip: bool = False
    """Swallows white space to its right (Phi-3's role tokens)."""
    single_word: bool = False
    """Counts only where no letter or digit touches it."""
    normalized: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecialNames:
    """Which tokens play which part; None where the tokenizer has no such token."""

    bos: str | None = None
    eos: str | None = None
    pad: str | None = None
    unk: str | None = None
    additional: tuple[str, ...] = ()

    @property
    def all(self) -> frozenset[str]:
        """Every name that plays a part."""
        named = {self.bos, self.eos, self.pad, self.unk, *self.additional}
        return frozenset(name for name in named if name is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerFiles:
    """What a directory says about its tokenizer, besides the vocabulary itself."""

    directory: Path
    config: Mapping[str, Any] = field(default_factory=dict)
    """tokenizer_config.json"""
    special_map: Mapping[str, Any] = field(default_factory=dict)
    """special_tokens_map.json"""
    added: Mapping[str, AddedToken] = field(default_factory=dict)
    """From added_tokens_decoder, else from added_tokens.json."""
    model_type: str = ""
    """config.json's model_type; tells the two layouts apart."""

    @property
    def tokenizer_class(self) -> str:
        """E.g. Qwen2Tokenizer; empty when the files do not say."""
        return text_of(self.config.get("tokenizer_class")) or ""

    def flag(self, name: str, default: bool) -> bool:
        """Return a boolean of tokenizer_config.json."""
        value = self.config.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise CheckpointError(
                f"{self.directory / 'tokenizer_config.json'}: {name} is {value!r}; expected true or false"
            )
        return value

    def special_names(self, defaults: SpecialNames) -> SpecialNames:
        """Return the parts as the files give them; `defaults` fill in what is left out (null is not)."""
        found: dict[str, str | None] = {}
        for part in ("bos", "eos", "pad", "unk"):
            key = f"{part}_token"
            source = next((each for each in (self.config, self.special_map) if key in each), None)
            found[part] = getattr(defaults, part) if source is None else text_of(source[key])
        additional: Any = ()
        for each in (self.config, self.special_map):
            for key in ("additional_special_tokens", "extra_special_tokens"):
                additional = additional or each.get(key) or ()
        if isinstance(additional, Mapping):  # transformers 4.5x: {"image_token": "<IMG_CONTEXT>"}
            additional = list(additional.values())
        if not isinstance(additional, list | tuple):
            raise CheckpointError(
                f"{self.directory}: additional_special_tokens is {type(additional).__name__}; expected a list"
            )
        names = tuple(name for item in additional if (name := text_of(item)))
        return SpecialNames(**found, additional=names)


def text_of(value: Any) -> str | None:
    """Return a token's text, whether written as a string or as an object with `content`."""
    if isinstance(value, Mapping):
        value = value.get("content")
    return value if isinstance(value, str) and value else None


def read_tokenizer_files(directory: Path) -> TokenizerFiles:
    """Read everything but the vocabulary."""

    def optional(name: str) -> dict[str, Any]:
        path = directory / name
        return read_json_object(path) if path.is_file() else {}

    config, special_map = optional("tokenizer_config.json"), optional("special_tokens_map.json")
    model_type = optional("config.json").get("model_type", "")
    note = config.get("internvl")
    if isinstance(note, dict) and isinstance(note.get("tokenizer_config"), dict):
        # `internvl convert` wrapped this tokenizer for transformers; its own settings are exact for us.
        config, special_map, model_type = note["tokenizer_config"], note.get("special_tokens_map") or {}, ""
    decoder = config.get("added_tokens_decoder")
    if decoder is not None:
        added = _added_from_decoder(directory / "tokenizer_config.json", decoder)
    else:
        names = directory / "added_tokens.json"
        added = _added_from_names(names, optional("added_tokens.json"))
    return TokenizerFiles(
        directory=directory,
        config=config,
        special_map=special_map,
        added=added,
        model_type=model_type if isinstance(model_type, str) else "",
    )


def added_tokens_from_list(path: Path, entries: Any) -> dict[str, AddedToken]:
    """Read tokenizer.json's `added_tokens`."""
    if not isinstance(entries, list):
        raise CheckpointError(f"{path}: added_tokens is {type(entries).__name__}; expected a list")
    return _check_added(path, (_added_token(path, entry, None) for entry in entries))


def _added_from_decoder(path: Path, decoder: Any) -> dict[str, AddedToken]:
    if not isinstance(decoder, dict):
        raise CheckpointError(
            f"{path}: added_tokens_decoder is {type(decoder).__name__}; expected an object of id -> token"
        )
    return _check_added(path, (_added_token(path, entry, key) for key, entry in decoder.items()))


def _added_from_names(path: Path, names: dict[str, Any]) -> dict[str, AddedToken]:
    # added_tokens.json knows no `special`; whoever asks gets the careful answer
    return _check_added(path, (_added_token(path, {"content": key}, value) for key, value in names.items()))


def _added_token(path: Path, entry: Any, key: Any) -> AddedToken:
    if not isinstance(entry, dict):
        raise CheckpointError(f"{path}: added token {entry!r:.80}; expected an object with content and id")
    number = entry.get("id") if key is None else key
    if isinstance(number, str) and number.isascii() and number.isdigit() and len(number) < 10:
        number = int(number)
    content = entry.get("content")
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < MAX_TOKEN_ID:
        raise CheckpointError(
            f"{path}: added token {content!r:.80} has id {number!r:.40}; expected 0..{MAX_TOKEN_ID - 1}"
        )
    if not isinstance(content, str) or not 0 < len(content) <= MAX_TOKEN_CHARS:
        raise CheckpointError(
            f"{path}: added token {number} is spelled {content!r:.80}; expected 1..{MAX_TOKEN_CHARS} letters"
        )
    flags = {name: bool(entry.get(name, False)) for name in ("lstrip", "rstrip", "single_word", "normalized")}
    return AddedToken(content=content, id=number, special=bool(entry.get("special", True)), **flags)


def _check_added(path: Path, tokens: Iterable[AddedToken]) -> dict[str, AddedToken]:
    added: dict[str, AddedToken] = {}
    owners: dict[int, str] = {}
    for token in tokens:
        if len(added) >= MAX_ADDED_TOKENS:
            raise CheckpointError(f"{path}: more than {MAX_ADDED_TOKENS} added tokens")
        owner = owners.setdefault(token.id, token.content)
        if owner != token.content or added.get(token.content, token).id != token.id:
            raise CheckpointError(
                f"{path}: added tokens {owner!r:.80} and {token.content!r:.80} contradict each other at id "
                f"{token.id}"
            )
        added[token.content] = token
    return added

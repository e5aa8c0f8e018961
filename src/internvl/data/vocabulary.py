"""nano's byte-level BPE: one token a letter, and whole words only where `scripts/nano_model.py` asks for them.

Merges grow a word from its first letter, so whatever is read from a picture stays letters, which generalise. Files are
Qwen2's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tokenizers import Regex, pre_tokenizers

from internvl.preprocess.bpe_tokenizer import QWEN2_WORDS, byte_alphabet

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
ADDED_TOKENS = (
    END_OF_TEXT, TURN_START, TURN_END,
    "<img>", "</img>", "<IMG_CONTEXT>", "<quad>", "</quad>", "<ref>", "</ref>", "<box>", "</box>",
)  # fmt: skip
"""Qwen2's three and the family's nine, in the family's order."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Subwords and merges in Qwen2's form, and the added tokens after them."""

    subwords: tuple[str, ...]
    merges: tuple[tuple[str, str], ...]

    @property
    def added(self) -> dict[str, int]:
        """Ids of the added tokens: behind all subwords."""
        return {token: len(self.subwords) + i for i, token in enumerate(ADDED_TOKENS)}

    @property
    def size(self) -> int:
        """All tokens."""
        return len(self.subwords) + len(ADDED_TOKENS)


def build_vocabulary(whole: Iterable[str]) -> Vocabulary:
    """Make every word of `whole` a token, whatever it costs; all other text stays bytes."""
    splitter = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    subwords: dict[str, None] = dict.fromkeys(sorted(byte_alphabet()))
    merges: dict[tuple[str, str], int] = {}
    for text in whole:
        for word, _ in splitter.pre_tokenize_str(text):
            # joining the first two pieces again and again cannot undo what earlier words need: ranks only grow
            pieces = _cut(word, merges)
            while len(pieces) > 1:
                merges[pieces[0], pieces[1]] = len(merges)
                subwords.setdefault(pieces[0] + pieces[1])
                pieces = _cut(word, merges)
    return Vocabulary(tuple(subwords), tuple(merges))


def _cut(word: str, merges: Mapping[tuple[str, str], int]) -> list[str]:
    """Apply merges to a word as BPE does: lowest rank first, leftmost first."""
    pieces = list(word)
    while True:
        ranked = [(merges.get(pair, len(merges)), i) for i, pair in enumerate(pairwise(pieces))]
        rank, i = min(ranked, default=(len(merges), 0))
        if rank == len(merges):
            return pieces
        pieces[i : i + 2] = [pieces[i] + pieces[i + 1]]


def write_vocabulary(vocabulary: Vocabulary, directory: Path, *, max_length: int) -> None:
    """Write vocab.json, merges.txt, added_tokens.json, special_tokens_map.json and tokenizer_config.json."""
    directory.mkdir(parents=True, exist_ok=True)

    def write(name: str, content: object) -> None:
        (directory / name).write_text(
            json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf8"
        )

    write("vocab.json", {token: i for i, token in enumerate(vocabulary.subwords)})
    lines = "".join(f"{left} {right}\n" for left, right in vocabulary.merges)
    (directory / "merges.txt").write_text("#version: 0.2\n" + lines, encoding="utf8")
    write("added_tokens.json", vocabulary.added)
    special = {"eos_token": TURN_END, "pad_token": END_OF_TEXT}
    write("special_tokens_map.json", {**special, "additional_special_tokens": list(ADDED_TOKENS[1:])})
    entry = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True}
    write(
        "tokenizer_config.json",
        {
            "tokenizer_class": "Qwen2Tokenizer",
            "add_prefix_space": False,
            "add_bos_token": False,
            "added_tokens_decoder": {
                str(i): {"content": token, **entry} for token, i in vocabulary.added.items()
            },
            "additional_special_tokens": list(ADDED_TOKENS[1:]),
            "bos_token": None,
            "clean_up_tokenization_spaces": False,
            "errors": "replace",
            "model_max_length": max_length,
            "split_special_tokens": False,
            "unk_token": None,
            **special,
        },
    )

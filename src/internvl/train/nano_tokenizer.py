"""Write nano's tokenizer: `python -m internvl.train.nano_tokenizer DIRECTORY`.

It depends on the question templates only, so that it is the same on every machine. It must not change once a model is
trained on it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from internvl.data.questions import all_phrases
from internvl.data.vocabulary import Vocabulary, build_vocabulary, write_vocabulary
from internvl.preprocess.chat_template import SHUSHENG_WANXIANG

VOCAB_SIZE = 2048
"""Rows of the embedding; the tokenizer may fill fewer."""
MAX_LENGTH = 8192
BEGINNINGS = (
    "user", "assistant", "What", "Which", "How", "Describe", "Read", "Count", "Is", "The", "Please", "Tell", "Can", "Do",
    "Name", "It", "Was", "Give", "Answer",
)  # fmt: skip
"""Words that begin a turn and become one token."""


def nano_vocabulary() -> Vocabulary:
    """The vocabulary of nano."""
    chinese = [text for text in all_phrases() if not text.isascii() and text[0] > "\u2e80"]
    whole = ["system\n" + SHUSHENG_WANXIANG, *BEGINNINGS, *chinese]
    return build_vocabulary(all_phrases(), whole=whole, size=VOCAB_SIZE, least_count=1)


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    write_vocabulary(nano_vocabulary(), parser.parse_args().directory, max_length=MAX_LENGTH)


if __name__ == "__main__":
    main()

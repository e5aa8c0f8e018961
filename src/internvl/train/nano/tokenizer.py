"""Write nano's tokenizer: `python -m internvl.train.nano.tokenizer DIRECTORY`.

It depends on the question templates only, so that it is the same on every machine. It must not change once a model is
trained on it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from internvl.checkpoint.save import write_config_files
from internvl.checkpoint.write_config import TokenIds
from internvl.data.questions import all_phrases
from internvl.data.vocabulary import END_OF_TEXT, TURN_END, Vocabulary, build_vocabulary, write_vocabulary
from internvl.preprocess.chat_template import SHUSHENG_WANXIANG
from internvl.train.nano.model_config import MAX_POSITION, VOCAB_SIZE, nano_config

BEGINNINGS = (
    "user", "assistant", "What", "Which", "How", "Describe", "Read", "Count", "Is", "The", "Please", "Tell", "Can",
    "Do", "Name", "It", "Was", "Give", "Answer",
)  # fmt: skip
"""Words that begin a turn and become one token."""


def nano_vocabulary() -> Vocabulary:
    """The vocabulary of nano."""
    chinese = [text for text in all_phrases() if not text.isascii() and text[0] > "\u2e80"]
    whole = ["system\n" + SHUSHENG_WANXIANG, *BEGINNINGS, *chinese]
    return build_vocabulary(all_phrases(), whole=whole, size=VOCAB_SIZE, least_count=1)


def write_tokenizer(directory: Path, image_size: int = 112) -> None:
    """Write the tokenizer files, and the config.json that says which ids they have."""
    vocabulary = nano_vocabulary()
    write_vocabulary(vocabulary, directory, max_length=MAX_POSITION)
    added = vocabulary.added
    ids = TokenIds(image=added["<IMG_CONTEXT>"], eos=added[TURN_END], pad=added[END_OF_TEXT])
    write_config_files(directory, nano_config(image_size), "github", ids=ids, dtype="bfloat16")


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    write_tokenizer(parser.parse_args().directory)


if __name__ == "__main__":
    main()

"""Write the empty nano that training begins with: `python scripts/nano_model.py recipes/nano/model --shared ../shared`.

Its shape, and a byte-level BPE whose tokens are letters: every character of the languages in shared/data/text is one
token, however many bytes it has (the most frequent ones first), and the default system message and the names of the
roles, which every prompt carries, are a few. What is read from a picture is then spelled as it stands there. The
tokenizer must not change once a model is trained on it.
"""

from __future__ import annotations

import argparse
import json
import lzma
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from internvl.checkpoint.save import write_config_files
from internvl.checkpoint.write_config import TokenIds
from internvl.config.model import ModelConfig, ProjectorConfig, RopeConfig, TextConfig, VisionConfig
from internvl.data.charset import PRINTED
from internvl.data.vocabulary import END_OF_TEXT, TURN_END, build_vocabulary, write_vocabulary
from internvl.preprocess.chat_template import SHUSHENG_WANXIANG

VOCAB_SIZE = 4096
CONTEXT = 16384
CONFIG = ModelConfig(
    vision=VisionConfig(
        hidden_size=192,
        intermediate_size=768,
        num_layers=6,
        num_heads=6,
        image_size=448,
        layer_scale_init=1.0,
    ),
    projector=ProjectorConfig(),
    text=TextConfig(
        family="qwen3",
        vocab_size=VOCAB_SIZE,
        hidden_size=256,
        intermediate_size=768,
        num_layers=4,
        num_heads=4,
        num_kv_heads=2,
        head_dim=64,
        max_position=CONTEXT,
        rope=RopeConfig(theta=10000.0),
        qk_norm=True,
        tie_embeddings=True,
    ),
    image_size=448,
    max_tiles=12,
    use_thumbnail=False,
    tile_policy="fit",
    template="internvl2_5",
)
"""A printed page is twelve tiles of 256 tokens, and 3,000 letters of answer: hence the long context."""


def texts(shared: Path) -> Iterator[str]:
    """Names, words and running text in many languages."""

    def rows(name: str) -> Iterator[dict]:
        with lzma.open(shared / "data" / "text" / name, "rt", encoding="utf8") as file:
            yield from map(json.loads, file)

    for row in rows("emoji.jsonl.xz"):
        yield json.dumps(row, ensure_ascii=False)
    for row in rows("wordfreq_words.jsonl.xz"):
        yield "".join(row["words"])
    for row in rows("udhr.jsonl.xz"):
        yield json.dumps(row["articles"][:3], ensure_ascii=False)


def characters(shared: Path) -> list[str]:
    """Characters of more than one byte, those of printed documents first, then by frequency."""
    counts: Counter[str] = Counter()
    for text in texts(shared):
        counts.update(unicodedata.normalize("NFC", text))
    found = [c for c in PRINTED if not c.isascii()]
    found += [c for c, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if not c.isascii()]
    return [c for c in dict.fromkeys(found) if unicodedata.category(c)[0] in "LMNPS"]


def main() -> None:
    """Write config.json and the tokenizer's files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--shared", type=Path, required=True)
    args = parser.parse_args()
    whole = ["system\n" + SHUSHENG_WANXIANG, "user", "assistant"]
    chosen = characters(args.shared)
    while True:  # a character of three bytes costs up to two tokens: which ones fit is found by trying
        vocabulary = build_vocabulary([*whole, *chosen])
        if vocabulary.size <= VOCAB_SIZE:
            break
        del chosen[-max(1, (vocabulary.size - VOCAB_SIZE) // 2) :]
    write_vocabulary(vocabulary, args.directory, max_length=CONTEXT)
    added = vocabulary.added
    ids = TokenIds(image=added["<IMG_CONTEXT>"], eos=added[TURN_END], pad=added[END_OF_TEXT])
    write_config_files(args.directory, CONFIG, "github", ids=ids, dtype="bfloat16")
    print(f"{len(chosen)} characters, {vocabulary.size} tokens; the last: {''.join(chosen[-20:])}")


if __name__ == "__main__":
    main()

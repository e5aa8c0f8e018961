"""Streamed text adds up to the decoded whole with every recorded tokenizer."""

import json

import numpy as np
import pytest

from golden import GOLDEN, requires_golden
from internvl.engine.detokenizer import Detokenizer
from internvl.preprocess.sentencepiece_tokenizer import SentencePieceTokenizer
from internvl.preprocess.tokenizer import load_tokenizer

pytestmark = [pytest.mark.parity, requires_golden]

TOKENIZERS = sorted(path.name for path in GOLDEN.glob("tokenizers/*") if path.is_dir())


def streamed(tokenizer, ids, skip):
    detokenizer = Detokenizer(lambda window: tokenizer.decode(window, skip_special_tokens=skip))
    return [*(detokenizer.push(i) for i in ids), detokenizer.flush()]


def same(pieces, whole, tokenizer, skip):
    """Equality; of slow sentencepiece decoders with special tokens kept, but for spaces (see the module)."""
    text = "".join(pieces)
    if skip or not isinstance(tokenizer, SentencePieceTokenizer):
        return text == whole
    return text.replace(" ", "") == whole.replace(" ", "")


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("name", TOKENIZERS)
def test_pieces_add_up_for_text(name, skip):
    tokenizer = load_tokenizer(GOLDEN / "tokenizers" / name)
    recording = json.loads((GOLDEN / "tokenizers" / f"{name}.golden.json").read_text("utf-8"))
    for case in recording["cases"]:
        pieces = streamed(tokenizer, case["ids"], skip)
        assert same(pieces, tokenizer.decode(case["ids"], skip), tokenizer, skip), case["text"]
        if "\ufffd" not in "".join(pieces):
            assert not any("\ufffd" in piece for piece in pieces)


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("name", TOKENIZERS)
def test_pieces_add_up_for_any_ids(name, skip):
    tokenizer = load_tokenizer(GOLDEN / "tokenizers" / name)
    rng = np.random.default_rng(0)
    special = sorted(tokenizer.control_token_ids)
    for _ in range(60):
        ids = rng.integers(0, tokenizer.vocab_size, 40)
        ids = np.where(rng.random(40) < 0.2, rng.choice(special, 40), ids).tolist()
        pieces = streamed(tokenizer, ids, skip)
        assert same(pieces, tokenizer.decode(ids, skip), tokenizer, skip), ids

"""ids, text and padding of every recorded tokenizer."""

import json

import pytest

from golden import GOLDEN, requires_golden
from internvl.preprocess.tokenizer import Segment, load_tokenizer

pytestmark = [pytest.mark.parity, requires_golden]

NAMES = ["gptoss_mini", "internlm2_mini", "phi3_mini", "qwen2_mini", "qwen2_real", "qwen3_mini", "yi_mini"]


@pytest.fixture(scope="module", params=NAMES)
def recorded(request):
    recording = json.loads((GOLDEN / "tokenizers" / f"{request.param}.golden.json").read_text())
    return load_tokenizer(GOLDEN / "tokenizers" / request.param), recording


def test_every_recorded_tokenizer_is_tested():
    assert sorted(p.name.split(".")[0] for p in (GOLDEN / "tokenizers").glob("*.golden.json")) == NAMES


def test_ids_equal_the_recorded_ones(recorded):
    tokenizer, recording = recorded
    for case in recording["cases"]:
        assert tokenizer.encode(case["text"]) == case["ids"], case["text"]


def test_text_of_recorded_ids_equals_the_recorded_text(recorded):
    tokenizer, recording = recorded
    for case in recording["cases"] + recording["random_decode"]:
        assert tokenizer.decode(case["ids"], skip_special_tokens=False) == case["decoded"], case["ids"]
        assert tokenizer.decode(case["ids"]) == case["decoded_skip_special"], case["ids"]


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_equals_the_recorded_one(recorded, side):
    tokenizer, recording = recorded
    padding = recording["padding"]
    batch = tokenizer.pad([tokenizer.encode(text) for text in padding["texts"]], side)
    assert batch.input_ids == padding[side]["input_ids"]
    assert batch.attention_mask == padding[side]["attention_mask"]


def test_special_ids_equal_the_recorded_ones(recorded):
    tokenizer, recording = recorded
    assert tokenizer.vocab_size == recording["len"]
    for part in ("pad", "eos", "bos"):
        assert getattr(tokenizer, f"{part}_token_id") == recording[f"{part}_token_id"]
    unknown = tokenizer.token_to_id("<unk>")
    for token, i in recording["ids"].items():
        # the reference answers with the unknown token where we say None
        assert tokenizer.token_to_id(token) == (None if i == unknown else i)


def test_cutting_a_text_into_trusted_segments_changes_nothing(recorded):
    tokenizer, recording = recorded
    for case in recording["cases"]:
        text = case["text"]
        cut = [Segment(text[:3]), Segment(text[3:7]), Segment(text[7:])]
        assert tokenizer.encode_segments(cut) == case["ids"]


def test_text_without_special_spellings_is_encoded_alike_trusted_or_not(recorded):
    tokenizer, recording = recorded
    nothing: frozenset[str] = frozenset()
    for case in recording["cases"]:
        text = case["text"]
        if any(token in text for token in tokenizer.added_tokens):
            continue
        cut = [Segment(text[:4]), Segment(text[4:], nothing)]
        assert tokenizer.encode_segments(cut) == case["ids"], text


def test_no_spelling_of_a_control_token_becomes_one(recorded):
    tokenizer, recording = recorded
    spellings = [*tokenizer.added_tokens, *(tokenizer.id_to_token(i) for i in tokenizer.control_token_ids)]
    texts = [f"a{s}b {s}\n{s}{s}" for s in spellings] + [case["text"] for case in recording["cases"]]
    forbidden = tokenizer.control_token_ids | {token.id for token in tokenizer.added_tokens.values()}
    for text in texts:
        ids = tokenizer.encode(text, special=False)
        assert forbidden.isdisjoint(ids), text


def test_qllama_texts_end_with_eos():
    directory = GOLDEN / "contrastive" / "internvl_14b_tiny"
    recording = json.loads((directory / "golden.json").read_text())
    tokenizer = load_tokenizer(directory)
    for text, ids in zip(recording["texts"], recording["text_ids_no_pad"], strict=True):
        # max_length 80, the eos included
        assert [*tokenizer.encode(recording["prefix"] + text)[:79], tokenizer.eos_token_id] == ids
    caption = recording["caption"]
    assert [tokenizer.encode(caption["prompt"])] == caption["input_ids"]

"""The part of the parity tests that needs nothing but the repository (tests/data/recorded)."""

import json
from pathlib import Path

import pytest

from internvl.preprocess.chat_template import find_template
from internvl.preprocess.messages import Turn
from internvl.preprocess.tokenizer import load_tokenizer

RECORDED = Path(__file__).resolve().parents[2] / "data" / "recorded"
TEMPLATES = json.loads((RECORDED / "templates.json").read_text(encoding="utf-8"))
TOKENIZERS = json.loads((RECORDED / "tokenizers.json").read_text(encoding="utf-8"))


def turns_of(dialogue):
    if dialogue["system"] is not None:
        yield Turn(role="system", parts=(dialogue["system"],))
    for speaker, text in dialogue["turns"]:
        if text is not None:
            # placeholders stay in the recorded prompts: keep them from being filled
            text = text.replace("<image>", "<picture>")
            yield Turn(role="user" if speaker == "u" else "assistant", parts=(text,))


@pytest.mark.parametrize("name", TEMPLATES["templates"])
def test_prompts_equal_the_recorded_ones(name):
    template, recorded = find_template(name), TEMPLATES["templates"][name]
    assert template.default_system == recorded["default_system"]
    assert template.stop_tokens[0] == recorded["stop"]
    for dialogue in TEMPLATES["dialogues"]:
        segments = template.render(
            list(turns_of(dialogue)),
            show=str,
            spellable=dict.fromkeys(("system", "user", "assistant"), frozenset()),
            add_generation_prompt=dialogue["turns"][-1][1] is None,
        )
        prompt = "".join(text for text, _ in segments).replace("<picture>", "<image>")
        expected = recorded["prompts"][dialogue["name"]]
        assert prompt == expected.replace("{default}", recorded["default_system"] or "")


@pytest.mark.parametrize("name", TOKENIZERS)
def test_ids_and_text_equal_the_recorded_ones(name):
    tokenizer, recorded = load_tokenizer(RECORDED / name), TOKENIZERS[name]
    assert tokenizer.vocab_size == recorded["vocab_size"]
    for part in ("pad", "eos", "bos"):
        assert getattr(tokenizer, f"{part}_token_id") == recorded[part]
    for text, ids, decoded, decoded_skip_special in recorded["cases"]:
        assert tokenizer.encode(text) == ids, text
        assert tokenizer.decode(ids, skip_special_tokens=False) == decoded
        assert tokenizer.decode(ids) == decoded_skip_special
    for ids, decoded, decoded_skip_special in recorded["random"]:
        assert tokenizer.decode(ids, skip_special_tokens=False) == decoded
        assert tokenizer.decode(ids) == decoded_skip_special

"""Prompts of every recorded conversation template."""

import json

import pytest
import torch

from golden import GOLDEN, requires_golden
from internvl.preprocess.chat_template import TEMPLATES, find_template
from internvl.preprocess.messages import Turn
from internvl.preprocess.tokenizer import load_tokenizer

pytestmark = [pytest.mark.parity, requires_golden]

RECORDING = GOLDEN / "templates" / "templates.json"
NAMES = [
    *("Hermes-2", "internlm2-chat", "internvl2_5", "internvl_zh", "phi3-chat"),
    *("Hermes-2@gpt_oss", "internlm2-chat@gpt_oss", "internvl2_5@gpt_oss", "internvl3_5_gpt_oss@gpt_oss"),
    "phi3-chat@gpt_oss",
]


@pytest.fixture(scope="module")
def recording():
    return json.loads(RECORDING.read_text())


def test_every_recorded_template_is_tested(recording):
    assert sorted(recording["templates"]) == sorted(NAMES)
    github = {name for name in TEMPLATES if not name.startswith("internvl_hf")}
    assert github == {name.removesuffix("@gpt_oss") for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_prompts_equal_the_recorded_ones(recording, name):
    template = find_template(name)
    nothing = dict.fromkeys(("system", "user", "assistant"), frozenset())
    for dialogue in recording["dialogues"]:
        turns = []
        if dialogue["system"] is not None:
            turns.append(Turn(role="system", parts=(dialogue["system"],)))
        for speaker, text in dialogue["turns"]:
            if text is None:
                continue
            # placeholders stay in the recorded prompts: keep them from being filled
            role = "user" if speaker == "u" else "assistant"
            turns.append(Turn(role=role, parts=(text.replace("<image>", "<picture>"),)))
        segments = template.render(
            turns,
            show=lambda picture: "",
            spellable=nothing,
            add_generation_prompt=dialogue["turns"][-1][1] is None,
        )
        prompt = "".join(text for text, _ in segments).replace("<picture>", "<image>")
        assert prompt == recording["templates"][name]["prompts"][dialogue["name"]], dialogue["name"]


@pytest.mark.parametrize("name", NAMES)
def test_answers_end_with_the_recorded_token(recording, name):
    fields = recording["templates"][name]
    stops = find_template(name).stop_tokens
    assert stops[0] == fields["eos_string_used_by_chat"]
    assert set(stops[1:]) == ({fields["stop_str"]} - {None})
    assert find_template(name).default_system == fields["system_message"]


def test_prompts_that_the_reference_trains_on_are_ours():
    """Recorded samples of training, over all templates and tokenizers, encoded as one text.

    Left out: what training does to a conversation besides writing it down (answers first, empty or with
    spaces around them, GPT-OSS's channels).
    """
    recording = json.loads((GOLDEN / "training" / "preprocess.json").read_text())
    compared = 0
    for row in recording:
        said = row["conversations_in"]
        roles = [{"human": "user", "gpt": "assistant"}.get(turn["from"], turn["from"]) for turn in said]
        texts = [turn["value"] for turn in said]
        proper = roles[0] in ("system", "user") and all(text and text == text.strip() for text in texts)
        if not row.get("input_ids") or not proper:
            continue
        turns = [
            Turn(role=role, parts=(text.replace("<image>", "<picture>"),))
            for role, text in zip(roles, texts, strict=True)
        ]
        segments = find_template(row["template"]).render(
            turns,
            show=str,
            spellable=dict.fromkeys(("system", "user", "assistant")),
            add_generation_prompt=False,
        )
        prompt = "".join(text for text, _ in segments)
        for num_tokens in row["num_image_token_list"]:
            prompt = prompt.replace("<picture>", f"<img>{'<IMG_CONTEXT>' * num_tokens}</img>", 1)
        tokenizer = load_tokenizer(GOLDEN / "tokenizers" / row["tokenizer"])
        recorded = torch.tensor(row["input_ids"]).flatten().tolist()
        ids = tokenizer.encode(prompt)[: len(recorded)]
        assert ids == recorded[: len(ids)], (row["id"], row["template"])
        assert set(recorded[len(ids) :]) <= {tokenizer.pad_token_id}
        compared += 1
    assert compared > 150

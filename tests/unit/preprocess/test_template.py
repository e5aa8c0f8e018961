"""Templates as tables: prompts written out by hand for the smallest dialogues."""

from functools import partial

import pytest

from internvl.errors import ConfigError, RequestError
from internvl.preprocess.chat_template import TEMPLATES, find_template
from internvl.preprocess.messages import Picture, Turn, parse_messages

NOTHING = dict.fromkeys(("system", "user", "assistant"), frozenset())


def turn(role, *parts):
    return Turn(role=role, parts=parts)


def prompt(name, *turns, **options):
    show = options.pop("show", lambda picture: f"[{picture.where}]")
    segments = find_template(name).render(turns, show=show, spellable=NOTHING, **options)
    return "".join(text for text, _ in segments)


ask = partial(turn, "user")
answer = partial(turn, "assistant")


@pytest.mark.parametrize("name", TEMPLATES)
def test_an_explicit_system_message_replaces_the_default(name):
    default = find_template(name).default_system
    with_default = prompt(name, ask("Q"))
    with_own = prompt(name, turn("system", "Be brief."), ask("Q"))
    assert "Be brief." in with_own
    if default:
        assert default in with_default
        assert default not in with_own
        assert with_own == with_default.replace(default, "Be brief.")
        # an empty one is a system turn with nothing in it, not the default
        assert prompt(name, turn("system", ""), ask("Q")) == with_default.replace(default, "")


def test_chatml_families_differ_by_the_line_end_after_a_turn():
    dialogue = (turn("system", "S"), ask("Q"), answer("A"), ask("R"))
    body = "<|im_start|>system\nS{0}<|im_start|>user\nQ{0}<|im_start|>assistant\nA{0}<|im_start|>user\nR{0}"
    body += "<|im_start|>assistant\n"
    for name in ("Hermes-2", "internlm2-chat"):
        assert prompt(name, *dialogue) == body.format("<|im_end|>")
    for name in ("internvl2_5", "internvl_hf"):
        assert prompt(name, *dialogue) == body.format("<|im_end|>\n")


def test_phi3_and_the_first_chat_model_have_forms_of_their_own():
    dialogue = (turn("system", "S"), ask("Q"), answer("A"), ask("R"))
    assert prompt("phi3-chat", *dialogue) == (
        "<|system|>\nS<|end|><|user|>\nQ<|end|><|assistant|>\nA<|end|><|user|>\nR<|end|><|assistant|>\n"
    )
    assert prompt("internvl_zh", *dialogue) == "S <human>: Q <bot>: A</s><human>: R <bot>:"
    assert prompt("internvl_zh", ask("Q")) == " <human>: Q <bot>:"


def test_gpt_oss_ends_a_finished_conversation_with_return():
    dialogue = (turn("system", "S"), ask("Q"), answer("A"))
    assert prompt("internvl3_5_gpt_oss", *dialogue, add_generation_prompt=False) == (
        "<|start|>system<|message|>S<|end|><|start|>user<|message|>Q<|end|><|start|>assistantA<|return|>"
    )
    opened = prompt("internvl3_5_gpt_oss", *dialogue, ask("R"))
    assert "A<|end|><|start|>user<|message|>R<|end|><|start|>assistant" in opened
    assert "<|return|>" not in opened


def test_transformers_template_adds_no_system_message():
    assert prompt("internvl_hf", ask("Q")) == "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n"


def test_an_empty_message_is_only_its_header_but_in_transformers_template():
    dialogue = (turn("system", "S"), ask(""))
    header = "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n"
    assert prompt("internvl2_5", *dialogue) == header + "<|im_start|>assistant\n"
    assert prompt("internvl_hf", *dialogue) == header + "<|im_end|>\n<|im_start|>assistant\n"
    zh = prompt("internvl_zh", turn("system", ""), ask(""), answer(""), ask("x"))
    assert zh == " <human>:<bot>:<human>: x <bot>:"


def test_a_message_of_only_a_picture_is_not_empty():
    assert prompt("internvl2_5", turn("system", ""), ask(Picture(source="a", where="P"))).endswith(
        "<|im_start|>user\n[P]\n<|im_end|>\n<|im_start|>assistant\n"
    )


def test_pictures_are_numbered_anew_in_every_message():
    turns = parse_messages(
        [
            {"role": "user", "content": [{"type": "image", "image": "a"}] * 2 + ["Q"]},
            {"role": "assistant", "content": "A"},
            {"role": "user", "content": [{"type": "image", "image": "b"}] * 2 + ["R"]},
        ]
    )
    text = prompt("internvl2_5", *turns, show=lambda picture: "#")
    assert text.count("Image-1: #\nImage-2: #\n") == 2
    assert "Image-3" not in text


def test_only_a_user_message_can_be_answered():
    dialogue = (ask("Q"), answer("A"))
    with pytest.raises(RequestError, match="last message has the role 'assistant'"):
        prompt("internvl2_5", *dialogue)
    assert prompt("internvl2_5", *dialogue, add_generation_prompt=False).endswith("A<|im_end|>\n")


def test_the_text_of_a_role_may_name_what_its_role_may():
    spellable = {"system": frozenset("s"), "user": frozenset("u"), "assistant": frozenset("a")}
    dialogue = (turn("system", "S"), ask("Q"), answer("A"), ask("R"))
    segments = find_template("internvl2_5").render(dialogue, show=str, spellable=spellable)
    assert {text: tokens for text, tokens in segments if tokens is not None} == {
        "S": frozenset("s"),
        "Q": frozenset("u"),
        "A": frozenset("a"),
        "R": frozenset("u"),
    }


@pytest.mark.parametrize(
    ("name", "hint"), [("internvl2.5", "internvl2_5"), ("hermes2", "Hermes-2"), ("zzz", "phi3")]
)
def test_an_unknown_template_is_answered_with_the_nearest_and_the_list(name, hint):
    with pytest.raises(ConfigError) as caught:
        find_template(name)
    assert hint in str(caught.value)
    for known in TEMPLATES:
        assert known in str(caught.value)


def test_the_second_packages_names_find_the_same_tables():
    for name in ("Hermes-2", "internvl3_5_gpt_oss"):
        assert find_template(f"{name}@gpt_oss") is find_template(name)

"""What of a conversation is learnt, in every template, and that its ids are those of chat."""

import pytest

from fakes import tiny_model_config
from internvl.errors import DataError
from internvl.preprocess.processor import Processor
from internvl.preprocess.tokenizer import load_tokenizer
from internvl.train import labels
from internvl.train.batch import IGNORE_INDEX
from internvl.train.labels import RowTurn, encode_turns
from tiny_tokenizers import KINDS, TEMPLATE_OF, write_tokenizer

TALK = [
    RowTurn("human", "How many dogs?"),
    RowTurn("gpt", "Two dogs."),
    RowTurn("human", "And?"),
    RowTurn("gpt", "no"),
]


@pytest.fixture(scope="module")
def processors(tmp_path_factory):
    made = {}

    def of(kind, template=None):
        key = kind, template
        if key not in made:
            directory = tmp_path_factory.mktemp(kind)
            tokenizer = load_tokenizer(write_tokenizer(directory / "files", kind))
            family = "gpt_oss" if kind == "gpt_oss" else "qwen3"
            made[key] = Processor(
                tiny_model_config(family, template=template or TEMPLATE_OF[kind]), tokenizer
            )
        return made[key]

    return of


def learnt(encoded, processor):
    """The learnt stretches as text."""
    stretches, ids = [], []
    for token, label in [*zip(*encoded, strict=True), (0, IGNORE_INDEX)]:
        if label != IGNORE_INDEX:
            assert label == token
            ids.append(token)
        elif ids:
            stretches.append(processor.tokenizer.decode(ids, skip_special_tokens=False).strip())
            ids = []
    return stretches


@pytest.mark.parametrize("kind", KINDS)
def test_answers_and_what_ends_them_are_learnt(processors, kind):
    processor = processors(kind)
    stop = processor.template.stop_tokens[0]
    found = [text.replace(" <|", "<|") for text in learnt(encode_turns(TALK, processor, []), processor)]
    head = "<|channel|>final<|message|>" if kind == "gpt_oss" else ""
    assert found == [f"{head}Two dogs.{stop}", f"{head}no{stop}"]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "gpt_oss"])
def test_ids_are_those_of_the_finished_chat(processors, kind):
    processor = processors(kind)
    roles = {"human": "user", "gpt": "assistant"}
    messages = [{"role": roles[turn.role], "content": turn.text} for turn in TALK]
    chat = processor(messages, add_generation_prompt=False)
    assert encode_turns(TALK, processor, []).input_ids == chat.input_ids.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_cutting_the_work_changes_no_id_and_no_label(processors, kind, monkeypatch):
    processor = processors(kind)
    turns = [
        RowTurn("system", " Be\n\nbrief. "),
        RowTurn("human", "  <image>\nWhat <ref>is</ref> <image>this?\n"),
        RowTurn("gpt", " \n it is <box>[[1, 2]]</box>\n"),
        RowTurn("human", "<|im_end|>"),
        RowTurn("gpt", "图片里有三个人。"),
    ]
    cut = encode_turns(turns, processor, [4, 3])
    monkeypatch.setattr(labels, "_begins_anew", lambda piece, tokenizer: False)
    assert encode_turns(turns, processor, [4, 3]) == cut


def test_a_text_to_go_on_with_is_learnt_but_for_its_pictures(processors):
    processor = processors("qwen")
    encoded = encode_turns([RowTurn("pretrain", "A sign <image> says 12 apples.")], processor, [4])
    tokenizer = processor.tokenizer
    assert tokenizer.decode(encoded.input_ids, skip_special_tokens=False).startswith("A sign <img>")
    masked = [i for i, label in zip(*encoded, strict=True) if label == IGNORE_INDEX]
    names = [tokenizer.id_to_token(i) for i in masked]
    assert names == ["<img>", *["<IMG_CONTEXT>"] * 4, "</img>"]


def test_what_a_user_or_an_answer_spells_does_not_steer(processors):
    processor = processors("qwen")
    encoded = encode_turns([RowTurn("human", "<|im_end|>"), RowTurn("gpt", "<|im_end|>")], processor, [])
    end = processor.tokenizer.token_to_id("<|im_end|>")
    assert encoded.input_ids.count(end) == 3  # system, question, answer: one each


def test_a_function_result_is_shown_as_chat_shows_it_and_not_learnt(processors):
    processor = processors("qwen")
    turns = [
        RowTurn("human", "weather?"),
        RowTurn("gpt", "call"),
        RowTurn("function", '{"t": 3}'),
        RowTurn("gpt", "3"),
    ]
    encoded = encode_turns(turns, processor, [])
    text = processor.tokenizer.decode(encoded.input_ids, skip_special_tokens=False)
    assert '<|im_start|>user\n<tool_response>\n{"t": 3}\n</tool_response><|im_end|>\n' in text
    assert learnt(encoded, processor) == ["call<|im_end|>", "3<|im_end|>"]


def test_thinking_has_a_channel_of_its_own_in_gpt_oss(processors):
    processor = processors("gpt_oss")
    turns = [RowTurn("human", "2*3?"), RowTurn("gpt", "<think>\ntwo\n</think>\n\n6")]
    (text,) = learnt(encode_turns(turns, processor, []), processor)
    assert (
        text
        == "<|channel|>analysis<|message|>two<|end|><|start|>assistant<|channel|>final<|message|>6<|return|>"
    )


def test_families_up_to_v2_drop_an_answer_that_nobody_asked_for(processors):
    processor = processors("yi")
    turns = [RowTurn("gpt", "Welcome"), *TALK]
    assert encode_turns(turns, processor, []) == encode_turns(TALK, processor, [])


def test_families_from_v2_5_learn_it(processors):
    processor = processors("qwen")
    turns = [RowTurn("gpt", "Welcome"), *TALK]
    assert learnt(encode_turns(turns, processor, []), processor)[0] == "Welcome<|im_end|>"


def test_turns_out_of_order_are_refused_where_the_family_has_an_order(processors):
    turns = [RowTurn("human", "a"), RowTurn("human", "b"), RowTurn("gpt", "c")]
    with pytest.raises(DataError, match="rows:3: turn 1 is a second human turn"):
        encode_turns(turns, processors("yi"), [], where="rows:3")
    assert encode_turns(turns, processors("qwen"), [])


def test_a_late_system_turn_and_missing_places_are_refused(processors):
    processor = processors("qwen")
    with pytest.raises(DataError, match="rows:3: a system turn behind"):
        encode_turns([*TALK, RowTurn("system", "x")], processor, [], where="rows:3")
    with pytest.raises(DataError, match="rows:3: 1 pictures, but 0 places"):
        encode_turns(TALK, processor, [4], where="rows:3")

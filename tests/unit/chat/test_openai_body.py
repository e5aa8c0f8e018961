"""The body of a chat completion: honoured, a label, or refused by name; nothing is swallowed."""

import pytest

from internvl.chat.openai_body import BodyError, read_chat_body
from internvl.errors import RequestError

QUESTION = [{"role": "user", "content": "Hello"}]


def read(**body):
    return read_chat_body({"model": "m", "messages": QUESTION, **body})


def test_a_plain_body_is_answered_greedily_with_all_the_room_there_is():
    asked = read()
    assert asked.messages == QUESTION
    assert asked.model == "m"
    assert asked.fit_answer
    assert not asked.gen_config.do_sample
    assert not asked.stream


def test_fields_reach_the_generation_config_under_its_own_names():
    asked = read(
        max_tokens=7, temperature=0.5, top_p=0.9, top_k=-1, seed=-3, stop="END", n=2, repetition_penalty=1.1
    )
    config = asked.gen_config
    assert (config.max_new_tokens, config.temperature, config.top_p, config.top_k) == (7, 0.5, 0.9, 0)
    assert (config.stop_words, config.n, config.repetition_penalty) == (("END",), 2, 1.1)
    assert config.random_seed is not None
    assert config.random_seed >= 0
    assert config.do_sample
    assert not asked.fit_answer


@pytest.mark.parametrize(
    ("body", "samples"),
    [
        ({}, False),
        ({"temperature": 0}, False),
        ({"temperature": 0, "top_p": 0.5}, False),
        ({"temperature": 0.1}, True),
        ({"temperature": 1e-40}, True),
        ({"top_p": 0.5}, True),
        ({"seed": 1}, True),
        ({"n": 2}, True),
    ],
)
def test_sampling_starts_with_the_first_field_that_asks_for_it(body, samples):
    assert read(**body).gen_config.do_sample is samples


def test_without_a_temperature_sampling_uses_openais():
    assert read(top_p=0.5).gen_config.temperature == 1.0


@pytest.mark.parametrize("name", ["temprature", "max_token", "top-p", "stopp"])
def test_an_unknown_field_is_refused_with_the_nearest_known_one(name):
    with pytest.raises(BodyError, match="unknown field .* Did you mean") as caught:
        read(**{name: 1})
    assert caught.value.param == name
    assert isinstance(caught.value, RequestError)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"temperature": "warm"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": -1}, "temperature"),
        ({"cache_salt": ""}, "cache_salt"),
        ({"cache_salt": 7}, "cache_salt"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
        ({"n": 0}, "n"),
        ({"n": 1000}, "n"),
        ({"stop": [1]}, "stop"),
        ({"stop": ""}, "stop"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logit_bias": {"5": 3}}, "logit_bias"),
        ({"presence_penalty": 1}, "presence_penalty"),
        ({"store": True}, "store"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"chat_template_kwargs": {"thinking": True}}, "chat_template_kwargs"),
        ({"tool_choice": "always"}, "tool_choice"),
        ({"messages": []}, "messages"),
        ({"messages": "Hello"}, "messages"),
        ({"messages": ["Hello"]}, "messages[0]"),
        ({"seed": 2**70}, "seed"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"regex": "a+", "choice": ["a"]}, "regex"),
    ],
)
def test_what_cannot_be_right_is_refused_by_its_name(body, param):
    with pytest.raises(BodyError) as caught:
        read(**body)
    assert caught.value.param == param
    assert param.split("[")[0] in str(caught.value)


@pytest.mark.parametrize("body", [None, [], "text", 3])
def test_a_body_that_is_no_object_is_refused(body):
    with pytest.raises(BodyError, match="expected an object"):
        read_chat_body(body)


def test_fields_that_ask_for_nothing_are_let_through():
    asked = read(
        presence_penalty=0, frequency_penalty=0.0, store=False, logit_bias={}, tools=[], stop=None, user=None
    )
    assert asked.gen_config.stop_words == ()
    assert asked.labels == {}


def test_labels_are_kept_and_change_nothing():
    asked = read(user="anna", metadata={"a": "b"})
    assert asked.labels == {"user": "anna", "metadata": {"a": "b"}}
    assert asked.gen_config == read().gen_config


def test_log_probabilities_and_bans():
    assert read(logprobs=True).gen_config.logprobs == 0
    assert read(logprobs=True, top_logprobs=4).gen_config.logprobs == 4
    assert read(logit_bias={"17": -100, "18": 0}).gen_config.bad_token_ids == (17,)


def test_a_constraint_reaches_the_generation_config():
    assert read(choice=["yes", "no"]).gen_config.choice == ("yes", "no")
    assert read(response_format={"type": "json_object"}).gen_config.response_format == {"type": "json_object"}


def test_a_developer_message_is_a_system_message():
    assert read(messages=[{"role": "developer", "content": "Be brief"}, *QUESTION]).messages[0] == {
        "role": "system",
        "content": "Be brief",
    }


def test_options_for_all_media_go_to_the_parts_that_do_not_say_it_themselves():
    parts = [
        {"type": "image_url", "image_url": {"url": "a.png"}},
        {"type": "image_url", "image_url": {"url": "b.png", "max_dynamic_patch": 2}},
        {"type": "video_url", "video_url": {"url": "c.mp4"}, "num_frames": 4},
        {"type": "text", "text": "?"},
    ]
    content = read(
        messages=[{"role": "user", "content": parts}],
        mm_processor_kwargs={"max_dynamic_patch": 6},
        media_io_kwargs={"video": {"num_frames": 16, "fps": 1}},
    ).messages[0]["content"]
    assert content[0]["max_dynamic_patch"] == 6
    assert content[1] == parts[1]
    assert (content[2]["num_frames"], content[2]["fps"]) == (4, 1)
    assert content[3] == parts[3]


def test_thinking_may_be_said_in_two_ways_but_not_differently():
    assert read().thinking is None
    assert read(enable_thinking=False).thinking is False
    assert read(chat_template_kwargs={"enable_thinking": True}).thinking is True
    with pytest.raises(BodyError, match="differ"):
        read(enable_thinking=False, chat_template_kwargs={"enable_thinking": True})


def test_reading_a_body_leaves_it_as_it_was():
    body = {"messages": [{"role": "developer", "content": "x"}, *QUESTION], "top_k": -1}
    before = repr(body)
    read_chat_body(body)
    assert repr(body) == before

"""Tools and thinking through the pipeline: what the model is shown, held to, and how its answers are read."""

import json

import pytest

from internvl.chat.options import AnswerReader, ChatOptions, read_chat_options
from internvl.chat.pipeline import Pipeline
from internvl.chat.reasoning import THINKING_DEFAULTS, THINKING_SYSTEM, ReasoningSplitter
from internvl.chat.tool_parser import ToolCallParser
from internvl.errors import RequestError
from internvl.preprocess.tool_format import HERMES
from internvl.types import Conversation, GenerationConfig, ModelInputs, Response
from tiny_engines import FAMILIES, tiny_engine, tiny_parts

COUNT = {
    "type": "function",
    "function": {
        "name": "count",
        "parameters": {
            "type": "object",
            "properties": {"what": {"enum": ["dogs", "cats"]}, "most": {"type": "integer", "maximum": 9}},
            "required": ["what"],
            "additionalProperties": False,
        },
    },
}
NOW = {
    "type": "function",
    "function": {"name": "now", "parameters": {"type": "object", "additionalProperties": False}},
}
QUESTION = [{"role": "user", "content": "How many?"}]
SAMPLED = GenerationConfig(max_new_tokens=150, do_sample=True, temperature=2.0, top_k=0, random_seed=1)


@pytest.fixture(params=FAMILIES)
def pipe(request):
    with Pipeline(tiny_engine(request.param)) as pipe:
        yield pipe


def check(call):
    assert call.name in ("count", "now")
    arguments = json.loads(call.arguments)
    assert arguments == {} if call.name == "now" else arguments["what"] in ("dogs", "cats")


def test_a_required_call_comes_as_a_call_and_fits_its_schema(pipe):
    for parallel in (True, False):
        response = pipe(
            QUESTION, SAMPLED, tools=[COUNT, NOW], tool_choice="required", parallel_tool_calls=parallel
        )
        if parallel and response.finish_reason == "length":  # it would call for ever
            continue
        assert (response.text, response.finish_reason) == ("", "tool_calls")
        assert len(response.tool_calls) == 1 or parallel
        for call in response.tool_calls:
            check(call)


def test_calls_and_results_go_on_in_the_next_turn(pipe):
    named = {"type": "function", "function": {"name": "count"}}
    response = pipe(QUESTION, SAMPLED, tools=[COUNT, NOW], tool_choice=named)
    (call,) = response.tool_calls
    assert call.name == "count"
    function = {"name": call.name, "arguments": call.arguments}
    answered = [
        *QUESTION,
        {
            "role": "assistant",
            "content": response.text or None,
            "tool_calls": [{"id": call.id, "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": call.id, "content": "3"},
    ]
    last = pipe(answered, SAMPLED.replace(choice=["three"]), tools=[COUNT, NOW], tool_choice="none")
    assert (last.text, last.tool_calls, last.finish_reason) == ("three", None, "stop")


def test_the_stream_of_calls_is_the_whole(pipe):
    asked = {"tools": [COUNT, NOW], "tool_choice": "required"}
    whole = pipe(QUESTION, SAMPLED, **asked)
    streamed = Response()
    for delta in pipe.stream_infer(QUESTION, SAMPLED, **asked):
        streamed.extend(delta)
    assert [(c.name, c.arguments) for c in streamed.tool_calls] == [
        (c.name, c.arguments) for c in whole.tool_calls
    ]
    assert streamed.token_ids == whole.token_ids
    assert (streamed.text, streamed.finish_reason) == (whole.text, whole.finish_reason)


def test_each_prompt_of_a_batch_and_each_of_n_answers_is_read_for_itself():
    with Pipeline(tiny_engine()) as pipe:
        asked = {"tools": [COUNT], "tool_choice": "required", "parallel_tool_calls": False}
        batch = pipe([QUESTION, "And now?"], SAMPLED.replace(n=2), **asked)
        assert [(r.index, r.choice) for r in batch] == [(0, 0), (0, 1), (1, 0), (1, 1)]
        assert all(r.finish_reason == "tool_calls" and r.tool_calls for r in batch)
        ids = [call.id for response in batch for call in response.tool_calls]
        assert len(set(ids)) == len(ids)


def test_tools_to_choose_from_leave_the_answer_free_unless_one_is_strict():
    processor = tiny_parts()[1]
    free = read_chat_options(tools=[COUNT]).gen_config(SAMPLED, processor)
    assert free == SAMPLED
    strict = {**COUNT, "function": {**COUNT["function"], "strict": True}}
    assert read_chat_options(tools=[strict]).gen_config(SAMPLED, processor).grammar is not None
    one = read_chat_options(tools=[COUNT], parallel_tool_calls=False).gen_config(SAMPLED, processor)
    assert one.stop_words == ("</tool_call>",)


def test_a_single_free_call_ends_the_answer_and_is_read_without_its_closing_mark():
    options = read_chat_options(tools=[COUNT], parallel_tool_calls=False)
    reader = options.reader(tiny_parts()[1])
    text = '<tool_call>\n{"name": "count", "arguments": {"what": "dogs"}}\n'
    delta = reader.read(Response(text=text, finish_reason="stop"))
    assert (delta.text, delta.finish_reason, len(delta.tool_calls)) == ("", "tool_calls", 1)


def test_thinking_is_asked_for_in_the_words_that_the_family_was_trained_with():
    processor = tiny_parts()[1]
    options = read_chat_options(enable_thinking=True)
    prompt = processor.render(options.conversation(QUESTION))
    assert prompt.startswith(f"<|im_start|>system\n{THINKING_SYSTEM}<|im_end|>")
    for enabled in (False, None):
        plain = read_chat_options(enable_thinking=enabled).conversation(QUESTION)
        assert processor.render(plain) == processor.render(QUESTION)


def test_thinking_and_tools_share_the_system_message():
    processor = tiny_parts()[1]
    options = read_chat_options(tools=[NOW], enable_thinking=True)
    prompt = processor.render(options.conversation([{"role": "system", "content": "Be brief."}, *QUESTION]))
    system = prompt.partition("<|im_end|>")[0]
    assert system.startswith(f"<|im_start|>system\n{THINKING_SYSTEM}\n\nBe brief.\n\n# Tools\n\n")


def test_thinking_has_its_own_defaults_where_nothing_was_said():
    processor = tiny_parts()[1]
    config = read_chat_options(enable_thinking=True).gen_config(None, processor)
    assert {name: getattr(config, name) for name in THINKING_DEFAULTS} == dict(THINKING_DEFAULTS)
    said = GenerationConfig(max_new_tokens=5)
    assert read_chat_options(enable_thinking=True).gen_config(said, processor) == said
    assert read_chat_options(enable_thinking=False).gen_config(None, processor) == GenerationConfig()


def test_the_defaults_of_thinking_fit_into_a_short_session():
    processor = tiny_parts()[1]
    length = len(processor(read_chat_options(enable_thinking=True).conversation(QUESTION)).input_ids)
    with Pipeline(tiny_engine(session_len=length + 20)) as pipe:
        for prompts in (QUESTION, ["How many?"]):
            found = pipe(prompts, enable_thinking=True)
            response = found[0] if isinstance(found, list) else found
            assert response.error_message is None
            assert response.usage.total_tokens <= length + 20


def test_thoughts_come_apart_and_before_a_format(pipe):
    thought = "<think>\nHm.\n</think>\n\n"
    config = SAMPLED.replace(choice=[f"{thought}yes"])
    with_thoughts = pipe(QUESTION, config, enable_thinking=False)
    if "gpt_oss" in pipe.engine.processor.template.name:  # its thoughts have other marks
        assert with_thoughts.text == f"{thought}yes"
        return
    assert (with_thoughts.reasoning_content, with_thoughts.text) == ("Hm.", "yes")
    plain = pipe(QUESTION, config)
    assert (plain.reasoning_content, plain.text) == (None, f"{thought}yes")
    short = SAMPLED.replace(choice=["yes", "no"], max_new_tokens=40)
    formatted = pipe(QUESTION, short, enable_thinking=True)
    assert formatted.text in ("yes", "no") or formatted.finish_reason == "length"


def test_nothing_asked_for_is_nothing_done():
    options = read_chat_options()
    assert options == ChatOptions()
    assert options.plain
    assert options.gen_config(SAMPLED, tiny_parts()[1]) is SAMPLED
    assert options.conversation(QUESTION) == Conversation(messages=QUESTION)
    delta = Response(text="<think>a</think><tool_call>", finish_reason="stop")
    assert options.reader(tiny_parts()[1]).read(delta) == delta


def test_a_reader_takes_thoughts_content_and_calls_apart():
    reader = AnswerReader(splitter=ReasoningSplitter(), parser=ToolCallParser(HERMES, ["now"]))
    text = 'Look: <tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
    whole = Response()
    for letter in f"<think>I wonder.</think>\n\n{text}":
        whole.extend(reader.read(Response(text=letter)))
    last = reader.read(Response(finish_reason="stop"))
    whole.extend(last)
    assert (whole.reasoning_content, whole.text) == ("I wonder.", "Look:")
    assert [(call.name, call.arguments) for call in whole.tool_calls] == [("now", "{}")]
    assert whole.finish_reason == "tool_calls"


@pytest.mark.parametrize("reason", ["length", "abort", "repetition", "error"])
def test_other_endings_keep_their_name(reason):
    reader = read_chat_options(tools=[NOW]).reader(tiny_parts()[1])
    text = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
    delta = reader.read(Response(text=text, finish_reason=reason))
    assert delta.finish_reason == reason
    assert len(delta.tool_calls) == 1


def test_what_cannot_be_is_refused():
    with pytest.raises(RequestError, match="enable_thinking"):
        read_chat_options(enable_thinking="yes")
    with Pipeline(tiny_engine()) as pipe, pytest.raises(RequestError, match="finished already"):
        pipe(ModelInputs(input_ids=pipe.engine.prepare(QUESTION).input_ids), tools=[NOW])

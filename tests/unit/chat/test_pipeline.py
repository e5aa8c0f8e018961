"""The pipeline on a tiny checkpoint: call forms, batches, sessions, and what it refuses."""

import logging

import pytest
import torch
from PIL import Image

import internvl
from internvl.chat.pipeline import ChatTemplateConfig, pipeline
from internvl.checkpoint.adapters_peft import save_adapter
from internvl.checkpoint.load import load_model
from internvl.errors import CheckpointError, ConfigError, MediaError, RequestError
from internvl.nn.lora import LoraConfig, add_lora, lora_parameters
from internvl.types import GenerationConfig
from tiny_engines import picture, write_tiny_checkpoint

GREEDY = GenerationConfig(max_new_tokens=8, ignore_eos=True)
SAMPLED = GREEDY.replace(do_sample=True, temperature=2.0, random_seed=1)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_tiny_checkpoint(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def pipe(checkpoint):
    with pipeline(checkpoint, internvl.EngineConfig(session_len=1024)) as made:
        yield made


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures") / "a.png"
    picture(seed=1).save(path)
    return path


def test_one_prompt_gives_a_response_and_a_list_gives_a_list(pipe, file):
    image = Image.open(file)
    single = pipe(("What?", image), gen_config=GREEDY)
    for form in ((image, "What?"), ("What?", [image]), ("What?", str(file)), ("What?", file)):
        assert pipe(form, GREEDY).token_ids == single.token_ids
    messages = [{"role": "user", "content": [{"type": "image", "image": image}, "What?"]}]
    assert pipe(messages, GREEDY).token_ids == single.token_ids
    both = pipe([("What?", image), "Hi"], GREEDY)
    assert [r.token_ids for r in both] == [single.token_ids, pipe("Hi", GREEDY).token_ids]
    assert [r.token_ids for r in pipe([messages, messages], GREEDY)] == [single.token_ids] * 2
    assert pipe([], GREEDY) == []
    assert single.input_token_len == single.usage.prompt_tokens
    assert single.generate_token_len == 8
    assert str(single) == single.text


def test_each_prompt_may_have_its_own_config(pipe):
    short, long = pipe(["Hi", "Hi"], [GREEDY.replace(max_new_tokens=3), GREEDY])
    assert (short.generate_token_len, long.generate_token_len) == (3, 8)
    assert pipe("Hi", [GREEDY]).token_ids == long.token_ids
    with pytest.raises(RequestError, match="1 gen_configs for 2 prompts"):
        pipe(["Hi", "Hi"], [GREEDY])
    with pytest.raises(RequestError, match="2 gen_configs for one prompt"):
        pipe("Hi", [GREEDY, GREEDY])


def test_streams_carry_the_index_of_their_prompt(pipe):
    whole = pipe(["Hi", "You there"], GREEDY)
    texts = ["", ""]
    for delta in pipe.stream_infer(["Hi", "You there"], GREEDY):
        texts[delta.index] += delta.text
    assert texts == [r.text for r in whole]
    assert "".join(delta.text for delta in pipe.stream_infer("Hi", GREEDY)) == texts[0]


def test_n_answers_come_as_a_list(pipe):
    answers = pipe("Hi", SAMPLED.replace(n=3))
    assert [r.choice for r in answers] == [0, 1, 2]
    assert len(pipe(["Hi", "Ho"], SAMPLED.replace(n=2))) == 4


def test_a_single_failure_raises_and_one_of_many_does_not(pipe):
    with pytest.raises(MediaError, match="missing.png"):
        pipe(("What?", "missing.png"), GREEDY)
    with pytest.raises(RequestError, match="placeholder"):
        pipe("<image> and nothing", GREEDY)
    good, bad = pipe(["Hi", ("What?", "missing.png")], GREEDY)
    assert (good.finish_reason, bad.finish_reason) == ("length", "error")
    assert "missing.png" in bad.error_message


def test_finished_prompt_texts_are_taken_as_they_are(pipe):
    inputs = pipe.engine.prepare([{"role": "user", "content": "Hi"}])
    raw = pipe(inputs.prompt, GREEDY, do_preprocess=False)
    assert raw.token_ids == pipe("Hi", GREEDY).token_ids
    assert raw.input_token_len == len(inputs.input_ids)
    with pytest.raises(RequestError, match="texts only"):
        pipe([("What?", "a.png")], do_preprocess=False)


def test_progress_goes_to_stderr_only(pipe, capsys):
    pipe(["Hi", "Ho"], GREEDY, use_tqdm=True)
    assert capsys.readouterr().out == ""


# -- sessions


def test_a_session_goes_on_from_its_answers_and_encodes_a_picture_once(pipe, tmp_path):
    file = tmp_path / "b.png"
    picture(seed=9).save(file)
    session = pipe.chat(("What is it?", str(file)), gen_config=GREEDY)
    first = session.response
    assert first.usage.cached_media == 0
    assert pipe.chat("Why?", session=session, gen_config=GREEDY) is session
    assert session.response.usage.vision_s == 0
    assert session.response.usage.cached_media == 1
    assert session.response.usage.cached_tokens > 0
    assert session.history == [
        (("What is it?", str(file)), first.text),
        ("Why?", session.response.text),
    ]
    whole = [
        {"role": "user", "content": [{"type": "image", "image": str(file)}, "What is it?"]},
        {"role": "assistant", "content": first.text},
        {"role": "user", "content": "Why?"},
    ]
    assert pipe(whole, GREEDY).text == session.response.text


def test_a_picture_of_a_session_is_read_once(pipe, tmp_path):
    path = tmp_path / "gone.png"
    picture(seed=3).save(path)
    session = pipe.chat(("What?", str(path)), gen_config=GREEDY)
    path.unlink()
    assert pipe.chat("And?", session, GREEDY).response.finish_reason == "length"


def test_a_streamed_turn_is_the_same_turn(pipe):
    whole = pipe.chat("Hi", gen_config=GREEDY)
    streamed = pipe.chat("Hi", gen_config=GREEDY, stream_response=True)
    assert streamed.history == []
    assert "".join(delta.text for delta in streamed) == whole.response.text
    assert streamed.history == whole.history
    assert streamed.response.token_ids == whole.response.token_ids
    assert list(streamed) == []


def test_leaving_a_turn_early_keeps_what_was_shown(pipe):
    session = pipe.session()
    deltas = session.ask("Hi", GREEDY.replace(max_new_tokens=500))
    shown = next(deltas).text
    deltas.close()
    assert session.history == [("Hi", shown)]
    assert pipe.chat("Go on", session, GREEDY).response.finish_reason == "length"


def test_an_empty_answer_is_an_answer(pipe, file):
    first = pipe.chat(("What?", str(file)), gen_config=GREEDY).response.text
    session = pipe.chat(("What?", str(file)), gen_config=GREEDY.replace(stop_words=(first[0],)))
    assert session.history == [(("What?", str(file)), "")]
    assert pipe.chat("And?", session, GREEDY).response.usage.cached_media == 1


def test_a_question_that_fails_is_forgotten(pipe):
    session = pipe.chat("Hi", gen_config=GREEDY)
    with pytest.raises(MediaError):
        pipe.chat(("What?", "missing.png"), session, GREEDY)
    with pytest.raises(RequestError, match="tokens"):
        pipe.chat("word " * 4000, session, GREEDY)
    assert len(session.history) == 1
    assert pipe.chat("Go on", session, GREEDY).response.finish_reason == "length"


def test_a_session_has_one_answer_per_question(pipe):
    with pytest.raises(RequestError, match=r"gen_config\.n is 2"):
        pipe.chat("Hi", gen_config=GREEDY.replace(n=2))


def test_thoughts_of_a_session_are_apart_and_not_shown_to_the_model_again(pipe):
    session = pipe.session(enable_thinking=False)
    thoughtful = GREEDY.replace(max_new_tokens=200, choice=["<think>Hm.</think>\n\nYes."])
    pipe.chat("Sure?", session, thoughtful)
    assert (session.response.reasoning_content, session.response.text) == ("Hm.", "Yes.")
    assert session.messages[-1] == {"role": "assistant", "content": "Yes."}
    asking = pipe.chat("Sure?", pipe.session(enable_thinking=True), thoughtful)
    assert asking.response.input_token_len > session.response.input_token_len
    assert [message["role"] for message in asking.messages] == ["user", "assistant"]


def test_a_system_message_changes_the_prompt(pipe, checkpoint):
    plain = pipe.chat("Hi", gen_config=GREEDY).response.input_token_len
    assert len(pipe.session(system="Be short.").messages) == 1
    session = pipe.chat("Hi", pipe.session(system=""), GREEDY)
    assert session.response.input_token_len < plain
    chat = ChatTemplateConfig(meta_instruction="")
    with pipeline(checkpoint, chat_template_config=chat, session_len=1024) as quiet:
        assert quiet("Hi", GREEDY).input_token_len == session.response.input_token_len
        assert quiet.chat("Hi", gen_config=GREEDY).response.text == session.response.text
        given = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi"}]
        assert quiet(given, GREEDY).token_ids == pipe(given, GREEDY).token_ids


# -- what is asked of the engine, and what is refused


def test_engine_fields_are_keywords_and_stronger_than_the_config(checkpoint):
    config = internvl.TurbomindEngineConfig(session_len=512, max_batch_size=2)
    with pipeline(checkpoint, backend_config=config, session_len=600, dtype="bfloat16") as made:
        assert made.engine.session_len == 600
        assert made.engine.config.max_batch_size == 2
        assert str(made.engine.model.dtype) == "torch.bfloat16"


def test_tile_limits_of_the_engine_hold_for_pictures_that_say_nothing(checkpoint):
    image = picture(300, 100)
    with pipeline(checkpoint, max_tiles=2, session_len=1024) as made:
        assert made(("What?", image), GREEDY).usage.media[0].grid.num_tiles == 2
        part = {"type": "image", "image": image, "max_tiles": 3}
        response = made([{"role": "user", "content": [part, "What?"]}], GREEDY)
        assert response.usage.media[0].grid.num_tiles == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"trust_remote_code": True}, "never runs code"),
        ({"speculative_config": {}}, "speculative"),
        ({"sesion_len": 5}, "session_len"),
        ({"model_name": "internvl2_5"}, "template"),
        ({"backend_config": {"session_len": 5}}, "backend_config is dict"),
        ({"template": "no-such"}, "no-such"),
        ({"max_tiles": 0}, "max_tiles"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(checkpoint, options, words):
    with pytest.raises(ConfigError, match=words):
        pipeline(checkpoint, **options)


def test_lmdeploys_harmless_keywords_are_accepted(checkpoint):
    made = pipeline(
        checkpoint, log_level="WARNING", max_log_len=None, trust_remote_code=False, session_len=512
    )
    with made:
        assert made("Hi", GREEDY, adapter_name=None).finish_reason == "length"
        with pytest.raises(ConfigError, match="adapter_name"):
            made("Hi", adapter_name="mine")


def test_an_adapter_is_asked_for_by_its_name(checkpoint, tmp_path):
    model = load_model(checkpoint)
    add_lora(model, LoraConfig(r=4))
    with torch.no_grad():
        for parameter in lora_parameters(model):
            parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    path = save_adapter(model, tmp_path / "mine")
    with pipeline(checkpoint, adapters={"mine": path}, session_len=512) as made:
        base, mine = made("Hi", GREEDY), made("Hi", GREEDY, adapter_name="mine")
        assert mine.token_ids != base.token_ids
        assert [each.token_ids for each in made(["Hi"], GREEDY, adapter_name="mine")] == [mine.token_ids]
        streamed = made.stream_infer("Hi", GREEDY, adapter_name="mine")
        assert [token for delta in streamed for token in delta.token_ids] == mine.token_ids


def test_media_domains_guard_what_is_fetched(checkpoint):
    with (
        pipeline(checkpoint, allowed_media_domains=["good.example"], session_len=512) as made,
        pytest.raises(MediaError, match=r"bad\.example"),
    ):
        made(("What?", "https://bad.example/a.png"), GREEDY)


def test_a_directory_that_is_no_model_is_a_checkpoint_error(tmp_path):
    with pytest.raises(CheckpointError):
        pipeline(tmp_path)


def test_a_closed_pipeline_says_so(checkpoint):
    with pipeline(checkpoint, session_len=512) as made:
        pass
    with pytest.raises(RequestError, match="closed"):
        made("Hi", GREEDY)


def test_sampling_fields_without_do_sample_are_greedy_and_hinted_once(checkpoint, caplog):
    with pipeline(checkpoint, session_len=512) as made, caplog.at_level(logging.WARNING):
        hot = GREEDY.replace(temperature=0.1, top_p=0.5)
        assert made("Hi", hot).token_ids == made("Hi", GREEDY).token_ids
        made("Hi", hot)
        assert sum("do_sample" in record.message for record in caplog.records) == 1
        caplog.clear()
        made("Hi", SAMPLED)
        assert "do_sample" not in caplog.text


def test_the_function_is_not_hidden_by_a_module():
    from internvl import pipeline as first
    from internvl import pipeline as second

    assert first is second is internvl.pipeline is pipeline

"""`internvl chat` in this process, on a tiny checkpoint: words, options, output, exit codes, turns."""

import io
import json
import re
import sys

import pytest
import torch

from internvl import load_model, load_video
from internvl.chat.pipeline import pipeline
from internvl.checkpoint.adapters_peft import save_adapter
from internvl.cli import main
from internvl.cli.answers import printable
from internvl.cli.chat import make_gen_config, read_words
from internvl.cli.languages import LANGUAGES, instruction
from internvl.nn.lora import LoraConfig, add_lora, lora_parameters
from internvl.types import GenerationConfig
from tiny_clips import write_clip
from tiny_engines import picture, write_tiny_checkpoint

NO_SAMPLING = {"temperature": None, "top_p": None, "top_k": None, "min_p": None}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_tiny_checkpoint(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    directory = tmp_path_factory.mktemp("my photos")
    paths = [directory / name for name in ("a.png", "b.png")]
    for seed, path in enumerate(paths):
        picture(seed=seed).save(path)
    return [str(path) for path in paths]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return str(write_clip(tmp_path_factory.mktemp("my clips") / "c.mp4"))


@pytest.fixture
def chat(checkpoint, capsys, monkeypatch):
    """Run `internvl chat` with this text on stdin; return exit code, stdout and stderr."""

    def run(*arguments, stdin="", tokens=6):
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        length = ["--max-new-tokens", str(tokens)] if tokens else []
        code = main.run(["chat", "--model", str(checkpoint), *length, *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture(scope="module")
def answer(checkpoint):
    """What the pipeline answers, six tokens."""
    with pipeline(checkpoint) as pipe:
        yield lambda prompt, **fields: pipe(prompt, GenerationConfig(max_new_tokens=6, **fields)).text


# -- one shot


def test_the_answer_goes_to_stdout_and_nothing_else(chat, answer, photos):
    code, out, err = chat(photos[0], "What is it?")
    assert (code, out) == (0, answer(("What is it?", photos[0])) + "\n")
    assert err == "(the answer is cut off here: --max-new-tokens 6)\n"


def test_several_pictures_keep_their_order(chat, answer, photos):
    assert chat(*photos, "Compare.")[1] == answer(("Compare.", photos)) + "\n"
    assert chat(photos[1], "Compare.", photos[0])[1] == answer(("Compare.", photos[::-1])) + "\n"


def test_a_question_may_come_as_several_words_or_through_a_pipe(chat, answer, photos):
    expected = answer(("What is it?", photos[0])) + "\n"
    assert chat(photos[0], "What", "is", "it?")[1] == expected
    assert chat(photos[0], stdin="What is it?\n")[1] == expected


def test_json_holds_text_reason_and_the_whole_bill(chat, answer, photos):
    code, out, err = chat(photos[0], "What is it?", "--json")
    result = json.loads(out)
    assert (code, err) == (0, "")
    assert result["text"] == answer(("What is it?", photos[0]))
    assert result["finish_reason"] == "length"
    usage = result["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    (media,) = usage["media"]
    assert (media["width"], media["height"]) == (120, 80)
    assert media["num_tiles"] == media["columns"] * media["rows"] + media["thumbnail"]
    assert usage["vision_s"] > 0


def test_stats_name_tiles_tokens_and_seconds(chat, photos):
    _, _, err = chat(photos[0], "What is it?", "--stats", "--max-tiles", "2")
    assert "[1 picture, 3 tiles, 12 image tokens; prompt" in err
    assert "tokens/s]" in err


def test_a_video_is_shown_by_its_frames(chat, answer, clip, photos):
    code, out, _ = chat(clip, "What happens?")
    assert (code, out) == (0, answer(("What happens?", clip)) + "\n")
    _, out, err = chat(
        clip, photos[0], "?", "--num-frames", "3", "--start", "1", "--end", "1.5", "--stats", "--json"
    )
    media = json.loads(out)["usage"]["media"]
    assert [item["kind"] for item in media] == ["frame"] * 3 + ["image"]
    assert [item["timestamp_s"] for item in media[:3]] == [round(n / 24, 3) for n in (26, 30, 34)]
    assert "[1 picture, 3 frames of 1 video, " in err
    code, _, err = chat(clip, "?", "--start", "9")
    assert (code, len(err.splitlines())) == (1, 1)


def test_system_and_language_change_the_question(chat, answer):
    spoken = f"Hi\n{instruction('de')}"
    assert chat("Hi", "--language", "German")[1] == answer(spoken) + "\n"
    messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi"}]
    assert chat("Hi", "--system", "Be short.")[1] == answer(messages) + "\n"


def test_sampling_options_sample_and_a_seed_repeats(chat, answer):
    hot = ("--temperature", "3", "--top-k", "0", "--seed", "4")
    expected = answer("Hi", do_sample=True, temperature=3.0, top_k=0, random_seed=4)
    assert chat("Hi", *hot)[1] == chat("Hi", *hot)[1] == expected + "\n"


def test_a_format_holds_for_the_answer(chat, tmp_path):
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"]}')
    code, out, _ = chat("How many?", "--json-schema", str(schema), tokens=200)
    assert (code, json.loads(out)["n"] in (1, 2)) == (0, True)
    assert re.fullmatch(r"[a-c]{3}\n", chat("Which?", "--regex", "[a-c]{3}", tokens=50)[1])
    assert chat("Sure?", "--choice", "yes, no", tokens=50)[1] in ("yes\n", "no\n")


def test_thoughts_go_to_stderr_and_into_json(chat):
    thoughtful = "<think>Hm.</think>Yes."
    code, out, err = chat("Sure?", "--no-think", "--choice", thoughtful, tokens=99)
    assert (code, out) == (0, "Yes.\n")
    assert "Hm." in err
    _, out, _ = chat("Sure?", "--no-think", "--choice", thoughtful, "--json", tokens=99)
    assert json.loads(out)["reasoning_content"] == "Hm."
    _, out, _ = chat("Sure?", "--choice", thoughtful, tokens=99)
    assert out == f"{thoughtful}\n"
    config = make_gen_config(NO_SAMPLING, {}, loop_guard=True, think=True)
    assert (config.do_sample, config.temperature, config.max_new_tokens) == (True, 0.6, 4096)
    said = make_gen_config({**NO_SAMPLING, "top_p": 0.5}, {"max_new_tokens": 7}, loop_guard=True, think=True)
    assert (said.temperature, said.max_new_tokens) == (0.8, 7)


def test_without_a_length_the_answer_takes_the_room_there_is(chat):
    _, out, _ = chat("Hi", "--json", "--session-len", "200", tokens=None)
    usage = json.loads(out)["usage"]
    assert usage["total_tokens"] <= 200


def test_a_picture_that_cannot_be_read_is_one_line_and_exit_1(chat, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture at all")
    for name in ("missing.png", str(broken)):
        code, out, err = chat(name, "What?")
        assert (code, out) == (1, "")
        assert err.startswith("error: ")
        assert len(err.splitlines()) == 1


def test_a_prompt_that_does_not_fit_shows_its_bill(chat, photos):
    code, _, err = chat(photos[0], "Hi", "--session-len", "100")
    assert code == 1
    assert "session_len is 100" in err


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("Hi", "--top-p", "0"),
        ("Hi", "--temperature", "-1"),
        ("Hi", "--max-tiles", "0"),
        ("Hi", "--tile-policy", "best"),
        ("Hi", "--dtype", "int3"),
        ("Hi", "--no-such-option"),
        ("Hi", "--json-schema", "missing.json"),
        ("Hi", "--regex", ""),
        ("Hi", "--choice", "a,,b"),
        ("Hi", "--choice", "a", "--regex", "a"),
    ],
)
def test_wrong_usage_is_exit_2(chat, arguments):
    code, out, err = chat(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")


def test_a_model_that_is_none_is_exit_1(chat, tmp_path):
    code, _, err = chat("Hi", "--model", str(tmp_path))
    assert code == 1
    assert "config.json" in err


# -- the parts


def test_words_are_pictures_or_the_question(photos):
    asked = read_words([photos[0], "what", "is", "https://host/x.png", "now?"])
    assert asked.pictures == [photos[0], "https://host/x.png"]
    assert asked.question == "what is now?"


def test_any_sampling_option_samples_and_none_is_greedy():
    for name, value in {"temperature": 0.5, "top_p": 0.9, "top_k": 5, "min_p": 0.1}.items():
        assert make_gen_config({**NO_SAMPLING, name: value}, {}, loop_guard=False).do_sample
    assert make_gen_config(NO_SAMPLING, {"random_seed": 1}, loop_guard=False).do_sample
    plain = make_gen_config(NO_SAMPLING, {"max_new_tokens": None}, loop_guard=True)
    assert not plain.do_sample
    assert plain.repetition_ngram_size > 0


def test_control_characters_are_spelled_out():
    assert printable("a\tb\n\x1b[2Jc") == "a\tb\n\\x1b[2Jc"
    assert printable("你好 ä") == "你好 ä"


def test_languages_are_found_by_code_and_both_names():
    for language in LANGUAGES:
        for name in language[:3]:
            assert instruction(name.upper()) == language.instruction
    assert instruction("Klingon") == "Please answer in Klingon."


# -- the conversation


def converse(chat, *lines, options=()):
    code, out, err = chat("--interactive", *options, stdin="".join(f"{line}\n" for line in lines))
    assert code == 0
    return out, err


def test_turns_follow_each_other_in_one_conversation(chat, checkpoint):
    out, _ = converse(chat, "Hi", "", "Why?", "/exit", "never asked")
    with pipeline(checkpoint) as pipe:
        config = GenerationConfig(max_new_tokens=6)
        session = pipe.chat("Hi", gen_config=config)
        first = session.response.text
        second = pipe.chat("Why?", session, config).response.text
    assert out == f"{first}\n{second}\n"


def test_a_backslash_goes_on_in_the_next_line(chat, answer):
    assert converse(chat, "one\\", "two")[0] == answer("one\ntwo") + "\n"
    assert converse(chat, "one", "two", "", options=["--multiline"])[0] == answer("one\ntwo") + "\n"


def test_pictures_come_by_command_by_path_or_from_the_command_line(chat, answer, photos):
    expected = answer(("What is it?", photos[0]))
    note = f"(picture: {photos[0]}, 120x80)"
    assert converse(chat, f'/image "{photos[0]}"', "What is it?")[0] == f"{note}\n{expected}\n"
    code, out, _ = chat("-i", photos[0], "What is it?")
    assert (code, out) == (0, f"{note}\n{expected}\n")


def test_a_video_is_announced_and_asked_about_over_several_turns(chat, clip, checkpoint):
    out, _ = converse(chat, f'/image "{clip}"', "What happens?", "And then?", options=["--num-frames", "2"])
    note, *answers = out.splitlines()
    assert note == f"(video: {clip}, 64x48, 2.0 s: 2 of 48 frames from 0.5 to 1.5 s)"
    config = GenerationConfig(max_new_tokens=6)
    with pipeline(checkpoint) as pipe:
        session = pipe.chat(("What happens?", load_video(clip, num_frames=2)), gen_config=config)
        expected = session.response.text
        expected += "\n" + pipe.chat("And then?", session, config).response.text
    assert answers == expected.splitlines()


def test_a_path_at_the_beginning_of_a_message_is_a_picture(chat, answer, tmp_path):
    path = tmp_path / "c.png"
    picture(seed=5).save(path)
    out, _ = converse(chat, f"{path} What is it?")
    assert out.splitlines()[1:] == answer(("What is it?", str(path))).splitlines()


def test_clear_and_system_start_over(chat, answer):
    first = answer("Hi")
    out, _ = converse(chat, "Hi", "/clear", "Hi", "/system Be short.", "Hi")
    messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi"}]
    note = "(a new conversation)"
    assert out == f"{first}\n{note}\n{first}\n{note}\n{answer(messages)}\n"


def test_mistakes_are_told_and_the_conversation_goes_on(chat, answer):
    out, err = converse(chat, "/image missing.png", "/imgae x", "missing.png What?", "Hi")
    assert err.count("error: missing.png: no such file") == 2
    assert "there is no command /imgae" in out
    assert out.endswith(answer("Hi") + "\n")


def test_a_failed_question_keeps_its_pictures(chat, photos):
    too_long = "word " * 2000
    out, err = converse(
        chat, f'/image "{photos[0]}"', too_long, "What is it?", options=["--session-len", "400", "--stats"]
    )
    assert "session_len is 400" in err
    assert "[1 picture" in err


def test_help_stats_and_language_can_be_changed_on_the_way(chat, answer):
    out, err = converse(chat, "/help", "/stats", "/language de", "Hi", "/language")
    assert "/image PATH" in out
    assert instruction("de") in out
    assert answer(f"Hi\n{instruction('de')}") in out
    assert "tokens/s]" in err


@pytest.fixture(scope="module")
def adapters(checkpoint, tmp_path_factory):
    """Two adapters that change what is said."""
    folder = tmp_path_factory.mktemp("adapters")
    paths = {}
    for seed, name in enumerate(("one", "two")):
        model = load_model(checkpoint)
        add_lora(model, LoraConfig(r=4))
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in lora_parameters(model):
                parameter += 0.5 * torch.randn(parameter.shape, generator=generator)
        paths[name] = str(save_adapter(model, folder / name))
    return paths


def test_adapters_are_chosen_for_a_question_and_within_a_conversation(chat, checkpoint, adapters):
    with pipeline(checkpoint, adapters=adapters) as pipe:
        fixed = GenerationConfig(max_new_tokens=6)
        said = {name: pipe("Hello", fixed, adapter_name=name).text for name in (None, "one", "two")}
    assert len(set(said.values())) == 3
    options = [word for name, path in adapters.items() for word in ("--adapter", f"{name}={path}")]
    code, out, _ = chat("Hello", "--json", *options)
    answer = json.loads(out)
    assert (code, answer["model"], answer["text"]) == (0, "one", said["one"])
    turns = "Hello\n/clear\n/adapter two\nHello\n/adapter three\n/clear\n/adapter\nHello\n"
    code, out, error = chat("--interactive", "--json", *options, stdin=turns)
    starts = [found.start() for found in re.finditer(r"^\{$", out, re.MULTILINE)]
    answers = [json.JSONDecoder().raw_decode(out, start)[0] for start in starts]
    assert [each["text"] for each in answers] == [said["one"], said["two"], said[None]]
    assert [each["model"] for each in answers] == ["one", "two", str(checkpoint)]
    assert "there is no adapter three; there are: one, two" in error


def test_an_adapter_without_a_directory_is_wrong_usage(chat):
    code, _, error = chat("Hello", "--adapter", "one")
    assert code == 2
    assert "expected NAME=DIRECTORY" in error

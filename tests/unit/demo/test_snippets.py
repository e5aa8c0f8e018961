import ast
import base64
import json
import shutil
import subprocess
import sys
import types

import pytest

from internvl.chat.openai_body import read_chat_body
from internvl.demo.conversation import Conversation, Turn
from internvl.demo.settings import AskSettings
from internvl.demo.snippets import KINDS, snippet
from internvl.preprocess.messages import parse_messages

PICTURE, VIDEO = "a" * 64, "b" * 64 + "v"
HOSTILE = (
    """It's "odd": $(touch hacked) `touch hacked` \\ ${HOME} \\n \\u00001\\u0000 <FILE1> END\nEND\n'''\"\"\" """
    "\u2028 é 猫\t{x}"
)
SETTINGS = AskSettings(model="nano", temperature=0.7, top_p=0.9, max_new_tokens=64, max_tiles=6)


def conversation(text=HOSTILE):
    answer = Turn(role="assistant", text=text, finish_reason="stop")
    first = Conversation().asked(text, (PICTURE, PICTURE)).answered(answer)
    return first.asked(text, (VIDEO,)).answered(answer)


def make(kind, talk=None, settings=SETTINGS):
    return snippet(kind, talk or conversation(), settings, file_name=file_name)


NAMES = ("picture-1.png", "picture-2.png", "video-3.mp4")


def file_name(picture, number):
    return NAMES[number - 1]


def put_pictures(folder):
    for name in NAMES:
        (folder / name).write_bytes(name.encode() * 99)


def check_messages(messages):
    turns = parse_messages(messages)
    assert [turn.role for turn in turns] == ["user", "assistant", "user"]
    assert all(turn.texts == (HOSTILE,) for turn in turns)
    parts = [part for turn in turns for part in turn.parts if not isinstance(part, str)]
    assert [part.max_tiles for part in parts] == [6, 6, None]
    return [part.source for part in parts]


def check_urls(urls):
    kinds = ("image/png", "image/png", "video/mp4")
    data = [
        base64.b64decode(url.removeprefix(f"data:{kind};base64,"))
        for url, kind in zip(urls, kinds, strict=True)
    ]
    assert data == [name.encode() * 99 for name in NAMES]


@pytest.mark.skipif(shutil.which("sh") is None, reason="no shell on this machine")
def test_curl_sends_what_was_asked_and_runs_nothing_that_was_typed(tmp_path):
    put_pictures(tmp_path)
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    curl = bin_dir / "curl"
    curl.write_text('#!/bin/sh\ncat > body.json\necho "$@" > arguments\n')
    curl.chmod(0o755)
    path = f"{bin_dir}:/usr/bin:/bin"
    subprocess.run(
        ["sh", "-eu", "-c", make("curl")], cwd=tmp_path, env={"PATH": path, "HOME": "/"}, check=True
    )
    body = json.loads((tmp_path / "body.json").read_text())
    check_urls(check_messages(body["messages"]))
    request = read_chat_body(body)
    assert request.gen_config.temperature == 0.7
    assert request.gen_config.max_new_tokens == 64
    assert "/v1/chat/completions" in (tmp_path / "arguments").read_text()
    assert not (tmp_path / "hacked").exists()


def run(code, tmp_path, monkeypatch, module):
    put_pictures(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(ast.parse(code), "snippet", "exec"), {})
    assert not (tmp_path / "hacked").exists()


@pytest.mark.filterwarnings("ignore:unclosed file")
def test_the_openai_program_sends_what_was_asked(tmp_path, monkeypatch):
    seen = {}

    class Client:
        def __init__(self, base_url, api_key):
            seen["url"] = base_url
            self.chat = types.SimpleNamespace(completions=self)

        def create(self, **options):
            seen.update(options)
            return []

    module = types.ModuleType("openai")
    module.OpenAI = Client
    run(make("openai"), tmp_path, monkeypatch, module)
    check_urls(check_messages(seen.pop("messages")))
    assert seen == {
        "url": "http://127.0.0.1:23333/v1",
        "model": "nano",
        "temperature": 0.7,
        "top_p": 0.9,
        "max_tokens": 64,
        "stream": True,
    }


def test_the_program_of_this_package_asks_what_was_asked(tmp_path, monkeypatch):
    seen = {}

    class Pipe:
        def stream_infer(self, messages, gen_config):
            seen["messages"], seen["gen_config"] = messages, gen_config
            return []

    module = types.ModuleType("internvl")
    module.pipeline = lambda model: seen.setdefault("model", model) and Pipe()
    module.GenerationConfig = dict
    run(make("internvl"), tmp_path, monkeypatch, module)
    assert check_messages(seen["messages"]) == list(NAMES)
    assert seen["gen_config"] == {"max_new_tokens": 64, "do_sample": True, "temperature": 0.7, "top_p": 0.9}


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_questions_without_pictures_are_short_programs(kind):
    code = make(kind, Conversation().asked("Hello", ()), AskSettings(model="nano"))
    assert "base64" not in code
    assert "top_p" not in code
    assert "Hello" in code


@pytest.mark.parametrize("kind", KINDS)
def test_before_the_first_question_there_is_a_program_without_messages(kind):
    assert make(kind, Conversation())


def test_an_adapter_is_asked_for_by_name_beside_its_model():
    settings = AskSettings(model="mine")
    code = snippet("internvl", conversation("Hi"), settings, file_name=file_name, adapter_of="nano")
    ast.parse(code)
    assert "internvl.pipeline('nano', adapters={'mine': 'its directory'})" in code
    assert "adapter_name='mine'" in code

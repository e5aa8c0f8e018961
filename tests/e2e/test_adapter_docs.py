"""The examples of docs/adapters.md do what they say."""

import re
import shlex
from pathlib import Path

import pytest

import internvl
from internvl.cli import main

ASSETS = Path(internvl.__file__).parent / "assets" / "nano"
PAGE = Path(__file__).parents[2] / "docs" / "adapters.md"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ASSETS / "model.safetensors").is_file(), reason="the bundled model is not there"),
]


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_page_s_examples_run_word_for_word(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec("\n".join(blocks("python")), {})
    adapted, plain = capsys.readouterr().out.splitlines()[-2:]
    assert adapted
    assert plain
    lines = "".join(blocks("sh")).splitlines()
    convert, serve, chat, demo = (shlex.split(line)[1:] for line in lines)
    assert main.run(convert) == 0
    internvl.load_model("nano-circles")
    assert main.run(chat) == 0
    assert capsys.readouterr().out.splitlines()[-1] == adapted
    for command in (serve, demo):
        assert command[1] == "nano"  # their options have tests of their own

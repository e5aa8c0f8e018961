"""The commands and the script of docs/evaluation.md do what they say."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from golden import SHARED
from internvl.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


COMMANDS = [line for block in blocks("bash") for line in block.splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_page_works(line, tmp_path, monkeypatch, capsys):
    if "--shared" in line and not SHARED.is_dir():
        pytest.skip(f"no shared data at {SHARED}")
    if "tesseract" in line and shutil.which("tesseract") is None:
        pytest.skip("tesseract is not installed")
    monkeypatch.chdir(tmp_path)
    words = [str(SHARED) if word == "../shared" else word for word in shlex.split(line)]
    assert words[0] == "internvl"
    assert main.run([*words[1:], *(["--count", "2"] if "--list" not in words else [])]) == 0
    assert capsys.readouterr().out


@pytest.mark.slow
def test_the_script_of_the_page_works(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (script,) = blocks("python")
    exec(script, {"__name__": "__main__"})
    assert "generated:shape score" in capsys.readouterr().out
    assert (tmp_path / "runs" / "eval" / "shapes" / "report.html").is_file()


def test_every_metric_stands_on_the_page():
    from internvl.evaluation.metrics import METRICS

    assert [name for name in METRICS if f"`{name}`" not in PAGE] == []

"""The command line itself: finding commands, exit codes, errors."""

import os
import subprocess
import sys
import types

import pytest

from internvl.cli import main
from internvl.errors import ConfigError, MissingDependencyError
from internvl.version import __version__


def run(*arguments):
    return main.run(list(arguments))


@pytest.fixture
def fake_command(monkeypatch):
    """Put a command named `chat` in place that calls the given function."""

    def install(function):
        module = types.ModuleType("internvl.cli.chat")
        module.command = function
        monkeypatch.setitem(sys.modules, "internvl.cli.chat", module)

    return install


def test_without_arguments_the_help_is_printed(capsys):
    assert run() == 0
    assert "Usage: internvl" in capsys.readouterr().out


def test_help_lists_every_command_with_its_whole_line(capsys):
    assert run("--help") == 0
    out = capsys.readouterr().out
    for name, text in main.COMMANDS.items():
        assert name in out
        assert text in out


def test_brackets_in_a_help_text_survive_on_a_terminal(fake_command, monkeypatch, capsys):
    from typing import Annotated

    import typer

    def command(tiles: Annotated[int, typer.Option(help="How many. [default: the model's]")] = 1):
        """Cut [some] pictures."""

    fake_command(command)
    monkeypatch.setattr(main, "_markup_mode", lambda: "rich")
    assert run("chat", "--help") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "[default: the model's]" in out
    assert "Cut [some] pictures." in out


def test_later_commands_do_not_exist_as_stubs(capsys):
    for name in ("serve", "demo", "train"):
        if name not in main.COMMANDS:
            assert run(name) == 2


def test_the_version_is_printed(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out == f"internvl {__version__}\n"


@pytest.mark.parametrize(("typed", "meant"), [("chta", "chat"), ("model", "models"), ("docter", "doctor")])
def test_an_unknown_command_is_answered_with_the_nearest(typed, meant, capsys):
    assert run(typed) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert f"'{meant}'" in error


@pytest.mark.parametrize(
    "arguments", [("--nonsense",), ("models", "--nonsense"), ("plan", "--batch", "many")]
)
def test_wrong_usage_ends_with_2_and_names_the_help(arguments, capsys):
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert "--help" in captured.err


@pytest.mark.parametrize(
    "error", [ConfigError("no such thing: [red]brackets[/red] stay"), MissingDependencyError("x")]
)
def test_an_error_of_ours_is_one_line_without_traceback(error, fake_command, capsys):
    def command():
        raise error

    fake_command(command)
    assert run("chat") == 1
    assert capsys.readouterr().err == f"error: {error}\n"


def test_debug_shows_the_traceback(fake_command, monkeypatch):
    def command():
        raise ConfigError("deep inside")

    fake_command(command)
    with pytest.raises(ConfigError):
        run("--debug", "chat")
    monkeypatch.setenv("INTERNVL_DEBUG", "1")
    with pytest.raises(ConfigError):
        run("chat")


def test_a_bug_is_not_hidden(fake_command):
    def command():
        raise ZeroDivisionError

    fake_command(command)
    with pytest.raises(ZeroDivisionError):
        run("chat")


def test_interrupting_ends_with_130(fake_command):
    def command():
        raise KeyboardInterrupt

    fake_command(command)
    assert run("chat") == 130


def test_a_command_can_choose_its_exit_code(fake_command):
    import typer

    def command():
        raise typer.Exit(1)

    fake_command(command)
    assert run("chat") == 1


@pytest.mark.parametrize("name", main.COMMANDS)
def test_each_command_shows_its_own_help(name, capsys):
    assert run(name, "--help") == 0
    assert f"Usage: internvl {name}" in capsys.readouterr().out


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")
def test_a_reader_that_leaves_early_is_no_error():
    script = f"{sys.executable} -m internvl models --json | head -n 1"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert done.stdout == "[\n"


def test_into_a_pipe_nothing_is_coloured():
    done = subprocess.run(
        [sys.executable, "-m", "internvl", "models"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0
    assert "\x1b" not in done.stdout

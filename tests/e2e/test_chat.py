"""The installed `internvl chat` in a process of its own: pipes, a terminal, Ctrl-C."""

import json
import os
import select
import signal
import subprocess
import sys
import time

import pytest

from tiny_engines import picture, write_tiny_checkpoint

CHAT = [sys.executable, "-m", "internvl", "chat"]
ENDLESS = ["--max-new-tokens", "50000", "--session-len", "60000", "--no-loop-guard"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return str(write_tiny_checkpoint(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / "a.png"
    picture().save(path)
    return str(path)


def test_a_question_from_a_pipe_is_answered_as_json(checkpoint, photo):
    done = subprocess.run(
        [*CHAT, "-m", checkpoint, photo, "--json", "--max-new-tokens", "5"],
        input="What is it?",
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["usage"]["completion_tokens"] <= 5
    assert result["usage"]["media"][0]["width"] == 120


def test_an_answer_cut_off_before_it_has_its_form_is_a_failure(checkpoint):
    for length, code in (("5", 1), ("60", 0)):
        words = [
            "-m",
            checkpoint,
            "Say a.",
            "--regex",
            "a{9}b",
            "--max-new-tokens",
            length,
            "--no-loop-guard",
        ]
        done = subprocess.run([*CHAT, *words], capture_output=True, text=True, timeout=120)
        assert done.returncode == code, done.stderr
        assert ("before it had the form" in done.stderr) == bool(code)


def test_a_picture_that_is_not_there_is_told_before_the_question_is_missed(checkpoint):
    done = subprocess.run(
        [*CHAT, "-m", checkpoint, "none.jpg"], input="", capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert "none.jpg" in done.stderr
    assert "no such file" in done.stderr


def test_an_interrupt_ends_a_one_shot_answer_with_130(checkpoint):
    process = subprocess.Popen(
        [*CHAT, "-m", checkpoint, "Hi", *ENDLESS], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in err


class Terminal:
    """The command in a pseudo-terminal."""

    def __init__(self, arguments):
        import pty

        self.process_id, self.handle = pty.fork()
        if self.process_id == 0:
            os.execv(arguments[0], arguments)
        self.seen = ""

    def expect(self, text, timeout=90):
        """Read until `text` has come; forget what was before it."""
        end = time.monotonic() + timeout
        while text not in self.seen:
            ready, _, _ = select.select([self.handle], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"{text!r} did not come; the end of what did: {self.seen[-500:]!r}"
            self.seen += os.read(self.handle, 4096).decode(errors="replace")
        self.seen = self.seen[self.seen.index(text) + len(text) :]

    def type(self, text):
        os.write(self.handle, text.encode())

    def exit_code(self):
        """Read what is left and wait for the end."""
        try:
            while os.read(self.handle, 4096):
                pass
        except OSError:  # Linux: the other side is closed
            pass
        os.close(self.handle)
        return os.waitstatus_to_exitcode(os.waitpid(self.process_id, 0)[1])


@pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")
def test_ctrl_c_stops_the_answer_and_not_the_program(checkpoint):
    terminal = Terminal([*CHAT, "-m", checkpoint, *ENDLESS])
    terminal.expect("ask away")
    terminal.expect(">>> ")
    terminal.type("Hi\n")
    terminal.expect("Hi")
    time.sleep(1)
    terminal.type("\x03")
    terminal.expect("(stopped)")
    terminal.expect(">>> ")
    terminal.type("half a line")
    terminal.expect("half a line")  # the echo: now it waits for keys, and not a moment before
    time.sleep(0.5)
    terminal.type("\x03")
    terminal.expect("/exit or Ctrl-D leaves")
    terminal.expect(">>> ")
    terminal.type("/help\n")
    terminal.expect("/image PATH")
    terminal.expect(">>> ")
    terminal.type("\x04")
    assert terminal.exit_code() == 0

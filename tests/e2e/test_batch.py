"""`internvl batch` as a user runs it: with nano, killed in the middle, on a terminal."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from tiny_clips import write_clip

COMMAND = [sys.executable, "-m", "internvl", "batch", "in.jsonl", "out.jsonl"]


def request(custom_id, question="What is shown?", *media, **body):
    content = [*media, {"type": "text", "text": question}]
    body = {"model": "nano", "messages": [{"role": "user", "content": content}], "max_tokens": 8, **body}
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}


@pytest.fixture
def write(tmp_path):
    def write(*requests):
        text = "".join(json.dumps(each) + "\n" for each in requests)
        (tmp_path / "in.jsonl").write_text(text, encoding="utf-8")
        return tmp_path

    return write


def run(directory, *options):
    return subprocess.run(
        [*COMMAND, *options], cwd=directory, capture_output=True, text=True, timeout=300, check=False
    )


def answers(directory):
    lines = (directory / "out.jsonl").read_text(encoding="utf-8").splitlines()
    return {row["custom_id"]: row for row in map(json.loads, lines)}


def test_pictures_videos_and_failures_come_back_by_their_ids(write, tmp_path):
    write_clip(tmp_path / "clip.mp4")
    video = {"type": "video_url", "video_url": {"url": "clip.mp4", "num_frames": 3}}
    directory = write(request("text"), request("video", "What happens?", video), request("bad", max_tokens=0))
    done = run(directory)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "3 of 3 requests answered, 1 of them failed" in done.stderr
    found = answers(directory)
    assert len(found["video"]["response"]["body"]["usage"]["media"]) == 3
    assert found["text"]["response"]["body"]["object"] == "chat.completion"
    assert "max_tokens is 0" in found["bad"]["error"]["message"]
    again = run(directory)
    assert (again.returncode, again.stderr) == (1, "all 3 requests are answered already, 1 failed\n")


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on_and_every_answer_is_there_once(write):
    requests = [request(f"r{n}", f"Say {n}", max_tokens=100, ignore_eos=True) for n in range(40)]
    directory = write(*requests)
    out = directory / "out.jsonl"
    process = subprocess.Popen([*COMMAND, "--batch-size", "2"], cwd=directory, stderr=subprocess.DEVNULL)
    while process.poll() is None and (not out.exists() or out.read_bytes().count(b"\n") < 5):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    kept = out.read_bytes().rpartition(b"\n")[0]
    assert 5 <= kept.count(b"\n") + 1 < 40
    done = run(directory)
    assert done.returncode == 0, done.stderr
    assert out.read_bytes().startswith(kept)
    ids = Counter(json.loads(line)["custom_id"] for line in out.read_text(encoding="utf-8").splitlines())
    assert ids == {f"r{n}": 1 for n in range(40)}


@pytest.mark.slow
def test_on_a_terminal_a_bar_shows_speed_and_ctrl_c_stops_with_a_word(write):
    directory = write(*[request(f"r{n}", max_tokens=400, ignore_eos=True) for n in range(200)])
    terminal, theirs = pty.openpty()
    process = subprocess.Popen(COMMAND, cwd=directory, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown, stopped = b"", False
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # the other side is gone
            break
        shown += piece
        if not stopped and b"/200" in shown and b"tokens/s" in shown:
            process.send_signal(signal.SIGINT)
            stopped = True
    os.close(terminal)
    assert process.wait() == 130
    assert b"of 200 requests answered" in shown
    assert b"stopped; the same command goes on from here" in shown


def test_wrong_files_cost_one_line_and_no_model(write):
    directory = write(request("a"), request("a"))
    done = run(directory)
    assert done.returncode == 1
    assert done.stderr.startswith("error: in.jsonl: lines 1 and 2 have the same custom_id 'a'")
    assert not (directory / "out.jsonl").exists()

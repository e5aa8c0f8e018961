"""`internvl eval` as a user runs it: figures on stdout, a folder that survives a kill, errors of one line."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

COMMAND = [sys.executable, "-m", "internvl", "eval", "nano", "--sets", "generated:shape", "--seed", "3"]


def run(directory, *options):
    return subprocess.run([*COMMAND, *options], cwd=directory, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_figures_come_as_a_table_as_json_and_as_a_page(tmp_path):
    done = run(tmp_path, "--count", "3")
    assert done.returncode == 0, done.stderr
    assert "generated:shape: score" in done.stdout
    out = tmp_path / "runs" / "eval" / "nano"
    assert (out / "report.html").read_text(encoding="utf8").startswith("<!doctype html>")
    again = run(tmp_path, "--count", "3", "--json")
    assert json.loads(again.stdout) == json.loads((out / "figures.json").read_text(encoding="utf8"))


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on_and_asks_every_question_once(tmp_path):
    answers = tmp_path / "out" / "answers.jsonl"
    options = ("--count", "12", "--out", "out")
    process = subprocess.Popen([*COMMAND, *options], cwd=tmp_path, stderr=subprocess.DEVNULL)
    while process.poll() is None and (not answers.exists() or answers.read_bytes().count(b"\n") < 5):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    kept = answers.read_bytes().rpartition(b"\n")[0]
    done = run(tmp_path, *options)
    assert done.returncode == 0, done.stderr
    assert answers.read_bytes().startswith(kept)
    rows = [json.loads(line) for line in answers.read_text(encoding="utf8").splitlines()]
    assert set(Counter(row["id"] for row in rows).values()) == {1}
    assert len({row["sample"] for row in rows}) == 12
    assert all(sum(other["sample"] == row["sample"] for other in rows) == row["turns"] for row in rows)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--sets", "generated:linse"], 1, "did you mean 'generated:lines'"),
        (["--sets", "shared"], 1, "--shared DIR"),
        (["--shared", "nowhere"], 2, "does not exist"),
        (["--count", "0"], 2, "count"),
    ],
)
def test_wrong_usage_costs_a_line_and_no_model(tmp_path, options, code, message, monkeypatch):
    monkeypatch.delenv("INTERNVL_SHARED", raising=False)
    done = run(tmp_path, *options)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_the_sets_are_listed(tmp_path, monkeypatch):
    monkeypatch.delenv("INTERNVL_SHARED", raising=False)
    done = run(tmp_path, "--list")
    assert done.returncode == 0, done.stderr
    assert "generated:lines" in done.stdout.splitlines()

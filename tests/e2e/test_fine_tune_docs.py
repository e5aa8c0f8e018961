"""docs/fine-tune.md, word for word, with fewer receipts and steps."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import internvl
from internvl.train.rows import parse_row
from nano_assets import requires_fonts

ROOT = Path(__file__).parents[2]
ASSETS = Path(internvl.__file__).parent / "assets" / "nano"
PAGE = ROOT / "docs" / "fine-tune.md"
#: What is smaller here than on the page.
SMALLER = {
    "--count 50": "--count 4",
    "--count 20": "--count 2",
    "receipts.toml": "receipts.toml --set run.steps=2 --set run.threads=1",
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ASSETS / "model.safetensors").is_file(), reason="the bundled model is not there"),
]


def blocks():
    return re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def wait_for(port, process):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    raise AssertionError("the server did not start")


@requires_fonts
def test_the_tutorial_runs_word_for_word(tmp_path):
    for name in ("recipes", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, words in (("internvl", "-m internvl"), ("python", "")):
        (tools / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        (tools / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{tools}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    port = free_port()
    said = {}
    server = None
    try:
        for block in blocks():
            for old, new in {**SMALLER, "23333": str(port)}.items():
                block = block.replace(old, new)
            if block.startswith("internvl serve"):
                words = ["bash", "-c", f"exec {block}"]
                server = subprocess.Popen(words, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
                wait_for(port, server)
                continue
            done = subprocess.run(
                ["bash", "-ec", block],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                timeout=300,
            )
            assert done.returncode == 0, f"{block}\n{done.stderr[-3000:]}"
            said[block.split("\n")[0]] = done.stdout
    finally:
        if server is not None:
            server.terminate()
            server.wait(timeout=30)
    rows = [json.loads(line) for line in (tmp_path / "mine.jsonl").read_text().splitlines()]
    assert rows[1]["conversations"][-1] == {"from": "gpt", "value": "3.99"}
    assert "packing efficiency" in next(out for words, out in said.items() if "--dry-run" in words)
    table = next(out for words, out in said.items() if "before_after" in words)
    assert table.startswith("| judged by | questions | before | after |")
    answer = json.loads(next(out for words, out in said.items() if words.startswith("cat > question")))
    assert answer["model"] == "receipts"
    assert answer["choices"][0]["finish_reason"] in ("stop", "length", "repetition")
    assert (tmp_path / "nano-receipts" / "config.json").is_file()


def test_the_row_on_the_page_is_one_that_training_reads(tmp_path):
    (line,) = re.findall(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    row = parse_row(json.loads(line), "docs:1", lambda name: name)
    assert [turn.role for turn in row.turns] == ["human", "gpt"] * 2
    assert row.media == ("photos/0001.jpg",)

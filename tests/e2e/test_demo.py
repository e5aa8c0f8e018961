"""`internvl demo` as a process: it starts, serves its page and ends, whoever still looks at it."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

pytest.importorskip("gradio", reason="no gradio (pip install 'internvl[demo]')")

pytestmark = pytest.mark.slow


@pytest.fixture
def demo(tmp_path):
    """The command on a free port with a temporary folder of its own; yields the process and the address."""
    environment = {**os.environ, "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "internvl", "demo", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    line = process.stdout.readline()
    address = re.search(r"http://127\.0\.0\.1:\d+/", line)
    assert address, f"{line}{process.stderr.read() if process.poll() is not None else ''}"
    yield process, address[0]
    process.kill()
    process.communicate()


def test_the_page_is_served_and_ctrl_c_ends_it_while_a_page_is_open(demo, tmp_path):
    process, address = demo
    with httpx.Client(base_url=address, timeout=60) as client:
        assert "internvl" in client.get("/").text
        assert client.get("/", headers={"host": "evil.example"}).status_code == 421
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith("internvl-demo-")]
        with client.stream("GET", "/gradio_api/heartbeat/window") as heartbeat:
            assert next(heartbeat.iter_lines()) == "data: ALIVE"
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == ""
    assert not [path for path in Path(tmp_path).iterdir() if path.name.startswith("internvl-demo-")]


def test_a_port_that_is_taken_is_one_clear_line(demo):
    _, address = demo
    port = address.rstrip("/").rpartition(":")[2]
    command = [sys.executable, "-m", "internvl", "demo", "--port", port]
    second = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert second.returncode == 1
    assert second.stderr.startswith(f"error: cannot listen on 127.0.0.1, port {port}: ")
    assert second.stderr.count("\n") == 1

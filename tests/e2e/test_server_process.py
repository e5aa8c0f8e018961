"""`internvl serve` as a process: signals, keys, curl, and batches that outlive a kill."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import httpx
import pytest

from server_client import chat_body, wait_until
from tiny_engines import write_tiny_checkpoint

pytestmark = pytest.mark.slow

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return str(write_tiny_checkpoint(tmp_path_factory.mktemp("models") / "tiny"))


class Serving:
    """A running `internvl serve`."""

    def __init__(self, checkpoint, data_dir, *options, env=None):
        command = [sys.executable, "-m", "internvl", "serve", checkpoint, "--server-port", "0"]
        self.process = subprocess.Popen(
            [*command, "--data-dir", str(data_dir), "--session-len", "4096", *options],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
        )
        self.log = ""
        while not (found := re.search(r"running on (http://\S+)", self.log)):
            line = self.process.stderr.readline()
            assert line, self.log
            self.log += line
        self.url = found[1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stderr.close()

    def end(self, signal_number):
        """Send a signal; return the rest of the log when the process has ended."""
        self.process.send_signal(signal_number)
        rest = self.process.stderr.read()
        self.process.wait(60)
        return rest


def test_sigterm_lets_open_answers_end_and_takes_nothing_new(checkpoint, tmp_path):
    body = chat_body(model="tiny", max_tokens=600, ignore_eos=True, stream=True)
    with Serving(checkpoint, tmp_path) as server, httpx.Client(base_url=server.url, timeout=60) as http:
        with http.stream("POST", CHAT, json=body) as response:
            lines = response.iter_lines()
            next(lines)
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: refuses(server.url))
            rest = list(lines)
        assert "data: [DONE]" in rest
        assert sum('"finish_reason":"length"' in line for line in rest) == 1
        log = server.process.stderr.read()
        server.process.wait(60)
        assert "SIGTERM: 1 requests are open" in log
        assert "Traceback" not in log


def refuses(url):
    try:
        return httpx.get(f"{url}/ready", timeout=5).status_code == 503
    except (httpx.ConnectError, httpx.ReadError):  # the socket closes while it is asked
        return True


def test_what_takes_too_long_is_cut_off(checkpoint, tmp_path):
    body = chat_body(model="tiny", max_tokens=4000, ignore_eos=True, stream=True)
    with (
        Serving(checkpoint, tmp_path, "--drain-timeout", "1") as server,
        httpx.Client(base_url=server.url, timeout=60) as http,
        http.stream("POST", CHAT, json=body) as response,
    ):
        next(response.iter_lines())
        started = time.monotonic()
        server.end(signal.SIGTERM)
        assert time.monotonic() - started < 30


def test_a_killed_server_loses_no_accepted_batch(checkpoint, tmp_path):
    lines = [
        {
            "custom_id": f"q{n}",
            "method": "POST",
            "url": CHAT,
            "body": chat_body(f"question {n}", model="tiny", max_tokens=60, ignore_eos=True),
        }
        for n in range(30)
    ]
    data = "\n".join(map(json.dumps, lines)).encode()
    with Serving(checkpoint, tmp_path) as server, httpx.Client(base_url=server.url, timeout=60) as http:
        form = {"files": {"file": ("in.jsonl", data)}, "data": {"purpose": "batch"}}
        file_id = http.post("/v1/files", **form).json()["id"]
        body = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h"}
        accepted = [http.post("/v1/batches", json=body).json()["id"] for _ in range(2)]
        server.process.kill()
        server.process.wait()
    with Serving(checkpoint, tmp_path) as server, httpx.Client(base_url=server.url, timeout=60) as http:

        def batch(batch_id):
            return http.get(f"/v1/batches/{batch_id}").json()

        wait_until(lambda: all(batch(each)["status"] == "completed" for each in accepted), 120)
        for each in accepted:
            assert batch(each)["request_counts"] == {"total": 30, "completed": 30, "failed": 0}
            text = http.get(f"/v1/files/{batch(each)['output_file_id']}/content").text
            assert {json.loads(row)["custom_id"] for row in text.splitlines()} == {f"q{n}" for n in range(30)}


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")
def test_curl_is_answered(checkpoint, tmp_path):
    with Serving(checkpoint, tmp_path) as server:
        curl = [
            "curl",
            "-sS",
            "-H",
            "Content-Type: application/json",
            "-d",
            json.dumps(chat_body(model="tiny")),
        ]
        answer = json.loads(
            subprocess.run([*curl, server.url + CHAT], capture_output=True, check=True).stdout
        )
        assert answer["object"] == "chat.completion"
        assert answer["model"] == "tiny"
        host = ["-H", "Host: evil.example"]
        refused = json.loads(
            subprocess.run([*curl, *host, server.url + CHAT], capture_output=True, check=True).stdout
        )
        assert refused["error"]["code"] == "wrong_host"


def test_keys_come_from_the_environment_and_a_file(checkpoint, tmp_path):
    (tmp_path / "keys").write_text("bob sk-of-bob-0123\n")
    options = ("--api-key-file", str(tmp_path / "keys"))
    env = {"INTERNVL_API_KEYS": "sk-from-env-0123, sk-more-0123456"}
    with Serving(checkpoint, tmp_path / "data", *options, env=env) as server:
        for key, status in (
            ("sk-of-bob-0123", 200),
            ("sk-from-env-0123", 200),
            ("sk-more-0123456", 200),
            ("sk-wrong-01234", 401),
        ):
            headers = {"Authorization": f"Bearer {key}"}
            assert httpx.get(f"{server.url}/v1/models", headers=headers).status_code == status
        log = server.end(signal.SIGTERM)
    assert "sk-" not in server.log + log
    assert "bob" in log


def test_listening_wider_without_keys_is_warned_about(checkpoint, tmp_path):
    with Serving(checkpoint, tmp_path, "--server-name", "0.0.0.0") as server:
        assert "without API keys" in server.log


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tp", "2"], "one device"),
        (["--api-keys", "short"], "8"),
        (["--allow-origins", "*", "--allow-credentials"], "allow_credentials"),
        (["--data-dir", "/dev/null/x"], "cannot be used"),
    ],
)
def test_options_that_cannot_be_are_refused_at_once(checkpoint, tmp_path, options, message):
    done = subprocess.run(
        [sys.executable, "-m", "internvl", "serve", checkpoint, *options],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "XDG_DATA_HOME": str(tmp_path)},
    )
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr

"""The examples of docs/serving.md do what they say."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import internvl
from internvl.server.app import create_app
from internvl.server.config import ServerConfig
from server_client import served

ROOT = Path(__file__).parents[2]
ASSETS = Path(internvl.__file__).parent / "assets" / "nano"
PAGE = ROOT / "docs" / "serving.md"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ASSETS / "model.safetensors").is_file(), reason="the bundled model is not there"),
]


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def address():
    with (
        internvl.pipeline("nano") as pipe,
        served(create_app(pipe, ServerConfig(model_names=("nano",)))) as url,
    ):
        yield url


def here(text, address):
    assert "http://127.0.0.1:23333" in text
    return text.replace("http://127.0.0.1:23333", address)


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")
def test_the_example_with_curl_is_answered(address):
    (script,) = [block for block in blocks("sh") if block.startswith("curl")]
    done = subprocess.run(
        ["bash", "-c", here(script, address)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert '"content":"red heart"' in done.stdout


def test_the_examples_in_python_run(address):
    script = here("\n".join(blocks("python")), address)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("red heart") == 3
    assert {"q0", "q1", "q2"} <= set(done.stdout.split())

"""docs/training.md, word for word, with fewer steps."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from internvl.data.skills import SKILLS
from internvl.train.config import TrainConfig
from internvl.train.recipes import build
from nano_assets import requires_fonts

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"<!-- file: (\S+) -->\n```toml\n(.*?)```", PAGE, re.DOTALL))


def test_every_recipe_of_the_page_is_one():
    blocks = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) > len(FILES) == 2
    for text in blocks:
        build(TrainConfig, tomllib.loads(text), "docs/training.md")


@pytest.mark.slow
@requires_fonts
def test_every_command_of_the_page_works(tmp_path):
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, words in (("internvl", "-m internvl"), ("torchrun", "-m torch.distributed.run --standalone")):
        (tools / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        (tools / name).chmod(0o755)
    for name, text in FILES.items():
        (tmp_path / name).write_text(re.sub(r"(?m)^steps = .*", "steps = 2", text))
    environment = os.environ | {"PATH": f"{tools}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL):
        block = block.replace("run.steps=20", "run.steps=2").replace("--count 20", "--count 4")
        done = subprocess.run(
            ["bash", "-ec", block], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, f"{block}\n{done.stderr[-3000:]}"
    for name in ("receipts", "see", "read", "two"):
        assert (tmp_path / "runs" / name / "final").is_dir(), name


def test_every_skill_stands_on_the_page_of_data():
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    assert [name for name in SKILLS if f"`{name}`" not in page] == []

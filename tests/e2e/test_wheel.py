"""What is built for others holds all that the package needs, wherever the repository keeps it."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_wheel_built_from_what_is_tracked_holds_every_file_of_the_package(tmp_path):
    listed = subprocess.run(
        ["git", "ls-files", "-z", "src", "pyproject.toml", "README.md", "LICENSE"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip("not a checkout")
    tracked = [name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()]
    for name in tracked:
        copy = tmp_path / "tree" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy)
    build = [
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--wheel-dir",
        "../made",
        ".",
    ]
    subprocess.run([sys.executable, "-m", "pip", *build], cwd=tmp_path / "tree", check=True, timeout=300)
    (wheel,) = (tmp_path / "made").glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    missing = {name.removeprefix("src/") for name in tracked if name.startswith("src/")} - inside
    assert not missing
    assert "internvl/demo/examples/sign.png" in inside

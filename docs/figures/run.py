"""Draw docs/figures/run.svg: a terminal in which the commands below were really run.

./run python docs/figures/run.py
"""

import shlex
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = (
    'chat examples/sign.png "What does the sign say?" --stats',
    'chat examples/shapes.png "How many objects are there?"',
    "plan InternVL3-1B --images 1280x720",
)


def main() -> None:
    """Run the commands and write what they printed."""
    console = Console(record=True, width=92, file=open("/dev/null", "w"))  # noqa: SIM115
    for command in COMMANDS:
        console.print(Text.assemble(("$ ", "bold green"), ("./run " + command, "bold")))
        done = subprocess.run(
            [sys.executable, "-m", "internvl", *shlex.split(command)],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        console.print(Text((done.stdout + done.stderr).rstrip()))
        console.print()
    console.save_svg(str(ROOT / "docs" / "figures" / "run.svg"), title="internvl")


if __name__ == "__main__":
    main()

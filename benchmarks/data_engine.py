"""How many samples a second does one core make, of each skill?

Question: does generating keep training fed? Targets: 150 samples/s a core of printed lines, 8/s of full pages. Samples
are drawn in this process alone, as the trainer's own processes draw them; what counts is its CPU time, of one thread,
after as long a time without the clock, in which fonts and word lists are opened.
Usage: ./run bench data_engine [--seconds N] [--shared DIR] [SKILL ...]. Prints a table and ends with one JSON line;
exit code 1 when a target is missed.
"""

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path

from internvl.data.sample import Assets
from internvl.data.skills import SKILLS, make_sample
from internvl.errors import InternVLError

TARGETS = {"lines": 150.0, "page": 8.0}


def rate(skill: str, seconds: float, assets: Assets) -> float:
    """Samples a second, of the second half: in the first, fonts and word lists are opened."""
    for seed in range(2):
        start, made = time.process_time(), 0
        while (elapsed := time.process_time() - start) < seconds:
            make_sample(skill, seed, made, assets=assets)
            made += 1
    return made / elapsed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("skills", nargs="*", default=list(SKILLS), metavar="SKILL")
    parser.add_argument("--seconds", type=float, default=5, help="CPU time of each skill")
    parser.add_argument(
        "--shared", type=Path, default=os.environ.get("INTERNVL_SHARED"), help="the data pack"
    )
    args = parser.parse_args()
    assets = Assets(shared=args.shared)
    rates, missed = {}, False
    for skill in args.skills:
        try:
            rates[skill] = round(rate(skill, args.seconds, assets), 1)
        except InternVLError as error:  # fonts or the data pack are not there
            print(f"{skill:<10} skipped: {error}")
            continue
        target = TARGETS.get(skill)
        missed |= target is not None and rates[skill] < target
        print(f"{skill:<10} {rates[skill]:7.1f} samples/s" + (f"  target {target:.0f}" if target else ""))
    machine = {"python": platform.python_version(), "machine": platform.machine()}
    print(
        json.dumps(
            {"benchmark": "data_engine", "samples_per_s": rates, "shared": bool(args.shared), **machine}
        )
    )
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())

"""How long a start takes: `import internvl` and `internvl --help`, each in fresh processes.

Question: does the command line feel instant? Targets: 0.3 s and 0.5 s, the median of several starts,
interpreter included. Usage: ./run bench startup [--starts N]. Prints a table and ends with one JSON line;
exit code 1 when a target is missed.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time

CASES = {
    "python alone": (["-c", "pass"], None),
    "import internvl": (["-c", "import internvl"], 0.3),
    "internvl --help": (["-m", "internvl", "--help"], 0.5),
}


def seconds(arguments: list[str]) -> float:
    """Wall time of one fresh interpreter."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--starts", type=int, default=7, help="fresh processes per case")
    starts = parser.parse_args().starts
    results = {}
    missed = False
    for name, (arguments, target) in CASES.items():
        seconds(arguments)  # the first start reads files from disk and writes byte code
        median = statistics.median(seconds(arguments) for _ in range(starts))
        results[name] = round(median, 4)
        goal = "" if target is None else f"  target {target:.1f} s"
        missed |= target is not None and median > target
        print(f"{name:<16} {median:.3f} s{goal}")
    machine = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
    }
    print(json.dumps({"benchmark": "startup", "starts": starts, "median_s": results, **machine}))
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())

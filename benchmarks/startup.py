# SPDX-License-Identifier: Apache-2.0
"""What the activation file costs every start of Python: bare interpreter with and without its line, in turns.

python benchmarks/startup.py [--runs 200]

Both sides start without `site`, so that nothing else in the environment counts; one of them then runs the very line
that `site` would run. The difference of the medians is the plugin's share of a start-up.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path


ROOT = Path(__file__).resolve().parents[1]
# `os` is loaded by `site` in every normal start.
PREPARE = f"import os, sys; sys.path.append({str(ROOT)!r})\n"
LINE = (ROOT / "rgpt4d_plugin.pth").read_text()


def milliseconds(code: str) -> float:
    """Wall time of one interpreter that runs `code`."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-S", "-c", code], check=True)
    return 1e3 * (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200, help="starts of each kind (default %(default)s)")
    runs = parser.parse_args().runs
    without, with_line = [], []
    for _ in range(runs):
        without.append(milliseconds(PREPARE))
        with_line.append(milliseconds(PREPARE + LINE))
    bare, active = statistics.median(without), statistics.median(with_line)
    print(f"bare {bare:.2f} ms, with the activation line {active:.2f} ms: +{active - bare:.2f} ms (median of {runs})")


if __name__ == "__main__":
    main()

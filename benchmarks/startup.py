"""How long a person waits for `voxid --help` and `import voxid`, beside a Python that does nothing.

python -m benchmarks.startup

Waiting time grows with whatever else the machine does; processor time hardly does, so both are shown.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

ROUNDS = 15
TARGETS_S = {"voxid --help": 0.3, "import voxid": 0.2}
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import voxid": ["-c", "import voxid"],
    "import typer": ["-c", "import typer"],
    "voxid --help": ["-m", "voxid", "--help"],
}


def seconds(arguments: list[str]) -> tuple[float, float]:
    """Return the waiting time and the processor time of one run."""
    before, start = os.times(), time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    waited, after = time.perf_counter() - start, os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return waited, spent


def main() -> None:
    for arguments in COMMANDS.values():  # bytecode and disk cache
        seconds(arguments)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):  # in turns, so that a busy minute falls on all of them
        for name, arguments in COMMANDS.items():
            taken[name].append(seconds(arguments))
    print(f"medians of {ROUNDS} rounds, in turns; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"{'':16} {'wait':>8} {'target':>8} {'x bare':>8} {'processor':>10}")
    bare = statistics.median(waited for waited, _ in taken["python -c pass"])
    for name, values in taken.items():
        waited, spent = (statistics.median(column) for column in zip(*values, strict=True))
        target = f"{TARGETS_S[name]:.1f} s" if name in TARGETS_S else ""
        print(f"{name:16} {waited:6.3f} s {target:>8} {waited / bare:8.1f} {spent:8.3f} s")


if __name__ == "__main__":
    main()

"""How long a person waits for `voxid --help` and `import voxid`, beside a Python that does nothing.

python -m benchmarks.startup
"""

from __future__ import annotations

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


def seconds(arguments: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> int:
    for arguments in COMMANDS.values():  # bytecode and disk cache
        seconds(arguments)
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):  # in turns, so that a busy minute falls on all of them
        for name, arguments in COMMANDS.items():
            taken[name].append(seconds(arguments))
    medians = {name: statistics.median(values) for name, values in taken.items()}
    bare = medians["python -c pass"]
    print(f"median of {ROUNDS} rounds, in turns")
    for name, median in medians.items():
        target = f"   target {TARGETS_S[name]:.1f} s" if name in TARGETS_S else ""
        print(f"{name:16} {median:6.3f} s   {median / bare:4.1f} x bare python{target}")
    return any(medians[name] > limit for name, limit in TARGETS_S.items())


if __name__ == "__main__":
    sys.exit(main())

"""Run every benchmark, one process each, and print what it prints: `make bench`, or name some of them.

Figures are ratios against a peer or a bound measured in the same run: machines differ, and so do their moods.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
# need models, corpora, a cluster, a GPU or hours: each is started by itself
EXPERIMENTS = {
    "ablation",
    "bulk",
    "gpu",
    "held_out",
    "left_out",
    "openset",
    "pgvector",
    "population",
    "replay",
    "robustness",
    "silence",
    "timeline",
}


def main(wanted: list[str]) -> int:
    known = sorted(
        p.stem for p in HERE.glob("*.py") if not p.stem.startswith("_") and p.stem not in EXPERIMENTS
    )
    if unknown := sorted(set(wanted) - set(known)):
        print(f"no benchmark named {', '.join(unknown)}. Known: {', '.join(known)}", file=sys.stderr)
        return 2
    failed = []
    for name in wanted or known:
        print(f"\n== {name}: python -m benchmarks.{name}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}"]
        if subprocess.run(command, cwd=HERE.parent, check=False).returncode:
            failed.append(name)
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
    return len(failed) > 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

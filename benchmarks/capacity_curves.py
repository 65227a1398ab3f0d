"""Draw what one query costs against the people enrolled.

    python -m benchmarks.capacity_curves [-o docs/img/scale/capacity.svg]

Points are measured (src/voxid/capacity.toml), lines are what `voxid plan` draws through them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from voxid.capacity import constants, plan

PEOPLE = np.logspace(4, 9, 40)


def main() -> int:
    import matplotlib.pyplot as plt

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--out", type=Path, default=Path("docs/img/scale/capacity.svg"))
    out = parser.parse_args().out
    known = constants()
    embed_ms = 1e3 * known["embed"]["core_s"]
    figure, left = plt.subplots(figsize=(7, 4))
    ways = [{way.name: way for way in plan(n, qps=1, memory_gb=65_536).ways} for n in PEOPLE]
    for name in ways[0]:
        left.plot(PEOPLE, [some[name].query_core_ms for some in ways], label=name)
    rows = known["pgvector"]["rows"]
    left.plot([r["people"] for r in rows], [embed_ms + r["core_ms"] for r in rows], "o", color="black")
    held = known["in_memory"]
    left.plot(
        [2e5], [embed_ms + 1e3 * held["core_s_per_million"] * 0.2], "o", color="black", label="measured"
    )
    left.axhline(embed_ms, color="grey", ls=":", label="embedding 3 s of speech")
    left.set(xscale="log", yscale="log", xlabel="people enrolled", ylabel="ms of a core for a query")
    left.legend()
    figure.tight_layout()
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)
    return 0


if __name__ == "__main__":
    import sys

    sys.exit(main())

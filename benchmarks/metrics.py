"""Time and peak memory of the metrics on long score lists, beside scikit-learn's `roc_curve` on the same.

    python -m benchmarks.metrics [--sizes 10 50] [--dtype float32]

Sizes are in millions of scores. Each line is a process of its own, and its peak memory has everything in it:
Python, numpy, the scores and the labels; the line "nothing" only makes those. `roc_curve` is the curve alone,
without the time to find an EER on it, and keeps every point, or the EER would not be exact.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from time import perf_counter

import numpy as np

TARGET_S, TARGET_MB = 3.0, 1536  # EER + minDCF + Cllr of 10 million
TARGET_LONG_MB = 4096  # 50 million, whatever is asked of them
BLOCK = 1 << 20
Work = Callable[[np.ndarray, np.ndarray], object]


def made_up(count: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and labels, made in blocks so that making them leaves no mark on the peak."""
    rng = np.random.default_rng(0)
    labels, scores = np.empty(count, bool), np.empty(count, dtype)
    for start in range(0, count, BLOCK):
        size = min(BLOCK, count - start)
        same = labels[start : start + size] = rng.random(size, np.float32) < 0.1
        scores[start : start + size] = np.tanh(0.4 * rng.standard_normal(size, np.float32) + 0.8 * same)
    return scores, labels


def work(name: str) -> Work:
    if name == "roc_curve":
        from sklearn.metrics import roc_curve

        return lambda scores, labels: roc_curve(labels, scores, drop_intermediate=False)
    if name == "nothing":
        return lambda scores, labels: None
    from voxid import metrics

    if name == "eer + min_dcf + cllr":
        return lambda scores, labels: [
            metric(scores, labels) for metric in (metrics.eer, metrics.min_dcf, metrics.cllr)
        ]
    if name == "frr_at_far":
        return lambda scores, labels: metrics.frr_at_far(scores, labels, 0.001)
    return getattr(metrics, name)


def measured(name: str, count: int, dtype: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.metrics", "--one", name, str(count), dtype]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def measure(name: str, count: int, dtype: str) -> None:
    """Print seconds and peak MB of this process: what a child does."""
    scores, labels = made_up(count, dtype)
    task = work(name)
    begin = perf_counter()
    task(scores, labels)
    seconds = perf_counter() - begin
    scale = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB here
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale
    print(json.dumps({"seconds": seconds, "peak_mb": peak}))


TASKS = (
    "nothing",
    "eer + min_dcf + cllr",
    "eer",
    "min_dcf",
    "cllr",
    "frr_at_far",
    "min_cllr",
    "det",
    "roc_curve",
)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=float, nargs="+", default=[10, 50], help="millions of scores")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        name, count, dtype = arguments.one
        measure(name, int(count), dtype)
        return 0
    missed = 0
    for millions in arguments.sizes:
        count = int(millions * 1e6)
        rows = {name: measured(name, count, arguments.dtype) for name in TASKS}
        print(
            f"{count:,} {arguments.dtype} scores\n\n| what | s | of roc_curve | peak MB |\n|---|---|---|---|"
        )
        for name, row in rows.items():
            share = row["seconds"] / rows["roc_curve"]["seconds"]
            print(f"| {name} | {row['seconds']:.2f} | {share:.3f} | {row['peak_mb']:.0f} |")
        three = rows["eer + min_dcf + cllr"]
        most = max(row["peak_mb"] for name, row in rows.items() if name != "roc_curve")
        if millions == 10:
            missed += three["seconds"] > TARGET_S or three["peak_mb"] > TARGET_MB
            print(f"\ntarget for the three: < {TARGET_S:g} s and < {TARGET_MB} MB\n")
        if millions == 50:
            missed += most > TARGET_LONG_MB
            print(f"\ntarget for all of ours: < {TARGET_LONG_MB} MB, got {most:.0f}\n")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())

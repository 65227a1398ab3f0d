"""The exact EER of a million scores against scikit-learn's `roc_curve`, and against a sweep in Python.

`roc_curve` is only the first half of an EER: the time to find the crossing on its curve is not counted.
The sweep (1,000 thresholds, lists of Python numbers) is how the original course system does it. It is timed
on few scores and scaled: its time is proportional to their number.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
from sklearn.metrics import roc_curve

from voxid import metrics

SCORES = 1_000_000
REPEATS = 7
SWEEP_SCORES = 2_000
TARGET = 0.3  # of the time of roc_curve


def made_up(count: int, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.random(count) < 0.1
    return np.tanh(0.4 * rng.standard_normal(count) + 0.8 * labels).astype(dtype), labels


def best_of(work: Callable[..., Any], *arguments: Any) -> float:
    times = []
    for _ in range(REPEATS):
        begin = perf_counter()
        work(*arguments)
        times.append(perf_counter() - begin)
    return min(times)


def sweep(scores: list[float], labels: list[int], step: float = 0.001) -> float:
    """Find the EER as the original does: a pass over Python lists for each threshold."""
    targets, smallest, found, threshold = sum(labels), 1.0, 0.0, 0.0
    while threshold < 1.0:
        accepted = [score >= threshold for score in scores]
        false_accepts = [a and (1 - y) for a, y in zip(accepted, labels, strict=True)]
        false_rejects = [(1 - a) and y for a, y in zip(accepted, labels, strict=True)]
        far, frr = sum(false_accepts) / (len(labels) - targets), sum(false_rejects) / targets
        if abs(far - frr) < smallest:
            smallest, found = abs(far - frr), (far + frr) / 2
        threshold += step
    return found


def main() -> None:
    for dtype in (np.float32, np.float64):
        scores, labels = made_up(SCORES, dtype)
        ours, theirs = best_of(metrics.eer, scores, labels), best_of(roc_curve, labels, scores)
        print(
            f"EER of {SCORES:,} {np.dtype(dtype).name} scores: voxid {1000 * ours:.1f} ms, "
            f"scikit-learn roc_curve {1000 * theirs:.1f} ms, ratio {ours / theirs:.3f} (target < {TARGET})"
        )
        for metric in (metrics.min_dcf, metrics.cllr, metrics.min_cllr, metrics.det):
            print(f"  {metric.__name__}: {1000 * best_of(metric, scores, labels):.1f} ms")
    scores, labels = made_up(SWEEP_SCORES, np.float64)
    as_lists = scores.tolist(), labels.astype(int).tolist()
    begin = perf_counter()
    found = sweep(*as_lists)
    swept = (perf_counter() - begin) * 20_000 / SWEEP_SCORES
    assert found == metrics.eer_grid(scores, labels).rate, "the grid must find what the sweep finds"
    scores, labels = made_up(20_000, np.float64)
    grid, exact = best_of(metrics.eer_grid, scores, labels), best_of(metrics.eer, scores, labels)
    print(
        f"EER of 20,000 scores: sweep in Python {swept:.1f} s (timed on {SWEEP_SCORES:,}, scaled), "
        f"the same grid {1000 * grid:.2f} ms ({swept / grid:,.0f}x), "
        f"exact {1000 * exact:.2f} ms ({swept / exact:,.0f}x)"
    )


if __name__ == "__main__":
    main()

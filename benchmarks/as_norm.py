"""AS-norm of a table of embeddings against the matrix product alone, and against a loop over trials.

    python -m benchmarks.as_norm [--rows 1500] [--cohort 20000] [--dim 256]

The loop is the textbook: for each trial, both sides against the cohort, sort, take the top. It is timed on
few trials and scaled: its time is proportional to their number. Target: 1,500 x 1,500 with a cohort of 20,000
under 3 s on two cores.
"""

from __future__ import annotations

import argparse
import os
from time import perf_counter

import numpy as np

TOP_K = 300
LOOP_TRIALS = 20
TARGET_S = 3.0


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def one_trial(a: np.ndarray, b: np.ndarray, cohort: np.ndarray) -> float:
    a, b, score = unit(a), unit(b), 0.0
    for side in (a, b):
        top = np.sort(cohort @ side)[-TOP_K:]
        score += float(a @ b - top.mean()) / float(top.std()) / 2
    return score


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument("--cohort", type=int, default=20_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    from voxid.scoring import make_scorer, unit_rows

    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((arguments.rows, arguments.dim)).astype(np.float32) for _ in range(2))
    cohort = rng.standard_normal((arguments.cohort, arguments.dim)).astype(np.float32)
    fitted = make_scorer({"name": "as-norm", "top_k": TOP_K}).fit(cohort, np.arange(len(cohort)))
    unit_ab, unit_cohort = unit_rows(np.concatenate((a, b))), unit_rows(cohort)
    taken: dict[str, list[float]] = {"product": [], "as-norm": []}
    for _ in range(arguments.rounds):
        begin = perf_counter()
        unit_ab @ unit_cohort.T
        middle = perf_counter()
        table = fitted.table(a, b)
        taken["product"].append(middle - begin)
        taken["as-norm"].append(perf_counter() - middle)
    product, whole = min(taken["product"]), min(taken["as-norm"])
    begin = perf_counter()
    loop = [one_trial(a[i], b[i], unit_cohort) for i in range(LOOP_TRIALS)]
    looped = (perf_counter() - begin) / LOOP_TRIALS * arguments.rows**2
    np.testing.assert_allclose(loop, np.diagonal(table)[:LOOP_TRIALS], atol=1e-3)
    threads = os.environ.get("OPENBLAS_NUM_THREADS", "all")
    print(
        f"AS-norm (top {TOP_K}) of {len(a):,} x {len(b):,} embeddings of {arguments.dim}, cohort of "
        f"{len(cohort):,}, BLAS threads: {threads}: {whole:.2f} s (target < {TARGET_S:g} s), "
        f"{whole / product:.1f} x the products with the cohort alone ({product:.2f} s); a loop over the "
        f"trials {looped:,.0f} s (timed on {LOOP_TRIALS}, scaled), {looped / whole:,.0f} x"
    )


if __name__ == "__main__":
    main()

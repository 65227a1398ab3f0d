"""EER of every pair of a large set: pairs a second, beside the matrix products alone, and the error bound.

    python -m benchmarks.all_pairs [--utterances 30000] [--dim 256] [--threads 2]

`--utterances 100000` counts 5 billion pairs. The bound on speed is the same tiles on as many threads without
the counting: no way of scoring every pair by a matrix product is faster. Set OPENBLAS_NUM_THREADS=1 (or what
your BLAS reads), or its threads and these fight for the cores. A tenth of the utterances is checked against
the exact EER.
"""

from __future__ import annotations

import argparse
import resource
import sys
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import numpy as np

from voxid import metrics
from voxid.evaluation.all_pairs import COLUMNS, ROWS, all_pairs_histogram
from voxid.scoring import cosine_of_pairs, unit_rows


def made_up(utterances: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    speakers = rng.integers(0, max(2, utterances // 20), utterances)
    voices = rng.standard_normal((speakers.max() + 1, dim), np.float32)
    return voices[speakers] + 2 * rng.standard_normal((utterances, dim), np.float32), speakers


def products(rows_ND: np.ndarray, threads: int) -> float:
    """Return the seconds that the matrix products of all tiles on and above the diagonal take."""
    size = len(rows_ND)
    corners = [(i, j) for i in range(0, size, ROWS) for j in range(i - i % COLUMNS, size, COLUMNS)]
    begin = perf_counter()
    with ThreadPoolExecutor(threads) as workers:
        for _ in workers.map(
            lambda c: (rows_ND[c[0] : c[0] + ROWS] @ rows_ND[c[1] : c[1] + COLUMNS].T)[0, 0], corners
        ):
            pass
    return perf_counter() - begin


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--utterances", type=int, default=30_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    emb_ND, speaker_N = made_up(arguments.utterances, arguments.dim)
    begin = perf_counter()
    found = all_pairs_histogram(emb_ND, speaker_N, threads=arguments.threads)
    taken = perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    alone = products(unit_rows(emb_ND), arguments.threads)
    pairs, eer, dcf = found.targets + found.nontargets, found.eer(), found.min_dcf()
    print(
        f"{arguments.utterances:,} utterances of {arguments.dim} dimensions, {pairs:,} pairs, "
        f"{arguments.threads} threads: {taken:.1f} s, {pairs / taken / 1e6:.0f} million pairs/s; "
        f"products alone {alone:.1f} s, ratio {taken / alone:.2f}; peak {peak:.0f} MB\n"
        f"EER {100 * eer.rate:.4f} % within {100 * eer.error_bound:.5f} points, "
        f"minDCF {dcf.cost:.5f}, at most {dcf.error_bound:.6f} too high"
    )
    few = max(4, arguments.utterances // 10)
    left, right = (index.astype(np.int32) for index in np.triu_indices(few, 1))
    scores = cosine_of_pairs(emb_ND[:few], left, right)
    exact = metrics.eer(scores, speaker_N[left] == speaker_N[right]).rate
    binned = all_pairs_histogram(emb_ND[:few], speaker_N[:few], threads=arguments.threads).eer()
    off = abs(binned.rate - exact)
    print(f"first {few:,} utterances: off by {100 * off:.6f} points, bound {100 * binned.error_bound:.6f}")
    return int(off > binned.error_bound + 1e-7)  # products of other shapes round differently


if __name__ == "__main__":
    sys.exit(main())

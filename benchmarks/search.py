"""Exact identification against many voiceprints, each storage beside one pass over the same bytes.

    python -m benchmarks.search [--sizes 10000,100000,1000000] [--dim 192] [--threads 2] [--repeats 9]

The bound is numpy's maximum over the same stored matrix, block by block in as many threads: every byte is
read once and next to nothing computed. Bound and search take turns, and the least of the repeats of each
counts, since other programs only ever add time. The peer is `rows @ query` with argpartition, as most people
write it. The query is a stranger, for whom most rows come near the top. Set OPENBLAS_NUM_THREADS=1, or the
threads of BLAS and these fight for the cores.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from time import perf_counter

import numpy as np

from voxid.search import Index
from voxid.search.kernels import STORAGES, Storage
from voxid.search.workers import Workers

PART = 50_000


def parts(rows: int, dim: int) -> Iterator[tuple[int, np.ndarray]]:
    rng = np.random.default_rng(0)
    for start in range(0, rows, PART):
        yield start, rng.standard_normal((min(PART, rows - start), dim), np.float32)


def timed(work: Callable[[], object]) -> float:
    begin = perf_counter()
    work()
    return perf_counter() - begin


def peer(rows: int, dim: int, query_D: np.ndarray, repeats: int) -> float:
    """Return milliseconds of one product with all rows, row by row in memory, and a partial sort."""
    unit_ND = np.empty((rows, dim), np.float32)
    for start, emb_ND in parts(rows, dim):
        unit_ND[start : start + len(emb_ND)] = emb_ND / np.linalg.norm(emb_ND, axis=1, keepdims=True)
    return 1e3 * min(timed(lambda: np.argpartition(-(unit_ND @ query_D), 10)[:10]) for _ in range(repeats))


def one(rows: int, dim: int, storage: Storage, threads: int, repeats: int) -> str:
    """Return a line of figures."""
    index, adding = Index(dim, storage, threads=threads), 0.0
    for start, emb_ND in parts(rows, dim):
        adding += timed(lambda s=start, e=emb_ND: index.add(range(s, s + len(e)), e))
    workers = Workers(threads)
    query_QD = np.random.default_rng(1).standard_normal((64, dim), np.float32)
    blocks = [block.columns_DN for block in index._blocks]
    if storage == "float16":  # numpy has no fast maximum of float16
        blocks = [block.view(np.int16) for block in blocks]

    def read() -> None:
        workers.each(lambda columns_DN: columns_DN.max(), blocks)

    bound, search, best = [], [], []
    for _ in range(repeats):
        bound.append(timed(read))
        search.append(timed(lambda: index.search(query_QD[0])))
        best.append(timed(lambda: index.search(query_QD[0], by="best")))
    many = timed(lambda: index.search(query_QD)) / len(query_QD)
    some = np.random.default_rng(2).permutation(rows)[:2_000].tolist()
    removing = timed(lambda: [index.remove([id]) for id in some[:1_000]]) / 1_000
    removing_many = timed(lambda: index.remove(some[1_000:])) / 1_000
    new_ND = np.ones((1, dim), np.float32)
    adding_one = timed(lambda: [index.add([id], new_ND) for id in some[:1_000]]) / 1_000
    ratio = min(search) / min(bound)
    return (
        f"{rows:>9,} {storage:>8} {1e3 * min(bound):>9.2f} {1e3 * min(search):>9.2f} {ratio:>6.2f} "
        f"{1e3 * np.median(search):>9.2f} {1e3 * min(best):>9.2f} {1e3 * many:>9.2f} "
        f"{index.memory / 1e6:>8.0f} "
        f"{rows / adding:>10,.0f} {1 / adding_one:>9,.0f} {1 / removing:>9,.0f} {1 / removing_many:>9,.0f}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default="10000,100000,1000000")
    parser.add_argument("--dim", type=int, default=192)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--storages", default=",".join(STORAGES))
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.sizes.split(",")]
    chosen = [storage for storage in STORAGES if storage in arguments.storages.split(",")]
    query_D = np.random.default_rng(1).standard_normal(arguments.dim, np.float32)
    print(
        f"D = {arguments.dim}, {arguments.threads} threads, top 10; ms, least of {arguments.repeats}; "
        f"load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n"
        "     rows  storage     bound    search  ratio    median    people  each of64       MB  "
        "bulk add/s    add/s  remove/s  of 1,000"
    )
    for rows in sizes:
        for storage in chosen:
            print(one(rows, arguments.dim, storage, arguments.threads, arguments.repeats), flush=True)
        print(
            f"{rows:>9,}     peer {peer(rows, arguments.dim, query_D, arguments.repeats):>19.2f}", flush=True
        )
    print(f"load afterwards {os.getloadavg()[0]:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

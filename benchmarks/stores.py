"""Enrolling 10,000 people, reading a million voiceprints, and the nearest by HNSW, against bounds.

    python -m benchmarks.stores [--people 10000] [--rows 1000000] [--hnsw 100000] [--ef-search 100]

PostgreSQL is a server of its own, started for this from the wheel `pgserver`, with default settings but
fsync off (this measures the store, not the disk). `--hnsw 1000000` builds the index of a million, which takes
some 30 minutes on one core; `--hnsw 0` leaves it out. Speakers are points, probes are 0.6 of a speaker's
direction and 0.8 of noise: a cosine of 0.6 is what two recordings of one person have with a fair model.
Targets: 10,000 people enrolled in under 10 s; recall@1 of HNSW at least 0.99.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from time import perf_counter, process_time

import numpy as np

from voxid import stores
from voxid.stores import Enrolment, Store, voiceprint

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
TARGET_S = 10.0
ONES = 300  # people enrolled in a transaction each; scaled to all
PROBES = 300


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def enrol(store: Store, kind: str, emb_ND: np.ndarray) -> None:
    people = [Enrolment(f"p{i}", [voiceprint(e, model="m")]) for i, e in enumerate(emb_ND)]
    begin, cpu = perf_counter(), process_time()
    store.enroll_many(people)
    many, cpu = perf_counter() - begin, process_time() - cpu
    begin = perf_counter()
    for i in range(ONES):
        store.enroll(f"one {i}", people[i].voiceprints, collection="ones")
    ones = (perf_counter() - begin) / ONES * len(people)
    begin = perf_counter()
    store.delete("p7")
    deleted = perf_counter() - begin
    print(
        f"{kind}: {len(people):,} people enrolled in {many:.2f} s (target < {TARGET_S:g} s; {cpu:.2f} s of "
        f"this process's CPU), 1,000 in a transaction; one each {ones:.1f} s (of {ONES}, scaled); "
        f"one deleted and wiped in {1000 * deleted:.0f} ms"
    )


def fill(store: Store, emb_ND: np.ndarray) -> float:
    begin = perf_counter()
    store.enroll_many(
        (Enrolment(f"p{i}", [voiceprint(e, model="m")]) for i, e in enumerate(emb_ND)), batch=10_000
    )
    return perf_counter() - begin


def read(store: Store, kind: str, emb_ND: np.ndarray, bound: float) -> None:
    begin = perf_counter()
    whole = store.matrix()
    taken = perf_counter() - begin
    assert np.array_equal(whole.emb_ND, emb_ND)
    print(
        f"{kind}: matrix() of {len(whole):,} x {emb_ND.shape[1]} in {taken:.2f} s, {taken / bound:.1f} x "
        f"reading the same bytes as one file ({bound:.2f} s)"
    )


def nearest(store: Store, emb_ND: np.ndarray, ef_search: int) -> None:
    rng = np.random.default_rng(1)
    begin = perf_counter()
    store.optimize()
    built = perf_counter() - begin
    whose = rng.integers(len(emb_ND), size=PROBES)
    noise_QD = unit(rng.standard_normal((PROBES, emb_ND.shape[1])))
    probes_QD = (0.6 * emb_ND[whose] + 0.8 * noise_QD).astype(np.float32)
    best_Q = np.argmax(probes_QD @ emb_ND.T, axis=1)
    taken, hits = [], 0
    for probe_D, best in zip(probes_QD, best_Q, strict=True):
        begin = perf_counter()
        found = store.nearest(probe_D, 10)
        taken.append(1000 * (perf_counter() - begin))
        hits += bool(found) and found[0].name == f"p{best}"
    begin = perf_counter()
    store.nearest(probes_QD[0], 10, exact=True)
    exact = 1000 * (perf_counter() - begin)
    p50, p95 = np.percentile(taken, (50, 95))
    print(
        f"pgvector HNSW over {len(emb_ND):,} x {emb_ND.shape[1]}, ef_search {ef_search}: recall@1 "
        f"{hits / PROBES:.3f} (target 0.99), p50 {p50:.1f} ms, p95 {p95:.1f} ms, {exact / p50:.0f} x "
        f"faster than PostgreSQL without the index ({exact:.0f} ms); index built in {built:.0f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--hnsw", type=int, default=100_000)
    parser.add_argument("--ef-search", type=int, default=100)
    parser.add_argument("--dim", type=int, default=192)
    arguments = parser.parse_args()
    from stores_server import Server

    rng = np.random.default_rng(0)
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    server = Server()
    try:
        with tempfile.TemporaryDirectory() as folder:
            emb_ND = unit(rng.standard_normal((arguments.people, arguments.dim), dtype=np.float32))
            with stores.open(f"sqlite:///{folder}/people.db") as store:
                enrol(store, "SQLite", emb_ND)
            with stores.open(server.url) as store:
                enrol(store, "PostgreSQL", emb_ND)
            server.clear()
            if arguments.rows:
                emb_ND = unit(rng.standard_normal((arguments.rows, arguments.dim), dtype=np.float32))
                emb_ND.tofile(f"{folder}/plain")
                begin = perf_counter()
                np.fromfile(f"{folder}/plain", np.float32)
                bound = perf_counter() - begin
                with stores.open(f"sqlite:///{folder}/many.db") as store:
                    fill(store, emb_ND)
                    read(store, "SQLite", emb_ND, bound)
            if arguments.hnsw:
                emb_ND = unit(rng.standard_normal((arguments.hnsw, arguments.dim), dtype=np.float32))
                with stores.open(f"{server.url}&ef_search={arguments.ef_search}") as store:
                    fill(store, emb_ND)
                    emb_ND.tofile(f"{folder}/plain")
                    begin = perf_counter()
                    np.fromfile(f"{folder}/plain", np.float32)
                    read(store, "PostgreSQL", emb_ND, perf_counter() - begin)
                    nearest(store, emb_ND, arguments.ef_search)
    finally:
        server.close()


if __name__ == "__main__":
    main()

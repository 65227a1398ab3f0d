"""Measure the constants of `voxid plan` that one process can measure, and print them as TOML.

    python -m benchmarks.constants [--people 200000]

Times are of the processor, so other programs disturb them little. What PostgreSQL takes is measured by
`python -m benchmarks.pgvector`, and misses by `python -m benchmarks.population`; src/voxid/capacity.toml
keeps them all, each with its command.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time

import numpy as np

import voxid
from voxid import stores
from voxid.corpora.synthetic import speak, voice
from voxid.recognizer.roster import BESIDE, Roster
from voxid.stores import NewPerson, voiceprint

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
REPEATS = 20


def processor_s(work: Callable[[], object]) -> float:
    taken = []
    for _ in range(REPEATS):
        begin = process_time()
        work()
        taken.append(process_time() - begin)
    return float(np.median(taken))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=int, default=200_000)
    people = parser.parse_args().people
    model = voxid.load("voxid-base")
    wave = (speak(voice(1), 3.0, np.random.default_rng(0)), 16_000)
    list(model.embed_each([wave]))
    print(f"# load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"embed_core_s = {processor_s(lambda: list(model.embed_each([wave]))):.4f}  # 3 s of speech")
    rng = np.random.default_rng(0)
    probe_D = rng.standard_normal(model.dim).astype(np.float32)
    with stores.open("sqlite://") as store:
        for first in range(0, people, 20_000):
            emb_ND = rng.standard_normal((20_000, model.dim)).astype(np.float32)
            store.enroll_many(
                NewPerson(f"p{first + n}", [voiceprint(e, model="m")]) for n, e in enumerate(emb_ND)
            )
        for name, limit in (("float32", 10**12), ("int8", people * (model.dim + 4 + BESIDE) + 1)):
            roster = Roster(store, "default", limit)
            roster.load(None)
            roster.near(probe_D, 200)
            took = processor_s(lambda roster=roster: roster.near(probe_D, 200))
            print(f"{name}_core_s_per_million = {took * 1e6 / people:.4f}")
    in_postgres(model.dim, min(people, 20_000))
    return 0


def in_postgres(dim: int, people: int) -> None:
    """Print what a person takes in PostgreSQL, with every table and index, and the index's build."""
    from stores_server import Server

    from benchmarks.stores import measured

    rng = np.random.default_rng(0)
    server = Server()
    try:
        with stores.open(server.url) as store:
            emb_ND = rng.standard_normal((people, dim)).astype(np.float32)
            store.enroll_many(NewPerson(f"p{n}", [voiceprint(e, model="m")]) for n, e in enumerate(emb_ND))
            with measured(server) as taken:
                store.optimize()
            with store._connection() as connection:  # type: ignore[attr-defined]
                size = connection.execute(
                    "SELECT sum(pg_total_relation_size(oid)) FROM pg_class "
                    "WHERE relnamespace = 'voxid'::regnamespace AND relkind = 'r'"
                ).fetchone()[0]
    finally:
        server.close()
    print(
        f"bytes_per_person = {float(size) / people:.0f}  # of {people:,}; index: {taken.server:.1f} s of CPU"
    )


if __name__ == "__main__":
    sys.exit(main())

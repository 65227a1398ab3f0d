"""Identifying one of very many people: ms a call, the first call, and memory, beside one numpy pass.

    python -m benchmarks.search [--people 200000] [--dim 192] [--calls 30] [--postgres]
    python -m benchmarks.search --people 1000000 --processes

A store is filled with people of one voiceprint each (Gaussian, the same in all directions: drawn numbers, not
voices). Then, in a process of its own for each form that people can have in memory (float32, int8, and none:
the store searches), `Recognizer.identify` is called with three seconds of a made-up voice. Its embedding is a
fake runtime's: a spectrum, repeated to `--dim` numbers. `Recognizer.load` is what the first call does first.

Ratios are what counts; every process measures its own bounds, in turns with what is compared with them:
- the numpy pass: `(rows @ probe).max()` over as many people in float32;
- reading: the bytes of the database file, as one file, right before the load (both from the same cache);
- memory: what loading adds at its peak, by what the rows take (4 or 1 bytes a number).
What else `identify` does (decoding, net speech, embedding, decision) takes as long as a call among ten.

`--processes` searches the same rows by one thread, by a thread for each core as `Recognizer.identify` does,
and by a process for each core that holds its part, in turns: whether processes would find anybody sooner.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.stores import even_voices
from voxid import stores
from voxid.parallel import usable_cores
from voxid.recognizer import Recognizer
from voxid.recognizer.roster import BESIDE
from voxid.recognizer.scan import Rows
from voxid.stores import NewPerson, voiceprint

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from hearing import SpectrumRuntime, calibrated, say

AT_ONCE = 20_000  # people


class Repeated(SpectrumRuntime):
    """Embeddings of any size, from 48 bands of a spectrum."""

    def __init__(self, dim: int) -> None:
        super().__init__(calibration=calibrated())
        self.dim = dim

    def embed_each(self, audio: Iterable[Any], *more: Any, **options: Any) -> Iterator[Any]:
        for embedded in super().embed_each(audio, *more, **options):
            yield embedded._replace(embedding=np.resize(embedded.embedding, self.dim))


def fill(url: str, people: int, runtime: Repeated) -> None:
    voices = even_voices(runtime.dim)
    with stores.open(url) as store:
        for first in range(0, people, AT_ONCE):
            emb_ND, _ = voices.draw(min(AT_ONCE, people - first), seed=first)
            store.enroll_many(
                NewPerson(f"p{first + n}", [voiceprint(emb_D, model=runtime.fingerprint, speech_s=3.0)])
                for n, emb_D in enumerate(emb_ND)
            )
        store.optimize()


def read(path: str) -> None:
    """Read a file in pieces."""
    with Path(path).open("rb") as file:
        while file.read(1 << 20):
            pass


def timed(work: Callable[[], object]) -> float:
    begin = perf_counter()
    work()
    return 1e3 * (perf_counter() - begin)


def megabytes(what: str) -> float:
    """Return VmRSS (now) or VmHWM (at most) of this process."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what)]
    return int(line.split()[1]) * 1024 / 1e6


def measure(url: str, people: int, dim: int, memory: int, calls: int, out: Any) -> None:
    """Send a line of figures."""
    runtime, voice = Repeated(dim), say(1, 1)
    few = Recognizer("sqlite://", runtime)
    for n in range(10):
        few.enroll(f"p{n}", say(n, 0))
    few.identify(voice)
    recognizer = Recognizer(url, runtime, memory=memory)
    reading = timed(lambda: read(url.removeprefix("sqlite:///"))) if "sqlite" in url else np.nan
    before = megabytes("VmRSS")
    loading = timed(recognizer.load)
    rows = recognizer._roster._rows
    form = "store" if rows is None else "int8" if rows.small else "float32"
    matrix_mb = 0 if rows is None else people * dim * (1 if rows.small else 4) / 1e6
    peak = (megabytes("VmHWM") - before) / matrix_mb if matrix_mb else np.nan
    first = timed(lambda: recognizer.identify(voice))
    emb_ND, _ = even_voices(dim).draw(people)
    probe_D = runtime.embed(voice)
    usual, base, passes, near = [], [], [], []
    for _ in range(calls if rows is not None else 3):
        usual.append(timed(lambda: recognizer.identify(voice)))
        base.append(timed(lambda: few.identify(voice)))
        near.append(timed(lambda: recognizer._roster.near(probe_D, 200)))
        passes.append(timed(lambda: (emb_ND @ probe_D).max()))
    call, ten, one, search = (float(np.median(values)) for values in (usual, base, passes, near))
    out.send(
        f"{people:>9,} {form:>8} {loading / 1e3:>7.1f} {loading / reading:>9.1f} {peak:>7.2f} {first:>8.1f} "
        f"{call:>8.1f} {ten:>8.1f} {search:>8.1f} {one:>8.1f} {search / one:>7.2f} {min(near):>8.1f} "
        f"{min(passes):>8.1f}"
    )


def rows_of(people: int, dim: int, seed: int, small: bool) -> Rows:
    rows = Rows(dim, small=small)
    rows.resize(people)
    for first in range(0, people, AT_ONCE):
        emb_ND, _ = even_voices(dim).draw(min(AT_ONCE, people - first), seed=seed + first)
        rows.put(np.arange(first, first + len(emb_ND)), emb_ND)
    return rows


def best(rows: Rows, probe_D: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the 200 nearest and their cosines."""
    near_C = rows.nearest(probe_D, 200)
    cosine_C = rows.take(near_C) @ probe_D
    order = np.argsort(-cosine_C)[:200]
    return near_C[order], cosine_C[order]


def part(people: int, dim: int, seed: int, small: bool, pipe: Any) -> None:
    """Hold a part of the rows, and answer with the best of it, on one core."""
    rows = rows_of(people, dim, seed, small)
    rows._workers.each = in_turn  # type: ignore[method-assign]
    pipe.send("ready")
    while (probe_D := pipe.recv()) is not None:
        pipe.send(best(rows, probe_D))


def in_turn(work: Callable[[int], object], items: Iterable[int]) -> None:
    for item in items:
        work(item)


def processes(people: int, dim: int, calls: int) -> None:
    cores = usable_cores()
    start = multiprocessing.get_context("spawn")
    for small in (False, True):
        pipes = []
        for k in range(cores):
            mine, its = start.Pipe()
            job = (people // cores, dim, 10**9 * k, small, its)
            start.Process(target=part, args=job, daemon=True).start()
            pipes.append(mine)
        rows = rows_of(people, dim, 7, small)
        for pipe in pipes:
            pipe.recv()
        probes, _ = even_voices(dim).draw(calls, seed=3)
        together = rows._workers.each

        def one_thread(probe_D: np.ndarray, rows: Rows = rows) -> None:
            rows._workers.each = in_turn  # type: ignore[method-assign]
            best(rows, probe_D)

        def threads(probe_D: np.ndarray, rows: Rows = rows, each: Any = together) -> None:
            rows._workers.each = each
            best(rows, probe_D)

        def parts(probe_D: np.ndarray, pipes: list[Any] = pipes) -> None:
            for pipe in pipes:
                pipe.send(probe_D)
            found = [pipe.recv() for pipe in pipes]
            np.argsort(-np.concatenate([cosine_C for _, cosine_C in found]))[:200]

        works = (one_thread, threads, parts)
        ms = np.array([[timed(lambda: work(probe_D)) for work in works] for probe_D in probes])  # noqa: B023
        middle, least = np.median(ms, axis=0), ms.min(axis=0)
        ratio = np.median(ms[:, 1] / ms[:, 2])
        form = "int8" if small else "float32"
        print(f"{people:,} in {form}, load {os.getloadavg()[0]:.1f}; ms, median and least:")
        for name, one, fewest in zip(("one thread", "threads", "processes"), middle, least, strict=True):
            print(f"  {name:>10} {one:>7.1f} {fewest:>7.1f}")
        print(f"  {cores} threads take {ratio:.2f} of what {cores} processes take", flush=True)
        for pipe in pipes:
            pipe.send(None)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", default="200000")
    parser.add_argument("--dim", type=int, default=192)
    parser.add_argument("--calls", type=int, default=30)
    parser.add_argument("--forms", default="float32,int8,store")
    parser.add_argument("--postgres", action="store_true", help="instead of SQLite")
    parser.add_argument("--processes", action="store_true", help="threads against processes, nothing else")
    arguments = parser.parse_args()
    if arguments.processes:
        for people in map(int, arguments.people.split(",")):
            processes(people, arguments.dim, arguments.calls)
        return 0
    start, dim = multiprocessing.get_context("spawn"), arguments.dim
    print(
        f"D = {dim}; ms, median of {arguments.calls}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} "
        "cores\n   people     form load, s x reading  x rows    first identify   of ten   search np pass "
        "x numpy   least of the two"
    )
    for people in map(int, arguments.people.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            server, url = None, f"sqlite:///{folder}/people.db"
            if arguments.postgres:
                from stores_server import Server

                server = Server()
                url = server.url
            try:
                fill(url, people, Repeated(dim))
                limits = {"float32": 10**12, "int8": people * (dim + 4 + BESIDE) + 1, "store": 0}
                for form in arguments.forms.split(","):
                    mine, its = start.Pipe(duplex=False)
                    job = (url, people, dim, limits[form], arguments.calls, its)
                    child = start.Process(target=measure, args=job)
                    child.start()
                    its.close()
                    print(mine.recv(), flush=True)
                    child.join()
            finally:
                if server is not None:
                    server.close()
    print(f"load afterwards {os.getloadavg()[0]:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Embedding in parts on a Ray cluster of this machine, and by a plain pool of as many processes, in turns.

    python -m benchmarks.bulk [--recordings 160 1600] [--rounds 2] [--workers 2]

Needs the extra ray. Both go through the same parts with the same code, one thread a process. Cluster and pool
have started, and the pool's processes hold the model; Ray starts its actors while the clock runs. So each
takes a constant part and one for each recording: the line through the medians of the sizes.
Target: at most 1.15 times as long.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import soundfile

import voxid
from voxid.corpora.synthetic import speak, voice
from voxid.embed import parts
from voxid.embed.embedder import Embedder

PART = 32
_model: Any = None


def begin() -> None:
    global _model
    _model = Embedder(voxid.load("voxid-base").network, workers=1)


def one(job: tuple[Path, int]) -> int:
    out, number = job
    return parts.embed_part(_model, out, number, parts.decode_part(out, number))


def both(folder: Path, names: list[str], pool: Any, embed_on_ray: Any) -> tuple[float, float]:
    """Return the seconds that the pool and the cluster take."""
    count = parts.plan(folder / "plain", names, {"model": "voxid-base"}, part=PART)
    begin = perf_counter()
    pool.map(one, [(folder / "plain", k) for k in range(count)], chunksize=1)
    between = perf_counter()
    embed_on_ray("voxid-base", names, folder / "ray", part=PART)
    return between - begin, perf_counter() - between


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recordings", type=int, nargs="+", default=[160, 1600])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    import ray

    from voxid.embed.cluster import embed_on_ray

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        rng = np.random.default_rng(0)
        names = [str(folder / f"{n}.wav") for n in range(max(arguments.recordings))]
        for n, name in enumerate(names):
            soundfile.write(name, speak(voice(n % 40), 3.0, rng), 16_000)
        ray.init(num_cpus=arguments.workers, log_to_driver=False, include_dashboard=False)
        embed_on_ray("voxid-base", names[:4], folder / "warm", part=1)
        took: dict[str, list[float]] = {"plain": [], "ray": []}
        with multiprocessing.get_context("spawn").Pool(arguments.workers, begin) as pool:
            parts.plan(folder / "first", names[:PART], {}, part=PART // 4)
            pool.map(one, [(folder / "first", k) for k in range(4)], chunksize=1)
            for size in arguments.recordings:
                rounds = [
                    both(folder / f"{size} {k}", names[:size], pool, embed_on_ray)
                    for k in range(arguments.rounds)
                ]
                alone, clustered = np.median(rounds, axis=0)
                took["plain"].append(alone)
                took["ray"].append(clustered)
                print(
                    f"{size} recordings: plain {alone:.1f} s, ray {clustered:.1f} s, {clustered / alone:.2f} "
                    f"times; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores",
                    flush=True,
                )
        if len(arguments.recordings) > 1:
            for name, seconds in took.items():
                each, constant = np.polyfit(arguments.recordings, seconds, 1)
                print(f"{name}: {constant:.1f} s, and {1000 * each:.1f} ms for each recording")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Embedding in parts on a Ray cluster of this machine, and by a plain pool of as many processes, in turns.

    python -m benchmarks.bulk [--recordings 480] [--rounds 2] [--workers 2]

Needs the extra ray. Both go through the same parts with the same code on a cluster and a pool that have
started; Ray starts the actor with the model while the clock runs. Target: at most 1.15 times as long.
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

PART = 16
_model: Any = None


def begin() -> None:
    global _model
    _model = voxid.load("voxid-base")


def one(job: tuple[Path, int]) -> int:
    out, number = job
    return parts.embed_part(_model, out, number, parts.decode_part(out, number))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recordings", type=int, default=480)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    import ray

    from voxid.embed.cluster import embed_on_ray

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        rng = np.random.default_rng(0)
        names = [str(folder / f"{n}.wav") for n in range(arguments.recordings)]
        for n, name in enumerate(names):
            soundfile.write(name, speak(voice(n % 40), 3.0, rng), 16_000)
        ray.init(num_cpus=arguments.workers, log_to_driver=False, include_dashboard=False)
        embed_on_ray("voxid-base", names[:4], folder / "warm", part=1)
        with multiprocessing.get_context("spawn").Pool(arguments.workers, begin) as pool:
            for number in range(arguments.rounds):
                plain, clustered = folder / f"plain{number}", folder / f"ray{number}"
                count = parts.plan(plain, names, {"model": "voxid-base"}, part=PART)
                start = perf_counter()
                pool.map(one, [(plain, k) for k in range(count)], chunksize=1)
                alone = perf_counter() - start
                start = perf_counter()
                embed_on_ray("voxid-base", names, clustered, part=PART)
                took = perf_counter() - start
                print(
                    f"{len(names)} recordings: plain {alone:.1f} s, ray {took:.1f} s, {took / alone:.2f} "
                    f"times; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())

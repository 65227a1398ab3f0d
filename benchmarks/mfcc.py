"""MFCC against librosa, in one process on two threads: real-time factors and their ratio.

    python -m benchmarks.mfcc [--threads 2] [--seconds 3]

The two take turns, so that a busy machine slows both. Medians are printed, and the ratio of the best calls,
which is nearer to what a quiet machine gives.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import librosa
import numpy as np
import torch

from voxid.features import Mfcc, MfccConfig
from voxid.types import SAMPLE_RATE


def take_turns(functions: dict[str, Callable[[], object]], seconds: float) -> dict[str, list[float]]:
    """Return the sorted seconds of each function's calls; turns of a quarter second alternate.

    A turn's first call is not counted: the other side's threads may still be spinning.
    """
    taken: dict[str, list[float]] = {name: [] for name in functions}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, function in functions.items():
            function()
            turn_end = time.perf_counter() + 0.25
            while (start := time.perf_counter()) < turn_end:
                function()
                taken[name].append(time.perf_counter() - start)
    return {name: sorted(values) for name, values in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3.0)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    mfcc = Mfcc(MfccConfig())
    rng = np.random.default_rng(0)

    def with_librosa(wave_BS: np.ndarray) -> None:
        for wave_S in wave_BS:
            librosa.feature.mfcc(y=wave_S, sr=SAMPLE_RATE, n_mfcc=40)

    print(f"x real time; librosa {librosa.__version__}, {arguments.threads} threads, medians")
    print("| audio | librosa | voxid | ratio | ratio of the best |\n|---|---|---|---|---|")
    for rows, seconds in ((1, 3.2), (1, 10.0), (24, 3.2), (32, 10.0)):
        wave_BS = (0.1 * rng.standard_normal((rows, int(seconds * SAMPLE_RATE)))).astype(np.float32)
        taken = take_turns(
            {
                "librosa": lambda wave_BS=wave_BS: with_librosa(wave_BS),
                "voxid": lambda wave_BS=wave_BS: mfcc(torch.from_numpy(wave_BS)),
            },
            arguments.seconds,
        )
        theirs, ours = (rows * seconds / statistics.median(taken[name]) for name in ("librosa", "voxid"))
        best = taken["librosa"][0] / taken["voxid"][0]
        audio = f"{rows} x {seconds} s"
        print(f"| {audio} | {theirs:.0f} | {ours:.0f} | {ours / theirs:.1f} | {best:.1f} |", flush=True)


if __name__ == "__main__":
    main()

"""Intervals of a million trials by resampling speakers 1,000 times, beside drawing the trials again.

    python -m benchmarks.bootstrap [--trials 1000000] [--speakers 1000] [--resamples 1000] [--threads 2]

The naive way repeats each trial as often as its speakers were drawn and calls the exact metrics; it is timed
on few draws and scaled. The last lines say how often 95 % intervals hold the true EER when speakers, and when
trials are resampled: synthetic worlds of 40 speakers whose true EER is known in closed form.
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import sys
from statistics import NormalDist
from time import perf_counter

import numpy as np

from voxid import metrics
from voxid.metrics import confidence, resampling

TARGET_S = 10.0
NAIVE_DRAWS = 3
WORLDS = 300
APART = 3.0


def made_up(seed: int, speakers: int, trials: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    left = rng.integers(0, speakers, trials)
    right = (left + rng.integers(1, speakers, trials)) % speakers
    same = rng.random(trials) < 0.2
    right[same] = left[same]
    alike, steady = 0.5 * rng.standard_normal(speakers), rng.standard_normal(speakers)
    noise = rng.standard_normal(trials)
    return noise + np.where(same, APART + steady[left], alike[left] + alike[right]), same, left, right


def naive(scores: np.ndarray, same: np.ndarray, left: np.ndarray, right: np.ndarray, draws: int) -> float:
    times = resampling.draws(int(left.max()) + 1, draws, 0).astype(np.int64)
    begin = perf_counter()
    for w in times.T:
        often = np.where(same, w[left], w[left] * w[right])
        drawn, labels = np.repeat(scores, often), np.repeat(same, often)
        for metric in (metrics.eer, metrics.min_dcf, metrics.min_dcf, metrics.min_cllr):
            metric(drawn, labels)
    return perf_counter() - begin


def coverage() -> tuple[float, float]:
    """Return how often intervals over speakers, and over trials, hold the true EER."""
    truth = NormalDist().cdf(-APART / (np.sqrt(1 + 2 * 0.25) + np.sqrt(1 + 1)))
    held = np.zeros(2)
    for seed in range(WORLDS):
        scores, same, left, right = made_up(seed, 40, 2000)
        options = {"figures": ["eer"], "resamples": 200, "seed": seed}
        found = metrics.intervals(scores, same, left, right, **options)["eer"]
        own = np.arange(scores.size, dtype=np.int32)
        alone = resampling.judged(scores, same, own, own)
        alone = dataclasses.replace(alone, nontarget=dataclasses.replace(alone.nontarget, right=None))
        drawn = resampling.figures_of_draws(alone, resampling.draws(own.size, 200, seed), ["eer"])["eer"]
        low, high = np.quantile(drawn, (0.025, 0.975))
        held += found.low <= truth <= found.high, low <= truth <= high
    return held[0] / WORLDS, held[1] / WORLDS


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=1_000_000)
    parser.add_argument("--speakers", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    trials = made_up(0, arguments.speakers, arguments.trials)
    options = {"resamples": arguments.resamples, "threads": arguments.threads}
    begin = perf_counter()
    metrics.intervals(*trials, **options)
    taken = perf_counter() - begin
    begin = perf_counter()
    metrics.intervals(*trials, llrs=trials[0], **options)
    with_llrs = perf_counter() - begin
    begin = perf_counter()
    metrics.paired(trials[0], trials[0] + 0.1, *trials[1:], **options)
    two = perf_counter() - begin
    scale = 2**20 if sys.platform == "darwin" else 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale
    slow = naive(*trials, NAIVE_DRAWS) * arguments.resamples / NAIVE_DRAWS
    print(
        f"{arguments.resamples:,} draws of {arguments.speakers:,} speakers, {arguments.trials:,} trials, "
        f"{arguments.threads} threads: {len(confidence.OF_SCORES)} figures {taken:.1f} s, "
        f"{len(confidence.OF_SCORES | confidence.OF_LLRS)} with LLRs {with_llrs:.1f} s, "
        f"paired {two:.1f} s (target < {TARGET_S:g} s); peak {peak:.0f} MB\n"
        f"drawing the trials again: {slow:.0f} s (timed on {NAIVE_DRAWS} draws, scaled), {slow / taken:.0f}x"
    )
    by_speaker, by_trial = coverage()
    print(
        f"95 % intervals hold the true EER in {100 * by_speaker:.0f} % of {WORLDS} worlds when speakers are "
        f"resampled, in {100 * by_trial:.0f} % when trials are"
    )
    return int(with_llrs > TARGET_S)


if __name__ == "__main__":
    sys.exit(main())

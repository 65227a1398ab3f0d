"""Figures of a verifier on other draws of the same speakers: the engine below `confidence`.

A draw takes as many speakers as there are, with replacement, and brings every trial along that they have
with themselves or with each other. So a draw is a whole number w for each speaker, and a trial counts w_i
times when it is a target trial of speaker i, w_i * w_j times when it is a non-target trial of i and j. No
trial is copied: all draws share one sorted list, cut into groups, and only the weights are summed again.

# K trials (T target, N non-target), S speakers, R draws, C cut points, G groups between them
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from voxid.metrics.likelihood import cllr_of_counts, pool, softplus
from voxid.metrics.rates import DCF_01, DCF_05, OperatingPoint, crossing, need_both, weights

TOGETHER = 64  # draws in one pass: a row of their weights is one cache line
BLOCK = 1 << 14  # trials at a time: their weights for all draws of a pass stay in the cache
EXACT = 1 << 13  # up to this many distinct scores, each is a cut point
ROUNDING = 1e-12  # 1 - 0.99 is a little more than 0.01
FARS = (0.01, 0.001, 0.0001)
FINENESS = 512  # else error rates fall by at most this part of themselves from a cut point to the next


@dataclass(frozen=True, slots=True, eq=False)
class ClassTrials:
    """The trials of one class by rising score: whose they are, and where the groups begin."""

    left: np.ndarray  # int32 numbers of speakers; `right` is None for target trials, which have one
    right: np.ndarray | None
    starts_C: np.ndarray
    values_VK: np.ndarray | None  # float32: what is summed with the trial's weight (costs of LLRs)


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """A system on given trials, ready to be drawn again and again."""

    target: ClassTrials
    nontarget: ClassTrials


def draws(speakers: int, resamples: int, seed: int) -> np.ndarray:
    """Return how often each speaker is drawn, (S, R): uint8 where products of two fit, else uint16."""
    rng = np.random.default_rng(seed)
    times_RS = np.empty((resamples, speakers), np.uint16)
    for row in times_RS:
        row[:] = np.bincount(rng.integers(0, speakers, speakers), minlength=speakers)
    return np.ascontiguousarray(times_RS.T, dtype=np.uint8 if times_RS.max() <= 15 else np.uint16)


def judged(
    score_K: np.ndarray,
    same_K: np.ndarray,
    left_K: np.ndarray,
    right_K: np.ndarray,
    llr_K: np.ndarray | None = None,
) -> Judged:
    """Return checked trials sorted and cut; `left_K`, `right_K` are numbers of speakers from 0."""
    need_both(int(np.count_nonzero(same_K)), same_K.size)
    parts = score_K[same_K], score_K[~same_K]
    orders = [np.argsort(part) for part in parts]
    target, nontarget = (part[order] for part, order in zip(parts, orders, strict=True))
    cut_C = cut_points(target, nontarget)

    def kind(part: np.ndarray, order: np.ndarray, in_K: np.ndarray, is_target: bool) -> ClassTrials:
        values = None if llr_K is None else _llr_costs(llr_K[in_K][order], is_target)
        right = None if is_target else right_K[in_K][order]
        return ClassTrials(left_K[in_K][order], right, part.searchsorted(cut_C), values)

    return Judged(kind(target, orders[0], same_K, True), kind(nontarget, orders[1], ~same_K, False))


def cut_points(target: np.ndarray, nontarget: np.ndarray) -> np.ndarray:
    """Return the scores where groups begin, rising, the lowest score first; takes sorted scores.

    Every distinct score, or, beyond `EXACT` trials, so many that FRR (counted from the lowest target) and
    FAR (from the highest non-target) change from one to the next by at most one trial or 1 / `FINENESS` of
    themselves. No group splits trials of one score.
    """
    if target.size + nontarget.size <= EXACT:
        return np.unique(np.concatenate((target, nontarget)))
    from_below = target[_ranks(target.size)]
    from_above = nontarget[nontarget.size - 1 - _ranks(nontarget.size)]
    lowest = min(target[0], nontarget[0])
    return np.unique(np.concatenate(([lowest], from_below, from_above)).astype(target.dtype))


def _ranks(count: int) -> np.ndarray:
    """Return 0, 1, 2, ... and from `FINENESS` on a geometric series, below `count`."""
    if count <= FINENESS:
        return np.arange(count)
    steps = int(np.log(count / FINENESS) / np.log1p(1 / FINENESS)) + 1
    series = (FINENESS * (1 + 1 / FINENESS) ** np.arange(steps)).astype(np.int64)
    return np.concatenate((np.arange(FINENESS), series[series < count]))


def _llr_costs(llr: np.ndarray, is_target: bool) -> np.ndarray:
    """Return (4, trials): 1, whether the LLR errs at the thresholds of DCF_01 and DCF_05, its bits."""
    errs = [(llr < p.threshold) if is_target else (llr >= p.threshold) for p in (DCF_01, DCF_05)]
    bits = softplus(-llr if is_target else llr) / np.log(2)
    return np.stack([np.ones(llr.size), *errs, bits]).astype(np.float32)


def figures_of_draws(
    system: Judged, times_SR: np.ndarray, figures: Sequence[str], threads: int | None = None
) -> dict[str, np.ndarray]:
    """Return each of `figures` in each draw, (R,) float64; NaN where a draw has no trial of one class.

    Figures are those of `OF_COUNTS`, and of `OF_VALUES` for a system with LLRs.
    """

    def of_pass(first: int) -> np.ndarray:
        times = np.ascontiguousarray(times_SR[:, first : first + TOGETHER])
        return _figures(Drawn(system, times), figures)

    passes = range(0, times_SR.shape[1], TOGETHER)
    with ThreadPoolExecutor(threads or min(4, len(passes), os.cpu_count() or 1)) as workers:
        found = np.concatenate(list(workers.map(of_pass, passes)), axis=1)
    return dict(zip(figures, found, strict=True))


class Drawn:
    """What some draws leave of a system: weights of groups, curves, and mean values of the trials."""

    def __init__(self, system: Judged, times_SR: np.ndarray) -> None:
        target_GR, target_VR = _sums(system.target, times_SR)
        nontarget_GR, nontarget_VR = _sums(system.nontarget, times_SR)
        self.usable_R = (target_GR.sum(axis=0) > 0) & (nontarget_GR.sum(axis=0) > 0)
        self.target_GR, self.nontarget_GR = target_GR[:, self.usable_R], nontarget_GR[:, self.usable_R]
        self.frr_CR, self.far_CR = _rejected(self.target_GR), 1 - _rejected(self.nontarget_GR)
        if target_VR is not None and nontarget_VR is not None:
            self.target_VR, self.nontarget_VR = (
                sums[1:, self.usable_R] / sums[0, self.usable_R] for sums in (target_VR, nontarget_VR)
            )

    def eer(self) -> np.ndarray:
        """Return where each curve, joined by straight lines, meets FAR = FRR: as `rates.eer` does."""
        return crossing(self.far_CR, self.frr_CR)[0]

    def min_dcf(self, point: OperatingPoint) -> np.ndarray:
        """Return the lowest cost at any cut point: as `rates.min_dcf` does at any score."""
        miss, fa = weights(*point)
        return (miss * self.frr_CR + fa * self.far_CR).min(axis=0) / min(miss, fa)

    def frr_at_far(self, far: float) -> np.ndarray:
        """Return FRR at the lowest cut point whose FAR is at most `far`: as `rates.frr_at_far` does."""
        point_R = np.argmax(self.far_CR <= far + ROUNDING, axis=0)
        return self.frr_CR[point_R, np.arange(point_R.size)]

    def min_cllr(self) -> np.ndarray:
        """Return the Cllr of groups pooled until their LLRs rise: as `likelihood.min_cllr` does."""
        both = zip(self.target_GR.T, self.nontarget_GR.T, strict=True)
        return np.array([_min_cllr(target_G, nontarget_G) for target_G, nontarget_G in both])

    def act_dcf(self, row: int, point: OperatingPoint) -> np.ndarray:
        """Return the cost at the Bayes threshold, whose errors are that row of the values."""
        miss, fa = weights(*point)
        return (miss * self.target_VR[row] + fa * self.nontarget_VR[row]) / min(miss, fa)

    def cllr(self) -> np.ndarray:
        """Return the cost of the LLRs in bits: the last of the values."""
        return (self.target_VR[2] + self.nontarget_VR[2]) / 2


OF_COUNTS: dict[str, Callable[[Drawn], np.ndarray]] = {
    "eer": Drawn.eer,
    "min_dcf": lambda drawn: drawn.min_dcf(DCF_01),
    "min_dcf_05": lambda drawn: drawn.min_dcf(DCF_05),
    "min_cllr": Drawn.min_cllr,
    **{f"frr_at_far_{far:g}": lambda drawn, far=far: drawn.frr_at_far(far) for far in FARS},
}
OF_VALUES: dict[str, Callable[[Drawn], np.ndarray]] = {
    "act_dcf": lambda drawn: drawn.act_dcf(0, DCF_01),
    "act_dcf_05": lambda drawn: drawn.act_dcf(1, DCF_05),
    "cllr": Drawn.cllr,
}


def _figures(drawn: Drawn, figures: Sequence[str]) -> np.ndarray:
    found = np.full((len(figures), drawn.usable_R.size), np.nan)
    if drawn.usable_R.any():
        found[:, drawn.usable_R] = [(OF_COUNTS | OF_VALUES)[name](drawn) for name in figures]
    return found


def _sums(kind: ClassTrials, times_SR: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the weight of each group in each draw, (G, R), and the weighted sums of the values, (V, R)."""
    draws_ = times_SR.shape[1]
    sum_GR = np.zeros((kind.starts_C.size, draws_), np.uint64)
    sum_VR = None if kind.values_VK is None else np.zeros((kind.values_VK.shape[0], draws_))
    filled_F = np.flatnonzero(np.diff(np.append(kind.starts_C, kind.left.size)))  # the others hold no trial
    start_F = kind.starts_C[filled_F]
    for begin in range(0, kind.left.size, BLOCK):
        end = min(begin + BLOCK, kind.left.size)
        times = times_SR.take(kind.left[begin:end], axis=0)
        if kind.right is not None:
            times *= times_SR.take(kind.right[begin:end], axis=0)
        groups = slice(
            start_F.searchsorted(begin, side="right") - 1, int(start_F.searchsorted(end, side="left"))
        )
        starts = np.maximum(start_F[groups] - begin, 0)
        sum_GR[filled_F[groups]] += np.add.reduceat(times, starts, axis=0, dtype=np.uint32)
        if sum_VR is not None and kind.values_VK is not None:
            sum_VR += kind.values_VK[:, begin:end] @ times.astype(np.float32)
    return sum_GR, sum_VR


def _rejected(sum_GR: np.ndarray) -> np.ndarray:
    """Return the share of the weight below each cut point, and 1 for "reject all", (C + 1, R)."""
    below_CR = np.zeros((sum_GR.shape[0] + 1, sum_GR.shape[1]))
    np.cumsum(sum_GR, axis=0, out=below_CR[1:])
    return below_CR / below_CR[-1]


def _min_cllr(target_G: np.ndarray, nontarget_G: np.ndarray) -> float:
    some_G = (target_G + nontarget_G) > 0
    target_G, nontarget_G = target_G[some_G].astype(np.float64), nontarget_G[some_G].astype(np.float64)
    start = pool(target_G, nontarget_G)
    return cllr_of_counts(np.add.reduceat(target_G, start), np.add.reduceat(nontarget_G, start))

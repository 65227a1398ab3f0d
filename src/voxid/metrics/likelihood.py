"""How good log-likelihood ratios are as such: Cllr, and what the best order-preserving calibration leaves.

# K trials, C cells of trials that are neighbours in score, G groups of pooled cells
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from voxid.metrics.rates import as_array, split

BLOCK = 1 << 18  # LLRs at a time, so that no float64 copy of a long float32 list is made


@dataclass(frozen=True, slots=True, eq=False)
class Pav:
    """The best order-preserving calibration of trials, in steps: `llrs[g]` from `first[g]` to `last[g]`.

    All are (G,) float64 by rising score; `targets` and `nontargets` count the trials of each step. The LLR of
    a step that holds one class only is infinite.

    >>> pav([0.9, 0.6, 0.7, 0.1], [1, 1, 0, 0]).targets.tolist()
    [0.0, 1.0, 1.0]
    """

    first: np.ndarray
    last: np.ndarray
    llrs: np.ndarray
    targets: np.ndarray
    nontargets: np.ndarray


def cllr(llrs: ArrayLike, labels: ArrayLike) -> float:
    """Return the cost of log-likelihood ratios in bits (Brümmer & du Preez 2006): 0 perfect, 1 tells nothing.

    `llrs` are natural-log likelihood ratios, (K,). Raise BadScores as `eer` does.

    >>> cllr([0.0, 0.0], [1, 0])
    1.0
    """
    target, nontarget = split(llrs, labels)
    return (_mean_bits(target, -1.0) + _mean_bits(nontarget, 1.0)) / 2


def _mean_bits(llr_K: np.ndarray, sign: float) -> float:
    total = 0.0
    for start in range(0, llr_K.size, BLOCK):
        total += float(softplus(sign * llr_K[start : start + BLOCK].astype(np.float64)).sum())
    return total / llr_K.size / float(np.log(2))


def softplus(x: np.ndarray) -> np.ndarray:
    """Return log(1 + exp(x)) without overflow; four times as fast as `np.logaddexp(0, x)`."""
    return np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0)


def min_cllr(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return the Cllr after the best order-preserving calibration: what discrimination alone costs.

    The calibration is found on these same trials by pooling adjacent violators. Raise BadScores as `eer`
    does.

    >>> min_cllr([0.9, 0.8, 0.3, 0.1], [1, 1, 0, 0])
    0.0
    """
    best = pav(scores, labels)
    return cllr_of_counts(best.targets, best.nontargets)


def cllr_of_counts(target_G: np.ndarray, nontarget_G: np.ndarray) -> float:
    """Return the Cllr of groups whose LLR is that of their own trials: min_cllr, given pooled groups."""
    targets, nontargets = target_G.sum(), nontarget_G.sum()
    both = (target_G > 0) & (nontarget_G > 0)  # a group of one class has an infinite LLR, and costs nothing
    target_G, nontarget_G = target_G[both] / targets, nontarget_G[both] / nontargets
    llr_G = np.log(target_G / nontarget_G)
    bits = np.dot(target_G, softplus(-llr_G)) + np.dot(nontarget_G, softplus(llr_G))
    return float(bits / (2 * np.log(2)))


def pav(scores: ArrayLike, labels: ArrayLike) -> Pav:
    """Return the best order-preserving calibration of these trials on themselves (pool adjacent violators).

    It is the isotonic regression of the labels on the scores, turned from posteriors into natural-log
    likelihood ratios (Zadrozny & Elkan 2002; Brümmer & du Preez 2006), and has the lowest Cllr and detection
    costs of any map that keeps the order. Raise BadScores as `eer` does.

    >>> steps = pav([0.1, 0.2, 0.3, 0.4], [0, 1, 0, 1])
    >>> steps.first.tolist(), steps.llrs.tolist()
    ([0.1, 0.2, 0.4], [-inf, 0.0, inf])
    """
    target, nontarget = split(scores, labels)
    targets, nontargets = target.size, nontarget.size
    first_C, last_C, target_C, nontarget_C = _cells(target, nontarget)
    start_G = pool(target_C, nontarget_C)
    target_G, nontarget_G = (np.add.reduceat(count_C, start_G) for count_C in (target_C, nontarget_C))
    with np.errstate(divide="ignore"):
        llr_G = np.log(target_G / targets) - np.log(nontarget_G / nontargets)
    last_G = last_C[np.append(start_G[1:], first_C.size) - 1]
    return Pav(first_C[start_G].astype(np.float64), last_G.astype(np.float64), llr_G, target_G, nontarget_G)


def pav_llr(scores: ArrayLike, labels: ArrayLike) -> np.ndarray:
    """Return the LLR that `pav` gives to each trial, (K,) float64, infinite where one class only lies.

    >>> pav_llr([0.4, 0.1, 0.3, 0.2], [1, 0, 0, 1]).tolist()
    [inf, -inf, 0.0, 0.0]
    """
    best = pav(scores, labels)
    score_K = as_array(scores, "scores").astype(np.float64, copy=False)
    return best.llrs[best.first.searchsorted(score_K, side="right") - 1]


def _cells(
    target: np.ndarray, nontarget: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return (first score, last score, targets, non-targets) of cells by rising score; sorts its arguments.

    A cell is a distinct score of target trials, or all non-targets between two of them: those are pooled
    with each other in any case.
    """
    target.sort()
    nontarget.sort()
    at = np.flatnonzero(np.concatenate(([True], target[1:] != target[:-1])))
    score_U = target[at]
    low_U, high_U = nontarget.searchsorted(score_U), nontarget.searchsorted(score_U, side="right")
    begin, end = np.append(0, high_U), np.append(low_U, nontarget.size)  # non-targets before, between, after
    cells = 2 * score_U.size + 1
    target_C, nontarget_C = np.zeros(cells), np.empty(cells)
    target_C[1::2] = np.diff(np.append(at, target.size))
    nontarget_C[0::2], nontarget_C[1::2] = end - begin, high_U - low_U
    first_C, last_C = np.empty(cells, target.dtype), np.empty(cells, target.dtype)
    first_C[1::2] = last_C[1::2] = score_U
    first_C[0::2] = nontarget[np.minimum(begin, nontarget.size - 1)]  # of empty cells: dropped below
    last_C[0::2] = nontarget[np.maximum(end - 1, 0)]
    some_C = target_C + nontarget_C > 0
    return first_C[some_C], last_C[some_C], target_C[some_C], nontarget_C[some_C]


def pool(target_C: np.ndarray, nontarget_C: np.ndarray) -> np.ndarray:
    """Return where each group of cells starts, pooled until the share of targets rises strictly.

    No cell may be empty. Pooling in any order ends in the same groups. So whole runs are pooled at once while
    that shortens the list well; a stack finishes the rest in one pass, which keeps the worst case linear.
    """
    target, nontarget = target_C.astype(np.float64), nontarget_C.astype(np.float64)
    start_G = np.arange(target.size)
    while True:
        # compare shares as products: exact for counts, and no division
        rises = target[1:] * nontarget[:-1] > target[:-1] * nontarget[1:]
        starts = np.flatnonzero(np.concatenate(([True], rises)))
        shrunk_by = target.size - starts.size
        target, nontarget = np.add.reduceat(target, starts), np.add.reduceat(nontarget, starts)
        start_G = start_G[starts]
        if shrunk_by == 0:
            return start_G
        if shrunk_by < target.size // 8:
            return start_G[_pool_by_stack(target, nontarget)]


def _pool_by_stack(target_G: np.ndarray, nontarget_G: np.ndarray) -> list[int]:
    targets: list[float] = []
    nontargets: list[float] = []
    starts: list[int] = []
    for number, (target, nontarget) in enumerate(zip(target_G.tolist(), nontarget_G.tolist(), strict=True)):
        start = number
        while targets and target * nontargets[-1] <= targets[-1] * nontarget:
            target += targets.pop()
            nontarget += nontargets.pop()
            start = starts.pop()
        targets.append(target)
        nontargets.append(nontarget)
        starts.append(start)
    return starts

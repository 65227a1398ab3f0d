"""Error rates of a verifier, from its scores and the truth. Plain numpy; every sweep is vectorised.

Everywhere: a higher score means "more likely the same speaker", a trial is accepted when
`score >= threshold`, and a label is 1 or True for a target trial (one speaker said both utterances), 0 or
False for a non-target trial. FAR is the share of non-target trials that are accepted, FRR the share of target
trials that are rejected. Trials with the same score are accepted or rejected together, never one by one.

# K scores, N distinct scores, G groups of equal or pooled scores, B bins
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from voxid.errors import BadScores

BINS = (
    1 << 16
)  # to find the crossing by counting: fine enough to leave few scores, small enough for the cache


class Eer(NamedTuple):
    """An equal error rate as a fraction (0 to 1), and the threshold that comes nearest to it."""

    rate: float
    threshold: float


@dataclass(frozen=True, slots=True, eq=False)
class Det:
    """The operating points of a verifier, from "accept all" to "reject all".

    `far`, `frr` and `thresholds` are (N + 1,) float64: one point for each distinct score as the threshold, in
    rising order, then "reject all" with a threshold of infinity.
    """

    far: np.ndarray
    frr: np.ndarray
    thresholds: np.ndarray


def eer(scores: ArrayLike, labels: ArrayLike) -> Eer:
    """Return the exact equal error rate, and a threshold for it.

    Each distinct score, taken as the threshold, is an operating point (FAR, FRR); rejecting all is one more.
    The points are joined by straight lines, and the rate is where that curve meets FAR = FRR. The threshold
    belongs to whichever of the two points beside the crossing has the smaller |FAR - FRR|, and lies half-way
    between the two distinct scores that bound it, so that no score sits on it. Takes linear time: only scores
    near the crossing are sorted.

    `scores` is (K,) finite floats, `labels` (K,) of 0/1 or booleans. Raise BadScores when they differ in
    length, are not finite, or hold one class only.

    >>> eer([0.9, 0.6, 0.7, 0.1], [1, 1, 0, 0]).rate
    0.5
    >>> eer([0.9, 0.75, 0.25, 0.1], [1, 1, 0, 0])
    Eer(rate=0.0, threshold=0.5)
    """
    target, nontarget = _split(scores, labels)
    score_N, far_N, frr_N = _points_near_crossing(target, nontarget)
    excess_N = far_N - frr_N
    right = int(np.argmax(excess_N <= 0))  # never 0: the first point accepts more non-targets than it should
    left = right - 1
    share = excess_N[left] / (excess_N[left] - excess_N[right])
    rate = float(far_N[left] + share * (far_N[right] - far_N[left]))
    nearest = right if -excess_N[right] <= excess_N[left] else left
    return Eer(rate, _threshold_of_point(score_N, nearest))


def _points_near_crossing(
    target: np.ndarray, nontarget: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (scores, far, frr), by rising score: the operating points around FAR = FRR, then "reject all".

    Scores fall into bins by a map that keeps their order. Counting gives FAR - FRR at the lower edge of each
    bin; the curve crosses inside the last bin where that is positive, or at the lowest score after it. So it
    is enough to look closely at that bin and at its occupied neighbours.
    """
    low, high = min(target.min(), nontarget.min()), max(target.max(), nontarget.max())
    with np.errstate(over="ignore", divide="ignore"):
        scale = (BINS - 1) / (high - low)
    if not (0 < scale < np.inf):  # one distinct score, or a span that overflows: one bin, slower but as exact
        low = scale = target.dtype.type(0)
    target_bin, nontarget_bin = ((((part - low) * scale).astype(np.int32)) for part in (target, nontarget))
    target_B, nontarget_B = (np.bincount(bins, minlength=BINS + 1) for bins in (target_bin, nontarget_bin))
    rejected_target_B = np.cumsum(target_B) - target_B
    rejected_nontarget_B = np.cumsum(nontarget_B) - nontarget_B
    excess_B = 1 - rejected_nontarget_B / nontarget.size - rejected_target_B / target.size
    occupied = np.flatnonzero(target_B + nontarget_B)
    crossing = int(np.flatnonzero(excess_B[occupied] > 0)[-1])
    first = occupied[max(crossing - 1, 0)]
    last = occupied[min(crossing + 1, occupied.size - 1)]

    near_target = target[(target_bin >= first) & (target_bin <= last)]
    near_nontarget = nontarget[(nontarget_bin >= first) & (nontarget_bin <= last)]
    score_N = np.unique(np.concatenate((near_target, near_nontarget)))
    frr_N = (rejected_target_B[first] + np.sort(near_target).searchsorted(score_N)) / target.size
    far_N = 1 - (rejected_nontarget_B[first] + np.sort(near_nontarget).searchsorted(score_N)) / nontarget.size
    return np.append(score_N, score_N.dtype.type(np.inf)), np.append(far_N, 0.0), np.append(frr_N, 1.0)


def _threshold_of_point(score_N: np.ndarray, point: int) -> float:
    """Return a threshold that has the errors of operating point `point`, half-way to the score before it."""
    if point == 0:
        return float(score_N[0])
    before, here = score_N[point - 1], score_N[point]
    if np.isinf(here):
        return float(np.nextafter(before, here))
    middle = before / 2 + here / 2
    return float(middle if before < middle <= here else here)


def eer_grid(scores: ArrayLike, labels: ArrayLike, step: float = 0.001) -> Eer:
    """Return the equal error rate over a grid of thresholds, as the original course system computed it.

    The grid is 0, step, step + step, ... below 1, added up in floating point as a loop would. The rate is
    (FAR + FRR) / 2 at the first threshold with the smallest |FAR - FRR|. Scores below 0 are out of its sight,
    and so is everything between two grid points: `eer` is the exact figure.

    Raise BadScores as `eer` does, and where no threshold of the grid tells any two trials apart.

    >>> rate, threshold = eer_grid([0.9, 0.8, 0.2505, 0.1], [1, 1, 0, 0])
    >>> rate, round(threshold, 3)
    (0.0, 0.251)
    """
    if not 0 < step < 1:
        raise BadScores(
            f"the step of a threshold grid is between 0 and 1, got {step!r}. The original used 0.001."
        )
    target, nontarget = (np.sort(part.astype(np.float64)) for part in _split(scores, labels))
    grid = np.concatenate(([0.0], np.cumsum(np.full(int(1 / step) + 2, float(step)))))
    grid = grid[grid < 1.0]
    far = (nontarget.size - nontarget.searchsorted(grid)) / nontarget.size
    frr = target.searchsorted(grid) / target.size
    gap = np.abs(far - frr)
    best = int(np.argmin(gap))
    if gap[best] >= 1:
        raise BadScores(
            "no threshold from 0 to 1 tells these scores apart: all of them lie below 0, or all near 1 and "
            "above. Use the exact EER (voxid.metrics.eer), which has no grid."
        )
    return Eer(float((far[best] + frr[best]) / 2), float(grid[best]))


def det(scores: ArrayLike, labels: ArrayLike) -> Det:
    """Return every operating point: the detection error trade-off curve. Raise BadScores as `eer` does.

    >>> det([0.9, 0.4, 0.4], [1, 1, 0]).frr.tolist()
    [0.0, 0.5, 1.0]
    """
    score_N, target_N, nontarget_N = _count_by_score(*_split(scores, labels))
    rejected_target = np.concatenate(([0], np.cumsum(target_N)))
    rejected_nontarget = np.concatenate(([0], np.cumsum(nontarget_N)))
    return Det(
        far=1 - rejected_nontarget / rejected_nontarget[-1],
        frr=rejected_target / rejected_target[-1],
        thresholds=np.append(score_N.astype(np.float64), np.inf),
    )


def min_dcf(
    scores: ArrayLike, labels: ArrayLike, p_target: float = 0.01, c_miss: float = 1.0, c_fa: float = 1.0
) -> float:
    """Return the lowest detection cost of any threshold, over that of the better blind guess (0 to 1).

    The cost is c_miss * p_target * FRR + c_fa * (1 - p_target) * FAR, normalised by
    min(c_miss * p_target, c_fa * (1 - p_target)): NIST SRE evaluation plans. Raise BadScores as `eer` does.

    >>> min_dcf([0.9, 0.6, 0.7, 0.1], [1, 1, 0, 0], p_target=0.5)
    0.5
    """
    miss, fa = _costs(p_target, c_miss, c_fa)
    curve = det(scores, labels)
    return float(np.min(miss * curve.frr + fa * curve.far) / min(miss, fa))


def act_dcf(
    llrs: ArrayLike, labels: ArrayLike, p_target: float = 0.01, c_miss: float = 1.0, c_fa: float = 1.0
) -> float:
    """Return the normalised detection cost of calibrated scores at the Bayes threshold; may be above 1.

    `llrs` are natural-log likelihood ratios; the threshold is log(c_fa * (1 - p_target) / (c_miss *
    p_target)). Never below `min_dcf` of the same scores. Raise BadScores as `eer` does.

    >>> act_dcf([3.0, -1.0, 1.0, -3.0], [1, 1, 0, 0], p_target=0.5)
    1.0
    """
    miss, fa = _costs(p_target, c_miss, c_fa)
    target, nontarget = _split(llrs, labels)
    threshold = np.log(fa / miss)
    frr, far = np.mean(target < threshold), np.mean(nontarget >= threshold)
    return float((miss * frr + fa * far) / min(miss, fa))


def cllr(llrs: ArrayLike, labels: ArrayLike) -> float:
    """Return the cost of log-likelihood ratios in bits (Brümmer & du Preez 2006): 0 perfect, 1 tells nothing.

    `llrs` are natural-log likelihood ratios, (K,). Raise BadScores as `eer` does.

    >>> cllr([0.0, 0.0], [1, 0])
    1.0
    """
    target, nontarget = (part.astype(np.float64) for part in _split(llrs, labels))
    miss, fa = np.logaddexp(0, -target).mean(), np.logaddexp(0, nontarget).mean()
    return float((miss + fa) / (2 * np.log(2)))


def min_cllr(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return the Cllr after the best order-preserving calibration: what discrimination alone costs.

    The calibration is found on these same trials by pooling adjacent violators. Raise BadScores as `eer`
    does.

    >>> min_cllr([0.9, 0.8, 0.3, 0.1], [1, 1, 0, 0])
    0.0
    """
    _, target_N, nontarget_N = _count_by_score(*_split(scores, labels))
    target_G, nontarget_G = _pool_adjacent_violators(target_N, nontarget_N)
    targets, nontargets = target_G.sum(), nontarget_G.sum()
    with np.errstate(
        divide="ignore"
    ):  # a group of one class has an infinite ratio, which costs that class nothing
        llr_G = np.log(target_G / targets) - np.log(nontarget_G / nontargets)
    has_target, has_nontarget = target_G > 0, nontarget_G > 0
    miss = np.dot(target_G[has_target], np.logaddexp(0, -llr_G[has_target])) / targets
    fa = np.dot(nontarget_G[has_nontarget], np.logaddexp(0, llr_G[has_nontarget])) / nontargets
    return float((miss + fa) / (2 * np.log(2)))


def _pool_adjacent_violators(target_N: np.ndarray, nontarget_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (targets, non-targets) of groups of scores, pooled until the share of targets rises strictly.

    Pooling in any order ends in the same groups. So whole runs are pooled at once while that shortens the
    list well; a stack finishes the rest in one pass, which keeps the worst case linear.
    """
    target, nontarget = target_N.astype(np.float64), nontarget_N.astype(np.float64)
    while True:
        # compare shares as products: exact for counts, and no division
        rises = target[1:] * nontarget[:-1] > target[:-1] * nontarget[1:]
        starts = np.flatnonzero(np.concatenate(([True], rises)))
        shrunk_by = target.size - starts.size
        target, nontarget = np.add.reduceat(target, starts), np.add.reduceat(nontarget, starts)
        if shrunk_by == 0:
            return target, nontarget
        if shrunk_by < target.size // 8:
            return _pool_by_stack(target, nontarget)


def _pool_by_stack(target_G: np.ndarray, nontarget_G: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    targets: list[float] = []
    nontargets: list[float] = []
    for target, nontarget in zip(target_G.tolist(), nontarget_G.tolist(), strict=True):
        while targets and target * nontargets[-1] <= targets[-1] * nontarget:
            target += targets.pop()
            nontarget += nontargets.pop()
        targets.append(target)
        nontargets.append(nontarget)
    return np.array(targets), np.array(nontargets)


def _count_by_score(target: np.ndarray, nontarget: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (distinct scores rising, target trials at each, non-target trials at each)."""
    both = np.concatenate((np.sort(target), np.sort(nontarget)))
    order = np.argsort(both, kind="stable")  # merges the two sorted runs in linear time
    both, is_target = both[order], order < target.size
    starts = np.flatnonzero(np.concatenate(([True], both[1:] != both[:-1])))
    target_N = np.add.reduceat(is_target, starts, dtype=np.int64)
    return both[starts], target_N, np.diff(np.append(starts, both.size)) - target_N


def _costs(p_target: float, c_miss: float, c_fa: float) -> tuple[float, float]:
    """Return the weights of FRR and of FAR in a detection cost; raise BadScores when they make no sense."""
    if not (0 < p_target < 1 and c_miss > 0 and c_fa > 0):
        raise BadScores(
            f"a detection cost needs 0 < p_target < 1 and positive costs, got p_target={p_target!r}, "
            f"c_miss={c_miss!r}, c_fa={c_fa!r}."
        )
    return c_miss * p_target, c_fa * (1 - p_target)


def _split(scores: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return (target scores, non-target scores), float32 if that was given, else float64; raise BadScores."""
    score_K, label_K = np.asarray(scores), np.asarray(labels)
    if score_K.ndim != 1 or score_K.shape != label_K.shape:
        raise BadScores(
            f"scores and labels are lists of one length, got shapes {score_K.shape} and {label_K.shape}."
        )
    if score_K.dtype.kind not in "fiub":
        raise BadScores(f"scores are real numbers, got an array of {score_K.dtype}.")
    if score_K.dtype != np.float32:
        score_K = score_K.astype(np.float64, copy=False)
    bad = score_K.size - int(np.count_nonzero(np.isfinite(score_K)))
    if bad:
        raise BadScores(
            f"{bad} of {score_K.size} scores are NaN or infinite: find the embeddings that made them."
        )
    same_K = label_K == 1
    different = int(np.count_nonzero(label_K == 0))
    targets = int(np.count_nonzero(same_K))
    if targets + different != label_K.size:
        raise BadScores("labels are 1 (or True) for one speaker and 0 (or False) for two, got other values.")
    if not targets or not different:
        raise BadScores(
            f"an error rate needs trials of both kinds, got {targets} target, {different} non-target trials."
        )
    return score_K[same_K], score_K[~same_K]

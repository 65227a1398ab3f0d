"""Error rates at thresholds: the EER, what rejecting impostors costs, detection costs, and the curve of all.

All thresholds are looked at in linear time: scores are counted in bins, then sorted only where the answer
lies (`Sweep`).

# K trials (T target, N non-target), B bins, O occupied bins, N distinct scores
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from voxid.errors import BadScores

BINS = 1 << 16  # fine enough to leave few scores to sort, small enough for the cache
BLOCK = 1 << 18  # scores binned at a time, so that memory does not grow with the list


class Eer(NamedTuple):
    """An equal error rate as a fraction (0 to 1), and the threshold that comes nearest to it.

    >>> eer([0.9, 0.6, 0.7, 0.1], [1, 1, 0, 0]).rate
    0.5
    """

    rate: float
    threshold: float


class RatesAt(NamedTuple):
    """The errors at a threshold that was chosen for its FAR, as fractions.

    `far` is the FAR that was reached: the largest possible that is not above the one asked for. `resolved` is
    False when there are too few non-target trials to tell such a FAR from 0: then `frr` only says what
    rejecting every one of them costs.

    >>> frr_at_far([0.9, 0.4, 0.7, 0.1], [1, 1, 0, 0], far=0.5).frr
    0.0
    """

    frr: float
    far: float
    threshold: float
    resolved: bool


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
    sweep = Sweep(scores, labels)
    # FAR - FRR falls; the curve crosses inside the last bin whose lower edge has it positive, or right after
    last = int(np.flatnonzero(sweep.far_O > sweep.frr_O)[-1])
    points = sweep.points(max(last - 1, 0), last)
    rate, _, nearest = crossing(points.far, points.frr)
    return Eer(float(rate), points.threshold(int(nearest)))


def crossing(far: np.ndarray, frr: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return where FAR meets FRR on the straight lines between points: (rate, point after, nearest point).

    Points (N,), or (N, C) of C curves, by rising threshold; the first has FAR above FRR, the last has not.

    >>> [value.tolist() for value in crossing(np.array([1.0, 0.5, 0.0]), np.array([0.0, 0.25, 0.75]))]
    [0.375, 2, 1]
    """
    excess = far - frr
    after = np.argmax(excess <= 0, axis=0)

    def beside(values: np.ndarray) -> np.ndarray:
        return np.take_along_axis(values, np.stack([after - 1, after]), axis=0)

    (high, low), (far_high, far_low) = beside(excess), beside(far)
    rate = far_high + high / (high - low) * (far_low - far_high)
    return rate, after, np.where(-low <= high, after, after - 1)


def worse_than_guessing(rate: float) -> str:
    """Return what to ask where an equal error rate is above one half, "" for others.

    >>> worse_than_guessing(0.9533)[:45]
    'an EER of 95.33 % is worse than guessing: are'
    """
    if rate <= 0.5:
        return ""
    return (
        f"an EER of {100 * rate:.2f} % is worse than guessing: are the scores the wrong way round "
        "(distances; a higher score has to mean more alike), or the labels swapped?"
    )


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
    target, nontarget = (np.sort(part.astype(np.float64)) for part in split(scores, labels))
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


def frr_at_far(scores: ArrayLike, labels: ArrayLike, far: float) -> RatesAt:
    """Return the lowest FRR at which the FAR is not above `far`.

    Of the thresholds with the largest such FAR, the one with the lowest FRR counts. A FAR below one in as
    many as there are non-target trials cannot be measured: `resolved` is False then. Linear time. Raise
    BadScores as `eer` does, and unless 0 < far < 1.

    >>> frr_at_far([0.9, 0.4, 0.7, 0.1, 0.3, 0.2], [1, 1, 0, 0, 0, 0], far=0.25)
    RatesAt(frr=0.0, far=0.25, threshold=0.35, resolved=True)
    >>> frr_at_far([0.9, 0.4, 0.7, 0.1], [1, 1, 0, 0], far=0.01)[::3]
    (0.5, False)
    """
    if not 0 < far < 1:
        raise BadScores(f"a false acceptance rate to keep below lies between 0 and 1, got {far!r}. Try 0.01.")
    sweep = Sweep(scores, labels)
    # counts, not shares: 1 - 0.99 is not 0.01 in floating point
    allowed = int(np.floor(far * sweep.nontarget.size * (1 + 1e-12)))
    accepted_O = np.rint(sweep.far_O * sweep.nontarget.size)
    last = int(np.argmax(accepted_O <= allowed))  # "reject all" accepts none; "accept all" accepts too many
    points = sweep.points(last - 1, last - 1)
    accepted = np.rint(points.far * sweep.nontarget.size)
    point = int(np.argmax(accepted <= allowed))
    return RatesAt(
        frr=float(points.frr[point]),
        far=float(accepted[point] / sweep.nontarget.size),
        threshold=points.threshold(point),
        resolved=allowed > 0,
    )


# -- what decisions cost -------------------------------------------------------------------------------------


class OperatingPoint(NamedTuple):
    """What a decision is for: the prior of a target trial, and the costs of a miss and of a false alarm.

    Unpack it into a cost function: `min_dcf(scores, labels, *DCF_05)`.

    >>> round(OperatingPoint(p_target=0.01).threshold, 3)
    4.595
    """

    p_target: float
    c_miss: float = 1.0
    c_fa: float = 1.0

    @property
    def threshold(self) -> float:
        """The natural-log likelihood ratio from which accepting costs less on average (Bayes)."""
        miss, fa = weights(*self)
        return float(np.log(fa / miss))


DCF_01 = OperatingPoint(0.01)  # VoxSRC and NIST SRE 2016 to 2021 name these two priors
DCF_05 = OperatingPoint(0.05)


class MinDcf(NamedTuple):
    """The lowest normalised detection cost, a threshold that has it, and the errors there.

    >>> min_dcf_at([0.9, 0.8, 0.2, 0.1], [1, 1, 0, 0]).cost
    0.0
    """

    cost: float
    threshold: float
    far: float
    frr: float


@dataclass(frozen=True, slots=True, eq=False)
class Det:
    """The operating points of a verifier, from "accept all" to "reject all".

    `far`, `frr` and `thresholds` are (N + 1,) float64: one point for each distinct score as the threshold, in
    rising order, then "reject all" with a threshold of infinity. The ROC is (far, 1 - frr).

    >>> det([0.9, 0.6, 0.7, 0.1], [1, 1, 0, 0]).far.tolist()
    [1.0, 0.5, 0.5, 0.0, 0.0]
    """

    far: np.ndarray
    frr: np.ndarray
    thresholds: np.ndarray


def det(scores: ArrayLike, labels: ArrayLike) -> Det:
    """Return every operating point: the detection error trade-off curve. Raise BadScores as `eer` does.

    >>> det([0.9, 0.4, 0.4], [1, 1, 0]).frr.tolist()
    [0.0, 0.5, 1.0]
    """
    target, nontarget = split(scores, labels)
    target.sort()
    nontarget.sort()
    both = np.concatenate((target, nontarget))
    both.sort(kind="stable")  # merges the two sorted runs in linear time
    score_N = both[np.concatenate(([True], both[1:] != both[:-1]))]
    del both
    return Det(
        far=np.append(1 - nontarget.searchsorted(score_N) / nontarget.size, 0.0),
        frr=np.append(target.searchsorted(score_N) / target.size, 1.0),
        thresholds=np.append(score_N.astype(np.float64, copy=False), np.inf),
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
    return min_dcf_at(scores, labels, p_target, c_miss, c_fa).cost


def min_dcf_at(
    scores: ArrayLike, labels: ArrayLike, p_target: float = 0.01, c_miss: float = 1.0, c_fa: float = 1.0
) -> MinDcf:
    """Return `min_dcf` with a threshold that has this cost (the lowest such) and the errors there.

    Exact and in linear time: only bins of scores that might hold the minimum are sorted.

    >>> min_dcf_at([0.9, 0.6, 0.7, 0.1], [1, 1, 0, 0], p_target=0.5)
    MinDcf(cost=0.5, threshold=0.35, far=0.5, frr=0.0)
    """
    miss, fa = weights(p_target, c_miss, c_fa)
    sweep = Sweep(scores, labels)
    # inside a bin FRR is at least that of its lower edge, and FAR at least that of its upper edge
    least_O = miss * sweep.frr_O[:-1] + fa * sweep.far_O[1:]
    best = np.min(miss * sweep.frr_O + fa * sweep.far_O)
    worth_a_look = np.flatnonzero(least_O <= best)
    points = sweep.points(int(worth_a_look[0]), int(worth_a_look[-1]))
    cost = miss * points.frr + fa * points.far
    point = int(np.argmin(cost))
    return MinDcf(
        float(cost[point] / min(miss, fa)),
        points.threshold(point),
        float(points.far[point]),
        float(points.frr[point]),
    )


def act_dcf(
    llrs: ArrayLike, labels: ArrayLike, p_target: float = 0.01, c_miss: float = 1.0, c_fa: float = 1.0
) -> float:
    """Return the normalised detection cost of calibrated scores at the Bayes threshold; may be above 1.

    `llrs` are natural-log likelihood ratios; the threshold is log(c_fa * (1 - p_target) / (c_miss *
    p_target)). Never below `min_dcf` of the same scores. Raise BadScores as `eer` does.

    >>> act_dcf([3.0, -1.0, 1.0, -3.0], [1, 1, 0, 0], p_target=0.5)
    1.0
    """
    miss, fa = weights(p_target, c_miss, c_fa)
    target, nontarget = split(llrs, labels)
    threshold = np.log(fa / miss)
    frr = np.count_nonzero(target < threshold) / target.size
    far = np.count_nonzero(nontarget >= threshold) / nontarget.size
    return float((miss * frr + fa * far) / min(miss, fa))


def weights(p_target: float, c_miss: float, c_fa: float) -> tuple[float, float]:
    """Return the weights of FRR and of FAR in a detection cost; raise BadScores when they make no sense."""
    if not (0 < p_target < 1 and 0 < c_miss < np.inf and 0 < c_fa < np.inf):
        raise BadScores(
            f"a detection cost needs 0 < p_target < 1 and positive costs, got p_target={p_target!r}, "
            f"c_miss={c_miss!r}, c_fa={c_fa!r}. Try p_target=0.01 and costs of 1."
        )
    return c_miss * p_target, c_fa * (1 - p_target)


# -- all thresholds at once ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Operating points by rising threshold: errors (N + 1,) when trials from `scores[i]` on are accepted.

    `scores` ends with the score that begins what follows, infinity for "reject all".
    """

    scores: np.ndarray
    far: np.ndarray
    frr: np.ndarray

    def threshold(self, point: int) -> float:
        """Return a threshold that has the errors of a point, half-way to the score before it."""
        if point == 0:
            return float(self.scores[0])
        before, here = self.scores[point - 1], self.scores[point]
        if np.isinf(here):
            return float(np.nextafter(before, here))
        middle = before / 2 + here / 2
        return float(middle if before < middle <= here else here)


class Sweep:
    """The trials of a verifier, counted in bins by a map that keeps the order of their scores.

    `far_O`, `frr_O` are the errors at the lower edges of the occupied bins, then those of "reject all": exact
    figures, since no bin is cut. `points(first, last)` looks inside. Raise BadScores as `split` does.
    """

    def __init__(self, scores: ArrayLike, labels: ArrayLike) -> None:
        self.target, self.nontarget = split(scores, labels)
        low = min(self.target.min(), self.nontarget.min())
        high = max(self.target.max(), self.nontarget.max())
        with np.errstate(over="ignore", divide="ignore"):
            scale = (BINS - 1) / (high - low)
        if not (0 < scale < np.inf):  # one score, or a span that overflows: one bin, slower but as exact
            low = scale = self.target.dtype.type(0)
        self._low, self._scale = low, scale
        target_B, nontarget_B = self._count(self.target), self._count(self.nontarget)
        self._occupied_O = np.flatnonzero(target_B + nontarget_B)
        self._rejected_target_O, self.frr_O = self._errors(target_B)
        self._rejected_nontarget_O, rejected_O = self._errors(nontarget_B)
        self.far_O = 1 - rejected_O

    def _errors(self, count_B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return how many trials lie below each occupied bin, then all of them; and the same as shares."""
        rejected_O = np.concatenate(([0], np.cumsum(count_B[self._occupied_O])))
        return rejected_O, rejected_O / rejected_O[-1]

    def _bins(self, part: np.ndarray) -> np.ndarray:
        return ((part - self._low) * self._scale).astype(np.intp)

    def _count(self, part: np.ndarray) -> np.ndarray:
        count_B = np.zeros(BINS, np.int64)
        for block in _blocks(part):
            count_B += np.bincount(self._bins(block), minlength=BINS)
        return count_B

    def _within(self, part: np.ndarray, first: int, last: int) -> np.ndarray:
        found = []
        for block in _blocks(part):
            bins = self._bins(block)
            found.append(block[(bins >= first) & (bins <= last)])
        return np.sort(np.concatenate(found))

    def points(self, first: int, last: int) -> Points:
        """Return the exact points inside the occupied bins `first` to `last`, counted among occupied ones.

        The point that follows them ends the list: the lowest score above, or "reject all".
        """
        after = min(last + 1, self._occupied_O.size - 1)
        ends = self._occupied_O[first], self._occupied_O[after]
        target, nontarget = (self._within(part, *ends) for part in (self.target, self.nontarget))
        score_N = np.unique(np.concatenate((target, nontarget)))
        rejected_target = self._rejected_target_O[first] + target.searchsorted(score_N)
        rejected_nontarget = self._rejected_nontarget_O[first] + nontarget.searchsorted(score_N)
        count = np.searchsorted(self._bins(score_N), self._occupied_O[last], side="right") + 1
        return Points(
            scores=np.append(score_N, score_N.dtype.type(np.inf))[:count],
            far=np.append(1 - rejected_nontarget / self.nontarget.size, 0.0)[:count],
            frr=np.append(rejected_target / self.target.size, 1.0)[:count],
        )


def _blocks(part: np.ndarray) -> list[np.ndarray]:
    return [part[start : start + BLOCK] for start in range(0, part.size, BLOCK)]


# -- what every metric asks of its scores and labels ---------------------------------------------------------


def split(scores: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores of target trials (T,) and of non-target trials (N,), copies that may be sorted.

    float32 stays float32, everything else becomes float64. Raise BadScores for what no error rate can be
    counted on.
    """
    score_K, same_K = checked(scores, labels)
    need_both(int(np.count_nonzero(same_K)), same_K.size)
    return score_K[same_K], score_K[~same_K]


def checked(scores: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return finite scores and boolean labels, (K,) each; raise BadScores for anything else."""
    score_K, label_K = as_array(scores, "scores"), as_array(labels, "labels")
    if score_K.ndim != 1 or score_K.shape != label_K.shape:
        raise BadScores(
            f"scores and labels are lists of one length, got shapes {score_K.shape} and {label_K.shape}. "
            "Give one label for each score."
        )
    return finite(score_K), same_speaker(label_K)


def need_both(targets: int, trials: int) -> None:
    """Raise BadScores when all trials are of one kind."""
    if not 0 < targets < trials:
        raise BadScores(
            f"this needs trials of both kinds, got {targets} target, {trials - targets} non-target trials. "
            "Add trials of the missing kind."
        )


def as_array(values: ArrayLike, what: str) -> np.ndarray:
    """Return `values` as an array; raise BadScores for lists of different lengths within each other."""
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise BadScores(f"the {what} are partly masked. Leave the masked trials out of scores and labels.")
    try:
        return np.asarray(values)
    except ValueError as error:
        raise BadScores(f"{what} are a list of numbers, got one that is not an array: {error}") from error


def finite(score_K: np.ndarray) -> np.ndarray:
    """Return the scores as float32 if they were, else float64; raise BadScores unless all are finite."""
    if score_K.dtype.kind not in "fiub":
        raise BadScores(f"scores are real numbers, got an array of {score_K.dtype}. Give float32 or float64.")
    if score_K.dtype != np.float32:
        score_K = score_K.astype(np.float64, copy=False)
    bad = score_K.size - int(np.count_nonzero(np.isfinite(score_K)))
    if bad:
        raise BadScores(
            f"{bad} of {score_K.size} scores are NaN or infinite: find the embeddings that made them."
        )
    return score_K


def same_speaker(label_K: np.ndarray) -> np.ndarray:
    """Return booleans, True for target trials; raise BadScores for labels other than 0 and 1."""
    if label_K.dtype == np.bool_:
        return label_K
    same_K = label_K == 1
    if int(np.count_nonzero(same_K)) + int(np.count_nonzero(label_K == 0)) != label_K.size:
        raise BadScores(
            "labels are 1 (or True) for one speaker and 0 (or False) for two, got other values. "
            "Turn words or -1 into these first."
        )
    return same_K

"""What decisions cost: detection cost at one operating point, and the curve of all of them.

# N distinct scores
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from voxid.errors import BadScores
from voxid.metrics.checks import split
from voxid.metrics.sweep import Sweep


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
    """The lowest normalised detection cost, a threshold that has it, and the errors there."""

    cost: float
    threshold: float
    far: float
    frr: float


@dataclass(frozen=True, slots=True, eq=False)
class Det:
    """The operating points of a verifier, from "accept all" to "reject all".

    `far`, `frr` and `thresholds` are (N + 1,) float64: one point for each distinct score as the threshold, in
    rising order, then "reject all" with a threshold of infinity. The ROC is (far, 1 - frr).
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

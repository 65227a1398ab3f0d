"""Where a verifier's two error rates meet, and how many it rejects when few impostors may pass.

# O occupied bins
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from voxid.errors import BadScores
from voxid.metrics.checks import split
from voxid.metrics.sweep import Sweep


class Eer(NamedTuple):
    """An equal error rate as a fraction (0 to 1), and the threshold that comes nearest to it."""

    rate: float
    threshold: float


class RatesAt(NamedTuple):
    """The errors at a threshold that was chosen for its FAR, as fractions.

    `far` is the FAR that was reached: the largest possible that is not above the one asked for. `resolved` is
    False when there are too few non-target trials to tell such a FAR from 0: then `frr` only says what
    rejecting every one of them costs.
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
    crossing = int(np.flatnonzero(sweep.far_O > sweep.frr_O)[-1])
    points = sweep.points(max(crossing - 1, 0), crossing)
    excess = points.far - points.frr
    right = int(np.argmax(excess <= 0))  # never 0: the first point accepts more non-targets than it should
    left = right - 1
    share = excess[left] / (excess[left] - excess[right])
    rate = float(points.far[left] + share * (points.far[right] - points.far[left]))
    return Eer(rate, points.threshold(right if -excess[right] <= excess[left] else left))


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
    """Return the lowest FRR at which the FAR is not above `far`: what security costs those it lets in.

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

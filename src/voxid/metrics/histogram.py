"""Error rates of more trials than fit into memory: counts in narrow bins, and a bound on what that hides.

# K trials, B bins
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from voxid.errors import BadScores
from voxid.metrics.rates import Det, checked, crossing, need_both, weights

BLOCK = 1 << 18  # scores split by label at a time
CHUNK = 1 << 16  # scores binned at a time: the steps in between stay in the cache
MOST_BINS = 1 << 22  # whole numbers up to here are exact in float32 with room to spare


class BoundedEer(NamedTuple):
    """An equal error rate from bins, within `error_bound` of the exact one. The threshold is a bin's edge.

    >>> BoundedEer(rate=0.05, threshold=0.4, error_bound=0.001).rate
    0.05
    """

    rate: float
    threshold: float
    error_bound: float


class BoundedDcf(NamedTuple):
    """A detection cost that `threshold` has; the exact minimum is at most `error_bound` below it.

    >>> BoundedDcf(cost=0.4, threshold=0.5, error_bound=0.001).cost
    0.4
    """

    cost: float
    threshold: float
    error_bound: float


@dataclass(slots=True, eq=False)
class ScoreHistogram:
    """Counts of target and non-target trials by score, from which error rates follow with a bound.

    `bins` bins of one width from `low` to `high`; their edges are exact where the width is a power of two, as
    it is by default. Scores below `low`, and from `high` on, are counted in two bins of their own, open to
    their side: they are never moved or lost, `outside` says how many they are, and a figure that would have
    to look inside one of them is refused.

    Scores may come in any number of blocks and machines: their counts add up (`add_counts`).
    Bins keep the order of scores, and an error rate at the edge of a bin is exact. So everything hidden lies
    between two neighbouring edges, and the counts of one bin bound it.

    >>> histogram = ScoreHistogram(bins=1024)
    >>> histogram.add([0.9, 0.6], [1, 1])
    >>> histogram.add([0.7, 0.1], [0, 0])
    >>> histogram.eer()
    BoundedEer(rate=0.5, threshold=0.6015625, error_bound=0.0)
    >>> histogram.min_dcf(p_target=0.05).cost, len(histogram.det().far)
    (0.5, 1027)
    >>> target_B, nontarget_B = histogram.count(np.array([0.8])), histogram.count(np.array([0.2]))
    >>> histogram.add_counts(target_B, nontarget_B)
    >>> histogram.targets, histogram.nontargets
    (3, 3)
    """

    bins: int = 1 << 16
    low: float = -1.0
    high: float = 1.0
    target_B: np.ndarray = field(init=False, repr=False)
    nontarget_B: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not (np.isfinite([self.low, self.high]).all() and self.low < self.high):
            raise BadScores(
                f"a histogram reaches from low to a higher high, got {self.low!r} and {self.high!r}. "
                "Cosines need -1 and 1."
            )
        if not 2 <= self.bins <= MOST_BINS:
            raise BadScores(f"a histogram has 2 to {MOST_BINS:,} bins, got {self.bins!r}. 65,536 are usual.")
        self.target_B, self.nontarget_B = (np.zeros(self.bins + 2, np.int64) for _ in range(2))

    @property
    def _scale(self) -> float:
        return self.bins / (self.high - self.low)

    @property
    def edges(self) -> np.ndarray:
        """Where bins begin, (B + 2,) float64: minus infinity, `low`, ..., and `high`."""
        return np.append(-np.inf, np.linspace(self.low, self.high, self.bins + 1))

    @property
    def targets(self) -> int:
        """How many target trials were added."""
        return int(self.target_B.sum())

    @property
    def nontargets(self) -> int:
        """How many non-target trials were added."""
        return int(self.nontarget_B.sum())

    @property
    def outside(self) -> int:
        """How many scores lie below `low`, or at `high` and above."""
        return int(sum(count_B[0] + count_B[-1] for count_B in (self.target_B, self.nontarget_B)))

    def add(self, scores: ArrayLike, labels: ArrayLike) -> None:
        """Add trials, (K,) scores and (K,) labels of 0/1 or booleans; one class only, or none, is fine.

        Raise BadScores for scores that are not finite and for anything but a list of numbers.
        """
        score_K, same_K = checked(scores, labels)
        for start in range(0, score_K.size, BLOCK):
            score, same = score_K[start : start + BLOCK], same_K[start : start + BLOCK]
            self.add_counts(self.count(score[same]), self.count(score[~same]))

    def count(self, scores: np.ndarray) -> np.ndarray:
        """Return how many of some float32 or float64 scores of any shape fall into each bin, (B + 2,) int64.

        Adds nothing: `add_counts` does. Several threads may count at once. Scores are taken as they are; NaN
        must not be among them.
        """
        score_K = np.ascontiguousarray(scores).reshape(-1)
        place_K = np.empty(score_K.size, np.intp)
        for start in range(0, score_K.size, CHUNK):
            place_K[start : start + CHUNK] = self._places(score_K[start : start + CHUNK])
        return np.bincount(place_K, minlength=self.bins + 2)

    def _places(self, score_K: np.ndarray) -> np.ndarray:
        """Return the number of each score's bin, 0 for the one open below, int32: a fast step to int64."""
        scale, first = self._scale, self.low * self._scale
        if np.frexp(scale)[0] == 0.5 and first == np.floor(first):
            # a power of two rounds nothing in any width of float, and so do whole numbers
            place = score_K * score_K.dtype.type(scale)
            np.floor(place, out=place)
            place -= score_K.dtype.type(first - 1)
        else:
            place = np.floor((score_K.astype(np.float64) - self.low) * scale) + 1
        return np.clip(place, 0, self.bins + 1, out=place).astype(np.int32)

    def add_counts(self, target_B: np.ndarray, nontarget_B: np.ndarray) -> None:
        """Add what `count` returned, (B + 2,) each; raise BadScores when the number of bins differs."""
        if target_B.shape != self.target_B.shape or nontarget_B.shape != self.nontarget_B.shape:
            raise BadScores(
                f"counts of {target_B.shape} and {nontarget_B.shape} bins do not fit {self.bins} bins and "
                "two open ones. Count them with this histogram."
            )
        self.target_B += target_B
        self.nontarget_B += nontarget_B

    def det(self) -> Det:
        """Return the exact operating points at the lower edges of all bins, then "reject all"."""
        need_both(self.targets, self.targets + self.nontargets)
        rejected_target, rejected_nontarget = (
            np.append(0, np.cumsum(count_B)) for count_B in (self.target_B, self.nontarget_B)
        )
        return Det(
            far=1 - rejected_nontarget / rejected_nontarget[-1],
            frr=rejected_target / rejected_target[-1],
            thresholds=np.append(self.edges, np.inf),
        )

    def eer(self) -> BoundedEer:
        """Return the equal error rate, and how far from that of `metrics.eer` on all scores it may be.

        Let FAR and FRR be (a, r) at the lower edge of the bin where they cross and (a', r') at its upper
        edge: a > r, a' <= r', all four exact. Inside the bin FAR falls from a to a' and FRR rises from r to
        r', so the point where they are equal lies within both ranges: between max(a', r) and min(a, r').
        `rate` is where the straight line between the edges puts it, `error_bound` the farther of both ends.

        Raise BadScores without trials of both kinds, or when the rates cross in a bin that is open.
        """
        curve = self.det()
        rate, after, edge = (value.item() for value in crossing(curve.far, curve.frr))
        self._need_closed(after - 1)
        low, high = max(curve.far[after], curve.frr[after - 1]), min(curve.far[after - 1], curve.frr[after])
        return BoundedEer(rate, float(curve.thresholds[edge]), float(max(rate - low, high - rate, 0.0)))

    def min_dcf(self, p_target: float = 0.01, c_miss: float = 1.0, c_fa: float = 1.0) -> BoundedDcf:
        """Return the lowest normalised detection cost of any edge, and how far the exact one may be below.

        At any threshold inside a bin, FRR is at least that of the bin's lower edge and FAR at least that of
        its upper edge; the lowest cost of two such rates is a lower bound. Raise BadScores as `eer` does, and
        for costs that `metrics.min_dcf` refuses.
        """
        miss, fa = weights(p_target, c_miss, c_fa)
        curve = self.det()
        cost = (miss * curve.frr + fa * curve.far) / min(miss, fa)
        occupied = (self.target_B + self.nontarget_B) > 0
        least_B = np.where(occupied, miss * curve.frr[:-1] + fa * curve.far[1:], np.inf) / min(miss, fa)
        lowest = int(np.argmin(least_B))
        best = int(np.argmin(cost))
        if least_B[lowest] < cost[best]:
            self._need_closed(lowest)
        return BoundedDcf(
            float(cost[best]), float(curve.thresholds[best]), max(0.0, float(cost[best] - least_B[lowest]))
        )

    def _need_closed(self, in_bin: int) -> None:
        if in_bin in (0, self.bins + 1):
            raise BadScores(
                f"the answer lies among the {self.outside} scores outside {self.low:g} to {self.high:g}, of "
                f"{self.targets + self.nontargets}. Make a histogram whose low and high hold the scores."
            )

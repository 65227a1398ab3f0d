"""All thresholds at once, in linear time: count scores in bins, then sort only where the answer lies.

# K trials, B bins, O occupied bins, N distinct scores
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from voxid.metrics.checks import split

BINS = 1 << 16  # fine enough to leave few scores to sort, small enough for the cache
BLOCK = 1 << 18  # scores binned at a time, so that memory does not grow with the list


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

"""Who is it, and is it anyone we know? Error rates of searching a voice among enrolled speakers.

A probe is searched among N enrolled speakers; its score with each says how likely it is that one. A mated
probe comes from an enrolled speaker, its mate; a non-mated one from somebody else. As in ISO/IEC 19795-1 and
NIST's 1:N evaluations (Grother, Ngan & Hanaoka, NISTIR 8271):

- FPIR, the false positive identification rate, is the share of non-mated probes for which anyone is returned,
  that is, whose best score reaches the threshold;
- FNIR, the false negative identification rate, is the share of mated probes whose mate is not returned: it
  scores below the threshold, or behind too many others.

Both depend on N: say it beside them.

# Q probes (M mated, U non-mated), N enrolled speakers, P points
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from voxid.errors import BadScores
from voxid.metrics.rates import Points, as_array, finite

BLOCK_VALUES = 1 << 20  # scores compared at a time


class FnirAt(NamedTuple):
    """The errors at a threshold chosen for its FPIR, as fractions.

    `fpir` is the one that was reached, the largest not above the one asked for. `resolved` is False when
    there are too few non-mated probes to tell such a FPIR from 0.

    >>> fnir_at_fpir([[0.9, 0.2], [0.3, 0.1]], ["ann", "eve"], ["ann", "bob"], fpir=0.5).fnir
    0.0
    """

    fnir: float
    fpir: float
    threshold: float
    resolved: bool


@dataclass(frozen=True, slots=True, eq=False)
class OpenSetCurve:
    """The operating points of open-set identification, (P + 1,) float64, by rising threshold.

    One point for each distinct score that decides anything, then "return nobody": a threshold of infinity.

    >>> searches([[0.9, 0.2], [0.3, 0.1]], ["ann", "eve"], ["ann", "bob"]).curve().fnir.tolist()
    [0.0, 0.0, 1.0]
    """

    fpir: np.ndarray
    fnir: np.ndarray
    thresholds: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Searches:
    """The outcome of searches: for mated probes the mate's score and rank, for the others the best score.

    `mate_M` (M,), `rank_M` (M,) from 1, `best_U` (U,), and `enrolled`, N. The mate stands behind everyone who
    scores as high as it does: a system that scores all alike finds nobody.

    >>> searches([[0.9, 0.2], [0.6, 0.5]], ["ann", "bob"], ["ann", "bob"]).top_k(1)
    0.5
    >>> found = searches([[0.9, 0.2], [0.6, 0.5], [0.3, 0.4]], ["ann", "bob", "stranger"], ["ann", "bob"])
    >>> found.errors(threshold=0.55)  # FPIR, FNIR
    (0.0, 0.5)
    >>> len(found.curve().fpir) > 1, found.fnir_at_fpir(0.01).fnir
    (True, 0.5)
    """

    mate_M: np.ndarray
    rank_M: np.ndarray
    best_U: np.ndarray
    enrolled: int

    def top_k(self, k: int = 1) -> float:
        """Return the share of mated probes whose mate is among the k best: one point of the CMC curve.

        Raise BadScores without mated probes, and unless 1 <= k <= N.
        """
        self._check_rank(k)
        return float(np.count_nonzero(self._mated() <= k) / self.rank_M.size)

    def errors(self, threshold: float, rank: int = 1) -> tuple[float, float]:
        """Return (FPIR, FNIR) when those of the `rank` best are returned that score `threshold` or more."""
        self._check_rank(rank)
        returned_M = (self.mate_M >= threshold) & (self._mated() <= rank)
        false_positives = np.count_nonzero(self._non_mated() >= threshold)
        return float(false_positives / self.best_U.size), float(1 - np.mean(returned_M))

    def curve(self, rank: int = 1) -> OpenSetCurve:
        """Return FPIR and FNIR at all thresholds, when at most the `rank` best are returned.

        Raise BadScores without mated or without non-mated probes, and unless 1 <= rank <= N.
        """
        points = self._points(rank)
        return OpenSetCurve(points.far, points.frr, points.scores.astype(np.float64))

    def fnir_at_fpir(self, fpir: float, rank: int = 1) -> FnirAt:
        """Return the lowest FNIR at which the FPIR is not above `fpir`; raise BadScores as `curve` does."""
        if not 0 < fpir < 1:
            raise BadScores(f"a FPIR to keep below lies between 0 and 1, got {fpir!r}. Try 0.01.")
        points = self._points(rank)
        false_positives = np.rint(points.far * self.best_U.size)
        allowed = int(np.floor(fpir * self.best_U.size * (1 + 1e-12)))  # 0.29 * 100 is below 29
        point = int(np.argmax(false_positives <= allowed))
        return FnirAt(
            float(points.frr[point]),
            float(false_positives[point] / self.best_U.size),
            points.threshold(point),
            allowed > 0,
        )

    def _points(self, rank: int) -> Points:
        self._check_rank(rank)
        found = np.sort(self.mate_M[self._mated() <= rank])
        best = np.sort(self._non_mated())
        score_P = np.unique(np.concatenate((found, best)))
        missed = self.mate_M.size - found.size  # by rank, at any threshold
        return Points(
            scores=np.append(score_P, score_P.dtype.type(np.inf)),
            far=np.append((best.size - best.searchsorted(score_P)) / best.size, 0.0),
            frr=np.append((missed + found.searchsorted(score_P)) / self.mate_M.size, 1.0),
        )

    def _mated(self) -> np.ndarray:
        if not self.rank_M.size:
            raise BadScores("no probe is of an enrolled speaker. Check the names, or add such probes.")
        return self.rank_M

    def _non_mated(self) -> np.ndarray:
        if not self.best_U.size:
            raise BadScores(
                "all probes are of enrolled speakers, so nothing says how often a stranger is taken for one. "
                "Add probes of others."
            )
        return self.best_U

    def _check_rank(self, rank: int) -> None:
        if not 1 <= rank <= self.enrolled:
            raise BadScores(f"ranks go from 1 to {self.enrolled}, the speakers enrolled; got {rank!r}.")


def searches(score_QN: ArrayLike, speaker_Q: ArrayLike, enrolled_N: ArrayLike) -> Searches:
    """Return the outcome of searching each probe among the enrolled speakers.

    `score_QN` is (Q, N) finite floats, higher for more alike; `speaker_Q` (Q,) and `enrolled_N` (N,) are
    names or numbers of speakers. A probe whose speaker is enrolled is mated. Memory beyond the matrix is that
    of some of its rows. Raise BadScores for shapes that do not fit, scores that are not finite, and speakers
    enrolled twice.

    >>> found = searches([[0.9, 0.2], [0.6, 0.5], [0.3, 0.1]], ["ann", "bob", "eve"], ["ann", "bob"])
    >>> found.top_k(1), found.top_k(2)
    (0.5, 1.0)
    >>> found.fnir_at_fpir(0.5)
    FnirAt(fnir=0.5, fpir=0.0, threshold=0.6, resolved=False)
    """
    scores, speaker, enrolled = _check(score_QN, speaker_Q, enrolled_N)
    order = np.argsort(enrolled, kind="stable")
    place = np.minimum(enrolled.searchsorted(speaker, sorter=order), enrolled.size - 1)
    column_Q = order[place]
    mated_Q = enrolled[column_Q] == speaker
    mate_Q = scores[np.arange(speaker.size), column_Q]
    rank_Q, best_Q = np.empty(speaker.size, np.int64), np.empty_like(mate_Q)
    rows = max(1, BLOCK_VALUES // enrolled.size)
    for start in range(0, speaker.size, rows):
        part = slice(start, start + rows)
        rank_Q[part] = np.count_nonzero(scores[part] >= mate_Q[part, None], axis=1)  # the mate counts itself
        best_Q[part] = scores[part].max(axis=1)
    return Searches(mate_Q[mated_Q], rank_Q[mated_Q], best_Q[~mated_Q], enrolled.size)


def top_k_accuracy(score_QN: ArrayLike, speaker_Q: ArrayLike, enrolled_N: ArrayLike, k: int = 1) -> float:
    """Return the share of mated probes whose speaker is among the k best matches (closed-set accuracy).

    Arguments and errors as for `searches`. Probes of speakers who are not enrolled do not count here.

    >>> top_k_accuracy([[0.9, 0.2], [0.6, 0.5]], ["ann", "bob"], ["ann", "bob"])
    0.5
    """
    return searches(score_QN, speaker_Q, enrolled_N).top_k(k)


def fnir_at_fpir(
    score_QN: ArrayLike, speaker_Q: ArrayLike, enrolled_N: ArrayLike, fpir: float, rank: int = 1
) -> FnirAt:
    """Return the lowest FNIR while strangers are taken for someone in at most a share `fpir` of searches.

    Arguments and errors as for `searches` and `Searches.curve`.

    >>> scores = [[0.9, 0.2], [0.6, 0.5], [0.3, 0.1], [0.7, 0.2]]
    >>> fnir_at_fpir(scores, ["ann", "bob", "eve", "joe"], ["ann", "bob"], fpir=0.5)
    FnirAt(fnir=0.5, fpir=0.5, threshold=0.5, resolved=True)
    """
    return searches(score_QN, speaker_Q, enrolled_N).fnir_at_fpir(fpir, rank)


def _check(
    score_QN: ArrayLike, speaker_Q: ArrayLike, enrolled_N: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    scores = finite(as_array(score_QN, "scores"))
    speaker, enrolled = as_array(speaker_Q, "speakers"), as_array(enrolled_N, "enrolled speakers")
    if scores.ndim != 2 or (speaker.shape, enrolled.shape) != (scores.shape[:1], scores.shape[1:]):
        raise BadScores(
            "identification takes a row of scores for each probe and a column for each enrolled speaker, got "
            f"scores {scores.shape}, probes {speaker.shape}, enrolled {enrolled.shape}. "
            "Name each row and column."
        )
    if not scores.size:
        raise BadScores(
            f"there is nothing to search: got scores of shape {scores.shape}. Add probes, speakers."
        )
    if (speaker.dtype.kind in "US") != (enrolled.dtype.kind in "US"):
        raise BadScores(
            f"speakers are all names or all numbers, got {speaker.dtype} for probes and {enrolled.dtype} for "
            "the enrolled. Use the same for both."
        )
    try:
        twice = enrolled.size - np.unique(enrolled).size
    except TypeError as error:
        raise BadScores(f"speakers are all names or all numbers, got a mixture: {error}") from error
    if twice:
        raise BadScores(
            f"{twice} of {enrolled.size} columns are of speakers who have another: give each enrolled "
            "speaker one score, such as the mean over the enrolled recordings."
        )
    return scores, speaker, enrolled

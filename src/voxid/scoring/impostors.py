"""How strangers score: what a threshold asked for by its false-alarm rate is read from.

A calibration keeps quantiles of the LLRs of its non-target trials. A false-alarm rate is then a threshold
that was seen, not one that a model of the scores promises. What was not seen is refused: Doddington's rule of
30 (Doddington et al., "The NIST speaker recognition evaluation", 2000) asks for 30 errors before a rate is
believed, and here an error is a pair of *speakers* mistaken in some trial: trials of one pair err together.

# K trials, Q quantiles
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field, model_validator

from voxid.config import Config
from voxid.errors import BadScores

MOST = 0.5  # the largest false-alarm rate that is kept
QUANTILES = 48  # rates kept, evenly spaced in their logarithm
OUTER = 3  # times the smallest rate: where the tail is measured, as more trials lie there
HELD_PAIRS = 30  # of speakers: what the strangers of a calibration weigh when others join them
RULE_OF = 30  # mistaken pairs of speakers that the smallest rate must rest on

Finite = Annotated[float, Field(allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, lt=1)]


class Impostors(Config):
    """Quantiles of non-target LLRs: a share `fars[q]` of the trials scored `llrs[q]` or more.

    `fars` fall and `llrs` do not. The last rate is the smallest that the trials support. Beyond it, where
    identification among many has to go, `tail` nats of LLR are taken to make strangers e times rarer: the
    mean excess above the quantile of three times that rate, which is too careful rather than too bold for
    tails that fall ever faster, as a normal distribution's do.

    >>> impostors = voxid.load("voxid-base").model.calibration.impostors
    >>> impostors.threshold(0.1) < impostors.threshold(0.01)
    True
    """

    fars: tuple[Rate, ...]
    llrs: tuple[Finite, ...]
    tail: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    trials: int
    speaker_pairs: int = 0  # different ones among the trials; 0: not known

    @model_validator(mode="after")
    def _in_order(self) -> Impostors:
        if not self.fars or len(self.fars) != len(self.llrs):
            raise ValueError("fars and llrs must be of one length, and not empty")
        if np.any(np.diff(self.fars) >= 0) or np.any(np.diff(self.llrs) < 0):
            raise ValueError("fars must fall, and llrs must not")
        return self

    @classmethod
    def of(
        cls, llr_K: ArrayLike, pair_K: ArrayLike | None = None, weight_K: ArrayLike | None = None
    ) -> Impostors | None:
        """Return the quantiles of the LLRs of non-target trials, or None where they are too few for any.

        `pair_K` names the pair of speakers of each trial by a number; without it each trial counts as one.
        `weight_K` says how much each trial counts; without it all count alike.

        >>> Impostors.of(np.arange(1000.0)).least
        0.03
        """
        llrs = np.asarray(llr_K, dtype=np.float64)
        pairs = None if pair_K is None else np.unique(np.asarray(pair_K), return_inverse=True)[1]
        needed = _trials_of_most(llrs, pairs)
        if needed is None:
            return None
        order = np.argsort(-llrs, kind="stable")
        highest = llrs[order]
        weight = np.ones(llrs.size) if weight_K is None else np.asarray(weight_K, dtype=np.float64)[order]
        share = np.cumsum(weight) / weight.sum()
        if share[needed - 1] > MOST:
            return None
        fars = np.unique(np.geomspace(share[needed - 1], MOST, QUANTILES))[::-1]
        ranks = np.maximum(np.searchsorted(share, fars * (1 + 1e-9), side="right"), 1)
        outer = min(OUTER * needed, llrs.size)
        return cls(
            fars=tuple(fars.tolist()),
            llrs=tuple(highest[ranks - 1].tolist()),
            tail=float(np.average(highest[:outer] - highest[outer - 1], weights=weight[:outer])),
            trials=llrs.size,
            speaker_pairs=0 if pairs is None else int(pairs.max()) + 1,
        )

    def joined(self, llr_K: np.ndarray, pair_K: np.ndarray, weight_K: np.ndarray) -> Impostors:
        """Return these strangers with others among them: LLRs (K,), their pairs of speakers, their weights.

        The new ones weigh as much as they are pairs, and those held HELD_PAIRS. The smallest rate and the
        tail stay what they were.

        >>> held = Impostors(fars=(0.5, 0.1), llrs=(0.0, 4.0), tail=1.0, trials=900)
        >>> same = held.joined(np.full(100, 6.0), np.arange(100), np.ones(100))
        >>> same.llrs[-1] > 4.0, same.fars == held.fars
        (True, True)
        """
        order = np.argsort(llr_K, kind="stable")
        highest, share = llr_K[order], np.cumsum(weight_K[order]) / weight_K.sum()
        at_T = np.union1d(self.llrs, highest)
        new_T = 1 - np.concatenate(([0.0], share))[np.searchsorted(highest, at_T)]
        held_T = np.array([self.rate(llr) for llr in at_T.tolist()])
        pairs = np.unique(pair_K).size
        rate_T = (HELD_PAIRS * held_T + pairs * new_T) / (HELD_PAIRS + pairs)
        place = np.minimum(np.searchsorted(-rate_T, -np.array(self.fars)), at_T.size - 1)
        return self.model_copy(
            update={
                "llrs": tuple(at_T[place].tolist()),
                "trials": self.trials + llr_K.size,
                "speaker_pairs": self.speaker_pairs + pairs,
            }
        )

    def moved(self, before: Impostors, after: Impostors) -> Impostors:
        """Return these strangers with LLRs that rise by as much as those of `before` rose to `after`.

        >>> held = Impostors(fars=(0.5, 0.1), llrs=(0.0, 4.0), tail=1.0, trials=900)
        >>> risen = Impostors(fars=(0.5, 0.1), llrs=(1.0, 5.0), tail=1.0, trials=900)
        >>> held.moved(held, risen).llrs
        (1.0, 5.0)
        """
        rise = [after.threshold(far, beyond=True) - before.threshold(far, beyond=True) for far in self.fars]
        llrs = np.maximum.accumulate(np.array(self.llrs) + rise)
        return self.model_copy(update={"llrs": tuple(llrs.tolist())})

    @property
    def least(self) -> float:
        """The smallest false-alarm rate that the trials support."""
        return self.fars[-1]

    @property
    def askable(self) -> float:
        """The smallest false-alarm rate to ask for, in two digits: `least`, rounded up."""
        digit = 10.0 ** (np.floor(np.log10(self.least)) - 1)
        return float(f"{np.ceil(self.least / digit - 1e-9) * digit:.2g}")

    def threshold(self, far: float, beyond: bool = False) -> float:
        """Return the LLR from which a share `far` of strangers is accepted.

        `beyond` allows a rate below the smallest that was seen, by the tail. Raise BadScores for a rate that
        is not between 0 and 1, or below `least` without `beyond`.

        >>> Impostors(fars=(0.5, 0.1), llrs=(0.0, 4.0), tail=1.0, trials=900).threshold(0.1)
        4.0
        """
        if not 0 < far < 1:
            raise BadScores(f"a false-alarm rate is a share between 0 and 1, got {far!r}. For example 0.01.")
        if far < self.least * (1 - 1e-9):
            if not beyond:
                raise BadScores(self._too_small(far))
            return self.llrs[-1] + self.tail * float(np.log(self.least / far))
        return float(np.interp(-np.log(far), -np.log(self.fars), self.llrs))

    def rate(self, llr: float) -> float:
        """Return the share of strangers that score `llr` or more; outside of what was seen, an estimate.

        >>> Impostors(fars=(0.5, 0.1), llrs=(0.0, 4.0), tail=1.0, trials=900).rate(4.0) < 0.11
        True
        """
        if llr <= self.llrs[0]:
            return self.fars[0]
        if llr > self.llrs[-1]:
            if self.tail == 0:
                return 0.0
            return self.least * float(np.exp(-(llr - self.llrs[-1]) / self.tail))
        return float(np.exp(-np.interp(llr, self.llrs, -np.log(self.fars))))

    def _too_small(self, far: float) -> str:
        people = f" of {self.speaker_pairs:,} pairs of speakers" if self.speaker_pairs else ""
        return (
            f"a false-alarm rate of {far:g} cannot be promised: the calibration rests on {self.trials:,} "
            f"impostor trials{people}, which support {self.askable:g} and above. Ask for that, or calibrate "
            "the model on more speakers (voxid calibrate)."
        )


def _trials_of_most(llr_K: np.ndarray, pair_K: np.ndarray | None) -> int | None:
    """Return how many trials from the top hold RULE_OF different pairs; None when all of them do not."""
    if pair_K is None:
        return RULE_OF if llr_K.size >= RULE_OF else None
    top = 64
    while True:
        top = min(4 * top, llr_K.size)
        highest = np.argpartition(-llr_K, top - 1)[:top]
        highest = highest[np.argsort(-llr_K[highest], kind="stable")]
        firsts = np.sort(np.unique(pair_K[highest], return_index=True)[1])
        if firsts.size >= RULE_OF:
            return int(firsts[RULE_OF - 1]) + 1
        if top == llr_K.size:
            return None


def speaker_pairs(left_K: np.ndarray, right_K: np.ndarray) -> np.ndarray:
    """Return a number (K,) for the pair of two speakers (whole numbers from 0 on), whichever comes first.

    >>> speaker_pairs(np.array([0, 2, 1]), np.array([2, 0, 1])).tolist()
    [2, 2, 4]
    """
    low_K, high_K = np.sort([left_K, right_K], axis=0).astype(np.int64)
    return low_K * (int(high_K.max(initial=0)) + 1) + high_K

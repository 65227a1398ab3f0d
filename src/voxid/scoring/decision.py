"""From a calibrated LLR to yes, no or unknown: at a stated prior and cost, or at a stated false-alarm rate.

Two ways to say what is wanted, and never both:

- *prior and costs*: accept from the LLR log(cost_false_alarm / cost_miss) + log((1 - prior) / prior), the
  Bayes decision (Brümmer & du Preez 2006). Without a word, the model's own prior and threshold hold.
- *false-alarm rate*: accept from the LLR that this share of the calibration's impostors reached.

Among N enrolled people there are N chances for a stranger to be taken for someone, so each candidate has to
bring more: as much LLR as makes strangers N times rarer, by the impostors of the calibration. So the rate of
"someone was matched" stays that of one claimed identity, however much the candidates depend on each other.
That is log(N) where LLRs are exact to the far end; in practice they are not, and where the calibration holds
no impostors, log(N) it is. The `prior` is then that of "it is one of them", and thinned out by as much.

The people searched say more of this one recording than a calibration can: if its speaker is nobody of them,
all of them are strangers, and how far the best of them comes can be told from the next. Their excess over the
LLR of the NEIGHBOURS-th is taken to be exponential, as tails are above a high level (Pickands 1975), of an
unknown scale that the calibration's tail is a first guess of; the best goes beyond a level as often as the
predictive (Lomax) distribution says. Where that asks for less than the calibration does, that much is enough.

# N enrolled people, K candidates, the best first
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np

from voxid.errors import BadConfig, NotCalibrated
from voxid.scoring.calibration import Calibration
from voxid.types import Decision

NEIGHBOURS = 20  # people behind the best who tell how near strangers come
FEW = 8  # of them: fewer tell nothing
GUESSES = 3  # of them, what the tail of the calibration counts for


class RuleOptions(TypedDict, total=False):
    """What `rule` takes, and each question passes on: `prior` and costs, or the false-alarm rate `far`.

    `prior` is the probability of "same speaker" before anything is heard, `cost_miss` what it costs to refuse
    the right speaker, `cost_false_alarm` to accept a wrong one, `far` the share of strangers to accept. None
    is as if it were not given.

    >>> options: RuleOptions = {"far": 0.01}
    """

    prior: float | None
    cost_miss: float | None
    cost_false_alarm: float | None
    far: float | None


@dataclass(frozen=True, slots=True)
class Rule:
    """How to decide. Make it with `rule`; `threshold` and `posteriors` use it."""

    calibration: Calibration
    prior: float
    base: float  # LLR: the threshold for one claimed identity; not used with `far`
    far: float | None = None

    def threshold(self, clips: float = 1.0, among: int = 1) -> float:
        """Return the LLR to accept from, for a voiceprint worth `clips` clips, one of `among` searched."""
        return self._alone(clips) + self.offset(clips, among)

    def offset(self, clips: float = 1.0, among: int = 1) -> float:
        """Return the threshold offset: how much more LLR one of `among` candidates needs; 0 for one."""
        if among <= 1:
            return 0.0
        strangers, alone = self.calibration.impostors_of(clips), self._alone(clips)
        rate = strangers.rate(alone) if strangers is not None else 0.0
        if strangers is None or rate <= 0:
            return float(np.log(among))
        at_one = strangers.threshold(rate, beyond=True)  # `alone`, but for how the rate was rounded
        return max(0.0, strangers.threshold(rate / among, beyond=True) - max(at_one, alone))

    def _alone(self, clips: float) -> float:
        """Return the threshold for one claimed identity."""
        if self.far is None:
            return self.base
        strangers = self.calibration.impostors_of(clips)
        assert strangers is not None  # `rule` has looked
        return strangers.threshold(self.far, beyond=True)

    def probability(self, llr: float) -> float:
        """Return the posterior of "same speaker" for one claimed identity."""
        return float(np.exp(-np.logaddexp(0, -(llr + np.log(self.prior) - np.log1p(-self.prior)))))

    def bars(
        self, clips_K: np.ndarray, among: int, llr_K: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return `threshold` and `offset` (K,) of candidates worth `clips_K` clips.

        With the candidates' `llr_K`, the nearest of all that were searched, they say how near strangers come.
        """
        known: dict[int, tuple[float, float]] = {}
        found = np.empty((2, clips_K.size))
        for k, clips in enumerate(clips_K.tolist()):
            key = id(self.calibration.impostors_of(clips))  # all that clips decide here
            if key not in known:
                alone = self._alone(clips)
                extra = self.offset(clips, among)
                if llr_K is not None:
                    extra = min(extra, max(0.0, self._rivals(clips, llr_K) - alone))
                known[key] = alone + extra, extra
            found[:, k] = known[key]
        return found[0], found[1]

    def _rivals(self, clips: float, llr_K: np.ndarray) -> float:
        """Return the LLR that the best reaches no oftener than one stranger reaches the threshold alone."""
        strangers = self.calibration.impostors_of(clips)
        rate = strangers.rate(self._alone(clips)) if strangers is not None else 0.0
        others = np.sort(llr_K)[::-1][1 : NEIGHBOURS + 2]  # without the best
        if strangers is None or rate <= 0 or others.size <= FEW:
            return np.inf
        level, above = others[-1], others.size - 1
        count = above + GUESSES
        scale = (float(np.sum(others - level)) + GUESSES * strangers.tail) / count
        return float(level + count * scale * np.expm1(np.log(above / rate) / count))

    def posteriors(self, llr_N: np.ndarray, offset_N: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the posterior of each of N candidates (N,), and that of none of them; together 1.

        >>> zero = np.zeros(2)
        >>> own, none = Rule(Calibration(scale=1, offset=0), 0.5, 0.0).posteriors(zero, zero + np.log(2))
        >>> own.round(6).tolist(), round(none, 6)
        ([0.25, 0.25], 0.5)
        """
        if not llr_N.size:
            return llr_N.astype(np.float64), 1.0
        log_N = llr_N - offset_N + np.log(self.prior)
        nobody = np.log1p(-self.prior)
        total = np.logaddexp(np.logaddexp.reduce(log_N), nobody)
        return np.exp(log_N - total), float(np.exp(nobody - total))

    def describe(self, among: int = 1) -> str:
        """Return what the threshold stands for, in words."""
        people = f" among {among:,}" if among > 1 else ""
        if self.far is not None:
            return f"false-alarm rate {self.far:g}{people}"
        return f"prior {self.prior:g}{people}"


def rule(
    calibration: Calibration,
    *,
    prior: float | None = None,
    cost_miss: float | None = None,
    cost_false_alarm: float | None = None,
    far: float | None = None,
) -> Rule:
    """Return the rule for what was asked; what was not asked comes from the calibration (costs: 1 and 1).

    With `far` a `prior` only changes the probability that is shown. Raise BadConfig for values out of range
    or for costs together with `far`, BadScores for a rate that the calibration cannot support, NotCalibrated
    when it holds no impostor scores.

    >>> round(rule(Calibration(scale=1, offset=0), prior=0.01, cost_false_alarm=10).threshold(), 3)
    6.898
    """
    _check(prior, cost_miss, cost_false_alarm, far)
    known = calibration.prior if prior is None else float(prior)
    if far is not None:
        strangers = calibration.impostors
        if strangers is None:
            raise NotCalibrated(
                "the model's calibration does not hold how impostors scored, so no threshold can be given "
                "for a false-alarm rate. Calibrate it again (voxid calibrate), or state a prior and costs."
            )
        strangers.threshold(far)  # says what it supports
        return Rule(calibration, known, 0.0, float(far))
    if prior is None and cost_miss is None and cost_false_alarm is None:
        return Rule(calibration, known, calibration.threshold)
    costs = np.log(1.0 if cost_false_alarm is None else cost_false_alarm)
    costs -= np.log(1.0 if cost_miss is None else cost_miss)
    return Rule(calibration, known, float(costs + np.log1p(-known) - np.log(known)) + 0.0)


def decide(
    asked: Rule,
    llr: float,
    cosine: float,
    *,
    speech_s: tuple[float, float],
    net_speech_s: tuple[float, float],
    clips: float = 1.0,
    speaker: str | None = None,
    warnings: tuple[str, ...] = (),
) -> Decision:
    """Return the decision on one claimed identity, whose voiceprint is worth `clips` clips."""
    threshold = asked.threshold(clips)
    accepted = llr >= threshold
    side = "at or above" if accepted else "below"
    return Decision(
        accepted=accepted,
        llr=llr,
        probability=asked.probability(llr),
        cosine=cosine,
        threshold=threshold,
        speech_s=speech_s,
        reason=f"LLR {llr:.2f} is {side} the threshold {threshold:.2f} ({asked.describe()})",
        net_speech_s=net_speech_s,
        prior=asked.prior,
        speaker=speaker,
        warnings=warnings,
    )


def is_number(value: Any) -> bool:
    """Return whether this is a number, of Python or of numpy, and not its text.

    >>> is_number(0.01), is_number(np.float32(1)), is_number("0.01"), is_number(None)
    (True, True, False, False)
    """
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _check(
    prior: float | None, cost_miss: float | None, cost_false_alarm: float | None, far: float | None
) -> None:
    for name, share in (("prior", prior), ("far", far)):
        if share is not None and not (is_number(share) and 0 < share < 1):
            raise BadConfig(f"{name} is a share between 0 and 1, got {share!r}. For example 0.01.")
    for name, cost in (("cost_miss", cost_miss), ("cost_false_alarm", cost_false_alarm)):
        if cost is not None and not (is_number(cost) and 0 < cost < float("inf")):
            raise BadConfig(f"{name} is a number above 0, got {cost!r}. Only the ratio of both counts.")
    if far is not None and (cost_miss is not None or cost_false_alarm is not None):
        raise BadConfig(
            "far and costs are two ways to say where the threshold is; got both. Give far, or the costs."
        )

"""How sure a figure is, and whether one system is better than another: by drawing speakers again.

Trials are not independent: a voice that is hard to tell is hard in all of its trials. Ten times the trials of
the same speakers teach little about the next speaker, and an interval that resamples trials is far too
narrow. So speakers are resampled, and each draw takes whole speakers with all their trials (`resampling`).

This is the vertex bootstrap of Snijders & Borgatti (1999, "Non-parametric standard errors and tests for
network statistics") for statistics of pairs; without trials of a speaker with a second copy of the same
speaker, which would be neither target nor non-target trials. Bolle, Ratha & Pankanti (2004, "Error analysis
of pattern recognition systems: the subsets bootstrap") show the same need for biometric scores, and Owen
(2007, "The pigeonhole bootstrap") that such intervals err on the wide side.

# K trials, S speakers, R draws
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from voxid.errors import BadScores
from voxid.metrics.likelihood import cllr, min_cllr
from voxid.metrics.rates import (
    DCF_01,
    DCF_05,
    act_dcf,
    as_array,
    eer,
    finite,
    frr_at_far,
    min_dcf,
    same_speaker,
)
from voxid.metrics.resampling import FARS, draws, figures_of_draws, judged

FEWEST_SPEAKERS = 5  # below this the draws hardly differ; below some 20, intervals are still too narrow
MOST_UNUSABLE = 0.05  # of the draws may lack target or non-target trials, as when few speakers have any

Figure = Callable[[np.ndarray, np.ndarray], float]
OF_SCORES: dict[str, Figure] = {
    "eer": lambda scores, same: eer(scores, same).rate,
    "min_dcf": lambda scores, same: min_dcf(scores, same, *DCF_01),
    "min_dcf_05": lambda scores, same: min_dcf(scores, same, *DCF_05),
    "min_cllr": min_cllr,
    **{
        f"frr_at_far_{far:g}": lambda scores, same, far=far: frr_at_far(scores, same, far).frr for far in FARS
    },
}
OF_LLRS: dict[str, Figure] = {
    "act_dcf": lambda llrs, same: act_dcf(llrs, same, *DCF_01),
    "act_dcf_05": lambda llrs, same: act_dcf(llrs, same, *DCF_05),
    "cllr": cllr,
}


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure on all trials, and where it would lie in `level` of the draws of as many speakers.

    >>> Interval(value=0.05, low=0.03, high=0.08, level=0.95).low
    0.03
    """

    value: float
    low: float
    high: float
    level: float


@dataclass(frozen=True, slots=True)
class Paired:
    """Figure of A minus figure of B, its interval, and how surprising that is if neither were better.

    All these figures are costs: A is better where `difference` is negative. `p_value` is two-sided.

    >>> Paired(difference=-0.01, low=-0.02, high=-0.001, p_value=0.03).difference < 0  # A is better
    True
    """

    difference: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True, slots=True)
class DecisionRates:
    """What decisions came to: the share of strangers accepted, and of speakers refused.

    The rates are NaN where there is no trial of a kind; the intervals are None where no speakers were given.

    >>> decision_rates([True, False, True, False], [1, 1, 0, 0]).false_alarm
    0.5
    """

    false_alarm: float
    miss: float
    false_alarm_interval: Interval | None = None
    miss_interval: Interval | None = None


def decision_rates(
    accepted: ArrayLike,
    labels: ArrayLike,
    left_speaker_K: ArrayLike | None = None,
    right_speaker_K: ArrayLike | None = None,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> DecisionRates:
    """Return the error rates of decisions that were made, with intervals over speakers where those are given.

    `accepted` (K,) says for each trial whether it was accepted, `labels` and the speakers are as in
    `intervals`; so are draws and errors.

    >>> decision_rates([True, False, True, False], [1, 1, 0, 0])
    DecisionRates(false_alarm=0.5, miss=0.5, false_alarm_interval=None, miss_interval=None)
    """
    same_K = same_speaker(as_array(labels, "labels"))
    accepted_K = as_array(accepted, "decisions").astype(bool)
    wrong_K = accepted_K != same_K
    kinds = [~same_K, same_K]
    far, frr = (float(wrong_K[kind].mean()) if kind.any() else float("nan") for kind in kinds)
    if left_speaker_K is None or right_speaker_K is None:
        return DecisionRates(far, frr)
    _check_options(resamples, level)
    _, _, left_K, right_K, speakers = _check(
        accepted_K.astype(float), labels, left_speaker_K, right_speaker_K
    )
    times_SR = draws(speakers, resamples, seed)
    found: list[Interval | None] = []
    for kind, rate in zip(kinds, (far, frr), strict=True):
        pair_P, of_K = np.unique(
            left_K[kind].astype(np.int64) * speakers + right_K[kind], return_inverse=True
        )
        trials_P = np.bincount(of_K, minlength=pair_P.size)
        wrong_P = np.bincount(of_K, weights=wrong_K[kind], minlength=pair_P.size)
        a_P, b_P = np.divmod(pair_P, speakers)
        drawn_R = np.full(resamples, np.nan)
        for first in range(0, resamples, 64):
            part = slice(first, first + 64)
            times_PR = times_SR[a_P, part].astype(np.float32)
            times_PR *= np.where((a_P == b_P)[:, None], 1, times_SR[b_P, part])  # one speaker is drawn once
            with np.errstate(invalid="ignore"):
                drawn_R[part] = (wrong_P @ times_PR) / (trials_P @ times_PR)
        usable = bool(kind.any())
        found.append(Interval(rate, *_ends(_usable(drawn_R), rate, level), level) if usable else None)
    return DecisionRates(far, frr, found[0], found[1])


def intervals(
    scores: ArrayLike,
    labels: ArrayLike,
    left_speaker_K: ArrayLike,
    right_speaker_K: ArrayLike,
    *,
    llrs: ArrayLike | None = None,
    figures: Sequence[str] | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    threads: int | None = None,
) -> dict[str, Interval]:
    """Return figure -> interval, for eer, min_dcf (0.01), min_dcf_05, min_cllr, and what `llrs` add.

    The FRR at a FAR of 1, 0.1 and 0.01 % are among them too: frr_at_far_0.01, _0.001 and _0.0001.

    `llrs` (K,) are calibrated natural-log likelihood ratios of the same trials; they add act_dcf, act_dcf_05
    and cllr. `figures` names some of these, to spend no time on the others.

    Percentile intervals over `resamples` draws of the speakers; one that would miss the value itself is
    widened to hold it. Above 8,192 trials a draw sees the scores in some thousand groups (EER and minDCF to
    about 1/500 of themselves, far below what the draws differ by); `value` is always exact. Draws without
    target or without non-target trials are left out. One seed gives the same numbers on any number of
    threads.

    `scores` (K,) and `labels` (K,) as in `eer`; `left_speaker_K`, `right_speaker_K` (K,) name or number the
    speakers of each trial. Raise BadScores for what `eer` refuses, for labels that the speakers contradict,
    for an unknown figure, and for fewer than 5 speakers or too few speakers with target trials.

    >>> rng = np.random.default_rng(0)
    >>> left, right = rng.integers(0, 30, (2, 3000))
    >>> scores = rng.standard_normal(3000) + 2 * (left == right)
    >>> found = intervals(scores, left == right, left, right, resamples=200)["eer"]
    >>> found.low < 0.16 < found.high
    True
    """
    _check_options(resamples, level)
    score_K, same_K, left_K, right_K, speakers = _check(scores, labels, left_speaker_K, right_speaker_K)
    llr_K = None if llrs is None else _check_scores(llrs, same_K, "llrs")
    known = OF_SCORES if llr_K is None else OF_SCORES | OF_LLRS
    wanted = _wanted(figures, known)
    times_SR = draws(speakers, resamples, seed)
    system = judged(score_K, same_K, left_K, right_K, llr_K)
    result = {}
    for name, drawn_R in figures_of_draws(system, times_SR, wanted, threads).items():
        judged_K = score_K if name in OF_SCORES or llr_K is None else llr_K
        value = known[name](judged_K, same_K)
        result[name] = Interval(value, *_ends(_usable(drawn_R), value, level), level)
    return result


def paired(
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    labels: ArrayLike,
    left_speaker_K: ArrayLike,
    right_speaker_K: ArrayLike,
    *,
    figures: Sequence[str] | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    threads: int | None = None,
) -> dict[str, Paired]:
    """Return, for eer, min_dcf, min_dcf_05 and min_cllr, how A differs from B on the same trials.

    Both systems see the same draws of speakers, so what makes a draw hard for both cancels out. Their scores
    may be on different scales. The p-value is twice the share of draws on the rarer side of no difference,
    counting the trials as given as one more draw: from 2 / (resamples + 1), never 0, to 1. It fits the
    interval: below 1 - level where 0 lies outside.

    Arguments and errors as for `intervals`.

    >>> rng = np.random.default_rng(0)
    >>> left, right = rng.integers(0, 30, (2, 3000))
    >>> noise = rng.standard_normal(3000)
    >>> a, b = noise + 4 * (left == right), noise + (left == right)
    >>> found = paired(a, b, left == right, left, right, resamples=200)["eer"]
    >>> found.high < 0, found.p_value < 0.05
    (True, True)
    """
    _check_options(resamples, level)
    a_K, same_K, left_K, right_K, speakers = _check(scores_a, labels, left_speaker_K, right_speaker_K)
    b_K = _check_scores(scores_b, same_K, "scores of the second system")
    wanted = _wanted(figures, OF_SCORES)
    times_SR = draws(speakers, resamples, seed)
    found_a, found_b = (
        figures_of_draws(judged(score_K, same_K, left_K, right_K), times_SR, wanted, threads)
        for score_K in (a_K, b_K)
    )
    result = {}
    for name in wanted:
        difference = OF_SCORES[name](a_K, same_K) - OF_SCORES[name](b_K, same_K)
        drawn_R = _usable(found_a[name] - found_b[name])
        rarer = int(min(np.count_nonzero(drawn_R <= 0), np.count_nonzero(drawn_R >= 0)))
        p_value = min(1.0, 2 * (rarer + 1) / (drawn_R.size + 1))
        result[name] = Paired(difference, *_ends(drawn_R, difference, level), p_value)
    return result


def _wanted(figures: Sequence[str] | None, known: dict[str, Figure]) -> Sequence[str]:
    if figures is None:
        return list(known)
    if unknown := sorted(set(figures) - set(known)):
        needs = " Those need calibrated llrs." if set(unknown) <= set(OF_LLRS) else ""
        raise BadScores(f"no interval for {', '.join(unknown)}. Known here: {', '.join(known)}.{needs}")
    return figures


def _ends(drawn_R: np.ndarray, value: float, level: float) -> tuple[float, float]:
    low, high = np.quantile(drawn_R, ((1 - level) / 2, (1 + level) / 2))
    return min(float(low), value), max(float(high), value)


def _usable(drawn_R: np.ndarray) -> np.ndarray:
    """Return the draws that had trials of both kinds; raise BadScores when too many had not."""
    usable_R = drawn_R[np.isfinite(drawn_R)]
    lost = drawn_R.size - usable_R.size
    if lost > MOST_UNUSABLE * drawn_R.size:
        raise BadScores(
            f"{lost} of {drawn_R.size} draws of speakers have no target or no non-target trials: too few "
            "speakers have any, so nothing can be said about others. Add trials of more speakers."
        )
    return usable_R


def _check_options(resamples: int, level: float) -> None:
    if not 0 < level < 1:
        raise BadScores(f"the level of an interval lies between 0 and 1, got {level!r}. 0.95 is usual.")
    fewest = int(np.ceil(2 / (1 - level) - 1e-9))
    if resamples < fewest:
        raise BadScores(
            f"an interval of level {level:g} needs at least {fewest} draws, got {resamples}. 1,000 are usual."
        )


def _check_scores(scores: ArrayLike, same_K: np.ndarray, what: str) -> np.ndarray:
    score_K = as_array(scores, what)
    if score_K.shape != same_K.shape:
        raise BadScores(f"{what} and labels are lists of one length, got {score_K.shape} and {same_K.shape}.")
    return finite(score_K)


def _check(
    scores: ArrayLike, labels: ArrayLike, left: ArrayLike, right: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
    """Return (scores, same speaker, left and right as numbers from 0, how many speakers)."""
    same_K = same_speaker(as_array(labels, "labels"))
    if same_K.ndim != 1:
        raise BadScores(f"labels are a list, got an array of shape {same_K.shape}. Give one for each score.")
    score_K = _check_scores(scores, same_K, "scores")
    left_K, right_K, speakers = _numbered(as_array(left, "speakers"), as_array(right, "speakers"), same_K)
    wrong = int(np.count_nonzero((left_K == right_K) != same_K))
    if wrong:
        raise BadScores(
            f"{wrong} of {same_K.size} labels contradict the speakers: a target trial has one speaker on "
            "both sides, a non-target trial two. Look for a mix-up of columns or of names."
        )
    if speakers < FEWEST_SPEAKERS:
        raise BadScores(
            f"an interval over speakers needs at least {FEWEST_SPEAKERS} of them, got {speakers}: so few say "
            "nothing about others. Add trials of more speakers, or do without intervals."
        )
    return score_K, same_K, left_K, right_K, speakers


def _numbered(left: np.ndarray, right: np.ndarray, same_K: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the speakers that occur as int32 numbers from 0, and how many there are."""
    if left.shape != same_K.shape or right.shape != same_K.shape:
        raise BadScores(
            f"each trial has two speakers, got shapes {left.shape} and {right.shape} for "
            f"{same_K.size} trials. Give a speaker for each side of each trial."
        )
    if left.dtype.kind in "iu" and right.dtype.kind in "iu" and same_K.size:
        low, high = min(left.min(), right.min()), max(left.max(), right.max())
        if low >= 0 and high <= 4 * same_K.size + 1_000_000:  # small numbers need no sorting
            occurs = np.zeros(int(high) + 1, bool)
            occurs[left] = occurs[right] = True
            number = np.cumsum(occurs, dtype=np.int32) - 1
            return number[left], number[right], int(occurs.sum())
    try:
        names, number = np.unique(np.concatenate((left, right)), return_inverse=True)
    except TypeError as error:
        raise BadScores(f"speakers are all names or all numbers, got a mixture: {error}") from error
    number = number.astype(np.int32)
    return number[: left.size], number[left.size :], names.size

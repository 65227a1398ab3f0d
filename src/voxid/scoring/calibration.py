"""Cosine -> natural-log likelihood ratio, by logistic regression on trials whose truth is known.

Beside the cosine, a calibration may weigh how good the two recordings are: the same cosine says more of two
long, clear recordings than of two short ones. And a voiceprint of n clips scores higher and surer than one
clip: the mean of n embeddings points more truly at its speaker, so its cosines with that speaker rise, and
those with strangers gather. A calibration therefore keeps, for a few n, a second line, fitted on the same
speakers: LLR of n clips = gain * (LLR of one) + shift. `voxid.scoring.evidence` puts all of it together.

# K trials
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from pydantic import AliasChoices, Field

from voxid.config import Config
from voxid.errors import BadScores
from voxid.metrics.rates import checked, finite, need_both
from voxid.scoring.cohort import CohortInfo
from voxid.scoring.impostors import Finite, Impostors
from voxid.scoring.logistic import Predictor, fit_logistic

# Weight of the squared slope (for scores of unit variance) beside the mean loss. Without it, trials that a
# threshold separates perfectly would drive the slope to infinity; with it, other trials hardly notice.
RIDGE = 1e-6
# The same for qualities. They help a little or not at all, and trials share speakers, so what few of them
# seem to say is worth less than their number: a useless quality has to stay near a weight of 0.
QUALITY_RIDGE = 1e-3

# Each measure of a side of a trial, and the numbers of a trial that are made of both sides.
MEASURES: dict[str, tuple[str, ...]] = {
    "speech": ("speech_min", "speech_max"),  # log of the seconds of net speech
    "norm": ("norm_min", "norm_max"),  # log of the length of the raw embedding
    "cohort_mean": ("cohort_mean",),  # how near to the cohort; the mean of both sides
}
FEW_PAIRS = 100  # of two speakers in a corpus: fewer weigh less than a whole corpus does
COUNTS = (2, 3, 5, 8)  # clips that lines are fitted for, where the speakers have them

# How strongly the slope and the shift of a calibration that goes on are held, as squared distances beside the
# mean loss, for one speaker; for n of them by an n-th (docs/log.md).
SLOPE_HELD, SHIFT_HELD = 2.0, 0.125
_WRONG_WAY = (
    "in these trials a higher score does not mean the same speaker, so no calibration helps: check the "
    "labels, and the model's EER."
)

Value = TypeVar("Value", float, np.ndarray)


class CalibrationSet(Config):
    """Where a calibration comes from: the corpus, its fingerprint, and the trials made of it.

    >>> voxid.load("voxid-base").model.calibration.fitted_on.speakers > 50
    True
    """

    name: str
    fingerprint: str = ""
    utterances: int = 0
    speakers: int = 0
    targets: int = 0
    nontargets: int = 0


class QualityTerm(Config):
    """What one quality of a trial adds to its LLR: weight * (value - mean) / spread.

    Beyond `low` and `high`, the least and the most that the calibration saw, nothing more is added: a
    calibration on recordings of 2 to 10 seconds knows nothing of half a second, and does not guess.

    >>> [term.name for term in voxid.load("voxid-base").model.calibration.qualities]
    ['cohort_mean']
    """

    name: str
    weight: Finite
    mean: Finite
    spread: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    low: Finite
    high: Finite

    def of(self, value: Any) -> Any:
        """Return what `value` (a number or an array) adds to the LLR; it is an array's dtype that stays.

        >>> term = QualityTerm(name="speech_min", weight=2.0, mean=1.0, spread=0.5, low=0.0, high=2.0)
        >>> term.of(np.array([1.5, 9.0]))
        array([2., 4.])
        """
        inside = np.clip(value, self.low, self.high)
        return (inside - self.mean) * (self.weight / self.spread)


class EnrollmentTerm(Config):
    """The line for voiceprints of `clips` clips, and how strangers score against them.

    >>> [term.clips for term in voxid.load("voxid-base").model.calibration.enrollments][:2]
    [2.0, 3.0]
    """

    clips: Annotated[float, Field(ge=1)]
    gain: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    shift: Finite
    impostors: Impostors | None = None


def line_for(terms: Sequence[EnrollmentTerm], clips: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return (gain, shift) for voiceprints of `clips` clips, in its shape; 1 and 0 for one clip.

    Between two terms the line changes with 1/n, as the variance of a mean does; beyond the last it stays.

    >>> gain, shift = line_for([EnrollmentTerm(clips=2, gain=2.0, shift=-1.0)], [1, 2, 9])
    >>> gain.tolist(), shift.tolist()
    ([1.0, 2.0, 2.0], [0.0, -1.0, -1.0])
    """
    known = [(1.0, 1.0, 0.0), *((term.clips, term.gain, term.shift) for term in terms)]
    at, gains, shifts = (np.array(column) for column in zip(*sorted(known), strict=True))
    place = -1.0 / np.maximum(np.asarray(clips, dtype=np.float64), 1.0)
    return np.interp(place, -1.0 / at, gains), np.interp(place, -1.0 / at, shifts)


def nearest_term(terms: Sequence[EnrollmentTerm], clips: float) -> EnrollmentTerm | None:
    """Return the term whose 1/n is nearest to that of `clips`, None when that is one clip's."""
    near = min(terms, key=lambda term: (abs(1 / term.clips - 1 / clips), term.clips), default=None)
    return None if near is None or abs(1 / near.clips - 1 / clips) >= abs(1 - 1 / clips) else near


class Calibration(Config):
    """The straight line from a cosine to a log-likelihood ratio, and the LLR to accept from.

    >>> calibration = Calibration(scale=20.0, offset=-15.0)
    >>> round(calibration.llr(0.9), 6)
    3.0
    """

    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    offset: Finite
    prior: Annotated[float, Field(gt=0, lt=1)] = 0.5  # of "same speaker", before anything was heard
    threshold: Finite = 0.0  # LLR: accept from here
    fitted_on: CalibrationSet | None = None
    model: str = ""  # fingerprint of the model whose cosines these are; "" when not known
    qualities: tuple[QualityTerm, ...] = ()
    cohort: CohortInfo | None = None  # that the quality "cohort_mean" was measured with
    impostors: Impostors | None = None  # how strangers scored, one clip against one
    enrollments: tuple[EnrollmentTerm, ...] = Field(  # for voiceprints of several clips
        default=(),
        validation_alias=AliasChoices("enrollments", "enrolments"),  # 0.1.0 spelt it so
    )
    start: Calibration | None = None  # what this one went on from, with speakers of its own

    @property
    def measures(self) -> tuple[str, ...]:
        """The measures of an utterance that `llr` needs: what to ask `evidence.qualities` for."""
        names = {term.name for term in self.qualities}
        return tuple(measure for measure, made in MEASURES.items() if names.intersection(made))

    def fits(self, fingerprint: str) -> bool:
        """Return whether this calibration is for the cosines of the model with that fingerprint.

        >>> model.model.calibration.fits(model.fingerprint)
        True
        """
        return self.model in ("", fingerprint)

    def llr(self, cosine: Value, qualities: Mapping[str, Any] | None = None) -> Value:
        """Return a natural-log likelihood ratio for each cosine: scale * cosine + offset + its qualities.

        `qualities` holds, by name, a number for each cosine (`evidence.qualities` makes them); those that
        this calibration does not know are not looked at. Raise BadScores when one it needs is missing, not
        finite or of another length.
        """
        llr = self.scale * cosine + self.offset
        for term in self.qualities:
            llr = llr + term.of(_quality(term.name, qualities, np.shape(cosine)))
        return llr if isinstance(llr, np.ndarray) else float(llr)  # type: ignore[return-value]

    def enrolled_llr(self, llr: ArrayLike, clips: ArrayLike) -> np.ndarray:
        """Return the LLR against voiceprints worth `clips` clips, from what `llr` gave for their means.

        Unchanged for one clip, and where the calibration holds no lines for several.

        >>> Calibration(scale=20.0, offset=-15.0).enrolled_llr([3.0], [1.0]).tolist()
        [3.0]
        """
        gain, shift = line_for(self.enrollments, clips)
        return gain * np.asarray(llr, dtype=np.float64) + shift

    def impostors_of(self, clips: float) -> Impostors | None:
        """Return how strangers score against voiceprints worth about `clips` clips; None if not known.

        >>> model.model.calibration.impostors_of(3.0).threshold(0.01) > 0
        True
        """
        term = nearest_term(self.enrollments, clips)
        return term.impostors if term is not None and term.impostors is not None else self.impostors

    def onward(
        self,
        llrs: ArrayLike,
        labels: ArrayLike,
        prior: float | None = None,
        *,
        pairs: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        fitted_on: CalibrationSet | None = None,
    ) -> Calibration:
        """Return this calibration moved towards trials of other people, whose LLRs it gave, (K,) each.

        The LLRs get a slope and a shift, by the regression of `fit`, that are held near 1 and 0: as strongly
        as if this calibration had seen speakers of its own, so that few new ones move it little and many
        move it where they want it. How strangers score is mixed likewise from what it holds and what is new.
        `pairs` number the pair of speakers of each trial, (K,): how many there are says what is new.

        Raise BadScores as `fit` does.

        >>> before = Calibration(scale=20.0, offset=-15.0, prior=0.05)
        >>> llrs = np.r_[np.full(60, 4.0), np.full(60, -4.0)] + np.arange(120) % 7
        >>> before.onward(llrs, np.arange(120) < 60).prior
        0.05
        """
        prior = self.prior if prior is None else prior
        llr_K, label_K = _trials(llrs, labels, prior)
        pair_K = np.arange(llr_K.size) if pairs is None else np.asarray(pairs)
        weight_K = even_weights(np.zeros(llr_K.size) if groups is None else groups, label_K, pair_K)
        speakers = np.unique(pair_K[label_K]).size
        column = Predictor(llr_K, 0.0, 1.0, SLOPE_HELD / speakers, center=1.0)
        gain, shift = fit_logistic(
            [column], label_K, prior, _log_odds(prior), weight_K=weight_K, ridge=SHIFT_HELD / speakers
        ).tolist()
        if gain <= 0:
            raise BadScores(_WRONG_WAY)
        other_K = ~label_K
        strangers = self.impostors and self.impostors.joined(
            gain * llr_K[other_K] + shift, pair_K[other_K], weight_K[other_K]
        )
        return self.model_copy(
            update={
                "scale": gain * self.scale,
                "offset": gain * self.offset + shift,
                "qualities": tuple(
                    term.model_copy(update={"weight": gain * term.weight}) for term in self.qualities
                ),
                "prior": prior,
                "threshold": -_log_odds(prior) + 0.0,
                "impostors": strangers,
                "enrollments": tuple(
                    self._term_onward(term, gain, shift, strangers) for term in self.enrollments
                ),
                "fitted_on": fitted_on,
                "start": self,
            }
        )

    def _term_onward(
        self, term: EnrollmentTerm, gain: float, shift: float, strangers: Impostors | None
    ) -> EnrollmentTerm:
        """Return the term that says of moved LLRs what `term` said of them, moved."""
        known = term.impostors
        if known is not None and self.impostors is not None and strangers is not None:
            known = known.moved(self.impostors, strangers)
        moved = gain * term.shift + shift * (1 - term.gain)
        return term.model_copy(update={"shift": moved, "impostors": known})

    def probability(self, llr: float) -> float:
        """Return the posterior probability of "same speaker" at `prior`, 0 to 1.

        >>> Calibration(scale=1.0, offset=0.0, prior=0.5).probability(0.0)
        0.5
        """
        return float(np.exp(-np.logaddexp(0, -(llr + _log_odds(self.prior)))))


def fit(
    scores: ArrayLike,
    labels: ArrayLike,
    prior: float = 0.5,
    *,
    qualities: Mapping[str, ArrayLike] | None = None,
    cohort: CohortInfo | None = None,
    fitted_on: CalibrationSet | None = None,
    model: str = "",
    pairs: ArrayLike | None = None,
    groups: ArrayLike | None = None,
) -> Calibration:
    """Return the calibration that makes `scores` (K,) log-likelihood ratios, given the truth `labels` (K,).

    Logistic regression in which the target trials weigh `prior` together and the non-target trials the rest
    (Brümmer & du Preez 2006), so the share of target trials in the set does not matter. Newton's method with
    a very small ridge on the slope, which also makes separable trials come out finite. The threshold is the
    LLR at which, under `prior`, both errors cost the same: log((1 - prior) / prior), 0 for a prior of 0.5.

    `qualities` are further numbers for each trial by name, (K,) each, as `evidence.qualities` returns them;
    one that is the same in all trials gets the weight 0. `cohort` says what "cohort_mean" was measured with.
    `pairs` (K,) numbers the pair of speakers of each trial: the smallest false-alarm rate that the
    calibration can be asked for (`impostors.least`) rests on how many different ones there are. `groups` (K,)
    numbers the corpus of each trial: each corpus then weighs the same, however many trials it has.

    Raise BadScores when one class is missing, the scores or qualities are not finite or the scores all
    equal, `prior` is not between 0 and 1, or higher scores do not mean the same speaker.

    >>> line = fit([0.9, 0.7, 0.6, 0.65, 0.2, 0.1], [1, 1, 1, 0, 0, 0])
    >>> line.llr(0.9) > 0 > line.llr(0.1)
    True
    """
    score_K, label_K = _trials(scores, labels, prior)
    score = Predictor.of(score_K, RIDGE)
    if score.constant:
        raise BadScores(
            f"all {score_K.size} scores are the same ({score.mean:.6g}): there is nothing to calibrate."
        )
    named = {name: _quality(name, qualities, score_K.shape) for name in qualities or {}}
    others = [Predictor.of(finite(value), QUALITY_RIDGE) for value in named.values()]
    weight_K = None if groups is None else even_weights(groups, label_K, pairs)
    slope, *weights, intercept = fit_logistic(
        [score, *others], label_K, prior, _log_odds(prior), weight_K=weight_K
    ).tolist()
    if slope <= 0:
        raise BadScores(_WRONG_WAY)
    fitted = Calibration(
        scale=slope / score.spread,
        offset=intercept - slope * score.mean / score.spread,
        prior=prior,
        threshold=-_log_odds(prior) + 0.0,  # + 0.0 turns -0.0 into 0.0
        fitted_on=fitted_on,
        model=model,
        qualities=tuple(map(_term, named, weights, others)),
        cohort=cohort,
    )
    llr_K = fitted.llr(score_K.astype(np.float64), named)
    strangers = Impostors.of(
        llr_K[~label_K],
        None if pairs is None else np.asarray(pairs)[~label_K],
        None if weight_K is None else weight_K[~label_K],
    )
    return fitted.model_copy(update={"impostors": strangers})


def even_weights(group_K: ArrayLike, label_K: np.ndarray, pair_K: ArrayLike | None = None) -> np.ndarray:
    """Return what each trial counts, (K,) float32, so that each group weighs the same in either class.

    A group of fewer than FEW_PAIRS different pairs of two speakers (`pair_K` numbers them; None: each trial
    is one) weighs less, by as many as it lacks: what three people have in common is no corpus. One speaker
    alone, who is in no such pair, weighs as one pair does.

    >>> label_K = np.array([False, False, False, True])
    >>> even_weights([0, 0, 1, 1], label_K).round(4).tolist()
    [0.009999999776482582, 0.009999999776482582, 0.009999999776482582, 0.009999999776482582]
    """
    group, number_K = np.unique(np.asarray(group_K), return_inverse=True)
    pairs = np.arange(number_K.size) if pair_K is None else np.unique(pair_K, return_inverse=True)[1]
    seen = np.unique(np.stack([number_K, pairs])[:, ~label_K], axis=1)[0]
    weight_G = np.clip(np.bincount(seen, minlength=group.size), 1, FEW_PAIRS) / FEW_PAIRS
    key_K = 2 * number_K + label_K
    return (weight_G[number_K] / np.bincount(key_K)[key_K]).astype(np.float32)


def _term(name: str, weight: float, column: Predictor) -> QualityTerm:
    return QualityTerm(
        name=name,
        weight=0.0 if column.constant else weight,
        mean=column.mean,
        spread=column.spread,
        low=float(column.value_K.min()),
        high=float(column.value_K.max()),
    )


def _quality(name: str, qualities: Mapping[str, Any] | None, shape: tuple[int, ...]) -> np.ndarray:
    """Return one quality of all trials, checked."""
    if qualities is None or name not in qualities:
        raise BadScores(
            f"this calibration needs the quality {name!r} of each trial, got "
            f"{', '.join(qualities) if qualities else 'none'}. Make them with voxid.scoring.qualities, "
            "from the measures that calibration.measures names."
        )
    values = np.asarray(qualities[name])
    if values.shape != shape:
        raise BadScores(f"the quality {name!r} has shape {values.shape}, the scores have {shape}.")
    if not np.isfinite(values).all():
        raise BadScores(f"the quality {name!r} of some trials is NaN or infinite: look at its recordings.")
    return values


def _trials(scores: ArrayLike, labels: ArrayLike, prior: float) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and booleans (K,) that a line can be fitted to; raise BadScores."""
    if not 0 < prior < 1:
        raise BadScores(f"a prior is a probability between 0 and 1, got {prior!r}. The usual choice is 0.5.")
    score_K, label_K = checked(scores, labels)
    need_both(int(np.count_nonzero(label_K)), label_K.size)
    return score_K, label_K


def _log_odds(prior: float) -> float:
    return float(np.log(prior) - np.log1p(-prior))

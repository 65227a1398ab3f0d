"""Cosine -> natural-log likelihood ratio, by logistic regression on trials whose truth is known.

# K trials
"""

from __future__ import annotations

from typing import Annotated, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field

from voxid.config import Config
from voxid.errors import BadScores

# Weight of the squared slope (for scores of unit variance) beside the mean loss. Without it, trials that a
# threshold separates perfectly would drive the slope to infinity; with it, other trials hardly notice.
RIDGE = 1e-6
STEPS = 100

Value = TypeVar("Value", float, np.ndarray)


class CalibrationSet(Config):
    """Where a calibration comes from: the corpus, its fingerprint, and the trials made of it."""

    name: str
    fingerprint: str = ""
    utterances: int = 0
    speakers: int = 0
    targets: int = 0
    nontargets: int = 0


class Calibration(Config):
    """The straight line from a cosine to a log-likelihood ratio, and the LLR to accept from.

    >>> calibration = Calibration(scale=20.0, offset=-15.0)
    >>> round(calibration.llr(0.9), 6)
    3.0
    """

    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    offset: Annotated[float, Field(allow_inf_nan=False)]
    prior: Annotated[float, Field(gt=0, lt=1)] = 0.5  # of "same speaker", before anything was heard
    threshold: Annotated[float, Field(allow_inf_nan=False)] = 0.0  # LLR: accept from here
    fitted_on: CalibrationSet | None = None
    model: str = ""  # fingerprint of the model whose cosines these are; "" when not known

    def fits(self, fingerprint: str) -> bool:
        """Return whether this calibration is for the cosines of the model with that fingerprint."""
        return self.model in ("", fingerprint)

    def llr(self, cosine: Value) -> Value:
        """Return scale * cosine + offset: a natural-log likelihood ratio for each cosine."""
        return self.scale * cosine + self.offset

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
    fitted_on: CalibrationSet | None = None,
    model: str = "",
) -> Calibration:
    """Return the calibration that makes `scores` (K,) log-likelihood ratios, given the truth `labels` (K,).

    Logistic regression in which the target trials weigh `prior` together and the non-target trials the rest
    (Brümmer & du Preez 2006), so the share of target trials in the set does not matter. Newton's method with
    a very small ridge on the slope, which also makes separable trials come out finite. The threshold is the
    LLR at which, under `prior`, both errors cost the same: log((1 - prior) / prior), 0 for a prior of 0.5.

    Raise BadScores when one class is missing, the scores are not finite or all equal, `prior` is not between
    0 and 1, or higher scores do not mean the same speaker.

    >>> line = fit([0.9, 0.7, 0.6, 0.65, 0.2, 0.1], [1, 1, 1, 0, 0, 0])
    >>> line.llr(0.9) > 0 > line.llr(0.1)
    True
    """
    score_K, label_K = np.asarray(scores, dtype=np.float64), np.asarray(labels).astype(bool)
    _check(score_K, label_K, prior)
    mean, spread = score_K.mean(), score_K.std()
    if spread <= 1e-12 * max(1.0, abs(mean)):
        raise BadScores(
            f"all {score_K.size} scores are the same ({mean:.6g}): there is nothing to calibrate."
        )
    weight_K = np.where(label_K, prior / label_K.sum(), (1 - prior) / (~label_K).sum())
    slope, intercept = _newton((score_K - mean) / spread, label_K, weight_K, _log_odds(prior))
    if slope <= 0:
        raise BadScores(
            "in these trials a higher score does not mean the same speaker, so no calibration helps: "
            "check the labels, and the model's EER."
        )
    return Calibration(
        scale=slope / spread,
        offset=intercept - slope * mean / spread,
        prior=prior,
        threshold=-_log_odds(prior) + 0.0,  # + 0.0 turns -0.0 into 0.0
        fitted_on=fitted_on,
        model=model,
    )


def _newton(x_K: np.ndarray, label_K: np.ndarray, weight_K: np.ndarray, shift: float) -> tuple[float, float]:
    """Return (slope, intercept) of the weighted, slightly ridged logistic regression of `label` on `x`.

    `shift` is the prior's log odds, added inside so that slope * x + intercept is a likelihood ratio.
    """
    sign_K = np.where(label_K, 1.0, -1.0)
    design_K2 = np.stack((x_K, np.ones_like(x_K)), axis=1)
    ridge_2 = np.array([RIDGE, 0.0])

    def loss(line_2: np.ndarray) -> float:
        margin_K = sign_K * (design_K2 @ line_2 + shift)
        return float(weight_K @ np.logaddexp(0, -margin_K) + 0.5 * ridge_2 @ line_2**2)

    line_2 = np.zeros(2)
    best = loss(line_2)
    for _ in range(STEPS):
        miss_K = np.exp(-np.logaddexp(0, sign_K * (design_K2 @ line_2 + shift)))  # P(the wrong answer)
        gradient_2 = -design_K2.T @ (weight_K * sign_K * miss_K) + ridge_2 * line_2
        curvature_K = weight_K * miss_K * (1 - miss_K)
        hessian_22 = (design_K2 * curvature_K[:, None]).T @ design_K2 + np.diag(ridge_2)
        step_2 = np.linalg.lstsq(hessian_22, gradient_2, rcond=None)[0]
        size = 1.0
        while loss(line_2 - size * step_2) > best and size > 1e-10:  # a full step may overshoot at first
            size /= 2
        line_2 = line_2 - size * step_2
        now = loss(line_2)
        if best - now <= 1e-14 * max(1.0, best):
            break
        best = now
    return float(line_2[0]), float(line_2[1])


def _check(score_K: np.ndarray, label_K: np.ndarray, prior: float) -> None:
    if not 0 < prior < 1:
        raise BadScores(f"a prior is a probability between 0 and 1, got {prior!r}. The usual choice is 0.5.")
    if score_K.ndim != 1 or score_K.shape != label_K.shape:
        raise BadScores(
            f"scores and labels are lists of one length, got shapes {score_K.shape} and {label_K.shape}."
        )
    if not np.isfinite(score_K).all():
        raise BadScores("some scores are NaN or infinite: find out which embeddings made them.")
    if label_K.all() or not label_K.any():
        raise BadScores(
            f"a calibration needs trials of both kinds, got {int(label_K.sum())} target and "
            f"{int((~label_K).sum())} non-target trials."
        )


def _log_odds(prior: float) -> float:
    return float(np.log(prior) - np.log1p(-prior))

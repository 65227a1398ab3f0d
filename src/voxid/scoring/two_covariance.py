"""The two-covariance model of embeddings, fitted by expectation-maximisation, and its likelihood ratios.

An utterance of a speaker is x = y + e: the speaker's point y ~ N(mean, between) and what differs from one
utterance to the next, e ~ N(0, within), independent (Brümmer & de Villiers, "The speaker partitioning
problem", Odyssey 2010; Sizov, Lee & Kinnunen, "Unifying probabilistic linear discriminant analysis variants
in biometric authentication", 2014).

There is always a basis in which `within` is the identity and `between` is diagonal. In it all of this, the
likelihood ratios and both steps of EM, is arithmetic on vectors: no inverse for each number of utterances.

# S speakers, N, M utterances or sets of them, D dimensions
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from voxid.errors import BadCohort
from voxid.scoring.scorers import Sides

LOG_2PI = float(np.log(2 * np.pi))


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """All that EM needs of a training set: each speaker's count and mean, and the scatter about the means.

    `scatter_DD` is the sum over all utterances of (x - mean of its speaker)(x - mean of its speaker)'.
    """

    count_S: np.ndarray
    mean_SD: np.ndarray
    scatter_DD: np.ndarray

    @classmethod
    def of(cls, x_ND: np.ndarray, speaker_N: np.ndarray) -> Moments:
        """Return the moments of float64 rows whose speakers are numbered 0, 1, 2, ..."""
        order = np.argsort(speaker_N, kind="stable")
        starts = np.flatnonzero(np.diff(speaker_N[order], prepend=-1))
        count_S = np.diff(np.append(starts, len(x_ND))).astype(np.float64)
        mean_SD = np.add.reduceat(x_ND[order], starts, axis=0) / count_S[:, None]
        rest_ND = x_ND - mean_SD[speaker_N]
        return cls(count_S, mean_SD, rest_ND.T @ rest_ND)

    @property
    def freedom(self) -> float:
        """How many utterances there are beyond one for each speaker: what `within` is known from."""
        return float(self.count_S.sum() - self.count_S.size)

    def times(self, basis_DD: np.ndarray) -> Moments:
        """Return the moments of x @ basis."""
        return Moments(self.count_S, self.mean_SD @ basis_DD, basis_DD.T @ self.scatter_DD @ basis_DD)


@dataclass(frozen=True, slots=True, eq=False)
class TwoCovariance:
    """The model: `mean_D`, `between_DD` and `within_DD`; everything in it is float64."""

    mean_D: np.ndarray
    between_DD: np.ndarray
    within_DD: np.ndarray

    def diagonal(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (basis_DD, between_D): in x @ basis, `within` is the identity and `between` diagonal.

        Raise BadCohort when `within` is singular.
        """
        basis_DD, b_D = joint_basis(self.between_DD, self.within_DD)
        return basis_DD, np.maximum(b_D, 0.0)  # rounding may leave -1e-17

    def sides(self, x_ND: np.ndarray) -> Sides:
        """Return the utterances made ready: the score of two sides is their natural-log likelihood ratio.

        log p(a, b | one speaker) - log p(a | some speaker) - log p(b | some speaker). With b the variance
        between speakers in the joint basis, each dimension adds
        x_a x_b b / (1 + 2b) - (x_a^2 + x_b^2) b^2 / (2 (1 + b)(1 + 2b)) + log(1 + b) - log(1 + 2b) / 2.
        """
        basis_DD, b_D = self.diagonal()
        z_ND = (x_ND - self.mean_D) @ basis_DD
        each_D = -0.5 * b_D**2 / ((1 + b_D) * (1 + 2 * b_D))
        both = float(np.sum(np.log1p(b_D) - 0.5 * np.log1p(2 * b_D)))
        rows_ND = (z_ND * np.sqrt(b_D / (1 + 2 * b_D))).astype(np.float32)
        return Sides(rows_ND, np.full(len(x_ND), 0.5), z_ND**2 @ each_D + 0.5 * both, unit=False)


def log_likelihood(data: Moments, mean_D: np.ndarray, b_D: np.ndarray, basis_DD: np.ndarray) -> float:
    """Return the log likelihood of `data`, which is given in the joint basis, in the units it came in.

    The mean of n utterances is N(mean, b + 1/n); what is left of the n - 1 others is N(0, 1), and turning n
    utterances into their mean and the rest stretches space by n^(1/2) a dimension.
    """
    count_S1 = data.count_S[:, None]
    variance_SD = b_D + 1 / count_S1
    means = np.sum(np.log(variance_SD) + (data.mean_SD - mean_D) ** 2 / variance_SD + np.log(count_S1))
    total = data.count_S.sum()
    constants = total * mean_D.size * LOG_2PI - 2 * total * np.linalg.slogdet(basis_DD)[1]
    return -0.5 * float(means + np.trace(data.scatter_DD) + constants)


def fit_two_covariance(
    data: Moments, prior_weight: float, prior_variance: float, steps: int
) -> TwoCovariance:
    """Return the model after at most `steps` steps of EM, which begin at the closed-form moments.

    EM gives the maximum likelihood also where speakers have different numbers of utterances; the closed form
    does not. `prior_weight` imaginary utterances with the covariance `prior_variance` times the identity
    are added to what `within` is computed from: with 0 it is plain maximum likelihood. Raise BadCohort when
    `within` is singular.
    """
    model = from_moments(data, prior_weight, prior_variance)
    prior_DD = prior_weight * prior_variance * np.eye(model.mean_D.size)
    before = -np.inf
    for _ in range(steps):
        model, likelihood = _em_step(model, data, prior_DD, prior_weight)
        if likelihood - before <= 1e-7 * data.count_S.sum():  # nats an utterance: nothing a score would show
            break
        before = likelihood
    return model


def from_moments(data: Moments, prior_weight: float, prior_variance: float) -> TwoCovariance:
    """Return the closed-form estimate: scatter about the speakers' means, and what the means vary beyond it.

    The variance between speakers of an analysis of variance with unequal counts (Searle, Casella &
    McCulloch, "Variance components", 1992). It may come out negative in directions where the speakers do not
    differ; there it is set to a hundredth of `within`, from where EM can still move either way.
    """
    dim = data.mean_SD.shape[1]
    within_DD = data.scatter_DD + prior_weight * prior_variance * np.eye(dim)
    within_DD /= data.freedom + prior_weight
    total = data.count_S.sum()
    mean_D = data.count_S @ data.mean_SD / total
    apart_SD = data.mean_SD - mean_D
    between_DD = (apart_SD * data.count_S[:, None]).T @ apart_SD - (data.count_S.size - 1) * within_DD
    between_DD /= total - (data.count_S**2).sum() / total
    basis_DD, b_D = joint_basis(between_DD, within_DD)
    back_DD = np.linalg.inv(basis_DD)
    between_DD = (back_DD.T * np.maximum(b_D, 0.01)) @ back_DD
    return TwoCovariance(mean_D, between_DD, within_DD)


def _em_step(
    model: TwoCovariance, data: Moments, prior_DD: np.ndarray, prior_weight: float
) -> tuple[TwoCovariance, float]:
    """Return the model after one step, and the (penalised) log likelihood of the one before it."""
    basis_DD, b_D = model.diagonal()
    here = data.times(basis_DD)
    mean_D, prior_DD = model.mean_D @ basis_DD, basis_DD.T @ prior_DD @ basis_DD
    likelihood = log_likelihood(here, mean_D, b_D, basis_DD) - 0.5 * float(np.trace(prior_DD))
    likelihood += prior_weight * float(np.linalg.slogdet(basis_DD)[1])

    count_S1 = here.count_S[:, None]
    trust_SD = count_S1 * b_D / (1 + count_S1 * b_D)  # how far a speaker is believed to be where heard
    y_SD = mean_D + trust_SD * (here.mean_SD - mean_D)
    unsure_SD = b_D / (1 + count_S1 * b_D)
    new_mean_D = y_SD.mean(axis=0)
    apart_SD, rest_SD = y_SD - new_mean_D, here.mean_SD - y_SD
    between_DD = (apart_SD.T @ apart_SD + np.diag(unsure_SD.sum(axis=0))) / len(y_SD)
    within_DD = here.scatter_DD + (rest_SD * count_S1).T @ rest_SD + prior_DD
    within_DD += np.diag((unsure_SD * count_S1).sum(axis=0))
    within_DD /= here.count_S.sum() + prior_weight
    back_DD = np.linalg.inv(basis_DD)
    return (
        TwoCovariance(
            new_mean_D @ back_DD, back_DD.T @ between_DD @ back_DD, back_DD.T @ within_DD @ back_DD
        ),
        likelihood,
    )


def joint_basis(between_DD: np.ndarray, within_DD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (basis_DD, between_D): basis' within basis = I, basis' between basis = diag(between_D), falling.

    Raise BadCohort when `within` is singular.
    """
    variance_D, axes_DD = np.linalg.eigh(within_DD)
    least = 1e-12 * variance_D[-1]
    if not variance_D[0] > least:
        raise BadCohort(
            f"the covariance within speakers is singular: {int((variance_D <= least).sum())} of "
            f"{variance_D.size} directions never vary. Give more utterances, fewer dimensions (lda_dim), or "
            "a shrinkage above 0."
        )
    white_DD = axes_DD / np.sqrt(variance_D)
    b_D, turn_DD = np.linalg.eigh(white_DD.T @ between_DD @ white_DD)
    return white_DD @ turn_DD[:, ::-1], b_D[::-1]

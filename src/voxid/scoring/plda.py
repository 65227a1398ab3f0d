"""Probabilistic linear discriminant analysis: LDA, length normalisation, then the two-covariance model.

# N, M utterances, C training embeddings, D embedding, L dimensions kept
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field

from voxid.config import Config
from voxid.errors import BadCohort, BadScores
from voxid.scoring.scorers import FittedScorer, Scorer, Sides, cohort_rows, speaker_numbers
from voxid.scoring.two_covariance import Moments, TwoCovariance, fit_two_covariance, joint_basis

MOST_SHRINKAGE = 0.9


class PldaConfig(Config):
    """How embeddings are prepared and the model is fitted.

    `lda_dim` keeps so many of the directions that tell speakers apart best (None: all). `length_norm` puts
    the embeddings on a sphere, which makes them nearly normal (Garcia-Romero & Espy-Wilson, Interspeech
    2011). `shrinkage` (0 to 1) pulls the covariance within speakers towards a multiple of the identity, so
    that few utterances suffice; None takes the share that is best for the amount of data ("oracle
    approximating shrinkage", Chen, Wiesel, Eldar & Hero 2010), 0 is plain maximum likelihood.
    """

    lda_dim: Annotated[int, Field(ge=1)] | None = None
    length_norm: bool = True
    shrinkage: Annotated[float, Field(ge=0, le=1)] | None = None
    em_steps: Annotated[int, Field(ge=0)] = 100


class PldaScorer(Scorer):
    """PLDA as the two-covariance model; a score is a natural-log likelihood ratio under that model."""

    Config = PldaConfig
    gives_llr = True

    def fit(self, emb_CD: ArrayLike | None = None, speaker_C: ArrayLike | None = None) -> FittedPlda:
        """Return the scorer fitted on those embeddings; speakers may have different numbers of them.

        Raise BadCohort for less than two speakers, no speaker with two utterances, more dimensions than
        LDA can give, or a covariance that stays singular; BadScores for embeddings that are not finite.

        >>> rng = np.random.default_rng(0)
        >>> voices = np.repeat(rng.standard_normal((200, 3)), 5, axis=0)
        >>> plda = PldaScorer().fit(voices + 0.3 * rng.standard_normal((1000, 3)), np.arange(1000) // 5)
        >>> same, other = plda.table([[1.0, 0, 0]], [[1.1, 0, 0], [-1.0, 1, 0]])[0]
        >>> bool(same > 0 > other)
        True
        """
        emb = cohort_rows(emb_CD, "plda")
        speakers = speaker_numbers(speaker_C, len(emb))
        _check_speakers(speakers)
        data = Moments.of(emb, speakers)
        center_D = data.count_S @ data.mean_SD / data.count_S.sum()
        project_DL = self._projection(data, center_D)
        front = Front(center_D, project_DL, self.config.length_norm)
        projected = Moments.of(front(emb), speakers)
        steps = self.config.em_steps
        return FittedPlda(
            front, fit_two_covariance(projected, *_prior(projected, self.config.shrinkage), steps)
        )

    def _projection(self, data: Moments, center_D: np.ndarray) -> np.ndarray:
        """Return the LDA directions, best first, scaled so that the total covariance becomes the identity."""
        dim, most = center_D.size, min(center_D.size, data.count_S.size - 1)
        wanted = self.config.lda_dim
        if wanted is not None and wanted > most:
            raise BadCohort(
                f"LDA to {wanted} dimensions was asked for; embeddings of {dim} dimensions from "
                f"{data.count_S.size} speakers give at most {most}. Lower lda_dim, or add speakers."
            )
        weight, variance = _prior(data, self.config.shrinkage)
        within_DD = (data.scatter_DD + weight * variance * np.eye(dim)) / (data.freedom + weight)
        apart_SD = (data.mean_SD - center_D) * np.sqrt(data.count_S / data.count_S.sum())[:, None]
        basis_DD, b_D = joint_basis(apart_SD.T @ apart_SD, within_DD)
        return (basis_DD / np.sqrt(1 + np.maximum(b_D, 0)))[:, :wanted]


class Front:
    """What happens to an embedding before the model sees it: centre, project, put on the sphere."""

    def __init__(self, center_D: np.ndarray, project_DL: np.ndarray, length_norm: bool) -> None:
        self.center_D, self.project_DL, self.length_norm = center_D, project_DL, length_norm

    def __call__(self, emb_ND: np.ndarray) -> np.ndarray:
        """Return the prepared rows (N, L) float64, of length sqrt(L) if they are normalised."""
        x_NL = (emb_ND - self.center_D) @ self.project_DL
        if not self.length_norm:
            return x_NL
        length_N = np.linalg.norm(x_NL, axis=1)
        if (length_N == 0).any():
            raise BadScores(
                f"embedding {int(np.argmin(length_N))} is exactly the training set's mean: it has no "
                "direction. Look at the recording and at the model that made it."
            )
        return x_NL * (np.sqrt(x_NL.shape[1]) / length_N)[:, None]


class FittedPlda(FittedScorer):
    """PLDA scores: natural-log likelihood ratios under `model`, after `front`."""

    def __init__(self, front: Front, model: TwoCovariance) -> None:
        self.front, self.model = front, model
        self.dim = front.center_D.size

    def _sides(self, emb_ND: np.ndarray) -> Sides:
        return self.model.sides(self.front(emb_ND))


def _check_speakers(speaker_C: np.ndarray) -> None:
    count_S = np.bincount(speaker_C)
    if count_S.size < 2:
        raise BadCohort("PLDA needs to see how speakers differ, and got 1 speaker. Give some hundred.")
    if count_S.max() < 2:
        raise BadCohort(
            f"PLDA needs to see how one speaker's utterances differ, and all {count_S.size} speakers have "
            "one. Give several utterances of each."
        )


def _prior(data: Moments, shrinkage: float | None) -> tuple[float, float]:
    """Return (weight in utterances, variance) of the prior on `within` that shrinks it by `shrinkage`."""
    dim = data.scatter_DD.shape[0]
    sample_DD = data.scatter_DD / data.freedom
    variance = float(np.trace(sample_DD)) / dim
    # What is left of equal embeddings after rounding is no variance.
    if not variance > 1e-24 * float(np.square(data.mean_SD).mean()):
        raise BadCohort("all utterances of each speaker are the same embedding. Are files in there twice?")
    if shrinkage is None:
        shrinkage = oas_shrinkage(sample_DD, data.freedom)
    share = min(shrinkage, MOST_SHRINKAGE)
    return share / (1 - share) * data.freedom, variance


def oas_shrinkage(sample_DD: np.ndarray, count: float) -> float:
    """Return how far to shrink a covariance of `count` draws towards the identity, 0 to 1 (Chen et al. 2010).

    >>> oas_shrinkage(np.eye(3), 10)
    1.0
    """
    dim = len(sample_DD)
    mean_square = float(np.mean(sample_DD**2))
    squared_mean = (float(np.trace(sample_DD)) / dim) ** 2
    apart = (count + 1) * (mean_square - squared_mean / dim)
    return 1.0 if apart <= 0 else min(1.0, (mean_square + squared_mean) / apart)

"""Scores told in units of what an utterance scores against strangers: S-norm and adaptive AS-norm.

The score s of two utterances becomes ((s - mean_a) / std_a + (s - mean_b) / std_b) / 2, where mean and std
are those of each utterance's scores against a cohort of other speakers. So a voice, a channel or a length
that scores high with everybody no longer does.

# N utterances, C embeddings of the cohort, M rows of the cohort (speakers), D embedding, T top scores
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field

from voxid.config import Config
from voxid.errors import BadCohort
from voxid.scoring.scorers import FittedScorer, Scorer, Sides, cohort_rows, speaker_numbers
from voxid.scoring.similarity import BLOCK_VALUES, unit_rows
from voxid.types import plural

TOP_K = 300
LEAST_SPEAKERS = 3  # of a cohort; the spread of two scores is chance
FEW_SPEAKERS = 30  # below, a cohort is pointed out
LEAST_STD = 1e-5  # of cosines; rounding of float32 alone makes 1e-7


class SNormConfig(Config):
    """How the cohort is used.

    `per` is "speaker" (one row each, the mean of the speaker's unit-length embeddings: the usual way) or
    "utterance". `subtract_mean` takes the cohort's mean from all embeddings first, as the scorer "mean" does.
    """

    per: Literal["speaker", "utterance"] = "speaker"
    subtract_mean: bool = False


class AsNormConfig(SNormConfig):
    """As for S-norm; `top_k` is how many of the cohort an utterance is held against: the nearest ones.

    A cohort of fewer rows is used whole, and AS-norm is then S-norm.
    """

    top_k: Annotated[int, Field(ge=2)] = TOP_K


class SNormScorer(Scorer):
    """Symmetric score normalisation against the whole cohort (Kenny, Odyssey 2010)."""

    Config = SNormConfig

    def fit(self, emb_CD: ArrayLike | None = None, speaker_C: ArrayLike | None = None) -> FittedScorer:
        """Return the scorer for that cohort; raise BadCohort or BadScores.

        >>> cohort = np.random.default_rng(0).standard_normal((40, 8))
        >>> scorer = SNormScorer().fit(cohort, np.arange(40) // 2)
        >>> scorer.table(cohort[:2], cohort[:3]).shape
        (2, 3)
        """
        return FittedSNorm(*_cohort(emb_CD, speaker_C, self.config, "s-norm"))


class AsNormScorer(Scorer):
    """Adaptive symmetric normalisation: the statistics are of the `top_k` highest cohort scores.

    Each side picks its own part of the cohort, by its own scores (AS-norm1 of Matejka et al., Interspeech
    2017; Cumani et al. 2011): the statistics belong to an utterance, not to a trial, and are computed once.
    An utterance that is itself in the cohort is its own nearest: keep the test's speakers out.
    """

    Config = AsNormConfig

    def fit(self, emb_CD: ArrayLike | None = None, speaker_C: ArrayLike | None = None) -> FittedScorer:
        """Return the scorer for that cohort; raise BadCohort or BadScores."""
        return FittedAsNorm(*_cohort(emb_CD, speaker_C, self.config, "as-norm"), self.config.top_k)


class FittedAsNorm(FittedScorer):
    """AS-norm against the rows `cohort_MD` (float32, length 1) after `mean_D` was subtracted."""

    def __init__(self, cohort_MD: np.ndarray, mean_D: np.ndarray, top_k: int = TOP_K) -> None:
        self.cohort_MD = cohort_MD
        self.mean_D = mean_D
        self.dim = mean_D.size
        self.top_k = min(top_k, len(cohort_MD))
        self.warnings = few(cohort_MD)
        if top_k > self.top_k:
            self.warnings += (
                f"top_k = {top_k} was cut to {self.top_k}, all rows of the cohort: that is s-norm. Give a "
                "larger cohort, or a smaller top_k",
            )

    def _sides(self, emb_ND: np.ndarray) -> Sides:
        unit_ND = unit_rows(emb_ND - self.mean_D)
        return _normalised(unit_ND, *top_statistics(unit_ND, self.cohort_MD, self.top_k))


class FittedSNorm(FittedScorer):
    """S-norm. The mean and the spread of x . c over a cohort need only the cohort's own mean and covariance.

    mean = x . mean(c), variance = x' cov(c) x: exact, and no table of N x M scores is ever made.
    """

    def __init__(self, cohort_MD: np.ndarray, mean_D: np.ndarray) -> None:
        self.warnings = few(cohort_MD)
        cohort = cohort_MD.astype(np.float64)
        self.mean_D = mean_D
        self.dim = mean_D.size
        self.center_D = cohort.mean(axis=0)
        spread_MD = cohort - self.center_D
        self.covariance_DD = spread_MD.T @ spread_MD / len(cohort)

    def _sides(self, emb_ND: np.ndarray) -> Sides:
        unit_ND = unit_rows(emb_ND - self.mean_D)
        x_ND = unit_ND.astype(np.float64)
        variance_N = np.einsum("nd,nd->n", x_ND @ self.covariance_DD, x_ND)
        return _normalised(unit_ND, x_ND @ self.center_D, np.sqrt(np.maximum(variance_N, 0.0)))


def top_statistics(unit_ND: np.ndarray, cohort_MD: np.ndarray, top_k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (mean_N, std_N) of each row's `top_k` highest scores against the cohort, float64.

    A block of rows at a time: memory is that of the block, not N x M.

    >>> rows = np.eye(3, dtype=np.float32)
    >>> mean_N, std_N = top_statistics(rows[:1], rows, 2)
    >>> mean_N.tolist(), std_N.tolist()
    ([0.5], [0.5])
    """
    mean_N, std_N = np.empty(len(unit_ND)), np.empty(len(unit_ND))
    cut = len(cohort_MD) - top_k
    block = max(1, BLOCK_VALUES // len(cohort_MD))
    for begin in range(0, len(unit_ND), block):
        rows = slice(begin, begin + block)
        table_NM = unit_ND[rows] @ cohort_MD.T
        if cut:
            table_NM.partition(cut, axis=1)
        top_NT = table_NM[:, cut:].astype(np.float64)
        mean_N[rows], std_N[rows] = top_NT.mean(axis=1), top_NT.std(axis=1)
    return mean_N, std_N


def speaker_means(unit_CD: np.ndarray, speaker_C: np.ndarray) -> np.ndarray:
    """Return the mean of each speaker's rows, scaled to length 1, (M, D) float32; speakers are 0, 1, 2, ...

    >>> speaker_means(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), np.array([0, 1, 1])).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    order = np.argsort(speaker_C, kind="stable")
    starts = np.flatnonzero(np.diff(speaker_C[order], prepend=-1))
    return unit_rows(np.add.reduceat(unit_CD[order].astype(np.float64), starts, axis=0))


def _cohort(
    emb_CD: ArrayLike | None, speaker_C: ArrayLike | None, config: SNormConfig, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return (rows to score against (M, D) float32, what to subtract from embeddings (D,))."""
    emb = cohort_rows(emb_CD, name)
    mean_D = emb.mean(axis=0) if config.subtract_mean else np.zeros(emb.shape[1])
    unit_CD = unit_rows(emb - mean_D)
    if config.per == "utterance":
        return unit_CD, mean_D
    rows = speaker_means(unit_CD, speaker_numbers(speaker_C, len(emb)))
    need_speakers(len(rows), ', or per = "utterance"')
    return rows, mean_D


def need_speakers(count: int, otherwise: str = "") -> None:
    """Raise BadCohort for a cohort of fewer than LEAST_SPEAKERS speakers.

    >>> need_speakers(3)
    """
    if count < LEAST_SPEAKERS:
        raise BadCohort(
            f"a cohort of {plural(count, 'speaker')} is too small: its scores have no spread. "
            f"Give some hundred speakers{otherwise}."
        )


def few(cohort_MD: np.ndarray) -> tuple[str, ...]:
    """Return a warning for a cohort of fewer than FEW_SPEAKERS rows.

    >>> few(np.ones((4, 2)))
    ('a cohort of 4 rows measures little; some hundred speakers are usual',)
    """
    if len(cohort_MD) >= FEW_SPEAKERS:
        return ()
    return (f"a cohort of {len(cohort_MD)} rows measures little; some hundred speakers are usual",)


def _normalised(unit_ND: np.ndarray, mean_N: np.ndarray, std_N: np.ndarray) -> Sides:
    """Return the sides of the normalised score; raise BadCohort where the cohort's scores do not vary."""
    flat = np.flatnonzero(std_N < LEAST_STD)
    if flat.size:
        raise BadCohort(
            f"{flat.size} of {len(std_N)} utterances (the first is row {flat[0]}) score the same against all "
            "of the cohort, so the scores have no spread. Is the cohort one recording many times? "
            "Give one with more voices."
        )
    gain_N = 0.5 / std_N
    return Sides(unit_ND, gain_N, -mean_N * gain_N)

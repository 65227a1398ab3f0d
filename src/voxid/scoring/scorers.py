"""Ways to score two embeddings, by name: cosine, mean, s-norm, as-norm, plda. One protocol, one registry.

A scorer is fitted on embeddings of other speakers (a cohort); what comes out turns each utterance into its
`Sides`, once. A score is then an inner product and a few numbers of each side, so millions of trials cost
one matrix product, whichever the scorer.

# N, M utterances, C embeddings of the cohort, D embedding, E what is multiplied, K pairs
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from voxid.config import Config
from voxid.errors import BadCohort, BadScores
from voxid.registry import Registry
from voxid.scoring.similarity import BLOCK_VALUES, dots_of_pairs, other_models, unit_rows

SCORERS = Registry(
    "scorer",
    {
        "as-norm": "voxid.scoring.normalization:AsNormScorer",
        "cosine": "voxid.scoring.scorers:CosineScorer",
        "mean": "voxid.scoring.scorers:MeanScorer",
        "plda": "voxid.scoring.plda:PldaScorer",
        "s-norm": "voxid.scoring.normalization:SNormScorer",
    },
)


class Scorer(ABC):
    """What is registered in SCORERS: made from its `Config` (None: as it is by itself), then fitted.

    >>> from voxid.scoring import make_scorer
    >>> type(make_scorer("as-norm")).__name__
    'AsNormScorer'
    """

    Config: ClassVar[type[Config]] = Config
    needs_cohort = True  # whether `fit` looks at what it is given
    gives_llr = False  # whether a score is a natural-log likelihood ratio

    def __init__(self, config: Any = None) -> None:
        self.config: Any = self.Config() if config is None else config

    @abstractmethod
    def fit(self, emb_CD: ArrayLike | None = None, speaker_C: ArrayLike | None = None) -> FittedScorer:
        """Return what scores embeddings (D,), after looking at those of other speakers.

        `speaker_C` says whose each row is (names or numbers). Raise BadCohort or BadScores.

        >>> import numpy as np
        >>> from voxid.scoring import make_scorer
        >>> emb_CD = np.random.default_rng(0).normal(size=(20, 4))
        >>> scorer = make_scorer("mean").fit(emb_CD, np.arange(20))
        >>> scorer.pairs(emb_CD, np.array([0]), np.array([0])).round(3).tolist()
        [1.0]
        """


@dataclass(frozen=True, slots=True, eq=False)
class Sides:
    """Utterances made ready to be scored: score(a, b) = (a . b) (gain_a + gain_b) + shift_a + shift_b.

    `rows_NE` float32, `gain_N` and `shift_N` float64. With `unit` the rows have length 1, and their inner
    product is kept within [-1, 1].
    """

    rows_NE: np.ndarray
    gain_N: np.ndarray
    shift_N: np.ndarray
    unit: bool = True

    @classmethod
    def plain(cls, unit_NE: np.ndarray) -> Sides:
        """Return the sides whose score is the inner product itself."""
        return cls(unit_NE, np.full(len(unit_NE), 0.5), np.zeros(len(unit_NE)))

    def __len__(self) -> int:
        return len(self.rows_NE)

    def __getitem__(self, part: slice) -> Sides:
        return Sides(self.rows_NE[part], self.gain_N[part], self.shift_N[part], self.unit)

    def table(self, other: Sides) -> np.ndarray:
        """Return the score of each of these (N) with each of the others (M), (N, M) float32."""
        table_NM = self.rows_NE @ other.rows_NE.T
        step = max(1, BLOCK_VALUES // max(1, len(other)))
        for begin in range(0, len(self), step):
            rows = slice(begin, begin + step)
            gains = self.gain_N[rows, None] + other.gain_N
            table_NM[rows] = self._finished(table_NM[rows], gains, self.shift_N[rows, None] + other.shift_N)
        return table_NM

    def pairs(self, left_K: np.ndarray, right_K: np.ndarray) -> np.ndarray:
        """Return the score of row left_K[k] with row right_K[k], (K,) float32, in bounded extra memory."""
        score_K = dots_of_pairs(self.rows_NE, left_K, right_K)
        for begin in range(0, score_K.size, BLOCK_VALUES):
            part = slice(begin, begin + BLOCK_VALUES)
            left, right = left_K[part], right_K[part]
            gains, shifts = self.gain_N[left] + self.gain_N[right], self.shift_N[left] + self.shift_N[right]
            score_K[part] = self._finished(score_K[part], gains, shifts)
        return score_K

    def _finished(self, dots: np.ndarray, gains: np.ndarray, shifts: np.ndarray) -> np.ndarray:
        if self.unit:
            np.clip(dots, -1, 1, out=dots)
        gains *= dots
        gains += shifts
        return gains


class FittedScorer(ABC):
    """A scorer that is ready. Scores are symmetric: swapping the two utterances changes nothing.

    >>> import numpy as np
    >>> from voxid.scoring import make_scorer
    >>> emb_ND = np.eye(3, dtype=np.float32)
    >>> make_scorer("cosine").fit().pairs(emb_ND, np.array([0, 0]), np.array([0, 1])).tolist()
    [1.0, 0.0]
    >>> scorer = make_scorer("cosine").fit()
    >>> scorer.table(emb_ND[:1], emb_ND).tolist()
    [[1.0, 0.0, 0.0]]
    """

    dim: int | None = None  # of the embeddings it was fitted on; None: any
    warnings: tuple[str, ...] = ()  # what to know of the cohort it was fitted on

    @abstractmethod
    def _sides(self, emb_ND: np.ndarray) -> Sides: ...

    def sides(self, emb_ND: ArrayLike) -> Sides:
        """Return the utterances prepared for scoring: all costly work is done here, once for each of them.

        Raise BadScores for rows of zeros, NaN or infinity, or of another dimension than the cohort's.

        >>> from voxid.scoring import make_scorer
        >>> type(make_scorer("cosine").fit().sides([[3.0, 4.0]])).__name__
        'Sides'
        """
        return self._sides(self.checked(emb_ND))

    def checked(self, emb_ND: ArrayLike) -> np.ndarray:
        """Return the embeddings as float64 (N, D), when they are what `sides` takes; raise as it does.

        >>> from voxid.scoring import make_scorer
        >>> make_scorer("cosine").fit().checked([[3.0, 4.0]]).tolist()
        [[3.0, 4.0]]
        """
        return _checked(emb_ND, self.dim)

    def pairs(self, emb_ND: ArrayLike, left_K: np.ndarray, right_K: np.ndarray) -> np.ndarray:
        """Return the score of row left_K[k] with row right_K[k], (K,) float32. Raise as `sides` does."""
        return self.sides(emb_ND).pairs(left_K, right_K)

    def table(self, a_ND: ArrayLike, b_MD: ArrayLike) -> np.ndarray:
        """Return the score of each row of `a` with each of `b`, (N, M) float32. Raise as `sides` does."""
        a, b = self.sides(a_ND), self.sides(b_MD)
        if a.rows_NE.shape[1] != b.rows_NE.shape[1]:
            raise other_models(np.shape(a_ND)[1], np.shape(b_MD)[1])
        return a.table(b)


def make_scorer(table: dict[str, Any] | str) -> Scorer:
    """Return the scorer of a name, or of a table such as {"name": "as-norm", "top_k": 200}; not fitted yet.

    Raise UnknownComponent or BadConfig.

    >>> make_scorer("cosine").fit().table([[1.0, 0.0]], [[3.0, 4.0]]).round(3).tolist()
    [[0.6000000238418579]]
    """
    cls, config = SCORERS.parse({"name": table} if isinstance(table, str) else table, "scorer")
    return cls(config)


# -- the two that need little --------------------------------------------------------------------------


class CosineScorer(Scorer):
    """The cosine of two embeddings, -1 to 1; needs no cohort."""

    needs_cohort = False

    def fit(self, emb_CD: ArrayLike | None = None, speaker_C: ArrayLike | None = None) -> FittedScorer:
        """Return the cosine; what is given is not looked at."""
        return FittedCosine()


class FittedCosine(FittedScorer):
    """The cosine, of embeddings as they are."""

    def _sides(self, emb_ND: np.ndarray) -> Sides:
        return Sides.plain(unit_rows(emb_ND))


class MeanScorer(Scorer):
    """The cosine after the cohort's mean was subtracted from the embeddings as the network gave them.

    Subtract first, scale to length 1 after: what WeSpeaker and the VoxCeleb challenge systems do. Each
    utterance of the cohort counts once. It helps where all embeddings share a direction (a channel, a
    language) that tells nobody apart.
    """

    def fit(self, emb_CD: ArrayLike | None = None, speaker_C: ArrayLike | None = None) -> FittedScorer:
        """Return the scorer with the mean of `emb_CD`; `speaker_C` is not needed. Raise BadCohort."""
        return FittedMean(cohort_rows(emb_CD, "mean").mean(axis=0))


class FittedMean(FittedScorer):
    """The cosine of embeddings minus `mean_D`."""

    def __init__(self, mean_D: np.ndarray) -> None:
        self.mean_D = mean_D
        self.dim = mean_D.size

    def _sides(self, emb_ND: np.ndarray) -> Sides:
        return Sides.plain(unit_rows(emb_ND - self.mean_D))


# -- what all scorers share ----------------------------------------------------------------------------


def cohort_rows(emb_CD: ArrayLike | None, name: str) -> np.ndarray:
    """Return the cohort as float64 (C, D), at least two rows, checked; raise BadCohort or BadScores."""
    if emb_CD is None:
        raise BadCohort(
            f"the scorer {name!r} needs a cohort: embeddings, by the same model, of speakers who are not in "
            "the test. The training set's will do."
        )
    rows = _checked(emb_CD, None)
    if len(rows) < 2:
        raise BadCohort(f"a cohort of {len(rows)} embeddings is too small; give some hundred speakers.")
    return rows


def speaker_numbers(speaker_C: ArrayLike | None, rows: int) -> np.ndarray:
    """Return 0, 1, 2, ... for whose each row is, (C,); raise BadCohort when they are missing or misfit."""
    if speaker_C is None:
        raise BadCohort("the speakers of these embeddings are missing: give a speaker for every row.")
    speakers = np.asarray(speaker_C)
    if speakers.shape != (rows,):
        raise BadCohort(f"{rows} embeddings need {rows} speakers, got an array of shape {speakers.shape}.")
    return np.unique(speakers, return_inverse=True)[1]


def _checked(emb_ND: ArrayLike, dim: int | None) -> np.ndarray:
    """Return the embeddings as float64 (N, D); raise BadScores when they cannot be scored."""
    rows = np.asarray(emb_ND, dtype=np.float64)
    if rows.ndim != 2:
        raise BadScores(f"embeddings are the rows of a matrix (N, D), got an array of shape {rows.shape}.")
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if bad.size:
        raise BadScores(
            f"{bad.size} of {len(rows)} embeddings hold NaN or infinity (the first is row {bad[0]}). "
            "Look at the recording and at the model that made them."
        )
    if dim is not None and rows.shape[1] != dim:
        raise other_models(dim, rows.shape[1])
    return rows

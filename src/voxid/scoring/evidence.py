"""The sides of a trial, the reference of several clips, and the LLR of two sides: the one place to make it.

A side is a recording, or a person enrolled with several. A person is one direction: the mean of the
unit-length embeddings of all clips, weighted by their seconds of net speech. A score is the cosine of two
sides. The LLR of a trial is the calibration's line for one clip, with what the calibration weighs beside the
cosine (the qualities of both sides), and then its line for as many clips as the enrolled side is worth. What
is evaluated, calibrated, compared, verified and identified is assembled here and nowhere else.

Qualities: Mandasari, Saeidi, McLaren & van Leeuwen, "Quality measure functions for calibration of speaker
recognition systems in various duration conditions", 2013; Thienpondt, Desplanques & Demuynck, "The IDLab
VoxSRC-20 submission", ICASSP 2021.

# N sides, C clips, P people, K trials, D embedding
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from voxid.errors import BadConfig, BadScores, did_you_mean
from voxid.scoring.calibration import MEASURES, Calibration
from voxid.scoring.cohort import Cohort
from voxid.scoring.similarity import cosine, other_models, unit_rows

LEAST_WEIGHT_S = 0.1  # seconds of net speech: a clip is never ignored
SPEECH_S = (0.25, 30.0)  # beyond these, more or less speech is taken to change nothing


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """Sides of trials, (N,) each: recordings, or people enrolled with several.

    `emb_ND` are embeddings as the network gave them; a person's is the mean direction of their clips, at
    their mean length. `speech_s_N` are seconds of net speech, of all clips together; NaN where they were not
    measured. `clips_N` says how many clips of equal weight a side is worth: 1 for one recording.

    >>> side = Side.of(model.embed_many(["alice1.wav", "bob.wav"]), [3.0, 2.5])
    >>> len(side), side.clips_N.tolist()
    (2, [1.0, 1.0])
    """

    emb_ND: np.ndarray
    speech_s_N: np.ndarray
    clips_N: np.ndarray

    @classmethod
    def of(cls, emb_ND: ArrayLike, speech_s_N: ArrayLike) -> Side:
        """Return sides of one recording each; raise BadScores where the shapes do not belong together.

        >>> Side.of([[3.0, 4.0]], [2.5]).clips_N.tolist()
        [1.0]
        """
        emb, speech_s = np.asarray(emb_ND), np.asarray(speech_s_N, dtype=np.float64)
        if emb.ndim != 2 or speech_s.shape != (len(emb),):
            raise BadScores(
                f"embeddings (N, D) and seconds of speech (N,) belong together, got shapes {emb.shape} and "
                f"{speech_s.shape}."
            )
        return cls(emb, speech_s, np.ones(len(emb)))

    @classmethod
    def joined(cls, sides: Iterable[Side]) -> Side:
        """Return sides one after the other as one value.

        >>> len(Side.joined([Side.of([[3.0, 4.0]], [2.5]), Side.of([[0.0, 1.0]], [8.0])]))
        2
        """
        rows = list(sides)
        columns = ([getattr(side, name) for side in rows] for name in ("emb_ND", "speech_s_N", "clips_N"))
        return cls(*map(np.concatenate, columns))

    def __len__(self) -> int:
        return len(self.emb_ND)

    def take(self, index: ArrayLike) -> Side:
        """Return some of the sides, by position.

        >>> len(Side.of([[3.0, 4.0], [0.0, 1.0]], [2.5, 8.0]).take([1]))
        1
        """
        rows = np.asarray(index)
        return Side(self.emb_ND[rows], self.speech_s_N[rows], self.clips_N[rows])

    def quality(self, measure: str, cohort: Cohort | None = None) -> np.ndarray:
        """Return a measure of MEASURES of every side, (N,) float32, on the scale a calibration weighs it on.

        "cohort_mean" needs the `cohort`. Raise BadConfig for an unknown measure, BadScores where one is
        missing or not finite.

        >>> Side.of([[3.0, 4.0]], [2.5]).quality("norm").round(4).tolist()  # log of the length
        [1.6094000339508057]
        """
        check_measures([measure])
        if measure == "norm":
            length_N = np.linalg.norm(self.emb_ND.astype(np.float64), axis=1)
            return np.log(np.maximum(_known(measure, length_N), np.finfo(np.float32).tiny)).astype(np.float32)
        if measure == "speech":
            return np.log(np.clip(_known(measure, self.speech_s_N), *SPEECH_S)).astype(np.float32)
        if cohort is None:
            raise BadScores(
                "the quality 'cohort_mean' needs a cohort, and the model has none. Calibrate the model again "
                "with a cohort, or without this quality."
            )
        return _known(measure, cohort.means(self.emb_ND)).astype(np.float32)


def reference(emb_CD: ArrayLike, speech_s_C: ArrayLike, begin_P: ArrayLike = (0,)) -> Side:
    """Return the sides (P,) that stand for enrolled people, from the clips of all of them.

    The clips of a person are consecutive rows and begin at `begin_P`; each person has one at least. Raise
    BadScores as `unit_rows` does.

    >>> made = reference([[1.0, 0.0], [0.0, 3.0]], [4.0, 4.0])
    >>> made.emb_ND.round(3).tolist(), made.clips_N.tolist()
    ([[1.4140000343322754, 1.4140000343322754]], [2.0])
    """
    begin = np.asarray(begin_P, dtype=np.intp)
    raw_CD, speech_s = np.asarray(emb_CD), np.nan_to_num(np.asarray(speech_s_C, dtype=np.float64))
    weight_C = np.maximum(speech_s, LEAST_WEIGHT_S)
    mean_PD = unit_rows(np.add.reduceat(unit_rows(raw_CD) * weight_C[:, None], begin, axis=0))
    total_P, count_P = np.add.reduceat(weight_C, begin), np.diff(np.append(begin, len(raw_CD)))
    length_P = np.add.reduceat(np.linalg.norm(raw_CD.astype(np.float64), axis=1), begin) / count_P
    return Side(
        (mean_PD * length_P[:, None]).astype(np.float32),
        np.add.reduceat(speech_s, begin),
        total_P**2 / np.add.reduceat(weight_C**2, begin),
    )


def cosines(left: Side, right: Side) -> np.ndarray:
    """Return the cosine of every side with its counterpart, (K,) float64; one side meets all others.

    >>> cosines(Side.of([[1, 0], [0, 2]], [1, 1]), Side.of([[0, 5]], [1])).tolist()
    [0.0, 1.0]
    """
    left_K, right_K = _paired(left, right, None, None)
    a_ND, b_ND = unit_rows(left.emb_ND), unit_rows(right.emb_ND)
    if a_ND.shape[1] != b_ND.shape[1]:
        raise other_models(a_ND.shape[1], b_ND.shape[1])
    return np.clip(np.einsum("kd,kd->k", a_ND[left_K], b_ND[right_K]), -1, 1).astype(np.float64)


def llr(
    calibration: Calibration,
    left: Side,
    right: Side,
    cohort: Cohort | None = None,
    *,
    cosine_K: ArrayLike | None = None,
    left_K: np.ndarray | None = None,
    right_K: np.ndarray | None = None,
) -> np.ndarray:
    """Return the calibrated natural-log likelihood ratio of K trials, (K,) float64; symmetric in the sides.

    Trial k compares `left[left_K[k]]` with `right[right_K[k]]`; without these, every side its counterpart, or
    one side all others. `cosine_K` are the cosines, where they are known already. `cohort` is the model's; it
    is needed where the calibration weighs "cohort_mean". Raise BadScores as `Side.quality` does.

    >>> one, other = Side.of([[1.0, 0.0]], [5.0]), Side.of([[3.0, 4.0]], [5.0])
    >>> llr(Calibration(scale=10.0, offset=-5.0), one, other).round(6).tolist()
    [1.0]
    """
    left_K, right_K = _paired(left, right, left_K, right_K)
    if cosine_K is None:
        cosine_K = cosines(left.take(left_K), right.take(right_K))
    weighed = qualities(calibration.measures, left, right, cohort, left_K=left_K, right_K=right_K)
    one_clip_K = calibration.llr(np.asarray(cosine_K, dtype=np.float64), weighed)
    clips_K = np.maximum(left.clips_N[left_K], right.clips_N[right_K])
    return calibration.enrolled_llr(one_clip_K, clips_K)


def llr_table(calibration: Calibration, left: Side, right: Side, cohort: Cohort | None = None) -> np.ndarray:
    """Return the LLR of each side with each of the others, (N, M) float64. Raise as `llr` does.

    >>> both = Side.of([[1.0, 0.0], [0.0, 2.0]], [5.0, 5.0])
    >>> llr_table(Calibration(scale=10.0, offset=-5.0), both, both).tolist()
    [[5.0, -5.0], [-5.0, 5.0]]
    """
    cosine_NM = cosine(left.emb_ND, right.emb_ND)
    n_K, m_K = (index.ravel() for index in np.indices(cosine_NM.shape))
    found = llr(calibration, left, right, cohort, cosine_K=cosine_NM.ravel(), left_K=n_K, right_K=m_K)
    return found.reshape(cosine_NM.shape)


def qualities(
    measures: Iterable[str],
    left: Side,
    right: Side,
    cohort: Cohort | None = None,
    *,
    left_K: np.ndarray | None = None,
    right_K: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Return the quality numbers of K trials, (K,) float32 by name; swapping the sides changes nothing.

    Raise BadConfig for an unknown measure, BadScores as `Side.quality` does.

    >>> one, other = Side.of([[3.0, 4.0]], [2.0]), Side.of([[0.0, 1.0]], [8.0])
    >>> sorted(qualities(["speech", "norm"], one, other))
    ['norm_max', 'norm_min', 'speech_max', 'speech_min']
    """
    left_K, right_K = _paired(left, right, left_K, right_K)
    found: dict[str, np.ndarray] = {}
    for measure in measures:
        a = left.quality(measure, cohort)
        b = a if right is left else right.quality(measure, cohort)
        a, b = a[left_K], b[right_K]
        if measure == "cohort_mean":
            found["cohort_mean"] = (a + b) / 2
        else:
            low, high = MEASURES[measure]
            found[low], found[high] = np.minimum(a, b), np.maximum(a, b)
    return found


def unlike(calibration: Calibration, side: Side, cohort: Cohort | None) -> list[str]:
    """Return what to warn of when a side is like none that the calibration was fitted on.

    Its nearness to the cohort tells: another language, line or room, or no voice at all.

    >>> unlike(Calibration(scale=1, offset=0), Side.of([[1.0, 0.0]], [5.0]), None)
    []
    """
    terms = [term for term in calibration.qualities if term.name == "cohort_mean"]
    if not terms:
        return []
    [near], term = side.quality("cohort_mean", cohort).tolist(), terms[0]
    if term.low <= near <= term.high:
        return []
    than = "nearer to" if near > term.high else "further from"
    return [
        f"{than} strangers than anything the model was calibrated on (a cosine of {near:.2f}; known are "
        f"{term.low:.2f} to {term.high:.2f}): its decisions are a guess here. Adapt the model (voxid adapt), "
        "or calibrate it on people recorded like this."
    ]


def check_measures(measures: Iterable[str]) -> None:
    """Raise BadConfig for a name that is not in MEASURES.

    >>> check_measures(["speech", "norm"])
    """
    for measure in measures:
        if measure not in MEASURES:
            raise BadConfig(
                f"no quality measure named {measure!r}. Known: {', '.join(MEASURES)}."
                f"{did_you_mean(measure, list(MEASURES))}"
            )


def _paired(
    left: Side, right: Side, left_K: np.ndarray | None, right_K: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of the sides of every trial."""
    if left_K is not None and right_K is not None:
        return left_K, right_K
    if len(left) != len(right) and 1 not in (len(left), len(right)):
        raise BadScores(f"{len(left)} sides cannot be paired with {len(right)}: give as many, or one.")
    count = 0 if 0 in (len(left), len(right)) else max(len(left), len(right))
    every = np.arange(count)
    return (every if len(left) == count else every * 0), (every if len(right) == count else every * 0)


def _known(measure: str, values_N: np.ndarray) -> np.ndarray:
    bad = np.flatnonzero(~np.isfinite(values_N))
    if bad.size:
        raise BadScores(
            f"the quality {measure!r} of {bad.size} of {values_N.size} recordings (the first is {bad[0]}) is "
            "not known. Net speech is measured where the recording is embedded; embed again."
        )
    return values_N

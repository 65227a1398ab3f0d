"""Fit what several enrollment clips change: a line and an impostor distribution for 2, 3, 5 and 8 clips.

# U embedded utterances, S speakers, M models, T tests, K trials, D embedding
"""

from __future__ import annotations

import numpy as np

from voxid.errors import BadScores
from voxid.evaluation.embedding import Voices
from voxid.scoring import Calibration, Cohort, EnrollmentTerm, Impostors, Qualities, fit, trial_qualities
from voxid.scoring.enrollments import COUNTS, mean_direction
from voxid.scoring.similarity import unit_rows

FEWEST_SPEAKERS = 10  # with `n` clips to enroll, and more to test
MOST_MODELS, MOST_TESTS, MOST_DRAWS = 300, 20_000, 8


def enrollment_terms(
    calibration: Calibration,
    voices: Voices,
    speaker_U: np.ndarray,
    cohort: Cohort | None,
    seed: int = 0,
    *,
    class_U: np.ndarray | None = None,
) -> tuple[EnrollmentTerm, ...]:
    """Return a term for each of COUNTS clips for which ten speakers have a clip more than that.

    Clips are weighted by their net speech and drawn by `seed`; the other utterances of these speakers are
    the tests. `speaker_U` (U,) numbers the speaker of each row of `voices.emb_UD`; who differ in
    `class_U` (U,) are not compared (None: all are).
    """
    class_U = np.zeros_like(speaker_U) if class_U is None else class_U
    terms = []
    for count in COUNTS:
        try:
            term = _term(calibration, voices, speaker_U, class_U, cohort, count, seed)
        except BadScores:  # so few, or so odd, that no line can be fitted: then none is kept
            term = None
        if term is not None:
            terms.append(term)
    return tuple(terms)


def _term(
    calibration: Calibration,
    voices: Voices,
    speaker_U: np.ndarray,
    class_U: np.ndarray,
    cohort: Cohort | None,
    count: int,
    seed: int,
) -> EnrollmentTerm | None:
    rng = np.random.default_rng([seed, 301, count])
    names, sizes = np.unique(speaker_U, return_counts=True)
    names = names[sizes > count]
    if names.size < FEWEST_SPEAKERS:
        return None
    names = np.sort(rng.permutation(names)[:MOST_MODELS])
    draws = [
        _draw(calibration, voices, speaker_U, class_U, cohort, names, count, rng)
        for _ in range(max(1, min(MOST_DRAWS, MOST_MODELS // names.size)))
    ]
    llr_K, same_K, pair_K = (np.concatenate(parts) for parts in zip(*draws, strict=True))
    line = fit(llr_K, same_K, calibration.prior)
    strangers = Impostors.of(line.llr(llr_K)[~same_K], pair_K[~same_K])
    return EnrollmentTerm(clips=count, gain=line.scale, shift=line.offset, impostors=strangers)


def _draw(
    calibration: Calibration,
    voices: Voices,
    speaker_U: np.ndarray,
    class_U: np.ndarray,
    cohort: Cohort | None,
    names: np.ndarray,
    count: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the LLRs as of one clip, the truth and the pair of speakers of one random choice of clips."""
    clips = [rng.permutation(np.flatnonzero(speaker_U == name))[:count] for name in names]
    others = np.setdiff1d(np.flatnonzero(np.isin(speaker_U, names)), np.concatenate(clips))
    tests = np.sort(rng.permutation(others)[:MOST_TESTS])
    llr_K = _llrs(calibration, voices, clips, tests, cohort)
    same_K = (names[:, None] == speaker_U[tests]).ravel()
    place_T = np.searchsorted(names, speaker_U[tests])
    pair_K = (np.arange(names.size)[:, None] * names.size + place_T).ravel()
    class_M = np.array([class_U[rows[0]] for rows in clips])
    alike_K = (class_M[:, None] == class_U[tests]).ravel()
    return llr_K[alike_K], same_K[alike_K], pair_K[alike_K]


def _llrs(
    calibration: Calibration,
    voices: Voices,
    clips: list[np.ndarray],
    tests: np.ndarray,
    cohort: Cohort | None,
) -> np.ndarray:
    """Return the LLRs (M * T,) of every model with every test, as of one clip."""
    weight_U = clip_weights(voices.net_speech_s_U)
    direction_MD = np.stack([mean_direction(voices.emb_UD[rows], weight_U[rows]) for rows in clips])
    cosine_MT = np.clip(direction_MD @ unit_rows(voices.emb_UD[tests]).T, -1, 1).astype(np.float64)
    if not calibration.measures:
        return calibration.llr(cosine_MT.ravel())
    length_U = np.linalg.norm(voices.emb_UD, axis=1)
    length_M = np.array([length_U[rows].mean() for rows in clips])
    speech_M = np.array([voices.net_speech_s_U[rows].sum() for rows in clips])
    crowd = cohort if "cohort_mean" in calibration.measures else None
    model = Qualities.of(direction_MD * length_M[:, None], speech_M, crowd)
    test = Qualities.of(voices.emb_UD[tests], voices.net_speech_s_U[tests], crowd)
    m_K, t_K = (index.ravel() for index in np.indices(cosine_MT.shape))
    qualities = trial_qualities(calibration.measures, model.take(m_K), test.take(t_K))
    return calibration.llr(cosine_MT.ravel(), qualities)


def clip_weights(net_speech_s_U: np.ndarray) -> np.ndarray:
    """Return the weight of each clip in a mean: its seconds of net speech, 1 where they were not measured."""
    return np.where(np.isfinite(net_speech_s_U), np.maximum(net_speech_s_U, 0.1), 1.0)

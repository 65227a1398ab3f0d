"""Fit what several enrollment clips change: a line and an impostor distribution for 2, 3, 5 and 8 clips.

# U embedded utterances, S speakers, M models, T tests, K trials, D embedding
"""

from __future__ import annotations

import numpy as np

from voxid.errors import BadScores
from voxid.evaluation.embedding import Voices
from voxid.scoring import Calibration, Cohort, EnrollmentTerm, Impostors, fit, reference
from voxid.scoring.calibration import COUNTS
from voxid.scoring.evidence import llr_table

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
    one_clip = calibration.model_copy(update={"enrollments": ()})
    terms = []
    for count in COUNTS:
        try:
            term = _term(one_clip, voices, speaker_U, class_U, cohort, count, seed)
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
    enrolled = np.concatenate(clips)
    others = np.setdiff1d(np.flatnonzero(np.isin(speaker_U, names)), enrolled)
    tests = np.sort(rng.permutation(others)[:MOST_TESTS])
    sides = voices.sides
    models = reference(sides.emb_ND[enrolled], sides.speech_s_N[enrolled], np.arange(names.size) * count)
    llr_K = llr_table(calibration, models, sides.take(tests), cohort).ravel()
    same_K = (names[:, None] == speaker_U[tests]).ravel()
    place_T = np.searchsorted(names, speaker_U[tests])
    pair_K = (np.arange(names.size)[:, None] * names.size + place_T).ravel()
    class_M = np.array([class_U[rows[0]] for rows in clips])
    alike_K = (class_M[:, None] == class_U[tests]).ravel()
    return llr_K[alike_K], same_K[alike_K], pair_K[alike_K]

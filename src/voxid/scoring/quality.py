"""How good the two recordings of a trial are: what a calibration may know beside the score.

The same cosine says more of two long, clear recordings than of two short ones. So each utterance is measured,
and a trial gets a few symmetric numbers of both its sides (Mandasari, Saeidi, McLaren & van Leeuwen, "Quality
measure functions for calibration of speaker recognition systems in various duration conditions", 2013;
Thienpondt, Desplanques & Demuynck, "The IDLab VoxSRC-20 submission", ICASSP 2021).

# N utterances, K trials, D embedding
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from voxid.errors import BadConfig, BadScores, did_you_mean
from voxid.scoring.cohort import Cohort

# Each measure of an utterance, and the numbers of a trial that are made of it.
MEASURES: dict[str, tuple[str, ...]] = {
    "speech": ("speech_min", "speech_max"),  # log of the seconds of net speech
    "norm": ("norm_min", "norm_max"),  # log of the length of the raw embedding
    "cohort_mean": ("cohort_mean",),  # how near to a crowd of strangers; the mean of both sides
}
SPEECH_S = (0.25, 30.0)  # beyond these, more or less speech is taken to change nothing


@dataclass(frozen=True, slots=True, eq=False)
class Qualities:
    """Measures of utterances, (N,) each: net speech in seconds, embedding length, mean score with a cohort.

    `cohort_mean` is None where no cohort was at hand.
    """

    speech_s: np.ndarray
    norm: np.ndarray
    cohort_mean: np.ndarray | None = None

    @classmethod
    def of(cls, emb_ND: ArrayLike, speech_s_N: ArrayLike, cohort: Cohort | None = None) -> Qualities:
        """Return the measures of utterances with these raw embeddings and seconds of net speech.

        >>> Qualities.of([[3.0, 4.0]], [2.5]).norm.tolist()
        [5.0]
        """
        emb = np.asarray(emb_ND, dtype=np.float64)
        speech_s = np.asarray(speech_s_N, dtype=np.float64)
        if emb.ndim != 2 or speech_s.shape != (len(emb),):
            raise BadScores(
                f"embeddings (N, D) and seconds of speech (N,) belong together, got shapes {emb.shape} and "
                f"{speech_s.shape}."
            )
        means = None if cohort is None else cohort.means(emb)
        return cls(speech_s, np.linalg.norm(emb, axis=1), means)

    def take(self, index_K: ArrayLike) -> Qualities:
        """Return the measures of some utterances, by position."""
        index = np.asarray(index_K)
        means = None if self.cohort_mean is None else self.cohort_mean[index]
        return Qualities(self.speech_s[index], self.norm[index], means)


def check_measures(measures: Iterable[str]) -> None:
    """Raise BadConfig for a name that is not in MEASURES."""
    for measure in measures:
        if measure not in MEASURES:
            raise BadConfig(
                f"no quality measure named {measure!r}. Known: {', '.join(MEASURES)}."
                f"{did_you_mean(measure, list(MEASURES))}"
            )


def trial_qualities(measures: Iterable[str], left: Qualities, right: Qualities) -> dict[str, np.ndarray]:
    """Return the quality numbers (K,) float32 of trials by name; swapping the sides changes nothing.

    `measures` are names of MEASURES. Raise BadConfig for an unknown one, BadScores when a measure is
    missing or not finite.

    >>> one, other = Qualities.of([[3.0, 4.0]], [2.0]), Qualities.of([[0.0, 1.0]], [8.0])
    >>> sorted(trial_qualities(["speech", "norm"], one, other))
    ['norm_max', 'norm_min', 'speech_max', 'speech_min']
    """
    measures = list(measures)
    check_measures(measures)
    found: dict[str, np.ndarray] = {}
    for measure in measures:
        a, b = _measured(measure, left), _measured(measure, right)
        if measure == "cohort_mean":
            found["cohort_mean"] = (a + b) / 2
        else:
            low, high = MEASURES[measure]
            found[low], found[high] = np.minimum(a, b), np.maximum(a, b)
    return found


def _measured(measure: str, side: Qualities) -> np.ndarray:
    """Return one measure of each utterance on the scale a calibration takes it on, float32."""
    values = {"speech": side.speech_s, "norm": side.norm, "cohort_mean": side.cohort_mean}[measure]
    if values is None:
        raise BadScores(
            "the quality 'cohort_mean' needs a cohort, and the utterances were measured without one. "
            "Calibrate the model again with a cohort, or without this quality."
        )
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise BadScores(
            f"the quality {measure!r} of {bad.size} of {values.size} utterances (the first is {bad[0]}) is "
            "not known. Net speech is measured where the recording is embedded; embed again."
        )
    if measure == "speech":
        return np.log(np.clip(values, *SPEECH_S)).astype(np.float32)
    if measure == "norm":
        return np.log(np.maximum(values, np.finfo(np.float32).tiny)).astype(np.float32)
    return values.astype(np.float32)

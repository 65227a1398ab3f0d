"""The values that travel between rooms. Plain, frozen, printable; no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

SAMPLE_RATE = 16_000  # Hz: everything inside voxid is mono at this rate
ADULT_AGE = 18  # years; younger speakers are children


@dataclass(frozen=True, slots=True)
class Utterance:
    """One recording of one speaker, as a corpus on disk describes it.

    `path` is absolute. `start_s` and `duration_s` are seconds in the source file; a `duration_s` of None
    means "to the end". Labels a corpus does not have are empty strings or None.
    """

    speaker: str
    utterance: str
    path: str
    start_s: float = 0.0
    duration_s: float | None = None
    sample_rate: int | None = None  # of the source file, Hz; None until it was opened
    sex: str = ""  # "m", "f" or ""
    age: float | None = None  # years
    language: str = ""  # BCP 47, "" when unknown
    session: str = ""


class Trial(NamedTuple):
    """A pair of utterances, and whether one speaker said both."""

    left: str
    right: str
    same: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """What a comparison came to, and why.

    `cosine` is the raw score. `llr` is the calibrated natural-log likelihood ratio, `threshold` the LLR from
    which voxid accepts, `probability` the posterior of "same speaker" at the calibration's prior.
    `speech_s` are the seconds heard of each side.
    """

    accepted: bool
    llr: float
    probability: float
    cosine: float
    threshold: float
    speech_s: tuple[float, float]
    reason: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """An utterance that was left out, with the reason it is counted under and a sentence of detail."""

    utterance: str
    path: str
    reason: str
    detail: str = field(default="")

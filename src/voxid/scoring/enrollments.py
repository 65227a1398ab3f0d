"""What several clips of a speaker change: a voiceprint of n clips scores higher and surer than one clip.

The mean of n embeddings points more truly at its speaker: its cosines with that speaker rise, those with
strangers gather, and the line that makes one clip's cosine an LLR is wrong for it. A calibration therefore
keeps, for a few n, a second line, fitted on the same speakers: LLR of n clips = gain * (LLR of one) + shift.

# K trials, N utterances, M models (enrolled speakers), D embedding
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field

from voxid.config import Config
from voxid.scoring.impostors import Impostors
from voxid.scoring.similarity import unit_rows

COUNTS = (2, 3, 5, 8)  # clips that lines are fitted for, where the speakers have them

Finite = Annotated[float, Field(allow_inf_nan=False)]


class EnrollmentTerm(Config):
    """The line for voiceprints of `clips` clips, and how strangers score against them."""

    clips: Annotated[float, Field(ge=1)]
    gain: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    shift: Finite
    impostors: Impostors | None = None


def line_for(terms: Sequence[EnrollmentTerm], clips: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return (gain, shift) for voiceprints of `clips` clips, in its shape; 1 and 0 for one clip.

    Between two terms the line changes with 1/n, as the variance of a mean does; beyond the last it stays.

    >>> gain, shift = line_for([EnrollmentTerm(clips=2, gain=2.0, shift=-1.0)], [1, 2, 9])
    >>> gain.tolist(), shift.tolist()
    ([1.0, 2.0, 2.0], [0.0, -1.0, -1.0])
    """
    known = [(1.0, 1.0, 0.0), *((term.clips, term.gain, term.shift) for term in terms)]
    at, gains, shifts = (np.array(column) for column in zip(*sorted(known), strict=True))
    place = -1.0 / np.maximum(np.asarray(clips, dtype=np.float64), 1.0)
    return np.interp(place, -1.0 / at, gains), np.interp(place, -1.0 / at, shifts)


def nearest_term(terms: Sequence[EnrollmentTerm], clips: float) -> EnrollmentTerm | None:
    """Return the term whose 1/n is nearest to that of `clips`, None when that is one clip's."""
    near = min((abs(1 / term.clips - 1 / clips), term.clips) for term in terms) if terms else None
    if near is None or near[0] >= abs(1 - 1 / clips):
        return None
    return next(term for term in terms if term.clips == near[1])


def mean_direction(emb_ND: np.ndarray, weights: ArrayLike) -> np.ndarray:
    """Return the unit-length mean (D,) float32 of unit-length embeddings, weighted; raise BadScores."""
    w = np.asarray(weights, dtype=np.float64)
    return unit_rows((w[:, None] * unit_rows(emb_ND)).sum(axis=0)[None])[0]

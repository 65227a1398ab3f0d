"""What a person's voiceprints come to when a recording is compared with them: one direction, its worth.

The rule: the reference is the mean of the unit-length embeddings of all clips, weighted by their seconds of
net speech. Its cosine becomes an LLR by the calibration's line for as many clips as these are worth.

# N voiceprints, P people, D embedding
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from voxid.scoring import unit_rows

if TYPE_CHECKING:
    from voxid.stores import Voiceprint

LEAST_WEIGHT_S = 0.1  # seconds: a clip is never ignored


@dataclass(frozen=True, slots=True, eq=False)
class References:
    """References of people, (P,) each: `direction_PD` of unit length, worth `clips_P` clips of equal weight.

    `length_P` is the mean length of the raw embeddings, `speech_P` the seconds of net speech together.
    """

    direction_PD: np.ndarray
    clips_P: np.ndarray
    length_P: np.ndarray
    speech_P: np.ndarray

    def embeddings(self, index: np.ndarray) -> np.ndarray:
        """Return the directions at their mean length, as measures of quality take them."""
        return self.direction_PD[index] * self.length_P[index, None]


def references(emb_ND: np.ndarray, speech_N: np.ndarray, first_P: np.ndarray) -> References:
    """Return the reference of each person; the rows of one are together and begin at `first_P`."""
    weight_N = np.maximum(np.nan_to_num(speech_N.astype(np.float64)), LEAST_WEIGHT_S)
    sums_PD = np.add.reduceat(unit_rows(emb_ND) * weight_N[:, None], first_P, axis=0)
    count_P = np.diff(np.append(first_P, len(emb_ND)))
    total_P = np.add.reduceat(weight_N, first_P)
    return References(
        unit_rows(sums_PD),
        total_P**2 / np.add.reduceat(weight_N**2, first_P),
        np.add.reduceat(np.linalg.norm(emb_ND, axis=1), first_P) / count_P,
        np.add.reduceat(np.nan_to_num(speech_N.astype(np.float64)), first_P),
    )


def reference(voiceprints: Sequence[Voiceprint]) -> References:
    """Return the reference of one person, P = 1."""
    return references_of([voiceprints])


def references_of(people: Sequence[Sequence[Voiceprint]]) -> References:
    """Return the reference of each person, from their voiceprints (at least one each)."""
    every = [print_ for prints in people for print_ in prints]
    return references(
        np.stack([print_.embedding for print_ in every]),
        np.array([print_.speech_s for print_ in every]),
        np.cumsum([0, *(len(prints) for prints in people[:-1])]),
    )

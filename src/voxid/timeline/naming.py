"""Which speaker of a recording gets which name.

# K speakers
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from voxid.types import Identification


def names_of(found: Sequence[Identification], between_KK: np.ndarray, *, join: bool) -> list[str | None]:
    """Return a name for each speaker, or None; speakers of one name are one person.

    A name goes to the speaker whom it fits best. Another one who passes as the same person is joined, where
    the two sound like one person (an LLR `between_KK` of 0 or more) and `join` allows it; else the next name
    that passes is taken, or none.
    """
    passes = sorted(
        (
            (candidate.llr, -k, candidate.speaker)
            for k, one in enumerate(found)
            for candidate in one.candidates
            if candidate.llr >= candidate.threshold
        ),
        reverse=True,
    )
    owner: dict[str, int] = {}
    name_K: list[str | None] = [None] * len(found)
    for _, minus_k, name in passes:
        k = -minus_k
        if name_K[k] is not None:
            continue
        if name not in owner:
            owner[name], name_K[k] = k, name
        elif join and between_KK[k, owner[name]] >= 0:
            name_K[k] = name
    return name_K


def nameless(found: Sequence[Identification]) -> str:
    """Return what speakers without a name are called, before their number.

    >>> nameless([])
    'speaker'
    """
    return "unknown" if any(one.enrolled for one in found) else "speaker"

"""Which speaker of a recording gets which name.

# K speakers
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from voxid.types import Candidate, Identification

EASE = 2.0  # how far below its threshold a name may be that stands out in the recording,
MARGIN = 1.0  # by so much
RIVAL_S = 5.0  # net speech
CLEARLY, MUCH_LESS = 1.0, 3.0  # LLR above the threshold; below that of another voice


def names_of(
    found: Sequence[Identification], between_KK: np.ndarray, *, join: bool
) -> list[Candidate | None]:
    """Return the name of each speaker, with the threshold that it passed, or None.

    A name goes to the speaker whom it fits best. Where that is the name that fits this speaker best, too, and
    there are other speakers, `EASE` less is enough (docs/log.md). Another speaker who passes as the same
    person is joined, where the two sound like one person (an LLR `between_KK` of 0 or more) and `join` allows
    it; else the next name that passes is taken, or none. Speakers of one name are one person.
    """
    passes: list[tuple[float, int, Candidate]] = []
    for k, one in enumerate(found):
        for candidate in one.candidates:
            if candidate.llr < candidate.threshold and _stands_out(k, candidate, found, between_KK):
                candidate = replace(candidate, threshold=candidate.threshold - EASE)
            if candidate.llr >= candidate.threshold:
                passes.append((candidate.llr, k, candidate))
    owner: dict[str, tuple[int, float]] = {}
    name_K: list[Candidate | None] = [None] * len(found)
    for _, k, candidate in sorted(passes, key=lambda row: (-row[0], row[1], row[2].speaker)):
        if name_K[k] is not None:
            continue
        first, llr = owner.setdefault(candidate.speaker, (k, candidate.llr))
        joins = join and between_KK[k, first] >= 0
        if first == k or (joins and not is_another(candidate.llr, candidate.threshold, llr)):
            name_K[k] = candidate
    return name_K


def is_another(llr: float, threshold: float, of_named: float) -> bool:
    """Whether a voice is somebody else than the person as whom another voice of the recording is named.

    Its own `llr` is not far above the threshold, and far below the one `of_named`.

    >>> is_another(3.0, 2.9, of_named=7.0), is_another(5.0, 2.9, of_named=9.0)
    (True, False)
    """
    return llr < threshold + CLEARLY and llr < of_named - MUCH_LESS


def _stands_out(k: int, own: Candidate, found: Sequence[Identification], between_KK: np.ndarray) -> bool:
    """Whether a name fits speaker `k` better by `MARGIN` than any other name, and than any other speaker.

    Speakers who sound like this one do not count, nor those with less speech than `RIVAL_S`. A name that is
    not among the best of a speaker fits at most as well as the last of these.
    """
    rivals = [one.llr for one in found[k].candidates if one.speaker != own.speaker]
    others = [
        one.candidates
        for j, one in enumerate(found)
        if j != k and between_KK[k, j] < 0 and one.net_speech_s >= RIVAL_S
    ]
    for them in others:
        rivals += [next((one.llr for one in them if one.speaker == own.speaker), them[-1].llr)]
    return bool(others) and own.llr - max(rivals) >= MARGIN


def nameless(found: Sequence[Identification]) -> str:
    """Return what speakers without a name are called, before their number.

    >>> nameless([])
    'speaker'
    """
    return "unknown" if any(one.enrolled for one in found) else "speaker"

"""Windows and who talks in each -> turns.

# W windows, K speakers
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from voxid.timeline.windows import Windows

TURN_PAUSE_S = 0.5  # a shorter pause of one speaker does not end a turn


@dataclass(frozen=True, slots=True)
class Span:
    """A turn before it has a name: seconds, the number of the speaker, its windows, how sure it is."""

    start_s: float
    end_s: float
    speaker: int
    windows: tuple[int, ...]
    confidence: float


def spans_of(windows: Windows, post_WK: np.ndarray) -> list[Span]:
    """Return the turns in order: stretches of speech of one speaker, over short pauses.

    `confidence` is the mean posterior of its speaker over its windows.
    """
    if not len(windows):
        return []
    label_W, slot_WE = post_WK.argmax(axis=1), windows.slot_WE
    groups: list[list[int]] = []
    for w in range(len(windows)):
        last = groups[-1][-1] if groups else -1
        if groups and label_W[w] == label_W[last] and slot_WE[w, 0] - slot_WE[last, 1] < TURN_PAUSE_S:
            groups[-1].append(w)
        else:
            groups.append([w])
    return [
        Span(
            float(slot_WE[group[0], 0]),
            float(slot_WE[group[-1], 1]),
            int(label_W[group[0]]),
            tuple(group),
            float(post_WK[group, label_W[group[0]]].mean()),
        )
        for group in groups
    ]

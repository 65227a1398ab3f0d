"""Speech as windows that never reach across a pause: where each lies, what it sounds like.

# W windows, T frames of 25 ms, one every 10 ms, C channels, D embedding
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from voxid.audio import Inspected, Part, Source, inspect
from voxid.audio.speech import FRAME_S, EnergyMeter, net_s
from voxid.audio.voicing import edges
from voxid.embed.windows import cut, embedded
from voxid.metrics.diarization import joined
from voxid.scoring import Side
from voxid.types import SAMPLE_RATE

WINDOW_S, STEP_S = 1.5, 0.75
BRIDGE_S = 0.25  # a shorter pause does not end a stretch of speech
LEAK_DB = 10.0  # further below its own speech than the other channel: what leaks in
LEAST_WINDOW_S = 0.5  # a shorter stretch is heard with what lies around it


@dataclass(frozen=True, eq=False, slots=True)
class Windows:
    """The windows of one recording, or of one channel, in order.

    `start_W` and `end_W` are seconds, `side` the sides of trials that they are. `slot_WE` is the time that
    each answers for, from the middle between two windows to the next, `net_s_W` the net speech in it.
    """

    start_W: np.ndarray
    end_W: np.ndarray
    slot_WE: np.ndarray
    net_s_W: np.ndarray
    side: Side

    def __len__(self) -> int:
        return len(self.start_W)

    @property
    def pause_s(self) -> np.ndarray:
        """The pause before each window, seconds."""
        return np.concatenate(([0.0], np.maximum(self.start_W[1:] - self.end_W[:-1], 0)))


def windows_of(
    embed: Callable[[Sequence[np.ndarray]], np.ndarray],
    found: Inspected,
    mask_T: np.ndarray | None = None,
    known: Mapping[tuple[int, int], np.ndarray] | None = None,
) -> Windows:
    """Return the windows of the speech of a recording, embedded by `embed`, a number of them at a time.

    `mask_T` says what is speech, if not the recording's own mask. `known` has embeddings by (first sample,
    sample after the last). Memory does not grow with the samples.
    """
    mask_T = found.mask_T if mask_T is None else mask_T
    start_W, end_W, slot_WE = laid(stretches_of(mask_T, found.total_s), found.total_s)
    first_W, last_W = at_samples(start_W, end_W)
    emb_of = {} if known is None else dict(known)
    new = [w for w, key in enumerate(zip(first_W, last_W, strict=True)) if key not in emb_of]
    if new:
        waves = cut(found.blocks(), np.array(first_W)[new], np.array(last_W)[new])
        emb_of |= zip([(first_W[w], last_W[w]) for w in new], embedded(embed, waves), strict=True)
    rows = [emb_of[key] for key in zip(first_W, last_W, strict=True)]
    emb_WD = np.stack(rows) if rows else np.zeros((0, 1), np.float32)
    side = Side.of(emb_WD, np.maximum(net_s(mask_T, start_W, end_W), FRAME_S))
    return Windows(start_W, end_W, slot_WE, net_s(mask_T, *slot_WE.T), side)


def stretches_of(mask_T: np.ndarray, total_s: float, first: int = 0) -> list[tuple[float, float]]:
    """Return (start, end) of each stretch of speech, over short pauses; `mask_T` begins with frame `first`.

    >>> stretches_of(np.repeat([False, True, False, True], [25, 50, 100, 25]), 9.0)
    [(0.25, 0.75), (1.75, 2.0)]
    """
    edge_2R = (np.stack(edges(mask_T)) + first) * FRAME_S
    return joined([(float(a), min(float(b), total_s)) for a, b in edge_2R.T], BRIDGE_S)


def laid(
    stretches: Sequence[tuple[float, float]], total_s: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return where the windows of stretches of speech lie: start_W, end_W, slot_WE as in `Windows`."""
    rows = [
        (*window, number) for number, stretch in enumerate(stretches) for window in _cuts(stretch, total_s)
    ]
    start_W, end_W, stretch_W = np.array(rows, np.float64).reshape(-1, 3).T
    middle_W, slot_WE = (start_W + end_W) / 2, np.array(stretches).reshape(-1, 2)[stretch_W.astype(int)]
    inside = np.flatnonzero(np.diff(stretch_W) == 0)
    slot_WE[inside, 1] = slot_WE[inside + 1, 0] = (middle_W[inside] + middle_W[inside + 1]) / 2
    return start_W, end_W, slot_WE


def at_samples(start_W: np.ndarray, end_W: np.ndarray) -> list[list[int]]:
    """Return the first sample of each window, and the sample after its last."""
    return [np.round(edge_W * SAMPLE_RATE).astype(int).tolist() for edge_W in (start_W, end_W)]


def _cuts(stretch: tuple[float, float], total_s: float) -> list[tuple[float, float]]:
    """Return the windows of a stretch of speech; the last one ends with it."""
    start, end = stretch
    if end - start < LEAST_WINDOW_S:
        start = max(0.0, min((start + end - LEAST_WINDOW_S) / 2, total_s - LEAST_WINDOW_S))
        return [(start, min(start + LEAST_WINDOW_S, total_s))]
    if end - start <= WINDOW_S:
        return [(start, end)]
    steps = np.arange(start, end - WINDOW_S - STEP_S / 2, STEP_S)
    return [(float(at), float(at) + WINDOW_S) for at in steps] + [(end - WINDOW_S, end)]


def channels_of(source: Source, vad: str) -> list[tuple[Inspected, np.ndarray]]:
    """Return each channel of a call with the mask of its own speech: where it is not the other that leaks in.

    A frame belongs to a channel where it is at most 10 dB further below that channel's speech than the other
    channel is below its own.
    """
    found = [inspect(Part.of(source), vad=vad, channel=channel) for channel in (0, 1)]
    level = []
    for one in found:
        meter = EnergyMeter()
        for wave_S in one.blocks():
            meter.add(wave_S)
        power_T = 10 * np.log10(meter.power() + 1e-10)
        level.append(power_T - (np.quantile(power_T[one.mask_T], 0.9) if one.mask_T.any() else 0.0))
    size = min(map(len, level))
    masks = []
    for own, other in ((0, 1), (1, 0)):
        near_T = level[own][:size] > level[other][:size] - LEAK_DB
        masks.append(found[own].mask_T[:size] & (near_T | ~found[other].mask_T[:size]))
    return list(zip(found, masks, strict=True))

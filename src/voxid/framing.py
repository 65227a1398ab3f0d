"""A recording that arrives in blocks, cut so that every frame comes out as if it had been whole. No torch.

Features look at one window of samples at a time, and beyond the ends of a wave they see zeros or a mirror.
In the middle of a recording there is no end. So a block is handed on together with samples that came before
it, the frames that touched a cut are left out, and any function from waves to frames gives the frames of the
whole: a torch module or an exported graph.

The summary of an utterance may leave its pauses out. What a pause is, is said here for torch and numpy alike:
a frame much softer than the speech. The loudness of a frame is the mean over its bands of the fourth root of
their energy, near to how people hear (Zwicker and Fastl, "Psychoacoustics"): a tone is one loud band among
many soft ones, and a band that a codec left empty takes away no more than itself. The loudness of the speech
is a mean over frames that each count as much as their amplitude: silence, however long, does not move it.

Shapes: S samples, T frames, M mel bands, U numbers in a summary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple, TypeVar

import numpy as np

# of every band over the frames; of all bands and frames; that, then means of what lies within CLIP_DB of it
Summary = Literal["mean", "peak", "clipped"]
CLIP_DB = 80.0
Array = TypeVar("Array")  # numpy's or torch's, one axis: len, slices
STEP_DB = 0.5  # loudness counts in steps: sums by step say what is over any threshold
STEPS_FROM_DB, STEPS = -200.0, 800  # what steps of levels are counted: -200 to 200 dB
DB = 40 / math.log(10)  # from the logarithm of a fourth root of energy


class Framing(NamedTuple):
    """Where windows lie: frame t takes `window` samples from t * hop - lead on."""

    hop: int
    lead: int
    window: int

    def cut(
        self, waves: Iterable[Array], join: Callable[[list[Array]], Array]
    ) -> Iterator[tuple[Array, slice]]:
        """Yield (wave_S, frames): the next frames of the recording are `frames` among those of `wave_S`.

        The last slice is open: it takes what there is to the end, which may be nothing. `join` puts pieces of
        waves together. Memory does not grow with the length.

        >>> framing = Framing(hop=2, lead=0, window=4)
        >>> waves = [np.arange(5), np.arange(5, 9)]
        >>> for wave, frames in framing.cut(waves, np.concatenate):
        ...     print(wave, frames)
        [0 1 2 3 4] slice(0, 1, None)
        [0 1 2 3 4 5 6 7 8] slice(1, 3, None)
        [2 3 4 5 6 7 8] slice(2, None, None)
        """
        held: Array | None = None
        first, done = 0, 0  # frame whose hop `held` begins with; frames handed on
        for wave in waves:
            held = wave if held is None else join([held, wave])
            ends = (len(held) - self.window + self.lead) // self.hop + 1  # type: ignore[arg-type]
            if first + ends > done:
                yield held, slice(done - first, ends)
                done = first + ends
                # what mirrors the end looks back, so a window more than the next frame needs is kept
                start = max(first, done - -(-(self.lead + self.window) // self.hop))
                held, first = held[(start - first) * self.hop :], start  # type: ignore[index]
        if held is not None:
            yield held, slice(done - first, None)


def loudness_steps(logmel_TM: np.ndarray) -> np.ndarray:
    """Return the loudness of frames, in whole steps of STEP_DB (T,), from the logarithms of bands."""
    loudness_T = np.exp(logmel_TM * np.float32(0.25)).mean(axis=1)
    return np.floor(np.log(loudness_T) * np.float32(DB / STEP_DB)).astype(np.int64)


def pause_step(step_T: np.ndarray, count_T: np.ndarray, pause_db: float) -> int:
    """Return the step of the softest frames that are no pause; each of `step_T` stands for `count_T` frames.

    >>> pause_step(np.array([100, -140]), np.array([300, 9000]), pause_db=30.0)  # 50 dB, and silence
    40
    """
    amplitude_T = 10 ** (step_T * (STEP_DB / 20))
    speech = (count_T * amplitude_T**2).sum() / (count_T * amplitude_T).sum()
    return math.floor((20 * math.log10(speech) - pause_db) / STEP_DB + 1e-3)


class Summing:
    """The summary of one utterance's `log_mel` from its pieces (T, M), in 64 bits, holding none of them.

    With `pause_db` a mean is one over the frames that are less than so many decibels softer than the speech,
    and the step of loudness from which they are follows it. `frames` counts the frames that are no pause.

    >>> mean = Summing("mean")
    >>> for logmel_TM in (np.array([[1.0, 2.0]]), np.array([[3.0, 2.0], [5.0, 2.0]])):
    ...     mean.add(logmel_TM)
    >>> mean.value().tolist(), mean.frames
    ([[3.0, 2.0]], 3)
    """

    def __init__(self, kind: Summary, pause_db: float | None = None) -> None:
        self._kind = kind
        self._pause_db = pause_db
        self._sums: dict[int, np.ndarray] = {}  # step of loudness -> the sum of its frames, and their number
        self._peak = np.full(1, -np.inf)
        self.frames = 0
        self._by_step: np.ndarray | None = None  # of "clipped": (steps, M, 2), sum and number of the values

    def add(self, logmel_TM: np.ndarray) -> None:
        """Take the next frames."""
        if not len(logmel_TM):
            return
        self.frames += len(logmel_TM)
        if self._kind != "mean":
            self._peak = np.maximum(self._peak, logmel_TM.max())
        if self._kind == "clipped":
            self._count_steps(logmel_TM.astype(np.float64))
        if self._kind != "mean":
            return
        step_T = np.zeros(len(logmel_TM)) if self._pause_db is None else loudness_steps(logmel_TM)
        for step in np.unique(step_T).tolist():
            mine_TM = logmel_TM[step_T == step]
            sums = np.append(mine_TM.sum(axis=0, dtype=np.float64), len(mine_TM))
            self._sums[step] = self._sums.get(step, 0.0) + sums

    def value(self) -> np.ndarray:
        """Return the summary float32 (1, U); there has to be a frame."""
        assert self.frames, "a recording without a frame has no summary"
        if self._kind == "peak":
            return self._peak[None].astype(np.float32)
        if self._kind == "clipped":
            return np.concatenate((self._peak, self._clipped_mean()))[None].astype(np.float32)
        least = min(self._sums)
        if self._pause_db is not None:
            counts = np.array([sums[-1] for sums in self._sums.values()])
            least = pause_step(np.array(list(self._sums)), counts, self._pause_db)
        total = np.sum([sums for step, sums in self._sums.items() if step >= least], axis=0)
        self.frames = int(total[-1])
        return np.append(total[:-1] / self.frames, [] if self._pause_db is None else least)[None].astype(
            np.float32
        )

    def _count_steps(self, level_TM: np.ndarray) -> None:
        """Add each value to the step of its band: the peak, and so what is clipped, is known at the end."""
        bands = level_TM.shape[1]
        place_TM = np.clip((level_TM - STEPS_FROM_DB) / STEP_DB, 0, STEPS - 1).astype(np.int64)
        place_N = (place_TM * bands + np.arange(bands)).ravel()
        both = [np.bincount(place_N, weights, STEPS * bands) for weights in (level_TM.ravel(), None)]
        counted = np.stack(both, axis=-1).reshape(STEPS, bands, 2)
        self._by_step = counted if self._by_step is None else self._by_step + counted

    def _clipped_mean(self) -> np.ndarray:
        """Return the mean of each band (M,), values under the clip counted as that; exact but in one step."""
        assert self._by_step is not None
        sum_PM, count_PM = np.moveaxis(self._by_step, 2, 0)
        with np.errstate(invalid="ignore"):
            level_PM = np.maximum(sum_PM / count_PM, self._peak - CLIP_DB)
        return np.where(count_PM > 0, level_PM * count_PM, 0).sum(axis=0) / self.frames

"""Is what stands out a voice? An energy detector takes rain, dishes, dial tones for one; this gate does not.

Most of speech is voiced: the vocal folds open 60 to 500 times a second (children the fastest), so the wave
repeats itself, and the rate moves smoothly but is never still. So what an energy detector found must hold
voiced frames:

    period    autocorrelation of a 40 ms window (divided by that of the window: Boersma, 1993) at least
              PERIODIC at a peak between 60 and 500 Hz
    band      at least LEAST_BAND of the power between 80 and 3,000 Hz, and no more than MOST_LINE of that in
              one spectral line, as a whistle or a pure tone has it
    run       at least RUN such frames in a row, whose rate differs by less than JUMP from frame to frame
    movement  by more than STILL in the median of the run: machines hold a tone exactly, voices cannot

and within REACH of a frame at least SHARE of what the energy detector found must be voiced.

# S samples, T frames of 25 ms every 10 ms, V frames of 40 ms every 20 ms, F frequency bins, L lags,
# R runs, N values in them, B bins near one
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np

from voxid.types import SAMPLE_RATE

RATE = SAMPLE_RATE // 2  # of the autocorrelation
HALF_WINDOW = RATE // 25  # 40 ms
WINDOW = 2 * HALF_WINDOW + 2  # samples that a frame needs
HOP = SAMPLE_RATE // 50  # 20 ms
N_FFT = 512  # room for window and longest lag
PITCH_HZ = (60, 500)
BAND_HZ = (80, 3000)
PERIODIC = 0.6
OCTAVE_COST = 0.02
LEAST_BAND = 0.3
MOST_LINE = 0.97
LINE_BINS = 3  # either side: the width of a line in this window
RUN = 3
JUMP = 0.12  # of the rate, between frames 20 ms apart
STILL = 0.002
REACH = 1.0  # seconds
SHARE = 0.15
BATCH = 128  # frames at a time: they stay in the processor's cache
FEW = 8  # frames of a batch that one matrix product takes


class VoicingMeter:
    """Finds the voiced frames of a recording that arrives in blocks; the same answer however it is cut.

    It keeps 4 bytes for each 20 ms, and the samples of less than a batch.
    """

    def __init__(self) -> None:
        self._rest_S = np.zeros(0, np.float32)
        self._rates: list[np.ndarray] = []
        self._rest_V = np.zeros(0, np.float32)  # the rates of `_rest_S`, as far as they were asked for

    def add(self, wave_S: np.ndarray) -> None:
        """Take the next samples, finite floats."""
        if self._rest_S.size:
            wave_S = np.concatenate((self._rest_S, wave_S))
        # whole batches only, so that the cuts between blocks do not move those between batches
        frames = (wave_S.size - WINDOW) // HOP + 1
        frames -= frames % BATCH
        if frames > 0:
            self._rates += _batches(wave_S, frames)
            self._rest_V = self._rest_V[:0]
        self._rest_S = wave_S[max(0, frames) * HOP :].copy()

    def voiced(self) -> np.ndarray:
        """Return which frames of 40 ms so far, one every 20 ms, are voiced: bool (V,)."""
        new_V = pitch(self._rest_S[self._rest_V.size * HOP :])
        self._rest_V = np.concatenate((self._rest_V, new_V))
        return runs(np.concatenate([*self._rates, self._rest_V]))


def pitch(wave_S: np.ndarray) -> np.ndarray:
    """Return the rate of the vocal folds in Hz for each frame, 0 where there is no period: float32 (V,)."""
    return np.concatenate(
        [np.zeros(0, np.float32), *_batches(wave_S, max(0, (wave_S.size - WINDOW) // HOP + 1))]
    )


def _batches(wave_S: np.ndarray, frames: int) -> Iterator[np.ndarray]:
    """Yield the rates of the first `frames` frames, BATCH at a time."""
    if frames <= 0:
        return
    tables = _tables()
    wave_S = wave_S[: (frames - 1) * HOP + WINDOW].astype(np.float32, copy=False)
    # half the rate is enough for the band; these four taps keep what folds over 15 dB or more down
    outer_S, inner_S = wave_S[:-3:2] + wave_S[3::2], wave_S[1:-2:2] + wave_S[2:-1:2]
    half_S = 0.125 * outer_S + 0.375 * inner_S
    frame_VS = np.lib.stride_tricks.sliding_window_view(half_S, HALF_WINDOW)[:: HOP // 2]
    for first in range(0, frames, BATCH):
        batch_VS = frame_VS[first : first + BATCH]
        heard = batch_VS.any()  # padding costs nothing
        yield _rates(batch_VS, tables) if heard else np.zeros(len(batch_VS), np.float32)


class _Tables(NamedTuple):
    window_S: np.ndarray  # Hann
    band: slice  # the bins of BAND_HZ
    lags_L: np.ndarray  # samples, and one more at either end than PITCH_HZ asks for
    likeness_FL: np.ndarray  # from powers in the band that sum to 1, to autocorrelation by that of the window
    cost_L: np.ndarray


@cache
def _tables() -> _Tables:
    window_S = np.hanning(HALF_WINDOW)
    hz_F = np.fft.rfftfreq(N_FFT, 1 / RATE)
    inside_F = np.flatnonzero((hz_F >= BAND_HZ[0]) & (hz_F <= BAND_HZ[1]))
    lags_L = np.arange(RATE // PITCH_HZ[1] - 1, RATE // PITCH_HZ[0] + 2)
    ac_L = np.fft.irfft(np.abs(np.fft.rfft(window_S, N_FFT)) ** 2, N_FFT)
    likeness_FL = np.cos(2 * np.pi / N_FFT * np.outer(inside_F, lags_L)) / (ac_L[lags_L] / ac_L[0])
    return _Tables(
        window_S.astype(np.float32),
        slice(int(inside_F[0]), int(inside_F[-1]) + 1),
        lags_L,
        likeness_FL.astype(np.float32),
        # a wave that repeats after one period does so after two: the shortest of equals wins (Boersma, 1993)
        (OCTAVE_COST * np.log2(lags_L)).astype(np.float32),
    )


def _rates(frame_VS: np.ndarray, tables: _Tables) -> np.ndarray:
    """Return the rate of each frame of a batch in Hz, 0 where there is no period: float32 (V,)."""
    rate_V = np.zeros(len(frame_VS), np.float32)
    spectrum_VF = np.fft.rfft((frame_VS - frame_VS.mean(axis=1, keepdims=True)) * tables.window_S, N_FFT)
    power_VF = spectrum_VF.real**2 + spectrum_VF.imag**2
    whole_V = power_VF.sum(axis=1)
    power_VF = power_VF[:, tables.band]
    band_V = power_VF.sum(axis=1)
    # the rest is for frames that may be a voice
    at_V = np.flatnonzero((band_V > LEAST_BAND * whole_V) & (_line(power_VF) < MOST_LINE * band_V))
    if at_V.size:
        rate_V[at_V] = _periods(power_VF[at_V] / band_V[at_V, None], tables)
    return rate_V


def _periods(share_VF: np.ndarray, tables: _Tables) -> np.ndarray:
    """Return the rate in Hz of frames (shares of the power in the band), 0 without a period: float32 (V,)."""
    # the inverse Fourier transform of the power, where it is needed; a few rows at a time, because for larger
    # products the library behind numpy wakes threads, which cost ten times what they save here
    few_NVF = np.zeros((-(-len(share_VF) // FEW), FEW, share_VF.shape[1]), np.float32)
    few_NVF.reshape(-1, share_VF.shape[1])[: len(share_VF)] = share_VF
    like_VL = (few_NVF @ tables.likeness_FL).reshape(-1, tables.lags_L.size)[: len(share_VF)]
    best_V = (like_VL - tables.cost_L).argmax(axis=1)
    row_V = np.arange(len(best_V))
    inside_V = np.clip(best_V, 1, len(tables.lags_L) - 2)
    before_V, at_V, after_V = (like_VL[row_V, inside_V + step] for step in (-1, 0, 1))
    bend_V = np.maximum(2 * at_V - before_V - after_V, 1e-9)  # a parabola through three points finds the top
    lag_V = tables.lags_L[inside_V] + np.clip((after_V - before_V) / (2 * bend_V), -0.5, 0.5)
    good_V = (best_V == inside_V) & (at_V >= PERIODIC)
    return np.where(good_V, RATE / lag_V, 0).astype(np.float32)


def _line(power_VF: np.ndarray) -> np.ndarray:
    """Return the power of the strongest spectral line of each frame."""
    bins_VB = power_VF.argmax(axis=1)[:, None] + np.arange(-LINE_BINS, LINE_BINS + 1)
    near_VB = np.take_along_axis(power_VF, np.clip(bins_VB, 0, power_VF.shape[1] - 1), axis=1)
    return np.where((bins_VB >= 0) & (bins_VB < power_VF.shape[1]), near_VB, 0).sum(axis=1)


def runs(rate_V: np.ndarray) -> np.ndarray:
    """Return which frames lie in a run of smooth but moving pitch, bool (V,)."""
    if rate_V.size < RUN:
        return np.zeros(rate_V.size, bool)
    with np.errstate(divide="ignore", invalid="ignore"):
        step_V = np.abs(np.diff(np.log(rate_V)))
    starts_R, ends_R = edges(np.isfinite(step_V) & (step_V < JUMP))  # links between frames start .. end
    long_R = ends_R - starts_R >= RUN - 1
    starts_R, ends_R = starts_R[long_R], ends_R[long_R]
    moves_R = _medians(step_V, starts_R, ends_R) > STILL
    change_V = np.zeros(rate_V.size + 1, np.int8)
    change_V[starts_R[moves_R]] += 1
    change_V[ends_R[moves_R] + 1] -= 1
    return np.cumsum(change_V[:-1], dtype=np.int8).astype(bool)


def _medians(value_V: np.ndarray, starts_R: np.ndarray, ends_R: np.ndarray) -> np.ndarray:
    """Return the median of each stretch `value_V[start:end]`, none empty: (R,)."""
    size_R = ends_R - starts_R
    first_R = np.cumsum(size_R) - size_R  # of each stretch once they lie one after the other
    stretch_N = np.repeat(np.arange(size_R.size), size_R)
    value_N = value_V[np.arange(stretch_N.size) + np.repeat(starts_R - first_R, size_R)]
    value_N = value_N[np.lexsort((value_N, stretch_N))]
    return (value_N[first_R + (size_R - 1) // 2] + value_N[first_R + size_R // 2]) / 2


def edges(flag_T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (first frame, frame after the last) of each stretch of frames that are set: (R,), (R,).

    >>> [edge_R.tolist() for edge_R in edges(np.array([True, False, True, True]))]
    [[0, 2], [1, 4]]
    """
    edge_N = np.flatnonzero(np.diff(flag_T, prepend=False, append=False))
    return edge_N[::2], edge_N[1::2]


def gate(mask_T: np.ndarray, voiced_V: np.ndarray) -> np.ndarray:
    """Return the frames of `mask_T` that have enough voiced ones among them within REACH: bool (T,)."""
    frames = mask_T.size
    voiced_T = np.zeros(frames, bool)
    for step in (0, 1):  # a frame of 40 ms every 20 ms covers two places of 10 ms, its middle
        voiced_T[1 + step :: 2][: voiced_V.size] = voiced_V[: voiced_T[1 + step :: 2].size]
    reach = round(REACH / 0.01)
    near_T = _around(mask_T, reach)
    return mask_T & (_around(mask_T & voiced_T, reach) >= SHARE * near_T)


def _around(flag_T: np.ndarray, reach: int) -> np.ndarray:
    """Return how many of the frames within `reach` of each are set: int (T,)."""
    count_T = np.zeros(flag_T.size + 1, np.int32)  # of those before
    np.cumsum(flag_T, out=count_T[1:])
    inner = max(0, flag_T.size - reach)
    near_T = np.full(flag_T.size, count_T[-1])
    near_T[:inner] = count_T[reach + 1 :]
    near_T[reach:] -= count_T[:inner]
    return near_T

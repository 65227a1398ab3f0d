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

# S samples, T frames of 25 ms every 10 ms, V frames of 40 ms every 20 ms, F frequency bins, L lags
"""

from __future__ import annotations

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
BATCH = 2048  # frames at a time


class VoicingMeter:
    """Finds the voiced frames of a recording that arrives in blocks; the same answer however it is cut.

    It keeps 4 bytes for each 20 ms.
    """

    def __init__(self) -> None:
        self._rest_S = np.zeros(0, np.float32)
        self._rates: list[np.ndarray] = []

    def add(self, wave_S: np.ndarray) -> None:
        """Take the next samples, finite floats."""
        if self._rest_S.size:
            wave_S = np.concatenate((self._rest_S, wave_S))
        frames = max(0, (wave_S.size - WINDOW) // HOP + 1)
        for first in range(0, frames, BATCH):
            piece_S = wave_S[first * HOP : (min(first + BATCH, frames) - 1) * HOP + WINDOW]
            self._rates.append(pitch(piece_S))
        self._rest_S = wave_S[frames * HOP :].copy()

    def voiced(self) -> np.ndarray:
        """Return which frames of 40 ms so far, one every 20 ms, are voiced: bool (V,)."""
        return runs(np.concatenate(self._rates) if self._rates else np.zeros(0, np.float32))


def pitch(wave_S: np.ndarray) -> np.ndarray:
    """Return the rate of the vocal folds in Hz for each frame, 0 where there is no period: float32 (V,)."""
    wave_S = wave_S.astype(np.float32, copy=False)
    # half the rate is enough for the band; these four taps keep what folds over 15 dB or more down
    outer_S, inner_S = wave_S[:-3:2] + wave_S[3::2], wave_S[1:-2:2] + wave_S[2:-1:2]
    half_S = 0.125 * outer_S + 0.375 * inner_S
    frame_VS = np.lib.stride_tricks.sliding_window_view(half_S, HALF_WINDOW)[:: HOP // 2]
    window_S = np.hanning(HALF_WINDOW).astype(np.float32)
    spectrum_VF = np.fft.rfft((frame_VS - frame_VS.mean(axis=1, keepdims=True)) * window_S, N_FFT)
    power_VF = spectrum_VF.real**2 + spectrum_VF.imag**2
    whole_V = power_VF.sum(axis=1)
    hz_F = np.fft.rfftfreq(N_FFT, 1 / RATE)
    power_VF *= (hz_F >= BAND_HZ[0]) & (hz_F <= BAND_HZ[1])
    band_V = power_VF.sum(axis=1)
    sound_V = (band_V > LEAST_BAND * whole_V) & (_line(power_VF) < MOST_LINE * band_V)
    ac_VL = np.fft.irfft(power_VF, N_FFT)
    ac_L = np.fft.irfft(np.abs(np.fft.rfft(window_S, N_FFT)) ** 2, N_FFT)
    lags = np.arange(RATE // PITCH_HZ[1] - 1, RATE // PITCH_HZ[0] + 2)
    like_VL = ac_VL[:, lags] / np.maximum(ac_VL[:, :1], 1e-20) / (ac_L[lags] / ac_L[0])
    # a wave that repeats after one period does so after two: the shortest wins among equals (Boersma, 1993)
    best_V = (like_VL - OCTAVE_COST * np.log2(lags)).argmax(axis=1)
    row_V = np.arange(len(best_V))
    inside_V = np.clip(best_V, 1, len(lags) - 2)
    before_V, at_V, after_V = (like_VL[row_V, inside_V + step] for step in (-1, 0, 1))
    bend_V = np.maximum(2 * at_V - before_V - after_V, 1e-9)  # a parabola through three points finds the top
    lag_V = lags[inside_V] + np.clip((after_V - before_V) / (2 * bend_V), -0.5, 0.5)
    good_V = sound_V & (best_V == inside_V) & (at_V >= PERIODIC)
    return np.where(good_V, RATE / lag_V, 0).astype(np.float32)


def _line(power_VF: np.ndarray) -> np.ndarray:
    """Return the power of the strongest spectral line of each frame."""
    top_V = power_VF.argmax(axis=1)
    sum_VF = np.cumsum(power_VF, axis=1)
    row_V = np.arange(len(top_V))
    low_V = np.clip(top_V - LINE_BINS - 1, 0, None)
    return sum_VF[row_V, np.minimum(top_V + LINE_BINS, power_VF.shape[1] - 1)] - sum_VF[row_V, low_V]


def runs(rate_V: np.ndarray) -> np.ndarray:
    """Return which frames lie in a run of smooth but moving pitch, bool (V,)."""
    voiced_V = np.zeros(rate_V.size, bool)
    if rate_V.size < RUN:
        return voiced_V
    with np.errstate(divide="ignore", invalid="ignore"):
        step_V = np.abs(np.diff(np.log(rate_V)))
    linked_V = np.concatenate(([False], np.isfinite(step_V) & (step_V < JUMP), [False]))
    starts_R = np.flatnonzero(linked_V[1:] & ~linked_V[:-1])
    ends_R = np.flatnonzero(linked_V[:-1] & ~linked_V[1:])
    for start, end in zip(starts_R, ends_R, strict=True):  # links between frames start .. end
        if end - start + 1 >= RUN and np.median(step_V[start:end]) > STILL:
            voiced_V[start : end + 1] = True
    return voiced_V


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
    count_T = np.concatenate(([0], np.cumsum(flag_T, dtype=np.int64)))
    index_T = np.arange(flag_T.size)
    return count_T[np.minimum(index_T + reach + 1, flag_T.size)] - count_T[np.maximum(index_T - reach, 0)]

"""What is wrong with the channels of a recording as they were recorded: clipping, channels that cancel.

Measured before channels are averaged and before resampling, which hide both.

# S samples, C channels, K samples near the top
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from voxid.audio.sources import Opened
from voxid.types import SAMPLE_RATE

NEAR = 0.99  # of the extreme: clipped samples lie there together, and few others do
FLAT = 2 / 32768  # of full scale between neighbours: the top of a clipped wave is flat
PIECE = 1 << 15  # frames at a time in double precision
APART = 0.3  # correlation of two channels that hold two different sounds
OVER = 1.0 + 2 / 32768  # lossy decoders end a hair above full scale
LEAST_PEAK = 0.05  # below this a wave that is flat at its top is only quiet
LOOK, EVERY = 400, SAMPLE_RATE // 5  # samples of a spectrum, one each fifth of a second
LINES, DEEP_DB = 6, 40.0  # a band of so many lines, this far below the loudest, holds no sound of the voice


@dataclass(frozen=True, slots=True)
class Channels:
    """What the channels are: each one's power (C,), that of their mean, and the share of clipped samples.

    `power_C` and `mean_power` are 0 for one channel, which has nothing to be compared with. `correlation` is
    that of two channels, -1 to 1; None for another number of channels.
    """

    power_C: np.ndarray
    mean_power: float
    clipped: float
    correlation: float | None
    over: int = 0  # samples over full scale, as floats may be
    peak: float = 0.0

    @property
    def kept(self) -> float:
        """The share of power that averaging the channels keeps; 1 for channels that are the same."""
        each = float(self.power_C.mean())
        return self.mean_power / each if each > 0 else 1.0

    @property
    def unlike(self) -> bool:
        """Whether there are two channels that hold two different sounds."""
        return self.correlation is not None and abs(self.correlation) < APART and bool(min(self.power_C) > 0)


class Tap:
    """An opened source that measures what is read from it."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self.name, self.rate, self.frames = opened.name, opened.rate, opened.frames
        self.channels, self.format, self.exact = opened.channels, opened.format, opened.exact
        self.notes = opened.notes
        self._count = 0
        self._sum_C = np.zeros(opened.channels)
        self._product_CC = np.zeros((opened.channels, opened.channels))
        self._over, self._peak = 0, 0.0
        self._tops = [_Top(1), _Top(-1)]

    def seek(self, frame: int) -> None:
        """Make `frame` the next one to be read."""
        self._opened.seek(frame)

    def read(self, frames: int) -> np.ndarray:
        """Return up to `frames` frames as float32 (S,) or (S, C)."""
        samples = self._opened.read(frames)
        if len(samples) and np.isfinite(samples).all():
            wave_SC = samples.reshape(len(samples), -1)
            self._count += len(wave_SC)
            if self.channels > 1:
                self._compare(wave_SC)
            for top in self._tops:
                top.add(wave_SC)
            # lossy codecs overshoot, and are scaled right
            if self.format.endswith(("FLOAT", "DOUBLE", "array")):
                self._over += int((np.abs(wave_SC) > OVER).sum())
                self._peak = max(self._peak, float(np.abs(wave_SC).max()))
        return samples

    def _compare(self, wave_SC: np.ndarray) -> None:
        """Add to the sums that the channels' powers and correlation come of."""
        for first in range(0, len(wave_SC), PIECE):
            exact_CS = wave_SC[first : first + PIECE].T.astype(float, order="C")
            self._sum_C += exact_CS.sum(axis=1)
            self._product_CC += np.einsum("cs,ds->cd", exact_CS, exact_CS)  # @ would start BLAS's threads

    def channels_heard(self) -> Channels:
        """Return what was measured so far."""
        count = max(1, self._count)
        mean_C = self._sum_C / count
        cov_CC = self._product_CC / count - np.outer(mean_C, mean_C)
        power_C = np.maximum(np.diag(cov_CC), 0.0)
        both = float(np.sqrt(power_C[0] * power_C[1])) if len(power_C) == 2 else 0.0
        return Channels(
            power_C,
            max(0.0, float(cov_CC.mean())),
            sum(top.flat for top in self._tops) / (count * len(power_C)),
            float(cov_CC[0, 1]) / both if both > 0 else None,
            self._over,
            self._peak,
        )


class _Top:
    """Counts samples at the flat top (sign 1) or bottom (-1) of a wave that arrives block by block."""

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.peak = 0.0
        self.flat = 0

    def add(self, wave_SC: np.ndarray) -> None:
        highest = float(wave_SC.max() if self.sign > 0 else -wave_SC.min())
        if highest < max(NEAR * self.peak, LEAST_PEAK):
            return
        if highest > self.peak:
            if highest * NEAR > self.peak:  # what lay at the old top does not lie at the new one
                self.flat = 0
            self.peak = highest
        flat_S, apart = wave_SC.ravel(), wave_SC.shape[1]  # from a sample to the next of its channel
        bar = self.sign * NEAR * self.peak
        at_K = np.flatnonzero(flat_S >= bar if self.sign > 0 else flat_S <= bar)
        still_K = np.zeros(len(at_K), bool)
        for to_K in (at_K - apart, at_K + apart):
            there_K = (to_K >= 0) & (to_K < flat_S.size)
            still_K |= there_K & (np.abs(flat_S[at_K] - flat_S.take(to_K, mode="clip")) <= FLAT)
        self.flat += int(still_K.sum())


class BandMeter:
    """Finds how high the sound of a recording at 16 kHz goes; the same answer however it is cut."""

    def __init__(self) -> None:
        self._rest_S = np.zeros(0, np.float32)
        self._power_F = np.zeros(LOOK // 2 + 1)
        self._window_S = np.hanning(LOOK)

    def add(self, wave_S: np.ndarray) -> None:
        """Take the next samples, finite floats."""
        wave_S = np.concatenate((self._rest_S, wave_S))
        whole = wave_S.size - wave_S.size % EVERY
        look_PS = wave_S[:whole].reshape(-1, EVERY)[:, :LOOK]
        self._rest_S = wave_S[whole:].copy()
        for first in range(0, len(look_PS), 64):
            part_PS = look_PS[first : first + 64] - look_PS[first : first + 64].mean(axis=1, keepdims=True)
            self._power_F += (np.abs(np.fft.rfft(part_PS * self._window_S)) ** 2).sum(axis=0)

    def edge_hz(self) -> float | None:
        """Return the frequency above which nothing is heard; None without sound.

        The mean spectrum, in bands of 240 Hz, ends with the last band within 40 dB of the loudest.
        """
        power_B = np.add.reduceat(self._power_F, np.arange(0, self._power_F.size - 1, LINES))
        if not power_B.max() > 0:
            return None
        heard_B = np.flatnonzero(power_B >= power_B.max() * 10 ** (-DEEP_DB / 10))
        return float(min((heard_B[-1] + 1) * LINES * SAMPLE_RATE / LOOK, SAMPLE_RATE / 2))

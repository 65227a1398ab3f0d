"""How much of a recording is speech: the one measure of net speech.

`SpeechMeter` takes two steps. An energy detector, which adapts to the level and the noise of each recording,
finds what stands out; then a gate (`voicing`) keeps what holds a voice. Enrollment, verification, evaluation
and calibration all weigh a recording by this measure.

The energy detector: three levels in dB decide. `peak`: the level that a little of the recording reaches.
`floor`: the level that a tenth of its frames stay below; digital silence does not count. The threshold lies
between them:

    threshold = max(peak - DEPTH_DB, floor + min(MARGIN_DB, SHARE * (peak - floor)))

Only differences of levels occur, so a change of gain changes nothing. In a recording whose frames all have
about one level (noise, a tone) nothing stands out, and nothing is called speech.

# S samples, T frames, P pieces of 5 ms, R stretches of speech
"""

from __future__ import annotations

import numpy as np

from voxid.audio.voicing import VoicingMeter, edges, gate
from voxid.types import SAMPLE_RATE

PIECE = SAMPLE_RATE // 200  # 5 ms
HOP = 2  # pieces: a frame every 10 ms
SPAN = 5  # pieces: a frame is 25 ms long
FRAME_S = HOP * PIECE / SAMPLE_RATE

DEPTH_DB = 35.0  # the weakest speech below the peak: fricatives lie 20 to 30 dB below open vowels
MARGIN_DB = 6.0  # above the floor, where there is room
SHARE = 0.4  # of the way from floor to peak, where there is none
LEAST_RANGE_DB = 6.0  # between floor and peak; stationary noise has less
SILENT_DB = 90.0  # further below the loudest 0.1 s is digital silence, which is not this room's floor
FLOOR_SHARE = 0.1
PEAK_SHARE = 0.02
PEAK_FRAMES = (10, 100)  # at least 0.1 s have to reach the peak, so a click does not make it; 1 s is enough

GAP = 10  # frames: shorter gaps are closures within words, and are speech
BURST = 4  # frames: shorter bursts are clicks


def speech_seconds(wave_S: np.ndarray) -> float:
    """Return how many seconds of mono 16 kHz samples (S,) are speech; 0.0 when nobody talks.

    >>> speech_seconds(np.zeros(16_000))
    0.0
    """
    return net_seconds(speech_mask(wave_S))


def speech_mask(wave_S: np.ndarray) -> np.ndarray:
    """Return which frames of 25 ms, one every 10 ms, are speech: bool (T,), from mono samples at 16 kHz.

    >>> from voxid.audio import load
    >>> speech_mask(load("alice1.wav")).dtype  # a frame each 10 ms
    dtype('bool')
    """
    meter = SpeechMeter()
    meter.add(wave_S)
    return meter.mask()


def net_seconds(mask_T: np.ndarray) -> float:
    """Return the seconds of net speech of a mask, to the hundredth.

    >>> net_seconds(np.array([True, False, True]))
    0.02
    """
    return round(float(mask_T.sum()) * FRAME_S, 2)


def net_s(mask_T: np.ndarray, from_W: np.ndarray, to_W: np.ndarray) -> np.ndarray:
    """Return the seconds of speech of a mask between times in seconds, (W,)."""
    speech_T = np.concatenate(([0], np.cumsum(mask_T))) * FRAME_S
    at = np.clip(np.round(np.stack((from_W, to_W)) / FRAME_S).astype(int), 0, len(speech_T) - 1)
    return speech_T[at[1]] - speech_T[at[0]]


class SpeechMeter:
    """Measures the speech of a recording that arrives in blocks; the same answer however it is cut.

    It keeps 6 bytes for each 10 ms, 2.2 MB an hour: the threshold is known only at the end.

    >>> from voxid.audio import blocks
    >>> meter = SpeechMeter()
    >>> for wave_S in blocks("alice1.wav", block_s=1.0):
    ...     meter.add(wave_S)
    >>> int(meter.mask().sum()) > 200  # frames of 10 ms
    True
    """

    def __init__(self) -> None:
        self._energy, self._voicing = EnergyMeter(), VoicingMeter()

    def add(self, wave_S: np.ndarray) -> None:
        """Take the next samples, finite floats."""
        self._energy.add(wave_S)
        self._voicing.add(wave_S)

    def mask(self) -> np.ndarray:
        """Return which frames of 25 ms so far, one every 10 ms, are speech: bool (T,)."""
        return gate(self._energy.mask(), self._voicing.voiced())

    def power(self) -> np.ndarray:
        """Return the mean square of the samples of each frame so far, without offset and rumble: (T,).

        >>> meter = SpeechMeter()
        >>> meter.add(np.zeros(16_000, np.float32))
        >>> meter.power().shape
        (98,)
        """
        return self._energy.power()


def energy_mask(wave_S: np.ndarray) -> np.ndarray:
    """Return which frames of 25 ms, one every 10 ms, stand out from the rest of the recording: bool (T,).

    >>> t = np.arange(16_000) / 16_000
    >>> voice = np.where((t > 0.3) & (t < 0.7), np.sin(2 * np.pi * 200 * t), 0.01 * np.sin(900 * t))
    >>> int(energy_mask(voice).sum())
    42
    """
    meter = EnergyMeter()
    meter.add(wave_S)
    return meter.mask()


class EnergyMeter:
    """Finds what stands out in a recording that arrives in blocks; the same answer however it is cut.

    It keeps 4 bytes for each 10 ms, 1.4 MB an hour: the threshold is known only at the end.
    """

    def __init__(self) -> None:
        self._rest_S = np.zeros(0, np.float32)
        self._energy: list[np.ndarray] = []  # of pieces, in the order they came

    def add(self, wave_S: np.ndarray) -> None:
        """Take the next samples, finite floats."""
        if self._rest_S.size:
            wave_S = np.concatenate((self._rest_S, wave_S))
        whole = wave_S.size - wave_S.size % PIECE
        piece_PS = wave_S[:whole].reshape(-1, PIECE)
        # without its mean a piece has no constant offset, and little hum and rumble
        energy_P = np.einsum("ps,ps->p", piece_PS, piece_PS) - np.einsum("ps->p", piece_PS) ** 2 / PIECE
        self._energy.append(energy_P)
        self._rest_S = wave_S[whole:].copy()

    def mask(self) -> np.ndarray:
        """Return which frames so far are speech, bool (T,)."""
        change_T = np.zeros(self._frames() + 1, np.int8)
        starts_R, ends_R = self._runs()
        change_T[starts_R], change_T[ends_R] = 1, -1
        return np.cumsum(change_T[:-1], dtype=np.int8).astype(bool)

    def power(self) -> np.ndarray:
        """Return the mean square of the samples of each frame so far, without offset and rumble: (T,)."""
        frames = self._frames()
        if not frames:
            return np.zeros(0, np.float32)
        power_T = _over_span(np.add, self._pieces(), frames)
        power_T /= SPAN * PIECE
        return np.maximum(power_T, 0, out=power_T)

    def _frames(self) -> int:
        return max(0, (sum(energy_P.size for energy_P in self._energy) - SPAN) // HOP + 1)

    def _pieces(self) -> np.ndarray:
        if len(self._energy) > 1:
            self._energy = [np.concatenate(self._energy)]
        return self._energy[0]

    def _runs(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (first frame, frame after the last) of each stretch of speech so far."""
        frames = self._frames()
        if not frames:
            return np.zeros(0, np.intp), np.zeros(0, np.intp)
        energy_P = self._pieces()
        level_T = _over_span(np.add, energy_P, frames)
        level_T = 10 * np.log10(np.maximum(level_T, 1e-20, out=level_T))
        loudest = np.partition(level_T, max(0, frames - PEAK_FRAMES[0]))[max(0, frames - PEAK_FRAMES[0])]
        # frames that reach into digital silence say nothing of the room: padding must not move the floor
        heard_T = _over_span(np.minimum, energy_P, frames) > 10 ** ((loudest - SILENT_DB) / 10)
        return _stretches(level_T >= _threshold(level_T[heard_T]))


def _over_span(combine: np.ufunc, energy_P: np.ndarray, frames: int) -> np.ndarray:
    """Return the sum, or the least, of the pieces of each frame: (T,)."""
    whole_T = energy_P[: HOP * frames - HOP + 1 : HOP].copy()
    for piece in range(1, SPAN):
        combine(whole_T, energy_P[piece : piece + HOP * frames - HOP + 1 : HOP], out=whole_T)
    return whole_T


def _threshold(level_T: np.ndarray) -> float:
    """Return the level from which a frame is speech, dB; infinity when no frame stands out."""
    heard_T = np.sort(level_T)
    count = heard_T.size
    if count == 0:
        return np.inf
    top = min(max(PEAK_FRAMES[0], int(PEAK_SHARE * count)), PEAK_FRAMES[1], count)
    peak, floor = float(heard_T[count - top]), float(heard_T[int(FLOOR_SHARE * count)])
    if peak - floor < LEAST_RANGE_DB:
        return np.inf
    return max(peak - DEPTH_DB, floor + min(MARGIN_DB, SHARE * (peak - floor)))


def _stretches(loud_T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the runs of True, without short bursts and then without short gaps between those that stay."""
    starts_R, ends_R = edges(loud_T)
    long_R = ends_R - starts_R >= BURST
    starts_R, ends_R = starts_R[long_R], ends_R[long_R]
    if starts_R.size == 0:
        return starts_R, ends_R
    apart = np.ones(starts_R.size + 1, dtype=bool)
    apart[1:-1] = starts_R[1:] - ends_R[:-1] >= GAP
    return starts_R[apart[:-1]], ends_R[apart[1:]]

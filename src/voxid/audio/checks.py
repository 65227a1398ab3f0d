"""Can these samples hold a voice? Length, finiteness, silence; one pass, whole or block by block."""

from __future__ import annotations

import numpy as np

from voxid.errors import AudioEmpty, AudioNotFinite, AudioNotScaled, AudioSilent, AudioTooShort
from voxid.types import SAMPLE_RATE

# Shorter than this holds no syllable: 0.1 s is three frames of the default features.
MIN_DURATION_S = 0.1

# A recording whose swing never passes -60 dB of full scale is called silent. Dither and the hiss of an open
# 16-bit channel stay below it (1 bit is -90 dB); the quietest of 11,651 real recordings voxid was developed
# on swings to -37 dB, so whispering far from a microphone passes.
SILENCE_PEAK = 10 ** (-60 / 20)

# Full scale is 1. Lossy codecs and resamplers overshoot it a little; sixteen times as much is a recording of
# integers that nobody divided by their range, which packing would clip into square waves.
LOUDEST = 16.0


class Checker:
    """Checks a recording that arrives in blocks, in constant memory.

    Half of the distance between the highest and the lowest sample is the peak, so that a constant offset
    (a cheap sound card's DC) does not pass for sound.

    >>> checker = Checker()
    >>> for block in (np.zeros(8000, np.float32), np.full(8000, 0.5, np.float32)):
    ...     checker.add(block)
    >>> checker.finish()
    >>> checker.samples, checker.peak
    (16000, 0.25)
    """

    def __init__(self) -> None:
        self.samples = 0
        self._low = np.inf
        self._high = -np.inf

    @property
    def peak(self) -> float:
        """Half the peak-to-peak swing seen so far, 1.0 being full scale."""
        return (self._high - self._low) / 2 if self.samples else 0.0

    @property
    def loudest(self) -> float:
        """The largest magnitude of a sample so far, 1.0 being full scale.

        >>> checker = Checker()
        >>> checker.add(np.array([0.25, -0.75], np.float32))
        >>> checker.loudest
        0.75
        """
        return max(-self._low, self._high, 0.0)

    def add(self, wave_S: np.ndarray) -> None:
        """Take the next samples; raise AudioNotFinite on NaN or infinity, AudioNotScaled above LOUDEST."""
        if wave_S.size == 0:
            return
        # min and max hand a NaN on, so two cheap passes find every kind of bad sample
        low, high = float(wave_S.min()), float(wave_S.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise AudioNotFinite(not_finite(wave_S, self.samples))
        if max(-low, high) > LOUDEST:
            raise AudioNotScaled(
                f"a sample is {max(-low, high):.3g}, where full scale is 1 and at most {LOUDEST:g} is taken. "
                "Divide the samples by their full range: 16-bit integers by 32768."
            )
        self.samples += wave_S.size
        self._low, self._high = min(self._low, low), max(self._high, high)

    def finish(self) -> None:
        """Judge what was added; raise AudioEmpty, AudioTooShort or AudioSilent."""
        duration_s = self.samples / SAMPLE_RATE
        if self.samples == 0:
            raise AudioEmpty("no samples at all. Give a recording with speech in it.")
        if duration_s < MIN_DURATION_S:
            raise AudioTooShort(
                f"{duration_s * 1000:.1f} ms of audio. At least {MIN_DURATION_S * 1000:.0f} ms are needed; "
                "some seconds of speech are better."
            )
        if self.peak < SILENCE_PEAK:
            level = f"at {20 * np.log10(self.peak):.0f} dB of full scale" if self.peak > 0 else "zero"
            raise AudioSilent(
                f"silence: the loudest sample is {level}, and speech must pass "
                f"{20 * np.log10(SILENCE_PEAK):.0f} dB. Check the microphone and the channel."
            )


def check(wave_S: np.ndarray) -> None:
    """Return nothing when mono 16 kHz samples (S,) can hold a voice.

    Raise AudioEmpty, AudioNotFinite, AudioNotScaled (LOUDEST), AudioTooShort (MIN_DURATION_S) or AudioSilent
    (SILENCE_PEAK).

    >>> check(np.zeros(16000, np.float32))
    Traceback (most recent call last):
    voxid.errors.AudioSilent: silence: the loudest sample is zero, ...
    """
    checker = Checker()
    checker.add(wave_S)
    checker.finish()


def not_finite(samples: np.ndarray, offset: int = 0) -> str:
    """Return the sentence that says where the first NaN or infinity of `samples` is."""
    bad = ~np.isfinite(samples.reshape(len(samples), -1)).all(axis=1)
    first = int(np.argmax(bad))
    return (
        f"{int(bad.sum())} samples are NaN or infinite, the first at sample {offset + first}. "
        "Audio must be finite numbers; find the step that wrote them (often a division by a zero level)."
    )

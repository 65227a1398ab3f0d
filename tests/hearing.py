"""A runtime without torch for tests of what is built on one: the mean spectrum of a recording is its voice.

# S samples, D embedding
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from voxid import audio as audio_room
from voxid.corpora.synthetic import speak, voice
from voxid.embed import Embedded, EmbedInfo
from voxid.errors import AudioError
from voxid.scoring import Calibration, fit, unit_rows

RATE = 16_000
DIM = 48


def unlike_voices(count: int) -> Iterator[np.ndarray]:
    """Yield recordings (S,) of synthetic people, each with a pitch, a line and a noise of its own.

    Synthetic voices alone sound alike to a network that knows people.
    """
    for number in range(count):
        rng = np.random.default_rng(number)
        plain_S = speak(voice(60 + number), 2.5, rng)
        faster_S = np.interp(
            np.arange(0, plain_S.size - 1, rng.uniform(0.6, 1.6)), np.arange(plain_S.size), plain_S
        )
        line = np.append(1.0, rng.normal(size=11) * 0.8 ** np.arange(1, 12))
        heard_S = np.convolve(np.tile(faster_S, 2), line)[:40_000]
        noise_S = np.convolve(rng.normal(size=heard_S.size), rng.normal(size=12))[: heard_S.size]
        heard_S += noise_S / noise_S.std() * heard_S.std() * 10 ** (-rng.uniform(8, 20) / 20)
        yield 0.5 * heard_S / np.abs(heard_S).max()


@cache
def say(speaker: int, take: int, seconds: float = 3.0) -> tuple[np.ndarray, int]:
    """Return a recording (samples, rate) of a made-up voice: own pitch and timbre, syllables by `take`."""
    own, now = np.random.default_rng([7, speaker]), np.random.default_rng([speaker, take])
    pitch = own.uniform(90, 220) * now.uniform(0.98, 1.02)
    t = np.arange(int(seconds * RATE)) / RATE
    bands = np.arange(1, 60)[pitch * np.arange(1, 60) < 6000]
    timbre_db = np.interp(pitch * bands, np.linspace(0, 6000, 13), own.normal(0, 9, 13)) - bands / 4
    loud = 10 ** ((timbre_db + now.normal(0, 1.5, bands.size)) / 20)
    glide = np.cumsum(1 + 0.12 * np.sin(2 * np.pi * 1.3 * t + now.uniform(0, 6))) / RATE  # no dial tone
    tones = np.sin(2 * np.pi * pitch * bands[:, None] * glide + own.uniform(0, 6, (bands.size, 1)))
    syllable = np.clip(np.sin(2 * np.pi * 2 * t + now.uniform(0, 6)) + now.uniform(0.2, 0.6), 0, 1)
    wave_S = syllable * (loud @ tones) / np.sqrt(loud @ loud) + 0.002 * now.standard_normal(t.size)
    return (0.3 * wave_S / np.abs(wave_S).max()).astype(np.float32), RATE


class SpectrumRuntime:
    """Embeds a recording as its mean log spectrum against that of an average voice."""

    sample_rate, dim, score_mode = RATE, DIM, "full"

    def __init__(self, name: str = "spectrum", calibration: Calibration | None = None) -> None:
        self.fingerprint = hashlib.sha256(name.encode()).hexdigest()
        self.model = SimpleNamespace(calibration=calibration, cohort=None, metadata={"name": name})

    def embed(self, audio: Any) -> np.ndarray:
        return next(self.embed_each([audio])).embedding

    def embed_waves(self, waves: Sequence[np.ndarray], *, batch_size: int = 128) -> np.ndarray:
        return np.stack([spectrum(wave_S) - AVERAGE for wave_S in waves])

    def embed_many(
        self,
        audio: Iterable[Any],
        *,
        batch_size: int = 128,
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        return np.stack([result.embedding for result in self.embed_each(audio)])

    def embed_each(
        self,
        audio: Iterable[Any],
        on_error: Callable[[int, AudioError], None] | None = None,
        *,
        batch_size: int = 128,
        vad: str | None = "energy",
    ) -> Iterator[Embedded]:
        for position, one in enumerate(audio):
            try:
                found = audio_room.inspect(one, vad=vad)
            except AudioError as error:
                if on_error is None:
                    raise
                on_error(position, error)
                continue
            emb_D = spectrum(audio_room.load(found.audio)) - AVERAGE
            yield Embedded(position, emb_D, EmbedInfo.of(found, True, 1))


def spectrum(wave_S: np.ndarray) -> np.ndarray:
    """Return the mean log energy in DIM bands up to 6 kHz, without the level."""
    frames = np.lib.stride_tricks.sliding_window_view(wave_S, 1024)[::512]
    power = (np.abs(np.fft.rfft(frames * np.hanning(1024))) ** 2)[:, : DIM * 8]
    loud = power.sum(axis=1) > 0.1 * power.sum(axis=1).mean()
    bands = np.log(power[loud].reshape(-1, DIM, 8).sum(axis=2) + 1e-6).mean(axis=0)
    return (bands - bands.mean()).astype(np.float32)


AVERAGE = np.mean([spectrum(say(speaker, 0, 0.5)[0]) for speaker in range(100, 120)], axis=0)


@cache
def calibrated(prior: float = 0.05) -> Calibration:
    """Return a calibration of the spectrum on 40 made-up voices that no test uses."""
    speaker_N = np.repeat(np.arange(200, 240), 2)
    runtime = SpectrumRuntime()
    unit_ND = unit_rows(runtime.embed_many([say(int(s), i, 1.0) for i, s in enumerate(speaker_N)]))
    left, right = np.triu_indices(speaker_N.size, 1)
    pairs = speaker_N[left] * 1000 + speaker_N[right]
    score = (unit_ND @ unit_ND.T)[left, right].astype(np.float64)
    return fit(score, speaker_N[left] == speaker_N[right], prior, pairs=pairs)

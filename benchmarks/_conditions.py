"""What is done to a test recording before the systems hear it: noise, rooms, lines, codecs, less speech.

Every change is a pure function of (seed, condition, utterance): all systems hear the same samples, and the
same piece of noise or the same room at every strength.

# S samples, T frames of 10 ms
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import soxr
import torch

from voxid.audio import load, speech_mask
from voxid.augment.channel import band_limit, mu_law
from voxid.augment.clips import Clips
from voxid.augment.levels import add_at_snr
from voxid.augment.lossy import compress
from voxid.augment.reverb import Rooms, convolve
from voxid.evaluation import EvaluationData
from voxid.types import SAMPLE_RATE

SNRS_DB = (20, 10, 5, 0)
LENGTHS_S = (1, 2, 3, 5, 10)
ROOMS, RT60_S, ROOM_S = 100, (0.3, 0.8), 1.0  # more reverberant than those of training are by default
ROOM_SEED = 104_729  # training draws its rooms with small seeds
LINE_RATE, LINE_BAND = 8000, (300.0, 3400.0)
FRAME, HOP = SAMPLE_RATE // 40, SAMPLE_RATE // 100  # of speech_mask

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]  # of wave_S, float32


@dataclass(frozen=True)
class Condition:
    """A change of the recordings; `least_s` of speech, if more than 0, are kept, and less is no recording."""

    name: str
    change: Change | None = None
    least_s: float = 0.0


def make_conditions(seed: int, noise: Sequence[str] = (), rir: Sequence[str] = ()) -> list[Condition]:
    """Return the conditions that can be made: noise and measured rooms need folders.

    Raise CorpusNotFound or EmptyCorpus.
    """
    found = [Condition("clean")]
    if noise:
        clips = Clips.load(noise, "noise")
        found += [Condition(f"noise {snr} dB", adder(clips, snr)) for snr in SNRS_DB]
    simulated = Rooms.make((), ROOMS, RT60_S, ROOM_S, seed=ROOM_SEED + seed)
    found.append(Condition(f"rooms, RT60 {RT60_S[0]} to {RT60_S[1]} s", reverberator(simulated)))
    if rir:
        found.append(Condition("measured rooms", reverberator(Rooms.make(rir, 0, most_s=ROOM_S))))
    found += [
        Condition("telephone", telephone),
        Condition("Opus, 6 to 8 kbit/s", opus),
        Condition("MP3, 8 kbit/s", mp3),
    ]
    return found + [Condition(f"{least_s} s of speech", least_s=least_s) for least_s in LENGTHS_S]


def changed(data: EvaluationData, condition: Condition, seed: int) -> EvaluationData:
    """Return `data` with its recordings as they are in `condition`."""

    def audio(i: int) -> tuple[np.ndarray, int]:
        wave_S = wave_of(data, i)
        if condition.least_s:
            cut_S = first_speech(wave_S, condition.least_s)
            return (wave_S[:0] if cut_S is None else cut_S), SAMPLE_RATE
        if condition.change is None:
            return wave_S, SAMPLE_RATE
        return condition.change(wave_S, np.random.default_rng([seed, i])), SAMPLE_RATE

    return replace(data, audio=audio)


def with_speech(data: EvaluationData, condition: Condition) -> np.ndarray:
    """Return the numbers of the utterances that have as much speech as the condition asks for."""
    everyone = range(len(data.utterances))
    if not condition.least_s:
        return np.arange(len(everyone))
    return np.array(
        [i for i in everyone if first_speech(wave_of(data, i), condition.least_s) is not None], np.intp
    )


def subset(data: EvaluationData, per_speaker: int | None, seed: int) -> EvaluationData:
    """Return so many utterances of each speaker, drawn always alike; None: all."""
    if per_speaker is None:
        return data
    speaker_N = data.speakers()
    kept: list[int] = []
    for speaker in range(len(data.speaker_names())):
        drawn = np.random.default_rng([seed, speaker]).permutation(np.flatnonzero(speaker_N == speaker))
        kept += drawn[:per_speaker].tolist()
    kept.sort()
    return replace(data, utterances=[data.utterances[i] for i in kept], audio=lambda i: data.audio(kept[i]))


def wave_of(data: EvaluationData, i: int) -> np.ndarray:
    """Return the samples of utterance `i`, float32 (S,)."""
    return load(data.audio(i))


def first_speech(wave_S: np.ndarray, seconds: float) -> np.ndarray | None:
    """Return the recording from its first speech until `seconds` of speech have been heard; None: has less.

    Pauses inside stay, as they do when a recording is broken off.
    """
    speech_T = speech_mask(wave_S)
    heard_T = np.cumsum(speech_T)
    wanted = math.ceil(seconds * SAMPLE_RATE / HOP)
    if not heard_T.size or heard_T[-1] < wanted:
        return None
    first, last = int(speech_T.argmax()), int(heard_T.searchsorted(wanted))
    return wave_S[first * HOP : last * HOP + FRAME]


def adder(clips: Clips, snr_db: float) -> Change:
    """Return the change that adds a piece of a recording, so many decibels below the speech."""

    def add(wave_S: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        piece_BS = clips.draw(rng, 1, wave_S.size)
        return add_at_snr(_batch(wave_S), piece_BS, torch.tensor([float(snr_db)]))[0].numpy()

    return add


def reverberator(rooms: Rooms) -> Change:
    """Return the change that puts speech into one of the rooms."""

    def reverberate(wave_S: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return convolve(_batch(wave_S), rooms.draw(rng, 1))[0].numpy()

    return reverberate


def telephone(wave_S: np.ndarray, _: np.random.Generator) -> np.ndarray:
    """Return what a telephone line leaves: 300 to 3400 Hz, 8 bits of mu-law at 8 kHz."""
    line_S = soxr.resample(band_limit(_batch(wave_S), *LINE_BAND)[0].numpy(), SAMPLE_RATE, LINE_RATE)
    coded_S = mu_law(_batch(line_S))[0].numpy()
    return _as_long(soxr.resample(coded_S, LINE_RATE, SAMPLE_RATE), wave_S.size)


def opus(wave_S: np.ndarray, _: np.random.Generator) -> np.ndarray:
    """Return what Opus leaves at the lowest rate it has."""
    return compress(wave_S, "opus", 1.0)


def mp3(wave_S: np.ndarray, _: np.random.Generator) -> np.ndarray:
    """Return what MP3 leaves at the lowest rate it has for 16 kHz."""
    return compress(wave_S, "mp3", 1.0)


def _as_long(wave_S: np.ndarray, samples: int) -> np.ndarray:
    return np.pad(wave_S[:samples], (0, max(0, samples - wave_S.size))).astype(np.float32)


def _batch(wave_S: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(wave_S, dtype=np.float32))[None]

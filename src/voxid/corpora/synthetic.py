"""Voices made of arithmetic, for tests and for a demonstration where there is no real speech and no network.

The source-filter model of speech (Fant, "Acoustic Theory of Speech Production", 1960): a source, glottal
pulses or noise, passes through a filter, the resonances (formants) of the throat and mouth. What differs
between speakers is drawn once a speaker (`Voice`); what differs between utterances is drawn each time.
These voices are not people: an error rate measured on them says nothing about people.
"""

# S samples, P pulses, T frames, N segments of an utterance, R resonances, F frequency bins

from __future__ import annotations

import io
import os
import wave
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from voxid.errors import BadConfig
from voxid.files import output_error
from voxid.types import SAMPLE_RATE

WINDOW = 512  # samples, 32 ms: one shape of the mouth
HOP = WINDOW // 2  # Hann windows at half overlap add up to one
N_FFT = 2 * WINDOW  # room for the filter to ring for as long as the window
FRAME_S = HOP / SAMPLE_RATE

# First three formants, Hz, of ten American English vowels, mean of men (Peterson and Barney, 1952).
VOWELS = np.array(
    [
        (270, 2290, 3010),  # heed
        (390, 1990, 2550),  # hid
        (530, 1840, 2480),  # head
        (660, 1720, 2410),  # had
        (730, 1090, 2440),  # hod
        (570, 840, 2410),  # hawed
        (440, 1020, 2240),  # hood
        (300, 870, 2240),  # who'd
        (640, 1190, 2390),  # hud
        (490, 1350, 1690),  # heard
    ],
    dtype=float,
)
UPPER_FORMANTS = (3500.0, 4500.0)  # Hz: hardly move with the vowel, so they belong to the speaker
BANDWIDTHS = np.array([60.0, 90.0, 130.0, 200.0, 280.0])  # Hz, of the five resonances

_VOICE_STREAM, _SPEECH_STREAM = 1, 2  # keep the draws of a voice apart from those of its utterances


@dataclass(frozen=True, slots=True)
class Voice:
    """What stays the same whenever one synthetic speaker talks."""

    pitch_hz: float  # median of the glottal rate
    pitch_range: float  # standard deviation of log pitch within an utterance
    jitter: float  # standard deviation of a pulse's time, in periods
    shimmer: float  # standard deviation of a pulse's strength, relative
    tilt_db: float  # fall of the source spectrum, dB per octave
    formant_scale: float  # 1 is the tract length of an average man; shorter tracts scale formants up
    formant_shift: tuple[float, ...]  # of each of the five formants, relative, on top of the scale
    bandwidth_scale: float
    breath: float  # noise relative to the pulses
    rate: float  # speed of talking; 1 is average


def voice(speaker: int, seed: int = 0) -> Voice:
    """Return the voice of speaker number `speaker`; always the same for the same two numbers.

    >>> voice(3) == voice(3), voice(3) == voice(4)
    (True, False)
    """
    rng = np.random.default_rng([_VOICE_STREAM, seed, speaker])
    low = rng.random() < 0.5  # men's and women's voices: two clusters of pitch and tract length
    pitch, scale = (115.0, 1.0) if low else (205.0, 1.16)
    return Voice(
        pitch_hz=float(pitch * np.exp(0.15 * _bell(rng))),
        pitch_range=float(rng.uniform(0.05, 0.14)),
        jitter=float(rng.uniform(0.002, 0.012)),
        shimmer=float(rng.uniform(0.02, 0.10)),
        tilt_db=float(rng.uniform(4.0, 10.0)),
        formant_scale=float(scale * np.exp(0.06 * _bell(rng))),
        formant_shift=tuple(float(0.05 * _bell(rng)) for _ in BANDWIDTHS),
        bandwidth_scale=float(rng.uniform(0.8, 1.5)),
        breath=float(np.exp(rng.uniform(np.log(0.01), np.log(0.12)))),
        rate=float(rng.uniform(0.8, 1.25)),
    )


def speak(voice: Voice, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Return `seconds` of meaningless speech in that voice: float32 (S,) at 16 kHz, peak below 1.

    Vowels and fricatives in random order and timing, with pauses; each call has its own melody, loudness,
    microphone colour and room noise, so two utterances of a voice differ as two recordings would.

    >>> speak(voice(0), 1.5, np.random.default_rng(0)).shape
    (24000,)
    """
    samples = round(seconds * SAMPLE_RATE)
    if samples < 1:
        raise BadConfig(f"seconds: got {seconds!r}, allowed is more than 0. Try 2.0.")
    frames = 2 + samples // HOP
    formants_TR, voiced_T, hiss_T, hiss_hz_T = _articulation(voice, frames, rng)
    pulses_S = _glottal_pulses(voice, frames * HOP, rng)
    pulses_S += voice.breath * rng.standard_normal(pulses_S.size)
    noise_S = rng.standard_normal(pulses_S.size)

    hz_F = np.fft.rfftfreq(N_FFT, 1 / SAMPLE_RATE)
    tilt_F = np.maximum(hz_F / 100.0, 1.0) ** (-voice.tilt_db / 6.02)
    vowel_TF = _resonances(formants_TR, BANDWIDTHS * voice.bandwidth_scale, hz_F) * tilt_F
    fricative_TF = np.exp(-0.5 * ((hz_F - hiss_hz_T[:, None]) / 1100.0) ** 2)
    speech_S = _filter(pulses_S, vowel_TF * voiced_T[:, None]) + _filter(
        noise_S, 0.1 * fricative_TF * hiss_T[:, None]
    )
    return _record(speech_S[HOP : HOP + samples], rng)


def make_corpus(
    folder: str | os.PathLike[str],
    speakers: int = 8,
    utterances: int = 6,
    seconds: tuple[float, float] = (2.0, 4.0),
    seed: int = 0,
    start: int = 0,
) -> Path:
    """Write a corpus of synthetic voices, one folder a speaker, and return `folder`.

    Files are 16 kHz 16-bit WAV. `seconds` bounds the length of an utterance. `start` is the number of the
    first speaker: `start=100` gives voices none of which is among the first hundred. The same numbers give
    the same bytes. Raise BadConfig, NotWritable, DiskFull or OutputError.

    >>> import tempfile
    >>> root = make_corpus(tempfile.mkdtemp(), speakers=2, utterances=1, seconds=(0.5, 0.5))
    >>> sorted(p.relative_to(root).as_posix() for p in root.glob("*/*.wav"))
    ['speaker-0000/0000.wav', 'speaker-0001/0000.wav']
    """
    root = Path(folder)
    for name, count in (("speakers", speakers), ("utterances", utterances)):
        if count < 1:
            raise BadConfig(f"{name}: got {count}, allowed is 1 or more.")
    for number in range(start, start + speakers):
        who = voice(number, seed)
        for take in range(utterances):
            rng = np.random.default_rng([_SPEECH_STREAM, seed, number, take])
            wave_S = speak(who, rng.uniform(*seconds), rng)
            _write_wav(root / f"speaker-{number:04d}" / f"{take:04d}.wav", wave_S)
    return root


def _bell(rng: np.random.Generator) -> float:
    """A normal draw without the tails that would make a voice no throat could have."""
    return float(2.0 * np.tanh(0.5 * rng.standard_normal()))


def _articulation(
    voice: Voice, frames: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return what the mouth does in each frame: formants (T, R) Hz, voicing, hiss, pitch of the hiss Hz."""
    most = frames + 1  # a segment is never shorter than a frame
    is_vowel_N = np.arange(most) % 2 == 1
    is_pause_N = ~is_vowel_N & (rng.random(most) < 0.15)
    is_hiss_N = ~is_vowel_N & ~is_pause_N & (rng.random(most) < 0.6)
    length_N = np.where(is_vowel_N, rng.uniform(0.09, 0.25, most), rng.uniform(0.05, 0.13, most))
    length_N = np.where(is_pause_N, rng.uniform(0.10, 0.25, most), length_N) / voice.rate
    ends_N = np.cumsum(np.maximum(length_N / FRAME_S, 1.0))
    segment_T = np.searchsorted(ends_N, np.arange(frames) + rng.random())

    own = voice.formant_scale * (1 + np.asarray(voice.formant_shift))
    upper_N2 = np.broadcast_to(UPPER_FORMANTS, (most, 2))
    target_NR = np.concatenate([VOWELS[rng.integers(len(VOWELS), size=most)], upper_N2], axis=1) * own
    target_NR *= np.exp(0.02 * rng.standard_normal(target_NR.shape))  # no vowel is said twice the same
    target_NR[~is_vowel_N] = np.roll(target_NR, -1, axis=0)[~is_vowel_N]  # the mouth prepares the next vowel
    loudness_N = np.exp(0.3 * rng.standard_normal(most))
    voiced_N = np.where(is_vowel_N, 1.0, np.where(is_pause_N | is_hiss_N, 0.0, 0.25)) * loudness_N
    hiss_N = np.where(is_hiss_N, loudness_N, 0.0)
    hiss_hz_N = rng.uniform(2800, 5600, most) * voice.formant_scale
    return (
        _smooth(target_NR[segment_T], 5),
        _smooth(voiced_N[segment_T, None], 3)[:, 0],
        _smooth(hiss_N[segment_T, None], 3)[:, 0],
        hiss_hz_N[segment_T],
    )


def _smooth(track_TR: np.ndarray, width: int) -> np.ndarray:
    """Return each column's running mean over `width` frames: nothing in a mouth jumps."""
    half = width // 2
    padded = np.pad(track_TR, ((half, half), (0, 0)), mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, width, axis=0).mean(axis=-1)


def _glottal_pulses(voice: Voice, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Return pulses of unit power, (S,), at the voice's pitch with melody, jitter and shimmer."""
    time_S = np.arange(samples) / SAMPLE_RATE
    swing_hz, phase = rng.uniform(0.3, 1.6, 3)[:, None], rng.uniform(0, 2 * np.pi, 3)[:, None]
    melody_S = np.sqrt(2 / 3) * np.sin(2 * np.pi * swing_hz * time_S + phase).sum(axis=0)
    mood = 0.03 * rng.standard_normal()  # people do not speak at one pitch from day to day
    pitch_S = voice.pitch_hz * np.exp(voice.pitch_range * melody_S + mood)
    cycles_S = np.cumsum(pitch_S) / SAMPLE_RATE
    number_P = np.arange(1, int(cycles_S[-1]) + 1)
    number_P = number_P + voice.jitter * rng.standard_normal(number_P.size)
    at_P = np.interp(number_P, cycles_S, np.arange(samples))
    whole_P = np.minimum(at_P.astype(np.int64), samples - 2)
    strength_P = np.sqrt(SAMPLE_RATE / pitch_S[whole_P]) * (
        1 + voice.shimmer * rng.standard_normal(at_P.size)
    )
    part_P = at_P - whole_P  # a pulse between two samples is shared by them
    return np.bincount(whole_P, strength_P * (1 - part_P), minlength=samples) + np.bincount(
        whole_P + 1, strength_P * part_P, minlength=samples
    )


def _resonances(formants_TR: np.ndarray, bandwidths_R: np.ndarray, hz_F: np.ndarray) -> np.ndarray:
    """Return the response (T, F) of two-pole resonators in cascade, each 1 at 0 Hz (Klatt, 1980)."""
    radius_R = np.exp(-np.pi * bandwidths_R / SAMPLE_RATE)
    middle_TR = -2 * radius_R * np.cos(2 * np.pi * formants_TR / SAMPLE_RATE)
    delay_F = np.exp(-2j * np.pi * hz_F / SAMPLE_RATE)
    poles_TF = np.ones((len(formants_TR), hz_F.size), dtype=complex)
    for r in range(bandwidths_R.size):
        base_F = 1 + radius_R[r] ** 2 * delay_F**2
        poles_TF *= base_F + middle_TR[:, r, None] * delay_F
    gain_T = np.prod(1 + middle_TR + radius_R**2, axis=1)
    return gain_T[:, None] / poles_TF


def _filter(source_S: np.ndarray, response_TF: np.ndarray) -> np.ndarray:
    """Return the source through a filter that changes each hop (overlap-add), (S,)."""
    frames = source_S.size // HOP - 1
    blocks = np.lib.stride_tricks.sliding_window_view(source_S, WINDOW)[::HOP][:frames]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    ringing = np.fft.irfft(np.fft.rfft(blocks * hann, N_FFT) * response_TF[:frames], N_FFT)
    out = np.zeros(source_S.size + N_FFT)
    for part in range(N_FFT // HOP):  # hop by hop, so that a plain reshape adds all frames at once
        piece = ringing[:, part * HOP : (part + 1) * HOP].reshape(-1)
        out[part * HOP : part * HOP + piece.size] += piece
    return out[: source_S.size]


def _record(speech_S: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the speech as a microphone in a room would give it: coloured, with some noise, not too loud."""
    colour = rng.uniform(-0.15, 0.15)  # a gentle tilt: brighter or duller
    coloured = speech_S - colour * np.concatenate([[0.0], speech_S[:-1]])
    loud = np.abs(coloured).max() + 1e-9
    level = rng.uniform(0.2, 0.8)
    noise = 10 ** (rng.uniform(-65, -50) / 20) * rng.standard_normal(speech_S.size)
    return np.clip(level * coloured / loud + noise, -0.99, 0.99).astype(np.float32)


def _write_wav(path: Path, wave_S: np.ndarray) -> None:
    """Write 16-bit WAV, whole or not at all."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(np.round(wave_S * 32767).astype("<i2").tobytes())
    partial = path.with_suffix(".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(buffer.getvalue())
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise output_error(error, path) from error

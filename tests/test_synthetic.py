"""Synthetic voices: the same numbers give the same voice, and the voice has the pitch it says."""

from __future__ import annotations

import time
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from voxid.corpora.synthetic import make_corpus, speak, voice
from voxid.errors import BadConfig, NotWritable, OutputError

RATE = 16_000


def loud_frames(wave_S: np.ndarray, width: int) -> np.ndarray:
    frames = np.lib.stride_tricks.sliding_window_view(wave_S, width)[:: width // 2] * np.hanning(width)
    energy = (frames**2).sum(axis=1)
    return frames[energy > 0.3 * np.sort(energy)[-len(energy) // 5]]


def measured_pitch(wave_S: np.ndarray) -> float:
    """The median over loud frames of the lag at which a frame is most like itself: the textbook way."""
    frames = loud_frames(wave_S, 1024)
    autocorrelation = np.fft.irfft(np.abs(np.fft.rfft(frames, 4096)) ** 2)
    shortest, longest = RATE // 400, RATE // 60
    lag = shortest + autocorrelation[:, shortest:longest].argmax(axis=1)
    return float(RATE / np.median(lag))


def mean_log_spectrum(wave_S: np.ndarray) -> np.ndarray:
    """Up to 6 kHz, fine enough to see the harmonics as well as the formants; loudness taken out."""
    spectrum = np.log(np.abs(np.fft.rfft(loud_frames(wave_S, 1024))) ** 2 + 1e-8).mean(axis=0)[:384]
    return spectrum - spectrum.mean()


@pytest.mark.parametrize("speaker", range(8))
def test_pitch_is_the_voices_pitch(speaker: int) -> None:
    who = voice(speaker)
    heard = [measured_pitch(speak(who, 4.0, np.random.default_rng(take))) for take in range(5)]
    assert np.median(heard) == pytest.approx(who.pitch_hz, rel=0.08)


def test_pitches_of_many_voices_are_spread_like_peoples() -> None:
    pitches = np.array([voice(s).pitch_hz for s in range(500)])
    assert len(set(pitches)) == 500
    assert 80 < pitches.min() < 100
    assert 240 < pitches.max() < 290
    assert 0.4 < (pitches < 155).mean() < 0.6


def test_tract_length_moves_the_formants() -> None:
    who = replace(voice(0), pitch_hz=90.0, tilt_db=4.0, breath=0.01)
    long, short = replace(who, formant_scale=1.0), replace(who, formant_scale=1.2)

    def centre(v) -> float:
        spectra = [np.exp(mean_log_spectrum(speak(v, 4.0, np.random.default_rng(t)))) for t in range(4)]
        spectrum = np.mean(spectra, axis=0)
        band = np.arange(160, 330)  # bins of 15.6 Hz: 2.5 to 5.2 kHz, where the third and fourth formants are
        return float((band * spectrum[band]).sum() / spectrum[band].sum())

    assert centre(short) / centre(long) > 1.05


@pytest.mark.slow
def test_voices_can_be_told_apart_but_not_perfectly() -> None:
    speakers, takes = 20, 10
    spectra = np.array(
        [
            [mean_log_spectrum(speak(voice(s), 3.0, np.random.default_rng([s, t]))) for t in range(takes)]
            for s in range(speakers)
        ]
    )
    centroids = spectra[:, : takes // 2].mean(axis=1)
    asked = spectra[:, takes // 2 :].reshape(-1, spectra.shape[-1])
    truth = np.repeat(np.arange(speakers), takes - takes // 2)
    nearest = ((asked[:, None] - centroids) ** 2).sum(axis=-1).argmin(axis=1)
    right = (nearest == truth).mean()
    assert 0.4 < right < 0.98, f"{right:.2f} right; chance is {1 / speakers:.2f}"


def test_utterances_of_a_voice_differ() -> None:
    first, second = (speak(voice(0), 2.0, np.random.default_rng(t)) for t in (0, 1))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.2


@pytest.mark.parametrize("seconds", [0.01, 0.5, 7.3])
def test_length_level_and_type(seconds: float) -> None:
    out = speak(voice(1), seconds, np.random.default_rng(0))
    assert out.shape == (round(seconds * RATE),)
    assert out.dtype == np.float32
    assert 0.01 < np.abs(out).max() < 1
    assert np.isfinite(out).all()


def test_corpus_is_wav_at_16_khz_one_folder_a_speaker(tmp_path: Path) -> None:
    root = make_corpus(tmp_path / "c", speakers=3, utterances=2, seconds=(0.5, 1.0))
    files = sorted(root.rglob("*.*"))
    assert len(files) == 6
    assert {f.parent.name for f in files} == {"speaker-0000", "speaker-0001", "speaker-0002"}
    for file in files:
        with wave.open(str(file)) as audio:
            assert (audio.getframerate(), audio.getnchannels(), audio.getsampwidth()) == (RATE, 1, 2)
            assert 0.5 <= audio.getnframes() / RATE <= 1.0


def test_same_numbers_give_the_same_bytes_whatever_else_is_made(tmp_path: Path) -> None:
    many = make_corpus(tmp_path / "many", speakers=3, utterances=2, seconds=(0.5, 1.0), seed=7)
    one = make_corpus(tmp_path / "one", speakers=1, utterances=1, seconds=(0.5, 1.0), seed=7, start=2)
    other = make_corpus(tmp_path / "other", speakers=1, utterances=1, seconds=(0.5, 1.0), seed=8, start=2)
    name = "speaker-0002/0000.wav"
    assert (many / name).read_bytes() == (one / name).read_bytes()
    assert (other / name).read_bytes() != (one / name).read_bytes()


def test_much_faster_than_real_time() -> None:
    speak(voice(0), 1.0, np.random.default_rng(0))
    start = time.process_time()
    speak(voice(0), 10.0, np.random.default_rng(0))
    assert 10.0 / (time.process_time() - start) > 60  # measured about 300 on a quiet core


def test_bad_numbers_and_places(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="speakers: got 0, allowed is 1 or more"):
        make_corpus(tmp_path / "none", speakers=0)
    with pytest.raises(BadConfig, match="seconds: got 0"):
        speak(voice(0), 0, np.random.default_rng(0))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises((NotWritable, OutputError)):
        make_corpus(tmp_path / "file" / "corpus", speakers=1, utterances=1)

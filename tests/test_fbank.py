"""Fbank against kaldi-native-fbank, an independent implementation, and against arithmetic in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from voxid.errors import BadConfig
from voxid.features import FEATURES, Fbank, FbankConfig

kaldi = pytest.importorskip("kaldi_native_fbank")
RATE = 16_000
TOLERANCE = 1e-3  # natural logarithms, in -16..30
# Both sides compute in 32 bits. A band 70 dB below the loudest of its frame is made of the rounding of the
# Fourier transform: there Kaldi's own numbers are up to 0.03 away from those of 64 bits.
RANGE = np.log(1e7)


def by_kaldi(wave_S: np.ndarray, **options: object) -> np.ndarray:
    settings_ = kaldi.FbankOptions()
    settings_.frame_opts.dither = 0
    settings_.frame_opts.samp_freq = options.pop("sample_rate", RATE)
    settings_.mel_opts.num_bins = options.pop("bins", 80)
    for name, value in options.items():
        part = settings_.frame_opts if hasattr(settings_.frame_opts, name) else settings_.mel_opts
        assert hasattr(part, name), name
        setattr(part, name, value)
    computer = kaldi.OnlineFbank(settings_)
    computer.accept_waveform(settings_.frame_opts.samp_freq, (wave_S * 32768).tolist())
    computer.input_finished()
    frames = [computer.get_frame(t) for t in range(computer.num_frames_ready)]
    return np.array(frames).reshape(len(frames), settings_.mel_opts.num_bins)


def by_voxid(wave_S: np.ndarray, **options: object) -> np.ndarray:
    config = FbankConfig(**{"mean_norm": False, **options})  # type: ignore[arg-type]
    return Fbank(config)(torch.from_numpy(wave_S)[None])[0].numpy()


def difference(ours_TM: np.ndarray, theirs_TM: np.ndarray) -> float:
    """Return the largest difference in the bands that are within RANGE of the loudest of their frame."""
    assert ours_TM.shape == theirs_TM.shape
    heard_TM = theirs_TM > theirs_TM.max(axis=1, keepdims=True) - RANGE
    assert heard_TM.mean() > 0.5
    return float(np.abs(ours_TM - theirs_TM)[heard_TM].max())


def noise(samples: int, level: float = 0.1, seed: int = 0) -> np.ndarray:
    return (level * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def vowels(seconds: float) -> np.ndarray:
    """Return a buzz with moving resonances and some breath: harmonics and valleys, as in speech."""
    t = np.arange(int(seconds * RATE)) / RATE
    buzz = sum(np.sin(2 * np.pi * 110 * n * t) / n * (1.2 + np.sin(3 * t + n)) for n in range(1, 60))
    return (0.1 * np.asarray(buzz) + noise(len(t), 1e-3)).astype(np.float32)


def click_in_silence() -> np.ndarray:
    wave_S = np.zeros(RATE, np.float32)
    wave_S[7_000] = 1.0
    return wave_S


WAVES = {
    "noise": noise(RATE),
    "vowels": vowels(2.0),
    "quiet": noise(RATE, level=1e-4),
    "far below one step of 16 bits": noise(RATE, level=1e-9),
    "clipped": np.clip(5 * vowels(1.0), -1, 1),
    "off centre": noise(RATE) + np.float32(0.5),
    "one window": noise(400),
    "one window less one": noise(399),
    "one window and a hop": noise(560),
    "silence with one click": click_in_silence(),
    "silence": np.zeros(4_000, np.float32),
    "loud then quiet": np.concatenate([noise(RATE), noise(RATE, level=1e-5)]),
    "odd length": noise(33_333),
}


@pytest.mark.parametrize("name", WAVES)
def test_equals_kaldi(name: str) -> None:
    ours, theirs = by_voxid(WAVES[name]), by_kaldi(WAVES[name])
    assert ours.shape == theirs.shape
    if len(theirs):
        assert difference(ours, theirs) < TOLERANCE


@pytest.mark.parametrize(
    "options",
    [
        {"bins": 40},
        {"window": "hamming"},
        {"window": "hann"},
        {"snip_edges": False},
        {"preemphasis": 0.0},
        {"preemphasis": 1.0, "window": "hamming"},
        {"remove_dc": False},
        {"f_min": 60.0, "f_max": 7000.0},
        {"window_ms": 32.0, "hop_ms": 12.5, "snip_edges": False},
        {"window_ms": 20.0, "hop_ms": 5.0},
    ],
    ids=str,
)
def test_other_options_equal_kaldis(options: dict) -> None:
    names = {
        "window": "window_type",
        "preemphasis": "preemph_coeff",
        "remove_dc": "remove_dc_offset",
        "f_min": "low_freq",
        "f_max": "high_freq",
        "window_ms": "frame_length_ms",
        "hop_ms": "frame_shift_ms",
    }
    theirs = {names.get(name, name): value for name, value in options.items()}
    if theirs.get("window_type") == "hann":
        theirs["window_type"] = "hanning"
    for wave_S in (vowels(1.5), noise(9_001) + np.float32(0.1)):
        assert difference(by_voxid(wave_S, **options), by_kaldi(wave_S, **theirs)) < TOLERANCE


def test_at_8_khz() -> None:
    wave_S = vowels(1.0)
    theirs = by_kaldi(wave_S, sample_rate=8_000, bins=40)
    assert difference(by_voxid(wave_S, sample_rate=8_000, bins=40), theirs) < TOLERANCE


@settings(max_examples=20)
@given(samples=st.integers(1, 30_000), level=st.floats(-5, 0), snip=st.booleans(), seed=st.integers(0, 1000))
def test_equals_kaldi_at_any_length_and_level(samples: int, level: float, snip: bool, seed: int) -> None:
    if samples < 200:  # Kaldi reads beyond the start where a wave is shorter than half a window
        samples += 200
    wave_S = noise(samples, 10**level, seed)
    ours, theirs = by_voxid(wave_S, snip_edges=snip), by_kaldi(wave_S, snip_edges=snip)
    assert ours.shape == theirs.shape == (Fbank(FbankConfig(snip_edges=snip)).frames(samples), 80)
    if len(theirs):
        assert difference(ours, theirs) < TOLERANCE


def test_the_scale_moves_every_band_by_one_number() -> None:
    moved = by_voxid(noise(8_000)) - by_voxid(noise(8_000), scale=1.0)
    np.testing.assert_allclose(moved, 2 * np.log(32768), atol=1e-4)


def test_the_floor_is_what_silence_gives() -> None:
    np.testing.assert_allclose(by_voxid(np.zeros(4_000, np.float32)), np.log(np.finfo(np.float32).eps))
    np.testing.assert_allclose(by_voxid(np.zeros(4_000, np.float32), energy_floor=1.0), 0.0)


def test_the_mean_of_each_utterance_is_taken_off() -> None:
    short_S, long_S = noise(6_000, seed=1), vowels(1.0)
    wave_BS = torch.zeros(2, len(long_S))
    wave_BS[0, :6_000], wave_BS[1] = torch.from_numpy(short_S), torch.from_numpy(long_S)
    feat_BTF = Fbank(FbankConfig())(wave_BS, torch.tensor([6_000, len(long_S)])).numpy()
    for feat_TF, wave_S in zip(feat_BTF, (short_S, long_S), strict=True):
        raw_TF = by_kaldi(wave_S)
        np.testing.assert_allclose(feat_TF[: len(raw_TF)], raw_TF - raw_TF.mean(axis=0), atol=2e-3)
        assert np.abs(feat_TF[: len(raw_TF)].mean(axis=0)).max() < 1e-4


def test_a_filter_that_does_not_change_takes_nothing_from_the_features() -> None:
    # What the mean is taken off for: a microphone multiplies every band by a number of its own.
    wave_S = noise(16_000)
    feat_TF, louder_TF = (by_voxid(gain * wave_S, mean_norm=True) for gain in (1.0, 0.1))
    np.testing.assert_allclose(feat_TF, louder_TF, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mels": 40}, r"features\.mels: no such option"),
        ({"bins": 0}, r"features\.bins"),
        ({"bins": 400}, "bins is too high"),
        ({"f_max": 9000.0}, "f_max <= 8000"),
        ({"f_min": 5000.0, "f_max": 4000.0}, "f_min < f_max"),
        ({"hop_ms": 30.0}, "hop_ms cannot exceed window_ms"),
        ({"window_ms": 0.05, "hop_ms": 0.05}, "too short"),
        ({"window": "square"}, r"features\.window"),
    ],
    ids=str,
)
def test_impossible_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(BadConfig, match=message):
        FEATURES.parse({"name": "fbank", **options})


@pytest.mark.real
def test_real_speech_equals_kaldi(real_data: Path) -> None:
    paths = sorted((real_data / "LibriSpeech" / "train-clean-100-mini").rglob("*.flac"))[:6]
    paths += sorted((real_data / "speechocean762" / "train").rglob("*.ogg"))[:6]
    assert len(paths) == 12
    for path in paths:
        wave_S, _ = soundfile.read(path, dtype="float32")
        for version_S in (wave_S, 1e-2 * wave_S, np.clip(20 * wave_S, -1, 1)):
            ours, theirs = by_voxid(version_S), by_kaldi(version_S)
            assert difference(ours, theirs) < TOLERANCE, path
            assert np.mean(np.abs(ours - theirs) > TOLERANCE) < 5e-3, path  # beyond the range, too: rare

"""MFCC against librosa (an independent implementation) and against the original's published reference.

What holds for every kind of features is tested in test_features_contract.py.
"""

from __future__ import annotations

import sys
import warnings
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from voxid.errors import BadConfig
from voxid.features import FEATURES, Mfcc, MfccConfig


def plain(*given: Any, **_: Any) -> Any:
    """Stand for numba's decorators, which would compile for 40 s what MFCCs do not call."""
    return given[0] if len(given) == 1 and callable(given[0]) else lambda function: function


@cache
def librosa() -> Any:
    """Import it where it is called: it takes as long as torch."""
    numba = ModuleType("numba")
    numba.__dict__.update(dict.fromkeys(("jit", "guvectorize", "vectorize", "stencil"), plain))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "numba", numba)
        module = pytest.importorskip("librosa")
        module.feature.mfcc  # noqa: B018 (it is imported when it is first named)
    return module


RATE = 16_000
TOLERANCE = 1e-3  # decibels; the coefficients are in -600..300


def by_librosa(wave_S: np.ndarray, **options: object) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="n_fft=2048 is too large for input signal")
        values = {"sr": RATE, "n_mfcc": 40, **options}
        return librosa().feature.mfcc(y=wave_S, **values).T


def by_voxid(wave_S: np.ndarray, config: MfccConfig | None = None) -> np.ndarray:
    return Mfcc(config or MfccConfig())(torch.from_numpy(wave_S)[None])[0].numpy()


def noise(samples: int, level: float = 0.1, seed: int = 0) -> np.ndarray:
    return (level * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def vowels(seconds: float) -> np.ndarray:
    """Return a buzz with moving resonances: harmonics and valleys, as in speech."""
    t = np.arange(int(seconds * RATE)) / RATE
    buzz = sum(np.sin(2 * np.pi * 110 * n * t) / n * (1.2 + np.sin(3 * t + n)) for n in range(1, 60))
    return (0.1 * np.asarray(buzz)).astype(np.float32)


def click_in_silence() -> np.ndarray:
    wave_S = np.zeros(RATE, np.float32)
    wave_S[7_000] = 1.0
    return wave_S


WAVES = {
    "noise": noise(RATE),
    "vowels": vowels(2.0),
    "quiet": noise(RATE, level=1e-4),
    "clipped": np.clip(5 * vowels(1.0), -1, 1),
    "one sample": np.array([0.5], np.float32),
    "5 ms": noise(80),
    "one window": noise(2048),
    "one hop less one": noise(511),
    "one hop": noise(512),
    "silence with one click": click_in_silence(),
    "silence": np.zeros(4_000, np.float32),
    "loud then quiet": np.concatenate([noise(RATE), noise(RATE, level=1e-5)]),
    "odd length": noise(33_333),
}


@pytest.mark.parametrize("name", WAVES)
def test_equals_librosa(name: str) -> None:
    ours, theirs = by_voxid(WAVES[name]), by_librosa(WAVES[name])
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < TOLERANCE


def test_top_db_clips_what_is_80_db_below_the_peak() -> None:
    # Frames of the silence around a click hold nothing but the floor: 80 dB below the loudest band.
    feat_TF = by_voxid(click_in_silence())
    logmel_BTM = Mfcc(MfccConfig()).log_mel(torch.from_numpy(click_in_silence())[None])
    floor_db = logmel_BTM.max().item() - 80
    assert feat_TF[0, 0] == pytest.approx(floor_db * 128**0.5, abs=1e-3)
    assert np.abs(feat_TF[0, 1:]).max() < 1e-4


@pytest.mark.parametrize(
    ("config", "options"),
    [
        ({"coefficients": 13}, {"n_mfcc": 13}),
        (
            {"n_fft": 512, "hop": 160, "mels": 40, "coefficients": 20},
            {"n_fft": 512, "hop_length": 160, "n_mels": 40, "n_mfcc": 20},
        ),
        ({"f_min": 60.0, "f_max": 7000.0}, {"fmin": 60.0, "fmax": 7000.0}),
        ({"sample_rate": 8000, "n_fft": 1024}, {"sr": 8000, "n_fft": 1024}),
    ],
)
def test_other_options_equal_librosas(config: dict, options: dict) -> None:
    wave_S = vowels(1.5)
    assert np.abs(by_voxid(wave_S, MfccConfig(**config)) - by_librosa(wave_S, **options)).max() < TOLERANCE


def test_without_top_db_nothing_is_clipped() -> None:
    logmel_TM = librosa().power_to_db(
        librosa().feature.melspectrogram(y=click_in_silence(), sr=RATE), top_db=None
    )
    expected = librosa().feature.mfcc(S=logmel_TM, n_mfcc=40).T
    assert np.abs(by_voxid(click_in_silence(), MfccConfig(top_db=None)) - expected).max() < TOLERANCE


@settings(max_examples=15)
@given(samples=st.integers(1, 40_000), level=st.floats(-5, 0), seed=st.integers(0, 1000))
def test_equals_librosa_at_any_length_and_level(samples: int, level: float, seed: int) -> None:
    wave_S = noise(samples, 10**level, seed)
    ours, theirs = by_voxid(wave_S), by_librosa(wave_S)
    assert ours.shape == theirs.shape == (Mfcc(MfccConfig()).frames(samples), 40)
    assert np.abs(ours - theirs).max() < TOLERANCE


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"coeficients": 40}, "Did you mean 'coefficients'"),
        ({"coefficients": 200}, "coefficients cannot exceed mels"),
        ({"f_max": 9000.0}, "f_max <= 8000"),
        ({"f_min": 5000.0, "f_max": 4000.0}, "f_min < f_max"),
        ({"n_fft": 401}, "n_fft has to be even"),
        ({"hop": 0}, r"features\.hop"),
    ],
)
def test_impossible_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(BadConfig, match=message):
        FEATURES.parse({"name": "mfcc", **options})


@pytest.mark.real
def test_real_speech_equals_librosa(real_data: Path) -> None:
    paths = sorted((real_data / "LibriSpeech" / "test-other-mini").rglob("*.flac"))[:4]
    paths += sorted((real_data / "speechocean762").rglob("*.ogg"))[:4]
    assert len(paths) == 8
    for path in paths:
        wave_S, _ = soundfile.read(path, dtype="float32")
        for version_S in (wave_S, 1e-3 * wave_S, np.clip(20 * wave_S, -1, 1), wave_S[8_000:8_700]):
            assert np.abs(by_voxid(version_S) - by_librosa(version_S)).max() < TOLERANCE, path


@pytest.mark.real
def test_the_originals_published_reference(real_data: Path, seed_dir: Path) -> None:
    references = sorted(seed_dir.glob("*.golden.npz"))
    assert references
    for reference in references:
        with np.load(reference) as golden:
            utterance = str(golden["utterances"][0])
            expected = golden["mfcc_first_utterance"]
        (path,) = (real_data / "LibriSpeech" / "test-other-mini").rglob(f"{utterance}.flac")
        wave_S, _ = soundfile.read(path, dtype="float32")
        assert np.abs(by_voxid(wave_S) - expected).max() < TOLERANCE

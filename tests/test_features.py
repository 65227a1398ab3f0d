"""MFCC against librosa (an independent implementation) and against the original's published reference."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from voxid.errors import BadConfig
from voxid.features import FEATURES, Mfcc, MfccConfig

librosa = pytest.importorskip("librosa")
RATE = 16_000
TOLERANCE = 1e-3  # decibels; the coefficients are in -600..300


def by_librosa(wave_S: np.ndarray, **options: object) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="n_fft=2048 is too large for input signal")
        values = {"sr": RATE, "n_mfcc": 40, **options}
        return librosa.feature.mfcc(y=wave_S, **values).T


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
    logmel_TM = librosa.power_to_db(
        librosa.feature.melspectrogram(y=click_in_silence(), sr=RATE), top_db=None
    )
    expected = librosa.feature.mfcc(S=logmel_TM, n_mfcc=40).T
    assert np.abs(by_voxid(click_in_silence(), MfccConfig(top_db=None)) - expected).max() < TOLERANCE


@settings(max_examples=15, deadline=None)
@given(samples=st.integers(1, 40_000), level=st.floats(-5, 0), seed=st.integers(0, 1000))
def test_equals_librosa_at_any_length_and_level(samples: int, level: float, seed: int) -> None:
    wave_S = noise(samples, 10**level, seed)
    ours, theirs = by_voxid(wave_S), by_librosa(wave_S)
    assert ours.shape == theirs.shape == (Mfcc(MfccConfig()).frames(samples), 40)
    assert np.abs(ours - theirs).max() < TOLERANCE


@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(1, 30_000), min_size=1, max_size=6), seed=st.integers(0, 1000))
def test_rows_of_different_length_equal_their_results_alone(lengths: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    levels = 10.0 ** rng.uniform(-4, 0, len(lengths))  # each row has its own peak to be clipped against
    rows = [torch.from_numpy(noise(n, level, seed + n)) for n, level in zip(lengths, levels, strict=True)]
    samples_B = torch.tensor(lengths)
    # What lies beyond a row's end must not matter, so it is filled with something loud.
    wave_BS = torch.full((len(rows), max(lengths)), 0.9)
    for padded_S, row_S in zip(wave_BS, rows, strict=True):
        padded_S[: len(row_S)] = row_S
    before = wave_BS.clone()
    mfcc = Mfcc(MfccConfig())
    feat_BTF = mfcc(wave_BS, samples_B)
    assert torch.equal(wave_BS, before)
    for feat_TF, row_S, frames in zip(feat_BTF, rows, mfcc.frames(samples_B).tolist(), strict=True):
        alone_TF = mfcc(row_S[None])[0]
        assert len(alone_TF) == frames
        assert (feat_TF[:frames] - alone_TF).abs().max() < 1e-4
        assert torch.count_nonzero(feat_TF[frames:]) == 0


def test_a_batch_larger_than_the_cached_pieces_equals_single_rows() -> None:
    wave_BS = torch.from_numpy(np.stack([noise(150_000, seed=s) for s in range(3)]))  # 293 frames a row
    mfcc = Mfcc(MfccConfig())
    alone_BTF = torch.cat([mfcc(row_S[None]) for row_S in wave_BS])
    assert (mfcc(wave_BS) - alone_BTF).abs().max() < 1e-4


@pytest.mark.parametrize("sizes", [[48_000], [100] * 300, [1, 2047, 511, 513, 40_000], [700], []])
def test_walked_in_blocks_the_numbers_are_the_same(sizes: list[int]) -> None:
    wave_S = torch.from_numpy(noise(sum(sizes)))
    mfcc = Mfcc(MfccConfig())

    def pieces() -> Iterator[torch.Tensor]:
        yield from wave_S.split(sizes)

    whole_TM = mfcc.log_mel(wave_S[None])[0]
    blocks = list(mfcc.log_mel_blocks(pieces()))
    assert torch.cat(blocks).shape == whole_TM.shape
    assert (torch.cat(blocks) - whole_TM).abs().max() < 1e-4
    peak = max(block.max().item() for block in blocks)
    feat_TF = torch.cat([mfcc.from_log_mel(block[None], peak)[0] for block in blocks])
    assert (feat_TF - mfcc(wave_S[None])[0]).abs().max() < 1e-4


def test_blocks_hold_no_more_than_a_block() -> None:
    """A generator is drawn from one piece at a time, so memory does not grow with the length."""
    drawn = 0

    def pieces() -> Iterator[torch.Tensor]:
        nonlocal drawn
        for _ in range(100):
            drawn += 1
            yield torch.zeros(16_000)

    blocks = Mfcc(MfccConfig()).log_mel_blocks(pieces())
    for expected in range(1, 4):
        assert len(next(blocks)) <= 16_000 // 512 + 4
        assert drawn == expected


def test_it_is_a_plain_module_without_weights() -> None:
    mfcc = Mfcc(MfccConfig())
    assert list(mfcc.parameters()) == []
    assert mfcc.state_dict() == {}  # nothing for a model file to carry: the config says it all
    assert all(not buffer.requires_grad for buffer in mfcc.buffers())
    assert (mfcc.dim, mfcc.hop, mfcc.n_fft) == (40, 512, 2048)
    assert all(buffer.device.type == "meta" for buffer in mfcc.to("meta").buffers())


def test_features_stay_float32_under_autocast() -> None:
    wave_BS = torch.from_numpy(vowels(1.0))[None]
    mfcc = Mfcc(MfccConfig())
    with torch.autocast("cpu", torch.bfloat16):
        feat_BTF = mfcc(wave_BS)
    assert feat_BTF.dtype == torch.float32
    assert torch.equal(feat_BTF, mfcc(wave_BS))


def test_the_gradient_reaches_the_wave() -> None:
    wave_BS = torch.from_numpy(vowels(0.3))[None].requires_grad_()
    Mfcc(MfccConfig())(wave_BS).square().mean().backward()
    assert wave_BS.grad is not None
    assert wave_BS.grad.isfinite().all()
    assert torch.count_nonzero(wave_BS.grad) > 0


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_other_devices_give_the_same(device: str) -> None:
    if not (torch.cuda.is_available() if device == "cuda" else torch.backends.mps.is_available()):
        pytest.skip(f"no {device} on this machine")
    wave_BS = torch.from_numpy(np.stack([noise(40_000), vowels(2.5)]))
    samples_B = torch.tensor([40_000, 12_345])
    mfcc = Mfcc(MfccConfig())
    expected = mfcc(wave_BS, samples_B)
    there = mfcc.to(device)(wave_BS.to(device), samples_B)
    assert (there.cpu() - expected).abs().max() < TOLERANCE


def test_waves_have_to_be_a_batch() -> None:
    with pytest.raises(ValueError, match=r"\(batch, samples\), got \(16000,\)"):
        Mfcc(MfccConfig())(torch.zeros(16_000))


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

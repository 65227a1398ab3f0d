"""What holds for every kind of features: a new member of FEATURES is tested by being registered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from packing import make_pack

from voxid.data import features_cache
from voxid.data.batches import Batches, DataConfig
from voxid.data.features_cache import cached_features
from voxid.embed import Embedder
from voxid.embed.torch import TorchNetwork
from voxid.features import FEATURES, Features
from voxid.model.network import Model

RATE = 16_000
# Each registered name with its defaults, and the options that change how windows meet the ends of a wave.
KINDS: dict[str, dict[str, Any]] = {name: {"name": name} for name in FEATURES.names()} | {
    "fbank-mirrored": {"name": "fbank", "snip_edges": False, "window": "hamming"},
    "fbank-side-by-side": {"name": "fbank", "snip_edges": False, "hop_ms": 25.0, "bins": 40},
    "fbank-with-mean": {"name": "fbank", "mean_norm": False},
    "mfcc-unclipped": {"name": "mfcc", "top_db": None, "n_fft": 400, "hop": 160},
    "mfcc-gaps": {"name": "mfcc", "n_fft": 256, "hop": 700, "mels": 40},
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def make(kind: str) -> Features:
    features_class, config = FEATURES.parse(KINDS[kind])
    return features_class(config)


def noise(samples: int, level: float = 0.1, seed: int = 0) -> torch.Tensor:
    wave_S = level * np.random.default_rng(seed).standard_normal(samples)
    return torch.from_numpy(wave_S.astype(np.float32))


def speech(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise whose colour and loudness wander, loudest at its end; float32 (S,)."""
    rng = np.random.default_rng(seed)
    count = round(seconds * RATE)
    loudness = 0.02 + 0.2 * np.sin(np.arange(count) / RATE * (1.7 + seed % 5)) ** 2
    tone = np.sin(np.cumsum(0.05 + 0.04 * np.sin(np.arange(count) / (4000 + 500 * (seed % 7)))))
    wave_S = (loudness * (tone + 0.2 * rng.standard_normal(count))).astype(np.float32)
    wave_S[-RATE // 2 :] *= 3
    return wave_S


@every_kind
def test_frames_and_samples_belong_together(kind: str) -> None:
    features = make(kind)
    lengths_B = torch.arange(0, 3 * features.window + 5 * features.hop, 97)
    for samples, frames in zip(lengths_B.tolist(), features.frames(lengths_B).tolist(), strict=True):
        assert features.frames(samples) == frames
        assert features(torch.zeros(2, samples)).shape == (2, frames, features.dim)
    for frames in (1, 2, 3, 100):
        least = features.samples(frames)
        assert features.frames(least) == frames
        assert least == 0 or features.frames(least - 1) == frames - 1


@every_kind
@settings(max_examples=20)
@given(lengths=st.lists(st.integers(1, 30_000), min_size=1, max_size=6), seed=st.integers(0, 1000))
def test_rows_of_different_length_equal_their_results_alone(kind: str, lengths: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    levels = 10.0 ** rng.uniform(-4, 0, len(lengths))  # each row has its own peak and mean
    rows = [noise(n, level, seed + n) for n, level in zip(lengths, levels, strict=True)]
    samples_B = torch.tensor(lengths)
    # What lies beyond a row's end must not matter, so it is filled with something loud, or no number.
    wave_BS = torch.full((len(rows), max(lengths)), 0.9 if seed % 2 else torch.nan)
    for padded_S, row_S in zip(wave_BS, rows, strict=True):
        padded_S[: len(row_S)] = row_S
    before = wave_BS.clone()
    features = make(kind)
    feat_BTF = features(wave_BS, samples_B)
    assert torch.equal(wave_BS.nan_to_num(7.0), before.nan_to_num(7.0))
    for feat_TF, row_S, frames in zip(feat_BTF, rows, features.frames(samples_B).tolist(), strict=True):
        alone_TF = features(row_S[None])[0]
        assert len(alone_TF) == frames
        torch.testing.assert_close(feat_TF[:frames], alone_TF, atol=2e-4, rtol=0)
        assert torch.count_nonzero(feat_TF[frames:]) == 0


@every_kind
def test_a_row_that_ends_loud_equals_its_result_alone(kind: str) -> None:
    # Padding has frames too, and their windows reach back into the row: they must not count in its summary.
    features = make(kind)
    samples = features.samples(20) + features.hop - 1
    wave_BS = torch.zeros(2, 2 * samples)
    wave_BS[:, :samples] = noise(samples, level=1e-6)
    wave_BS[:, samples - 1] = 1.0
    feat_BTF = features(wave_BS, torch.tensor([samples, 2 * samples]))
    alone_TF = features(wave_BS[:1, :samples])[0]
    torch.testing.assert_close(feat_BTF[0, : len(alone_TF)], alone_TF, atol=2e-4, rtol=0)


@every_kind
def test_a_batch_larger_than_the_cached_pieces_equals_single_rows(kind: str) -> None:
    wave_BS = torch.stack([noise(300_000, seed=s) for s in range(3)])
    features = make(kind)
    alone_BTF = torch.cat([features(row_S[None]) for row_S in wave_BS])
    torch.testing.assert_close(features(wave_BS), alone_BTF, atol=2e-4, rtol=0)


SIZES = [[48_000], [100] * 300, [1, 2047, 511, 513, 40_000], [700], [90], [401, 1], []]


@every_kind
@pytest.mark.parametrize("sizes", SIZES, ids=lambda sizes: f"{len(sizes)}-pieces-{sum(sizes)}")
def test_walked_in_blocks_the_numbers_are_the_same(kind: str, sizes: list[int]) -> None:
    wave_S = noise(sum(sizes))
    wave_S[len(wave_S) // 2 :] *= 5
    features = make(kind)

    def pieces() -> Iterator[torch.Tensor]:
        yield from wave_S.split(sizes)

    whole_BTF = features(wave_S[None])
    blocks = list(features.log_mel_blocks(pieces()))
    assert sum(map(len, blocks)) == whole_BTF.shape[1] == features.frames(len(wave_S))
    if not blocks:
        return
    torch.testing.assert_close(torch.cat(blocks), features.log_mel(wave_S[None])[0], atol=2e-4, rtol=0)
    summary = features.summary(features.log_mel_blocks(pieces()))
    feat_BTF = torch.cat([features.from_log_mel(block[None], summary) for block in blocks], dim=1)
    torch.testing.assert_close(feat_BTF, whole_BTF, atol=2e-4, rtol=0)


@every_kind
def test_blocks_hold_no_more_than_a_block(kind: str) -> None:
    """A generator is drawn from one piece at a time, so memory does not grow with the length."""
    drawn = 0

    def pieces() -> Iterator[torch.Tensor]:
        nonlocal drawn
        for _ in range(100):
            drawn += 1
            yield torch.zeros(16_000)

    features = make(kind)
    blocks = features.log_mel_blocks(pieces())
    for expected in range(1, 4):
        assert len(next(blocks)) <= 16_000 // features.hop + 4
        assert drawn == expected


@every_kind
def test_it_is_a_plain_module_without_weights(kind: str) -> None:
    features = make(kind)
    assert list(features.parameters()) == []
    assert features.state_dict() == {}  # nothing for a model file to carry: the config says it all
    assert all(not buffer.requires_grad for buffer in features.buffers())
    assert all(buffer.device.type == "meta" for buffer in features.to("meta").buffers())


@every_kind
def test_features_stay_float32_under_autocast(kind: str) -> None:
    wave_BS = noise(16_000)[None]
    features = make(kind)
    with torch.autocast("cpu", torch.bfloat16):
        feat_BTF = features(wave_BS)
    assert feat_BTF.dtype == torch.float32
    assert torch.equal(feat_BTF, features(wave_BS))


@every_kind
def test_the_gradient_reaches_the_wave(kind: str) -> None:
    wave_BS = noise(4_800)[None].requires_grad_()
    make(kind)(wave_BS).square().mean().backward()
    assert wave_BS.grad is not None
    assert wave_BS.grad.isfinite().all()
    assert torch.count_nonzero(wave_BS.grad) > 0


@every_kind
@pytest.mark.parametrize("wave", ["silence", "a click", "full scale", "constant"])
def test_extreme_waves_give_finite_numbers(kind: str, wave: str) -> None:
    wave_BS = torch.zeros(1, 8_000)
    if wave == "a click":
        wave_BS[0, 4_000] = 1.0
    elif wave != "silence":
        wave_BS += 1.0 if wave == "constant" else torch.tensor([1.0, -1.0]).repeat(4_000)
    assert make(kind)(wave_BS).isfinite().all()


@every_kind
@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_other_devices_give_the_same(kind: str, device: str) -> None:
    if not (torch.cuda.is_available() if device == "cuda" else torch.backends.mps.is_available()):
        pytest.skip(f"no {device} on this machine")
    wave_BS = torch.stack([noise(40_000), noise(40_000, level=0.01, seed=1)])
    samples_B = torch.tensor([40_000, 12_345])
    features = make(kind)
    expected = features(wave_BS, samples_B)
    there = features.to(device)(wave_BS.to(device), samples_B)
    assert (there.cpu() - expected).abs().max() < 1e-3


@every_kind
def test_waves_have_to_be_a_batch(kind: str) -> None:
    with pytest.raises(ValueError, match=r"\(batch, samples\), got \(16000,\)"):
        make(kind)(torch.zeros(16_000))


# -- the roads they are used on ------------------------------------------------------------------------


@every_kind
def test_stored_features_equal_those_of_each_utterance_alone(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = make_pack(tmp_path / "pack", [3, 2, 4])
    features = make(kind)
    monkeypatch.setattr(features_cache, "LONG_SAMPLES", int(packed.lengths_N.max()) - 1)  # one goes by blocks
    monkeypatch.setattr(features_cache, "BATCH_SAMPLES", 9_001)
    store = cached_features(packed, features)
    for i in range(packed.n):
        alone_TF = features(features_cache.to_float(packed.wave(i))[None])[0]
        stored_TF = torch.from_numpy(store.utterance(i).copy())
        torch.testing.assert_close(stored_TF, alone_TF, atol=2e-4, rtol=0)


@every_kind
def test_crops_of_the_waveform_make_the_windows_frames(kind: str, tmp_path: Path) -> None:
    features = make(kind)
    config = DataConfig(triplets=2, window=30, cache_features=False)
    wave_BS = (
        Batches(make_pack(tmp_path / "pack", [3, 2]), features, config, seed=0, store=None).batch(0).wave_BS
    )
    assert wave_BS is not None
    assert features(wave_BS).shape == (6, 30, features.dim)


@every_kind
@pytest.mark.parametrize("mode", ["sliding", "full"])
def test_the_runtime_gives_the_same_alone_in_a_batch_and_in_blocks(
    kind: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = Model.build(KINDS[kind], {"name": "lstm", "layers": 2, "hidden": 8}, {"mode": mode})
    runtime = Embedder(TorchNetwork(model))
    waves = [speech(seconds, seed) for seed, seconds in enumerate([1.0, 0.1, 2.5, 3.3, 7.3, 1.1])]
    audio = [(wave_S, RATE) for wave_S in waves]
    alone_ND = np.stack([runtime.embed(item) for item in audio])
    np.testing.assert_allclose(runtime.embed_many(audio), alone_ND, atol=1e-5)
    monkeypatch.setattr("voxid.embed.embedder.BLOCK_S", 1.7)
    blocky = Embedder(TorchNetwork(model), long_s=2.0)
    np.testing.assert_allclose(blocky.embed_many(audio), alone_ND, atol=1e-5)
    if mode == "full":
        whole_ND = [model.eval()(torch.from_numpy(wave_S)[None])[0].detach().numpy() for wave_S in waves]
        np.testing.assert_allclose(alone_ND, whole_ND, atol=1e-5)

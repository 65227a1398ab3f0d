"""Silence tells nobody's voice: an embedding with it equals the one without, on every road to it.

`pause_db` leaves frames much softer than the speech out of the mean of the bands and out of the pooling.

Shapes: S samples, T frames, M mel bands, D embedding.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hearing import say
from torch import Tensor

import voxid
from voxid.embed import Embedder
from voxid.embed import onnx as onnx_engine
from voxid.embed.onnx import OnnxNetwork
from voxid.embed.torch import TorchNetwork
from voxid.errors import AudioSilent
from voxid.export import export
from voxid.features import Fbank, FbankConfig
from voxid.framing import Summing
from voxid.model.network import Model
from voxid.types import SAMPLE_RATE

ENCODER = {"name": "ecapa", "channels": 32, "aggregate": 48, "squeeze": 8, "attention": 8, "scale": 4}
LSB = 1 / 32768
SECOND = np.zeros(SAMPLE_RATE, np.float32)
TONE = np.sin(np.arange(SAMPLE_RATE) * 0.4).astype(np.float32)
RNG = np.random.default_rng(0)
DITHER = RNG.integers(-1, 2, SAMPLE_RATE).astype(np.float32) * LSB


def gated(wave_S: np.ndarray) -> np.ndarray:
    """Return speech whose soft blocks are zeros, as a noise gate leaves it."""
    block_KS = wave_S[: len(wave_S) // 160 * 160].reshape(-1, 160).copy()
    power_K = np.square(block_KS).mean(axis=1)
    block_KS[power_K < power_K.mean() * 10**-3.5] = 0
    return block_KS.reshape(-1)


FAULTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "zeros at both ends": lambda wave_S: np.concatenate([SECOND, wave_S, SECOND]),
    "ten seconds of zeros": lambda wave_S: np.concatenate([wave_S, np.tile(SECOND, 10)]),
    "zeros in the middle": lambda wave_S: np.concatenate([wave_S[:24_000], SECOND, wave_S[24_000:]]),
    "dither": lambda wave_S: np.concatenate([DITHER, wave_S, DITHER]),
    "A-law idle code": lambda wave_S: np.concatenate([SECOND + 8 * LSB, wave_S, SECOND - 8 * LSB]),
    "DC": lambda wave_S: wave_S + np.float32(0.05),
    "DC in the pause": lambda wave_S: np.concatenate([wave_S, SECOND + np.float32(0.1)]),
    "a soft beep": lambda wave_S: np.concatenate([wave_S, 0.003 * TONE]),
    "a gate": gated,
}


def model_of(pause_db: float | None, mode: str = "full") -> Model:
    torch.manual_seed(0)
    features = {"name": "fbank", "bins": 40, **({} if pause_db is None else {"pause_db": pause_db})}
    return Model.build(features, {**ENCODER, "stride": 2, "embedding": 24}, {"mode": mode}).eval()


def cosine(a_D: np.ndarray, b_D: np.ndarray) -> float:
    return float(a_D @ b_D / np.linalg.norm(a_D) / np.linalg.norm(b_D))


@pytest.fixture(scope="module")
def runtime() -> Embedder:
    return Embedder(TorchNetwork(model_of(35)))


@pytest.fixture(scope="module")
def wave_S() -> np.ndarray:  # noqa: N802
    return say(1, 1, 3.0)[0]


@pytest.mark.parametrize("fault", FAULTS)
def test_embedding_is_the_one_without(runtime: Embedder, wave_S: np.ndarray, fault: str) -> None:
    plain_D = runtime.embed((wave_S, SAMPLE_RATE))
    assert cosine(plain_D, runtime.embed((FAULTS[fault](wave_S), SAMPLE_RATE))) > 0.99


def test_without_the_option_silence_speaks(wave_S: np.ndarray) -> None:
    """What the option is there for: strangers share their zeros."""
    old = Embedder(TorchNetwork(model_of(None)))
    plain_D, silent_D = (old.embed((w, SAMPLE_RATE)) for w in (wave_S, FAULTS["zeros at both ends"](wave_S)))
    assert cosine(plain_D, silent_D) < 0.95


def test_silence_alone_is_refused(runtime: Embedder) -> None:
    with pytest.raises(AudioSilent):
        runtime.embed((np.tile(SECOND, 3), SAMPLE_RATE))


@pytest.fixture(scope="module")
def graphs(traced_once: None, without_pieces: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One model, traced once: its mode is not in the graphs."""
    folder = tmp_path_factory.mktemp("silence")
    model_of(35).save(folder / "model")
    return export(folder / "model", folder / "graphs").folder


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["full", "sliding"])
def test_every_road_agrees(graphs: Path, wave_S: np.ndarray, mode: str) -> None:
    """torch in batches and alone, onnxruntime, and both block by block."""
    model = model_of(35, mode)
    waves = [
        np.concatenate([wave_S, SECOND, say(1, take, 2.0)[0], DITHER]).astype(np.float32) for take in (2, 3)
    ]
    waves.append(say(2, 1, 1.0)[0])
    alone = [Embedder(TorchNetwork(model)).embed((w, SAMPLE_RATE)) for w in waves]
    onnx = voxid.load(graphs, mode=mode)
    for name, runtime in {"torch": Embedder(TorchNetwork(model)), "onnx": onnx}.items():
        together = runtime.embed_many([(w, SAMPLE_RATE) for w in waves])
        np.testing.assert_allclose(together, alone, atol=2e-4, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["full", "sliding"])
def test_long_recordings_have_one_pause_level(
    graphs: Path, wave_S: np.ndarray, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Speech, a soft half and silence: a level of each part's own would keep other frames."""
    monkeypatch.setattr("voxid.embed.embedder.BLOCK_S", 1.7)
    monkeypatch.setattr("voxid.embed.embedder.PIECE_S", 60.0)
    model = model_of(35, mode)
    loud_S = np.concatenate([wave_S, SECOND, say(1, 2, 2.0)[0], DITHER])
    long_S = np.concatenate([loud_S] * 3 + [loud_S * 0.03] * 3).astype(np.float32)
    assert onnx_engine.PART < long_S.size < 60 * SAMPLE_RATE
    roads = {
        "torch in blocks": Embedder(TorchNetwork(model), long_s=5.0),
        "onnx in parts": Embedder(OnnxNetwork(graphs, mode=mode)),
        "onnx in blocks": Embedder(OnnxNetwork(graphs, mode=mode), long_s=5.0),
    }
    expected_D = Embedder(TorchNetwork(model)).embed((long_S, SAMPLE_RATE))
    assert cosine(expected_D, Embedder(TorchNetwork(model)).embed((loud_S, SAMPLE_RATE))) < 0.9999
    for name, road in roads.items():
        got_D = road.embed((long_S, SAMPLE_RATE))
        np.testing.assert_allclose(got_D, expected_D, atol=1e-4, err_msg=name)


def test_model_of_before_is_the_same_model(tmp_path: Path) -> None:
    """An option that is off is in no table, so that fingerprints, and with them voiceprints, stay."""
    model = model_of(None)
    assert "pause_db" not in model.tables["features"]
    model.save(tmp_path)
    assert Model.load(tmp_path).features.pause_db is None
    shipped = voxid.load("voxid-base", engine="torch")
    assert shipped.fingerprint == voxid.load("voxid-base", engine="onnx").fingerprint


@pytest.mark.real
@pytest.mark.parametrize(
    ("case", "one", "other", "same"),
    [
        ("silence_both_ends", "one_plain.flac", "other_plain.flac", False),
        ("silence_both_ends", "one.flac", "other.flac", False),
        ("silence_false_accept", "a_1688_caller_leg.flac", "b_2414_caller_leg.flac", False),
        ("silence_false_reject", "3005_enrol.flac", "3005_probe_clean.flac", True),
        ("silence_false_reject", "3005_enrol.flac", "3005_probe_paused.flac", True),
        ("silence_false_reject", "3005_enrol.flac", "3005_trail10.flac", True),
        ("silence_false_reject", "3005_enrol.flac", "2414_trail10.flac", False),
        ("silence_false_reject", "3005_probe_paused.flac", "2414_probe_paused.flac", False),
    ],
)
def test_the_real_cases(real_data: Path, case: str, one: str, other: str, same: bool) -> None:
    folder = real_data.parent / "cases" / case
    if not folder.is_dir():
        pytest.skip(f"no {case} beside the real speech")
    assert voxid.compare(folder / one, folder / other).accepted == same


def test_crops_of_a_training_stay_a_rectangle(wave_S: np.ndarray) -> None:
    """Kept frames are repeated to fill the window: no frame of a batch is a pause or padding."""
    fbank = Fbank(FbankConfig(bins=40, pause_db=35))
    half = wave_S.copy()
    half[: len(half) // 2] = 0
    wave_BS = torch.from_numpy(np.stack([wave_S, half]))
    feat_BTF = fbank(wave_BS)
    packed_BTF, spoken_B = fbank.packed(wave_BS)
    assert spoken_B is not None
    assert feat_BTF.shape == packed_BTF.shape == (2, fbank.frames(len(wave_S)), 40)
    kept = int(spoken_B[1])
    assert kept < 0.55 * feat_BTF.shape[1]
    torch.testing.assert_close(
        feat_BTF[1, kept : 2 * kept], feat_BTF[1, : min(kept, feat_BTF.shape[1] - kept)]
    )
    torch.testing.assert_close(packed_BTF[1, :kept].mean(dim=0), torch.zeros(40), atol=1e-4, rtol=0)
    assert not bool(packed_BTF[1, kept:].any())


def test_rows_of_any_length_equal_themselves_alone(wave_S: np.ndarray) -> None:
    fbank = Fbank(FbankConfig(bins=40, pause_db=35))
    short_S = np.concatenate([SECOND[:8000], say(3, 1, 1.0)[0]])
    wave_BS = torch.zeros(2, len(wave_S))
    wave_BS[0], wave_BS[1, : len(short_S)] = torch.from_numpy(wave_S), torch.from_numpy(short_S)
    feat_BTF, spoken_B = fbank.packed(wave_BS, torch.tensor([len(wave_S), len(short_S)]))
    assert spoken_B is not None
    alone_BTF, alone_B = fbank.packed(torch.from_numpy(short_S)[None])
    assert alone_B is not None
    assert int(alone_B) == int(spoken_B[1])
    kept = int(alone_B)
    torch.testing.assert_close(feat_BTF[1, :kept], alone_BTF[0, :kept], atol=1e-4, rtol=1e-4)


def test_summary_in_pieces_is_that_of_the_whole(wave_S: np.ndarray) -> None:
    """numpy's sums by loudness and torch's mean name the same pauses; one frame at a time, too."""
    fbank = Fbank(FbankConfig(bins=40, pause_db=35))
    noisy_S = np.concatenate([wave_S, DITHER, SECOND, TONE * 0.01]).astype(np.float32)
    logmel_TM: Tensor = fbank.log_mel(torch.from_numpy(noisy_S)[None])[0]
    whole_1U = fbank._summary(logmel_TM[None], None)
    for size in (1, 70, 5000):
        summing = Summing("mean", 35)
        for piece_TM in logmel_TM.split(size):
            summing.add(piece_TM.numpy())
        np.testing.assert_allclose(summing.value(), whole_1U.numpy(), atol=1e-4)
    _, spoken_B = fbank.packed(torch.from_numpy(noisy_S)[None])
    assert spoken_B is not None
    assert summing.frames == int(spoken_B[0])


def test_everything_at_the_floor_keeps_everything() -> None:
    """No frame is softer than the others: nothing divides by zero, and a network sees all of it."""
    feat_BTF, spoken_B = Fbank(FbankConfig(pause_db=35)).packed(torch.zeros(2, 16_000))
    assert spoken_B is not None
    assert spoken_B.tolist() == [98, 98]
    assert bool(feat_BTF.isfinite().all())

"""A model of ours in the file formats of other runtimes gives, there, the embeddings that it gives here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from peers.witness import wave
from typer.testing import CliRunner

import voxid
from voxid.cli import build_app
from voxid.errors import BadConfig, ModelError, NotWritable
from voxid.export import others
from voxid.export.others import export_for
from voxid.features import Fbank, FbankConfig
from voxid.model.network import Model

pytestmark = pytest.mark.usefixtures("traced_once")

RATE = 16_000
ENCODER = {"name": "xvector", "channels": 8, "aggregate": 12, "embedding": 10}
SHERPA = {"snip_edges": False, "f_max": 7600.0}
RUN_SHERPA = """
import sys
import numpy as np
import sherpa_onnx

config = sherpa_onnx.SpeakerEmbeddingExtractorConfig(model=sys.argv[1], num_threads=1, provider="cpu")
extractor = sherpa_onnx.SpeakerEmbeddingExtractor(config)
stream = extractor.create_stream()
stream.accept_waveform(16_000, np.load(sys.argv[2]))
stream.input_finished()
np.save(sys.argv[3], np.array(extractor.compute(stream), np.float32))
"""


def model_of(folder: Path, **features: Any) -> Path:
    torch.manual_seed(0)
    Model.build({"name": "fbank", **features}, ENCODER, {"mode": "full"}).eval().save(folder)
    return folder


def relative(got_D: np.ndarray, want_D: np.ndarray) -> float:
    return float(np.abs(got_D - want_D).max() / np.sqrt(np.mean(want_D**2)))


@pytest.mark.parametrize("scale", [32768.0, 1.0])
def test_sherpa_onnx_gives_the_same_embedding(scale: float, tmp_path: Path) -> None:
    pytest.importorskip("sherpa_onnx")
    folder = model_of(tmp_path / "model", **SHERPA, scale=scale)
    command = ["export", str(folder), "-o", str(tmp_path / "m.onnx"), "--format", "sherpa-onnx", "--json"]
    result = CliRunner().invoke(build_app(), command)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["cosine"] == pytest.approx(1.0, abs=1e-5)
    np.save(tmp_path / "wave.npy", wave())
    files = [str(tmp_path / name) for name in ("m.onnx", "wave.npy", "emb.npy")]
    subprocess.run([sys.executable, "-c", RUN_SHERPA, *files], check=True, timeout=120)  # engines of its own
    want_D = voxid.load(folder).embed((wave(), RATE))
    assert relative(np.load(tmp_path / "emb.npy"), want_D) < 1e-4


def test_wespeakers_runtime_gives_the_same_embedding(tmp_path: Path) -> None:
    """It runs "feats" (B, T, 80) to "embs" by onnxruntime."""
    folder = model_of(tmp_path / "model", window="hamming")
    done = export_for("wespeaker-onnx", folder, tmp_path / "m.onnx")
    assert (done.differing, done.cosine) == ([], pytest.approx(1.0, abs=1e-5))
    session = onnxruntime.InferenceSession(done.file, providers=["CPUExecutionProvider"])
    feat_BTF = Fbank(FbankConfig(window="hamming"))(torch.from_numpy(wave())[None]).numpy()
    emb_1D: Any = session.run(["embs"], {"feats": feat_BTF})[0]
    want_D = voxid.load(folder).embed((wave(), RATE))
    assert relative(emb_1D[0], want_D) < 1e-4
    assert session.get_inputs()[0].shape == ["B", "T", 80]


@pytest.mark.parametrize(
    ("features", "words"),
    [
        ({"bins": 40}, "80 bins, and this model takes fbank with 40 values"),
        ({"window": "hamming", "pause_db": 35.0}, "does not leave pauses out"),
        ({"mean_norm": False, "scale": 1.0}, "--set features.mean_norm=true"),
    ],
)
def test_a_model_whose_features_the_runtime_does_not_compute(
    features: dict[str, Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(others, "LEAST_COSINE", 0.9999999)  # random weights hardly see what is different
    with pytest.raises(ModelError, match=words):
        export_for("wespeaker-onnx", model_of(tmp_path / "model", **features), tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


def test_a_place_that_is_no_file_and_no_such_format(tmp_path: Path) -> None:
    with pytest.raises(NotWritable, match=r"has to end in \.onnx"):
        export_for("sherpa-onnx", "voxid-base", tmp_path)
    result = CliRunner().invoke(build_app(), ["export", "voxid-base", "-o", "x", "--format", "sherpa"])
    assert isinstance(result.exception, BadConfig)
    assert "Did you mean 'sherpa-onnx'?" in str(result.exception)

"""Encoders of other projects give, once imported, what they gave there; what is none of theirs is refused."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peers.witness import drawn, wave
from typer.testing import CliRunner

import voxid
from voxid.cli import build_app
from voxid.embed import Embedder
from voxid.embed.torch import TorchNetwork
from voxid.errors import BadCheckpoint, RunExists
from voxid.model.network import Model
from voxid.published.importing import import_model
from voxid.published.kinds import KINDS, known_kinds

WITNESSES = json.loads(gzip.decompress((Path(__file__).parent / "peers" / "witnesses.json.gz").read_bytes()))
DRAWN = [name for name in WITNESSES if name != "resemblyzer-real"]
RATE = 16_000
Tensors = dict[str, torch.Tensor]


def tensors_of(name: str) -> Tensors:
    """Return the drawn weights of a witness, under the names of its project."""
    return {key: torch.from_numpy(array) for key, array in drawn(WITNESSES[name]["shapes"]).items()}


def saved(folder: Path, content: Any, name: str = "weights.pt") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(content, folder / name)
    return folder / name


def unit(emb: np.ndarray) -> np.ndarray:
    return emb / np.linalg.norm(emb, axis=-1, keepdims=True)


def difference(got_D: np.ndarray, name: str) -> float:
    """Return the largest difference from what the project gave, in units of its root mean square."""
    want_D = np.array(WITNESSES[name]["embedding"])
    if name.startswith("resemblyzer"):  # cuts its mean of windows to unit length, which no cosine sees
        got_D = unit(got_D)
    return float(np.abs(got_D - want_D).max() / np.sqrt(np.mean(want_D**2)))


# -- the same embeddings -------------------------------------------------------------------------------------


def test_every_kind_has_a_witness() -> None:
    assert {name.split("-")[0] for name in DRAWN} == set(known_kinds())
    networks = {(WITNESSES[name]["peer"].split()[0], kind.network) for name in DRAWN for kind in KINDS}
    assert len(networks) >= len(KINDS)


@pytest.mark.parametrize("name", DRAWN)
def test_imported_weights_give_the_embeddings_of_their_project(name: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "there", {"state_dict": tensors_of(name)})
    model = import_model(path, tmp_path / "here", kind=name.split("-")[0])
    network = TorchNetwork(model)
    embedder = Embedder(network, workers=1)
    assert difference(embedder.embed((wave(), RATE)), name) < 1e-4
    # a batch of several lengths gives what each gives alone, a recording in blocks what it gives as a whole
    waves = [(wave(seconds), RATE) for seconds in (3.3, 2.9, 2.7)]
    alone_ND = np.stack([embedder.embed(one) for one in waves])
    worst = np.abs(embedder.embed_many(waves) - alone_ND).max() / np.abs(alone_ND).max()
    assert worst < 1e-4
    in_blocks_D = Embedder(network, workers=1, long_s=1.0).embed(waves[0])
    assert np.abs(in_blocks_D - alone_ND[0]).max() < 1e-4 * np.abs(alone_ND[0]).max()
    # the folder is a model like any other
    assert Model.load(tmp_path / "here").fingerprint == model.fingerprint
    assert model.metadata["kind"] == name.split("-")[0]
    assert model.calibration is None


@pytest.mark.slow
@pytest.mark.parametrize("name", DRAWN)
def test_an_imported_model_exports_to_graphs(name: str, tmp_path: Path) -> None:
    from voxid.export import export

    import_model(saved(tmp_path, tensors_of(name)), tmp_path / "here", kind=name.split("-")[0])
    assert export(tmp_path / "here", tmp_path / "graphs").agreement.worst < 1e-4
    onnx = voxid.load(tmp_path / "graphs")
    assert onnx.engine.startswith("onnxruntime")
    assert difference(onnx.embed((wave(), RATE)), name) < 1e-4


@pytest.mark.slow
def test_resemblyzers_real_weights_give_its_real_embeddings(tmp_path: Path) -> None:
    pytest.importorskip("resemblyzer", reason="pip install --no-deps resemblyzer")
    model = import_model("resemblyzer", tmp_path / "here")
    got_D = Embedder(TorchNetwork(model)).embed((wave(), RATE))
    assert difference(got_D, "resemblyzer-real") < 1e-4


def test_wespeakers_config_and_mean_are_read(tmp_path: Path) -> None:
    tensors = tensors_of("wespeaker-campplus")
    folder = saved(tmp_path / "there", tensors, "avg_model.pt").parent
    (folder / "config.yaml").write_text(
        "model: CAMPPlus\nmodel_args: {feat_dim: 80}\n"
        "dataset_args:\n  fbank_args: {num_mel_bins: 80, frame_shift: 12, frame_length: 25, dither: 1.0}\n"
    )
    plain = import_model(folder, tmp_path / "plain")  # told from 3D-Speaker's by its config
    assert plain.tables["features"]["hop_ms"] == 12
    mean_D = np.linspace(-1, 1, plain.dim)
    np.save(folder / "mean_vec.npy", mean_D)
    less = import_model(folder, tmp_path / "less")
    both = [Embedder(TorchNetwork(model)).embed((wave(), RATE)) for model in (plain, less)]
    np.testing.assert_allclose(both[0] - both[1], mean_D, atol=1e-4)
    (folder / "config.yaml").write_text("dataset_args: [")
    with pytest.raises(BadCheckpoint, match=r"config\.yaml cannot be read"):
        import_model(folder, tmp_path / "none")


def test_what_wraps_the_weights_and_their_names_does_not_matter(tmp_path: Path) -> None:
    tensors = tensors_of("clovaai-sap")
    prefixed = {f"__S__.{name}": t for name, t in tensors.items()} | {"__L__.W": torch.zeros(3, 48)}
    wrapped = {"model_state_dict": prefixed, "optimizer_state_dict": {"lr": 0.1}, "epoch": 3}
    plain = import_model(saved(tmp_path, tensors, "plain.pt"), tmp_path / "a")
    assert import_model(saved(tmp_path, wrapped, "w.model"), tmp_path / "b").fingerprint == plain.fingerprint
    from safetensors.torch import save_file

    save_file(tensors, tmp_path / "w.safetensors")
    assert import_model(tmp_path / "w.safetensors", tmp_path / "c").fingerprint == plain.fingerprint
    scaled = import_model(tmp_path / "w.safetensors", tmp_path / "d", overrides=["features.scale=32768"])
    assert scaled.tables["features"]["scale"] == 32768


# -- refused -------------------------------------------------------------------------------------------------


def without(pattern: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {name: t for name, t in tensors.items() if pattern not in name}


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("wespeaker-resnet", lambda t: {**t, "extra.weight": torch.zeros(3)}, r"unknown: extra\.weight"),
        ("wespeaker-resnet", without("layer2.0.bn1.weight"), r"missing: blocks\.1\.norm1\.weight"),
        (
            "wespeaker-resnet",
            lambda t: {**t, "conv1.weight": torch.zeros(9, 1, 3, 3)},
            "make up no whole ResNet",
        ),
        (
            "wespeaker-resnet",
            lambda t: {**t, "seg_1.bias": torch.full_like(t["seg_1.bias"], torch.nan)},
            "NaN or infinity",
        ),
        ("speechbrain-ecapa", without("asp.conv"), "lacks a tensor that goes with it"),
        ("speechbrain-ecapa", without("fc."), "holds another architecture: its tensors are asp"),
        ("wespeaker-redimnet", without("stage1.1.conv_block.conv1.weight"), "missing"),
        ("3dspeaker-campplus", lambda t: t, "wespeaker or 3dspeaker publish with the same tensors"),
        ("clovaai-sap", lambda t: {}, "holds no tensors"),
    ],
)
def test_tensors_that_are_no_whole_network(name: str, change: Any, words: str, tmp_path: Path) -> None:
    path = saved(tmp_path, change(tensors_of(name)))
    with pytest.raises(BadCheckpoint, match=words):
        import_model(path, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_files_that_are_no_checkpoint_of_the_kind(tmp_path: Path) -> None:
    tensors = tensors_of("clovaai-sap")
    path = saved(tmp_path / "one", tensors)
    whole = path.read_bytes()
    for kind, words in (("wespeaker", "They are of Fast ResNet of clovaai"), ("wespaeker", "Did you mean")):
        with pytest.raises(BadCheckpoint, match=words):
            import_model(path, tmp_path / "model", kind=kind)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadCheckpoint, match="is damaged or is not"):
        import_model(path, tmp_path / "model")
    torch.save({"model": tensors, "args": Path.touch}, path)
    with pytest.raises(BadCheckpoint, match="would run or build"):
        import_model(path, tmp_path / "model")
    shutil.copy(path, tmp_path / "one" / "other.pt")
    with pytest.raises(BadCheckpoint, match=r"it holds: other\.pt, weights\.pt\. Name the file"):
        import_model(tmp_path / "one", tmp_path / "model")
    with pytest.raises(BadCheckpoint, match="no checkpoint file or folder"):
        import_model(tmp_path / "none", tmp_path / "model")
    Model.build({"name": "mfcc"}, {"name": "lstm", "layers": 1, "hidden": 4}).save(tmp_path / "run")
    path.write_bytes(whole)
    with pytest.raises(RunExists, match="holds another model"):
        import_model(path, tmp_path / "run")


# -- command line --------------------------------------------------------------------------------------------


def test_the_command(tmp_path: Path) -> None:
    path, runner, app = saved(tmp_path, tensors_of("resemblyzer")), CliRunner(), build_app()
    result = runner.invoke(app, ["import", str(path), "-o", str(tmp_path / "m"), "--json"])
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert printed["kind"] == "resemblyzer"
    assert printed["fingerprint"] == voxid.load(printed["model"]).fingerprint
    result = runner.invoke(app, ["import", str(path), "-o", str(tmp_path / "m"), "--kind", "resemblyzer"])
    assert "not calibrated" in result.stdout
    seed = saved(tmp_path, {"encoder_state_dict": {}, "losses": [], "training_time": 1.0}, "seed.pt")
    result = runner.invoke(app, ["import", str(seed), "-o", str(tmp_path / "s")])
    assert isinstance(result.exception, BadCheckpoint)
    assert "original's LSTM or Transformer" in str(result.exception)

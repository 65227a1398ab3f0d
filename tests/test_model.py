"""A model folder comes back as it was saved, and one that is not whole is refused with the reason."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

import voxid
from voxid import files
from voxid.corpora.synthetic import speak, voice
from voxid.encoders import ENCODERS
from voxid.errors import BadConfig, BadModel, DiskFull, UnknownComponent, UnknownModel
from voxid.model.network import CONFIG_FILE, WEIGHTS_FILE, Model
from voxid.scoring.calibration import Calibration
from voxid.types import SAMPLE_RATE

LSTM = {"name": "lstm", "layers": 1, "hidden": 8}


def small(seed: int = 0, encoder: dict[str, Any] | None = None, **inference: Any) -> Model:
    torch.manual_seed(seed)
    encoder = encoder or LSTM
    bins = 60 if encoder["name"] == "redimnet" else 40  # its defaults are for 60
    return Model.build({"name": "mfcc", "coefficients": bins}, encoder, inference).eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved model."""
    small().save(tmp_path / "model")
    return tmp_path / "model"


def edit_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / CONFIG_FILE).read_text())
    (folder / CONFIG_FILE).write_text(json.dumps({**config, **changes}))


def replace_weights(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Put other weights into the folder, with the checksum that belongs to them."""
    content = safetensors.torch.save(tensors)
    (folder / WEIGHTS_FILE).write_bytes(content)
    edit_config(folder, weights_sha256=hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("name", ENCODERS.names())
def test_a_saved_model_gives_the_same_embeddings(name: str, tmp_path: Path) -> None:
    model = small(encoder={"name": name}, mode="full", window=80, step=40)
    model.calibration = Calibration(scale=20.0, offset=-15.0, prior=0.01, threshold=4.6)
    model.metadata = {"name": "test", "note": "ünïcode", "steps": 3}
    model.save(tmp_path / "m")
    loaded = Model.load(tmp_path / "m")
    wave_BS = torch.rand(2, 16_000) - 0.5
    with torch.no_grad():
        assert torch.equal(loaded(wave_BS), model(wave_BS))
    assert not loaded.training
    assert loaded.inference == model.inference
    assert loaded.calibration == model.calibration
    assert loaded.metadata == model.metadata
    assert loaded.fingerprint == model.fingerprint


def test_a_model_of_0_1_0_embeds_and_decides_as_it_did() -> None:
    """The folder was written, and its witness measured, by the code of 0.1.0 (4c307fb)."""
    folder = Path(__file__).parent / "model_0_1_0"
    witness = json.loads((folder / "witness.json").read_text())
    waves = [speak(voice(speaker), 2.0, np.random.default_rng([speaker, 0])) for speaker in (1, 2)]
    runtime = voxid.load(folder)
    assert runtime.fingerprint == witness["fingerprint"]
    got_ND = [runtime.embed((wave_S, SAMPLE_RATE)) for wave_S in waves]
    np.testing.assert_allclose(got_ND, witness["embeddings"], atol=2e-5)
    one, other = ((wave_S, SAMPLE_RATE) for wave_S in waves)
    decision = voxid.compare(one, other, model=folder)
    assert decision.llr == pytest.approx(witness["llr"], abs=1e-3)
    assert decision.accepted == witness["accepted"]


def test_a_padded_row_embeds_as_it_does_alone() -> None:
    model = small()
    wave_BS = torch.rand(2, 16_000) - 0.5
    with torch.no_grad():
        both = model(wave_BS, torch.tensor([16_000, 9_000]))
        alone = model(wave_BS[1:, :9_000])
    torch.testing.assert_close(both[1:], alone, atol=1e-5, rtol=0)


def test_every_option_is_written_so_that_a_later_default_changes_nothing(folder: Path) -> None:
    config = json.loads((folder / CONFIG_FILE).read_text())
    assert config["encoder"] == {**LSTM, "bidirectional": True, "aggregation": "mean"}
    assert config["features"]["n_fft"] == 2048


@pytest.mark.parametrize(
    "changes",
    [{"seed": 1}, {"step": 25}, {"mode": "full"}, {"encoder": {**LSTM, "aggregation": "last"}}],
    ids=["weights", "step", "mode", "aggregation"],
)
def test_fingerprint_tells_what_changes_embeddings(changes: dict[str, Any]) -> None:
    assert small(**changes).fingerprint != small().fingerprint


def test_fingerprint_ignores_what_does_not_change_embeddings() -> None:
    model, other = small(), small()
    other.metadata = {"name": "other"}
    other.calibration = Calibration(scale=1.0, offset=0.0)
    assert other.fingerprint == model.fingerprint


@pytest.mark.parametrize(
    ("inference", "words"),
    [
        ({"mode": "slidng"}, "inference.mode"),
        ({"windw": 3}, "window"),
        ({"step": 200}, "step cannot exceed window"),
        ({"step": 0}, "inference.step"),
    ],
)
def test_wrong_inference_options_are_named(inference: dict[str, Any], words: str) -> None:
    with pytest.raises(BadConfig, match=words):
        small(**inference)


def test_unknown_encoder_is_named() -> None:
    with pytest.raises(UnknownComponent, match="Did you mean 'lstm'"):
        small(encoder={"name": "lstmm"})


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match=r"config\.json and model\.safetensors"):
        Model.load(tmp_path / "nothing")


@pytest.mark.parametrize("name", [CONFIG_FILE, WEIGHTS_FILE])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(BadModel, match=f"{name} is missing"):
        Model.load(folder)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"3", b"\xff\xfe", b'{"format": "x"}', b'{"format": true}', b"[" * 200_000],
    ids=["empty", "half", "list", "number", "not utf-8", "format x", "format true", "deep"],
)
def test_a_damaged_config(folder: Path, content: bytes) -> None:
    (folder / CONFIG_FILE).write_bytes(content)
    with pytest.raises(BadModel, match=r"config\.json"):
        Model.load(folder)


def test_a_config_without_a_part(folder: Path) -> None:
    config = json.loads((folder / CONFIG_FILE).read_text())
    del config["inference"]
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    with pytest.raises(BadModel, match="inference"):
        Model.load(folder)


def test_a_newer_format_asks_for_an_upgrade(folder: Path) -> None:
    edit_config(folder, format=5, something_new={})
    with pytest.raises(BadModel, match=r"format 5; this voxid reads up to 4\. Upgrade"):
        Model.load(folder)


def test_an_encoder_of_a_newer_voxid(folder: Path) -> None:
    edit_config(folder, encoder={"name": "hologram"})
    with pytest.raises(BadModel, match="no encoder named 'hologram'"):
        Model.load(folder)


def test_one_flipped_bit_of_the_weights_is_noticed(folder: Path) -> None:
    content = bytearray((folder / WEIGHTS_FILE).read_bytes())
    content[-7] ^= 1
    (folder / WEIGHTS_FILE).write_bytes(content)
    with pytest.raises(BadModel, match="damaged or belongs to another"):
        Model.load(folder)


def test_weights_that_are_not_safetensors(folder: Path) -> None:
    (folder / WEIGHTS_FILE).write_bytes(b"pickle me")
    edit_config(folder, weights_sha256=hashlib.sha256(b"pickle me").hexdigest())
    with pytest.raises(BadModel, match="not a safetensors file"):
        Model.load(folder)


def test_weights_of_another_architecture_are_listed(folder: Path) -> None:
    tensors = small().state_dict()
    wrong = {
        **{name: tensor for name, tensor in tensors.items() if "bias" not in name},
        "encoder.lstm.weight_hh_l0": torch.zeros(64, 16),
        "encoder.extra": torch.zeros(1),
    }
    replace_weights(folder, wrong)
    with pytest.raises(BadModel) as caught:
        Model.load(folder)
    for words in (
        "missing: encoder.lstm.bias_ih_l0",
        "unknown: encoder.extra",
        "encoder.lstm.weight_hh_l0 (64, 16) instead of (32, 8)",
    ):
        assert words in str(caught.value)


def test_weights_with_nan_are_named(folder: Path) -> None:
    tensors = {name: tensor.clone() for name, tensor in small().state_dict().items()}
    tensors["encoder.lstm.bias_ih_l0"][3] = torch.nan
    replace_weights(folder, tensors)
    with pytest.raises(BadModel, match=r"NaN or infinity: encoder\.lstm\.bias_ih_l0"):
        Model.load(folder)


def test_a_full_disk_costs_neither_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = Model.load(folder).fingerprint
    calls = 0

    def fsync(descriptor: int, real=os.fsync) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:  # config.json is on the disk, the weights find no room
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(files.os, "fsync", fsync)
    with pytest.raises(DiskFull):
        small(seed=1, step=25).save(folder)
    assert Model.load(folder).fingerprint == before
    assert {path.name for path in folder.iterdir()} == {CONFIG_FILE, WEIGHTS_FILE}

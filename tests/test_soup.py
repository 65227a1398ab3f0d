"""The mean of models: its weights, what it remembers, and which models have none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from commands import invoke

from voxid.corpora.synthetic import make_corpus
from voxid.embed import load
from voxid.errors import BadConfig, EvaluationError, ModelError, RunExists, UnknownModel
from voxid.evaluation import calibrate, read_data
from voxid.model.network import Model
from voxid.scoring import Calibration
from voxid.training import average_models

ENCODER = {
    "name": "ecapa",
    "channels": 16,
    "embedding": 8,
    "scale": 2,
    "aggregate": 24,
    "attention": 8,
    "squeeze": 8,
}


def save(folder: Path, seed: int, **encoder: object) -> Model:
    torch.manual_seed(seed)
    model = Model({"name": "fbank", "bins": 20}, ENCODER | encoder)
    for name, value in model.encoder.named_buffers():
        if name.endswith("running_mean"):
            value.normal_()
    model.metadata = {"name": folder.name, "training_data": {"fingerprint": f"f{seed}"}}
    model.calibration = Calibration(scale=1.0, offset=0.0)
    model.save(folder)
    return model


def test_every_weight_is_the_mean(tmp_path: Path) -> None:
    parts = [save(tmp_path / name, seed) for seed, name in enumerate("abc")]
    average_models([tmp_path / name for name in "abc"], tmp_path / "new" / "mean", name="soup")
    made = Model.load(tmp_path / "new" / "mean")
    weights = [part.state_dict() for part in parts]
    for key, value in made.state_dict().items():
        mean = torch.stack([w[key].double() for w in weights]).mean(dim=0)
        assert torch.allclose(value.double(), mean, atol=1e-6), key
    assert made.calibration is None  # scores of other weights are other scores
    assert made.metadata["name"] == "soup"
    kept = [(part["name"], part["fingerprint"]) for part in made.metadata["average"]]
    assert kept == [(name, part.fingerprint) for name, part in zip("abc", parts, strict=True)]


def test_one_that_is_named_twice_weighs_twice(tmp_path: Path) -> None:
    a, b = save(tmp_path / "a", 0), save(tmp_path / "b", 1)
    made = average_models([tmp_path / "a", tmp_path / "a", tmp_path / "b"], tmp_path / "mean")
    key = next(iter(dict(a.encoder.named_parameters())))
    weights = [dict(model.encoder.named_parameters())[key] for model in (a, b, made)]
    assert torch.allclose(weights[2], (2 * weights[0] + weights[1]) / 3, atol=1e-6)


def test_made_again_it_stays_as_it_is(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        save(tmp_path / name, seed)
    made = average_models([tmp_path / "a", tmp_path / "b"], tmp_path / "mean")
    made.calibration = Calibration(scale=2.0, offset=-1.0)
    made.save(tmp_path / "mean")
    average_models([tmp_path / "a", tmp_path / "b"], tmp_path / "mean")
    assert Model.load(tmp_path / "mean").calibration == made.calibration
    with pytest.raises(RunExists, match="another model"):  # other parts: nothing is lost
        average_models([tmp_path / "a", tmp_path / "a"], tmp_path / "mean")
    assert Model.load(tmp_path / "mean").fingerprint == made.fingerprint


def test_what_its_parts_were_trained_on_is_known(tmp_path: Path) -> None:
    make_corpus(tmp_path / "voices", speakers=4, utterances=3, seconds=(1.0, 1.5))
    save(tmp_path / "a", 0)
    other = save(tmp_path / "b", 1)
    learned = {"training_data": {"fingerprint": read_data(tmp_path / "voices").fingerprint}}
    other.metadata = {"name": "b", "init": {"name": "before", "fingerprint": "x", **learned}}
    other.save(tmp_path / "b")
    average_models([tmp_path / "a", tmp_path / "b"], tmp_path / "mean")
    with pytest.raises(EvaluationError, match="trained on"):
        calibrate(tmp_path / "mean", tmp_path / "voices")
    load(tmp_path / "mean")


def test_models_that_have_no_mean(tmp_path: Path) -> None:
    save(tmp_path / "a", 0)
    save(tmp_path / "wide", 1, channels=32)
    other = save(tmp_path / "sliding", 2)
    other.inference = other.inference.model_copy(
        update={"mode": "sliding" if other.inference.mode == "full" else "full"}
    )
    other.save(tmp_path / "sliding")
    with pytest.raises(ModelError, match=r"encoder.channels is 32 in .*wide and 16 in .*a\b"):
        average_models([tmp_path / "a", tmp_path / "wide"], tmp_path / "mean")
    with pytest.raises(ModelError, match="inference is"):
        average_models([tmp_path / "a", tmp_path / "sliding"], tmp_path / "mean")
    with pytest.raises(BadConfig, match="two or more, got 1"):
        average_models([tmp_path / "a"], tmp_path / "mean")
    with pytest.raises(UnknownModel):
        average_models([tmp_path / "a", tmp_path / "nowhere"], tmp_path / "mean")
    with pytest.raises(RunExists, match="Choose another folder"):
        average_models([tmp_path / "a", tmp_path / "a"], tmp_path / "wide")
    assert not (tmp_path / "mean").exists()


def test_the_command(tmp_path: Path) -> None:
    save(tmp_path / "a", 0)
    save(tmp_path / "b", 1)
    words = [
        "average",
        str(tmp_path / "a"),
        str(tmp_path / "b"),
        "-o",
        str(tmp_path / "mean"),
        "--name",
        "m",
        "--json",
    ]
    done = invoke(words)
    assert done.exit_code == 0, done.output
    said = json.loads(done.output)
    assert said["fingerprint"] == Model.load(tmp_path / "mean").fingerprint
    assert [part["name"] for part in said["models"]] == ["a", "b"]

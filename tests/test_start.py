"""Starting from a model: its weights and nothing else, refused when they do not fit, and resumed exactly."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import torch
import typer
from packing import make_pack
from typer.testing import CliRunner

from voxid.cli.train import train as train_command
from voxid.data.pack import Packed
from voxid.errors import BadModel, ModelError, UnknownModel
from voxid.model.network import Model
from voxid.training import Recipe, TrainResult, initial_model, load_recipe, train
from voxid.training.run_folder import Row, load_checkpoint

SMALL = [
    "encoder.channels=8", "encoder.scale=2", "encoder.squeeze=4", "encoder.aggregate=12",
    "encoder.attention=4", "encoder.embedding=8", "features.bins=20", "augment=none", "data.rows=6",
    "data.window=20", "data.window_max=none", "data.speeds=[]", "schedule={kind='constant'}",
    "training.steps=8", "training.save_every=4", "training.log_every=2", "training.threads=1",
    "training.parts=1",
]  # fmt: skip


def small(*overrides: str) -> Recipe:
    return load_recipe("tiny", [*SMALL, *overrides])


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    return make_pack(tmp_path_factory.mktemp("pack"), [3, 3, 3], seconds=1.0)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    """Other data, of another number of speakers: the loss has other classes."""
    return make_pack(tmp_path_factory.mktemp("other"), [2, 3, 2, 3], seconds=1.0, seed=3)


@pytest.fixture(scope="module")
def source(packed: Packed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(small(), packed, tmp_path_factory.mktemp("source") / "run").folder


@pytest.fixture(scope="module")
def tuned(source: Path, other: Packed, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    return train(small("training.seed=1"), other, tmp_path_factory.mktemp("tuned") / "run", init=source)


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_the_first_step_is_from_the_weights_of_the_model(source: Path, other: Packed, tmp_path: Path) -> None:
    recipe = small("training.steps=1", "optimizer.lr=1e-12", "optimizer.weight_decay=0", "average=none")
    train(recipe, other, tmp_path / "run", init=source)
    given, now = Model.load(source).encoder.state_dict(), Model.load(tmp_path / "run").encoder.state_dict()
    for name, value in given.items():
        if "running" in name:  # the batch norms have seen a batch of the new data
            assert not torch.equal(now[name], value), name
        elif value.is_floating_point():
            torch.testing.assert_close(now[name], value, atol=1e-6, rtol=0)
    fresh = initial_model(recipe).encoder.state_dict()
    assert any(not torch.allclose(fresh[name], value, atol=1e-3) for name, value in given.items())


def test_what_it_started_from_is_on_record(tuned: TrainResult, source: Path, packed: Packed) -> None:
    metadata, start = Model.load(tuned.folder).metadata, Model.load(source)
    assert metadata["init"]["name"] == "tiny"
    assert metadata["init"]["fingerprint"] == start.fingerprint
    assert metadata["init"]["training_data"]["fingerprint"] == packed.fingerprint
    assert metadata["training_data"]["speakers"] == 4
    assert "init" not in start.metadata


@pytest.mark.parametrize("with_init", [True, False])
@pytest.mark.parametrize("step", [2, 5])
def test_interrupted_and_resumed_it_ends_with_the_same_weights(
    source: Path, other: Packed, tuned: TrainResult, tmp_path: Path, step: int, with_init: bool
) -> None:
    recipe = small("training.seed=1", "training.log_every=1")

    def interrupt(row: Row) -> None:
        if row.step == step:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(recipe, other, tmp_path, init=source, on_row=interrupt)
    result = train(recipe, other, tmp_path, resume=True, init=source if with_init else None)
    assert result.resumed_from == step
    assert weights(tmp_path) == weights(tuned.folder)
    assert Model.load(tmp_path).metadata["init"] == Model.load(tuned.folder).metadata["init"]


def test_a_run_is_resumed_from_the_model_it_started_from(
    source: Path, tuned: TrainResult, packed: Packed, other: Packed, tmp_path: Path
) -> None:
    recipe = small("training.seed=1")
    with pytest.raises(ModelError, match=r"started from the model 'tiny' .*not from 'tiny'.*--init out"):
        train(recipe, other, tuned.folder, resume=True, init=tuned.folder)
    with pytest.raises(ModelError, match="started from random weights, not from 'tiny'"):
        train(small(), packed, source, resume=True, init=tuned.folder)
    # Killed before its first checkpoint: random weights must not take the model's place.
    train(recipe, other, tmp_path / "run", init=source)
    for checkpoint in (tmp_path / "run" / "checkpoints").iterdir():
        checkpoint.unlink()
    with pytest.raises(ModelError, match=r"has no checkpoint yet, and started from the model 'tiny'"):
        train(recipe, other, tmp_path / "run", resume=True)
    assert train(recipe, other, tmp_path / "run", resume=True, init=source).resumed_from is None
    assert weights(tmp_path / "run") == weights(tuned.folder)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("encoder.channels=16", r"encoder\.channels is 8 there and 16 here"),
        ("encoder={name='lstm'}", r"encoder\.name is 'ecapa' there and 'lstm' here"),
        ("features.bins=24", r"features\.bins is 20 there and 24 here"),
        ("features={name='mfcc'}", r"features\.name is 'fbank' there and 'mfcc' here"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(
    override: str, message: str, source: Path, other: Packed, tmp_path: Path
) -> None:
    base = [part for part in SMALL if override.split(".")[0].split("=")[0] not in part]
    recipe = small(override) if "." in override else load_recipe("tiny", [*base, override])
    with pytest.raises(ModelError, match=message + r".*--set encoder\.KEY=VALUE.*recipe\.toml"):
        train(recipe, other, tmp_path / "run", init=source)
    assert not (tmp_path / "run").exists()


def test_dropout_may_differ(other: Packed, tmp_path: Path) -> None:
    options = [
        "encoder.dim=16",
        "encoder.heads=2",
        "encoder.feedforward=16",
        "data.window=20",
        "data.triplets=2",
    ]
    steps = ["training.steps=2", "training.threads=1"]
    load = [*options, *steps]
    train(load_recipe("transformer-clean100-specaug", load), other, tmp_path / "source")
    recipe = load_recipe("transformer-clean100-specaug", [*load, "encoder.dropout=0.3"])
    assert train(recipe, other, tmp_path / "run", init=tmp_path / "source").steps == 2


def test_no_model_there(source: Path, other: Packed, tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match="nowhere"):
        train(small(), other, tmp_path / "run", init=tmp_path / "nowhere")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "config.json").write_bytes((source / "config.json").read_bytes())
    with pytest.raises(BadModel):
        train(small(), other, tmp_path / "run", init=tmp_path / "half")
    assert not (tmp_path / "run").exists()


def test_a_shipped_model_has_a_name(
    source: Path, other: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voxid.pretrained.shipped", lambda: {"voxid-tiny": source})
    assert train(small("training.steps=1"), other, tmp_path / "run", init="voxid-tiny").steps == 1
    with pytest.raises(UnknownModel, match="voxid-tiny"):
        train(small(), other, tmp_path / "new", init="voxid-tini")


def test_a_checkpoint_from_before_there_was_a_start_goes_on(packed: Packed, tmp_path: Path) -> None:
    train(small(), packed, tmp_path)
    path = tmp_path / "checkpoints" / "step-00000008.pt"
    assert load_checkpoint(path).init == {}
    more = small("training.steps=9")
    assert train(more, packed, tmp_path, resume=True).resumed_from == 8


def test_command(source: Path, other: Packed, tuned: TrainResult, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(train_command)
    sets = [part for override in [*SMALL, "training.seed=1"] for part in ("--set", override)]
    arguments = ["tiny", "--train", str(other.folder), "--init", str(source), *sets]
    result = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    assert f"starting from the weights of {source}" in result.output
    assert weights(tmp_path / "run") == weights(tuned.folder)
    assert json.loads((tmp_path / "run" / "init.json").read_text())["name"] == "tiny"
    nowhere = ["--train", str(tmp_path / "no-corpus"), "--init", str(tmp_path / "no-model")]
    early = CliRunner().invoke(app, ["tiny", *nowhere, "-o", str(tmp_path / "new")])
    assert isinstance(early.exception, UnknownModel)  # not CorpusNotFound: asked before anything is decoded

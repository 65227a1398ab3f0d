"""Any encoder with any loss and any features trains from a recipe made of nothing but their names."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from packing import make_pack

from voxid.data.batches import Batches
from voxid.data.pack import Packed
from voxid.encoders import ENCODERS
from voxid.features import FEATURES
from voxid.losses import LOSSES
from voxid.model.network import Model
from voxid.training import initial_model, load_recipe, train
from voxid.training.optimizers import OPTIMIZERS
from voxid.training.run_folder import read_log
from voxid.training.step import Stepper

PARTS = """
name = "parts"
description = "Whatever fits together"
[features]
name = "{features}"
{size}
[encoder]
name = "{encoder}"
[loss]
name = "{loss}"
[optimizer]
name = "adam"
lr = 1e-3
[data]
triplets = 2
window = 40
[training]
threads = 1
steps = 3
log_every = 1
"""


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    return make_pack(tmp_path_factory.mktemp("pack"), [3, 3, 3], seconds=1.5)


# By its defaults ReDimNet is its smallest published network, which was made for 60 bins.
BINS = {"redimnet": 60}
SIZE = {"fbank": "bins", "mfcc": "coefficients"}


def size_of(encoder: str, features: str) -> str:
    return f"{SIZE[features]} = {BINS[encoder]}" if encoder in BINS else ""


def recipe_of(folder: Path, **parts: str):
    path = folder / "parts.toml"
    path.write_text(PARTS.format(**parts, size=size_of(parts["encoder"], parts["features"])))
    return load_recipe(path)


@pytest.fixture(
    scope="module", params=[(e, f) for e in ENCODERS.names() for f in FEATURES.names()], ids="-".join
)
def untrained(request: pytest.FixtureRequest, packed: Packed, tmp_path_factory: pytest.TempPathFactory):
    """The names of an encoder and of features, a model of them, its first weights, and two batches."""
    encoder, features = request.param
    folder = tmp_path_factory.mktemp("recipe")
    recipe = recipe_of(folder, encoder=encoder, loss="aam", features=features)
    model = initial_model(recipe)
    made = Batches(packed, model.features, recipe.data, 0, None)
    batches = [(model.features(made.batch(step).wave_BS), made.batch(step).labels_B) for step in (0, 1)]
    return request.param, model.encoder, copy.deepcopy(model.encoder.state_dict()), batches


@pytest.mark.parametrize("loss", LOSSES.names())
def test_any_encoder_learns_with_any_loss_from_any_features(
    loss: str, untrained: tuple, tmp_path: Path
) -> None:
    """Two steps on real batches: everything that is learned moves, and stays finite."""
    (name, features), encoder, weights, batches = untrained
    recipe = recipe_of(tmp_path, encoder=name, loss=loss, features=features)
    encoder.load_state_dict(weights)
    torch.manual_seed(0)
    loss_class, loss_config = LOSSES.parse(recipe.loss)
    judge = loss_class(loss_config, encoder.dim, 3)
    if judge.needs != "rows" and hasattr(judge, "set_margin"):
        judge.set_margin(2.0)  # or these hums might be far enough apart from the start
    learned = {f"encoder.{name}": p for name, p in encoder.named_parameters()}
    learned |= {f"loss.{name}": p for name, p in judge.named_parameters()}
    before = {name: p.detach().clone() for name, p in learned.items()}
    optimizer_class, config = OPTIMIZERS.parse(recipe.optimizer, "optimizer")
    encoder.train()
    with Stepper(encoder, judge, optimizer_class(config, learned.values())) as stepper:
        for feat_BTF, labels_B in batches:
            assert stepper(feat_BTF, labels_B).loss.isfinite()
    assert all(p.isfinite().all() for p in learned.values())
    still = {name for name, p in learned.items() if torch.equal(p, before[name])}
    assert len(still) <= len(learned) / 10, still  # a gradient may be zero by design, as the ge2e offset's is


@pytest.mark.parametrize("encoder", ENCODERS.names())
def test_every_encoder_goes_through_the_whole_training(encoder: str, packed: Packed, tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, encoder=encoder, loss="aam", features="fbank")
    train(recipe, packed, tmp_path / "run")
    rows = read_log(tmp_path / "run" / "log.jsonl")
    assert [row.step for row in rows] == [1, 2, 3]
    assert Model.load(tmp_path / "run").metadata["steps"] == 3


@pytest.mark.parametrize("loss", LOSSES.names())
def test_every_loss_goes_through_the_whole_training(loss: str, packed: Packed, tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, encoder="lstm", loss=loss, features="mfcc")
    whole = train(recipe, packed, tmp_path / "whole")
    assert whole.steps == 3
    short = recipe.model_copy(update={"training": recipe.training.model_copy(update={"steps": 2})})
    train(short, packed, tmp_path / "stopped")
    train(recipe, packed, tmp_path / "stopped", resume=True)  # what the loss has learned is there again
    assert (tmp_path / "stopped" / "model.safetensors").read_bytes() == (
        whole.folder / "model.safetensors"
    ).read_bytes()

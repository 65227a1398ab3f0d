"""Any encoder with any loss and any features trains from a recipe made of nothing but their names."""

from __future__ import annotations

import itertools
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
SIZE = {"fbank": "bins", "mel": "bins", "mfcc": "coefficients"}


def size_of(encoder: str, features: str) -> str:
    return f"{SIZE[features]} = {BINS[encoder]}" if encoder in BINS else ""


def recipe_of(folder: Path, *overrides: str, **parts: str):
    path = folder / "parts.toml"
    path.write_text(PARTS.format(**parts, size=size_of(parts["encoder"], parts["features"])))
    return load_recipe(path, overrides)


PAIRS = [
    (encoder, features)
    for encoder in ENCODERS.names()
    for features in FEATURES.names()
    if (encoder, features) != ("redimnet", "wave")  # one number a frame has no bands to stride over
]
# A loss sees rows of embeddings and nothing of what made them, so the losses take turns.
PARTS_THAT_MEET = [(*pair, loss) for pair, loss in zip(PAIRS, itertools.cycle(LOSSES.names()), strict=False)]
OFTEN = [
    pytest.param(*parts, marks=[] if "ecapa" in parts or "fbank" in parts else [pytest.mark.slow])
    for parts in PARTS_THAT_MEET
]  # the others: `make slow`


def test_every_loss_has_its_turn() -> None:
    assert {loss for *_, loss in PARTS_THAT_MEET} == set(LOSSES.names())


@pytest.mark.parametrize(("encoder", "features", "loss"), OFTEN)
def test_any_encoder_learns_from_any_features(
    encoder: str, features: str, loss: str, packed: Packed, tmp_path: Path
) -> None:
    """Two steps on real batches: everything that is learned moves, and stays finite."""
    recipe = recipe_of(tmp_path, encoder=encoder, loss=loss, features=features)
    model = initial_model(recipe)
    made = Batches(packed, model.features, recipe.data, 0, None)
    loss_class, loss_config = LOSSES.parse(recipe.loss)
    judge = loss_class(loss_config, model.encoder.dim, 3)
    if judge.needs != "rows" and hasattr(judge, "set_margin"):
        judge.set_margin(2.0)  # or these hums might be far enough apart from the start
    learned = {f"encoder.{name}": p for name, p in model.encoder.named_parameters()}
    learned |= {f"loss.{name}": p for name, p in judge.named_parameters()}
    before = {name: p.detach().clone() for name, p in learned.items()}
    optimizer_class, config = OPTIMIZERS.parse(recipe.optimizer, "optimizer")
    model.encoder.train()
    with Stepper(model.encoder, judge, optimizer_class(config, learned.values())) as stepper:
        for step in (0, 1):
            batch = made.batch(step)
            assert stepper(model.features(batch.wave_BS), batch.labels_B).loss.isfinite()
    assert all(p.isfinite().all() for p in learned.values())
    still = {name for name, p in learned.items() if torch.equal(p, before[name])}
    assert len(still) <= len(learned) / 10, still  # a gradient may be zero by design, as the ge2e offset's is


LARGE = ("campplus", "redimnet", "resnet")


@pytest.mark.parametrize(
    "encoder",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in LARGE)) for name in ENCODERS.names()],
)
def test_every_encoder_goes_through_the_whole_training(encoder: str, packed: Packed, tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, encoder=encoder, loss="aam", features="fbank")
    train(recipe, packed, tmp_path / "run")
    rows = read_log(tmp_path / "run" / "log.jsonl")
    assert [row.step for row in rows] == [1, 2, 3]
    assert Model.load(tmp_path / "run").metadata["steps"] == 3


@pytest.mark.parametrize("loss", LOSSES.names())
def test_every_loss_goes_through_the_whole_training(loss: str, packed: Packed, tmp_path: Path) -> None:
    small = ("encoder.layers=1", "encoder.hidden=16")
    recipe = recipe_of(tmp_path, *small, encoder="lstm", loss=loss, features="mfcc")
    whole = train(recipe, packed, tmp_path / "whole")
    assert whole.steps == 3
    short = recipe.model_copy(update={"training": recipe.training.model_copy(update={"steps": 2})})
    train(short, packed, tmp_path / "stopped")
    train(recipe, packed, tmp_path / "stopped", resume=True)  # what the loss has learned is there again
    assert (tmp_path / "stopped" / "model.safetensors").read_bytes() == (
        whole.folder / "model.safetensors"
    ).read_bytes()

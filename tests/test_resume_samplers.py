"""Interrupted in any batch of any sampler, a training ends with the weights it would have had."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from packing import make_pack

from voxid.data.pack import Packed
from voxid.data.samplers import SAMPLERS
from voxid.errors import CorpusNotFound, EmptyCorpus
from voxid.training import Recipe, load_recipe, train
from voxid.training.run_folder import Row

RECIPE = """
name = "sampled"
description = "Small, with batches of any kind, and a stage whose batches are of another"
[features]
name = "fbank"
bins = 20
[encoder]
name = "xvector"
channels = 8
aggregate = 12
embedding = 8
[loss]
name = "{loss}"
[optimizer]
name = "adamw"
lr = 1e-3
[specaugment]
[average]
[data]
triplets = 2
rows = 4
speakers = 2
utterances = 2
window = 20
window_max = 24
temperature = 2
balance = "speakers"
[training]
threads = 1
steps = 5
log_every = 1
save_every = 4
keep = 50
[[stage]]
name = "longer"
steps = 3
[stage.data]
window = 30
window_max = "none"
"""

KINDS = {
    "triplets": ("triplet", "triplets", ()),
    "uniform": ("aam", "uniform", ()),
    "speakers": ("aam", "speakers", ("data.speeds=[0.9,1.1]",)),
    "corpora": ("softmax", "corpora", ("data.cache_features=false",)),
    "pk": ("ge2e", "pk", ("augment={rooms=2}",)),
    "crops": ("softmax", "uniform", ("data.crops=2",)),
}


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    return make_pack(tmp_path_factory.mktemp("pack"), [3, 2, 3], seconds=0.6)


@pytest.fixture(scope="module", params=list(KINDS))
def recipe(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    loss, sampler, more = KINDS[request.param]
    path = tmp_path_factory.mktemp("recipe") / "sampled.toml"
    path.write_text(RECIPE.format(loss=loss))
    return load_recipe(path, [f"data.sampler={sampler}", *more])


@pytest.fixture(scope="module")
def whole(recipe: Recipe, packed: Packed, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return weights(train(recipe, packed, tmp_path_factory.mktemp("whole") / "run").folder)


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_every_sampler_is_here() -> None:
    assert {sampler for _, sampler, _ in KINDS.values()} == set(SAMPLERS)


def test_interrupted_three_times_it_ends_with_the_same_weights(
    recipe: Recipe, packed: Packed, whole: bytes, tmp_path: Path
) -> None:
    """In the first stage, at its end, and in the second; each time the run goes on from there."""

    def interrupt(row: Row) -> None:
        if row.step in (2, 5, 6):
            os.kill(os.getpid(), signal.SIGINT)

    for step in (2, 5, 6):
        with pytest.raises(KeyboardInterrupt):
            train(recipe, packed, tmp_path, on_row=interrupt, resume=step > 2)
        assert (tmp_path / "checkpoints" / f"step-{step:08d}.pt").exists()
        assert weights(tmp_path) != whole
    assert train(recipe, packed, tmp_path, resume=True).resumed_from == 6
    assert weights(tmp_path) == whole


@pytest.mark.parametrize(("state", "error"), [("missing", CorpusNotFound), ("empty", EmptyCorpus)])
def test_a_noise_folder_without_noise_begins_no_run(
    state: str, error: type[Exception], packed: Packed, tmp_path: Path
) -> None:
    if state == "empty":
        (tmp_path / "noise").mkdir()
    overrides = ["augment.noise_prob=0.5", f"augment.noise={tmp_path / 'noise'}", "augment.rooms=2"]
    with pytest.raises(error, match="noise"):
        train(load_recipe("tiny", overrides), packed, tmp_path / "run")
    assert not (tmp_path / "run").exists()

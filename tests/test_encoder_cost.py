"""What encoders cost: counted against hand-worked cases and against the published figures."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from commands import invoke

from voxid.encoders import ENCODERS
from voxid.encoders.catalog import VARIANTS, Variant
from voxid.encoders.cost import Cost, cost
from voxid.errors import BadConfig

WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; from voxid.cli import main; main()"


def by_name(variant: Variant) -> str:
    return variant.name


@pytest.fixture(scope="module")
def costs() -> dict[str, Cost]:
    return {v.name: cost(v.encoder, v.input_dim, v.frames) for v in VARIANTS}


@pytest.mark.parametrize("variant", VARIANTS, ids=by_name)
def test_cost_is_near_the_published(variant: Variant, costs: dict[str, Cost]) -> None:
    """Parameters and multiply-adds; to ours belongs what the publications repeat for every frame."""
    counted = costs[variant.name]
    assert variant.parameters is not None
    assert counted.parameters == pytest.approx(variant.parameters, rel=0.04)
    if variant.multiply_adds is not None:
        assert counted.multiply_adds + variant.shared == pytest.approx(variant.multiply_adds, rel=0.05)


def test_parameters_to_the_digit(costs: dict[str, Cost]) -> None:
    """A change of an encoder's size has to be meant."""
    assert {name: round(c.parameters / 1e6, 2) for name, c in costs.items()} == {
        "x-vector": 4.21,
        "ECAPA-512": 6.19,
        "ECAPA-1024": 14.66,
        "ResNet34": 6.63,
        "CAM++": 7.18,
        "ReDimNet-B0": 1.0,
        "ReDimNet-B2": 4.89,
    }


def test_every_new_encoder_is_in_the_catalog() -> None:
    assert {v.encoder["name"] for v in VARIANTS} == set(ENCODERS.names()) - {"lstm", "transformer"}


def test_an_lstm_by_hand() -> None:
    """Four gates read the frame and the state: two layers, the second reads both directions of the first."""
    table = {"name": "lstm", "layers": 2, "hidden": 8}
    layer1, layer2 = 2 * 4 * 8 * (12 + 8), 2 * 4 * 8 * (16 + 8)
    biases = 2 * 2 * 2 * 4 * 8
    assert cost(table, input_dim=12, frames=50) == Cost(layer1 + layer2 + biases, 50 * (layer1 + layer2))


def test_attention_is_counted() -> None:
    """One block over time: four projections, two layers behind, and two products of all pairs of frames."""
    table = {
        "name": "redimnet",
        "channels": 4,
        "strides": [1],
        "blocks": [0],
        "widen": [1],
        "pooling": "mean",
    }
    without = cost({**table, "reduce": [0]}, input_dim=12, frames=30)
    values, reduced, frames = 48, 24, 30
    convolutions = frames * reduced * (7 + 19 + 31 + 59) + 4 * frames * reduced**2
    attention = frames * 6 * reduced**2 + 2 * frames**2 * reduced
    assert cost(
        {**table, "reduce": [2]}, input_dim=12, frames=frames
    ).multiply_adds - without.multiply_adds == (frames * 2 * values * reduced + convolutions + attention)


def test_a_convolution_by_hand() -> None:
    """A ResNet of one block: two 3x3 after the first one, on all frames and bins, and the last layer."""
    table = {"name": "resnet", "channels": 4, "blocks": [1], "embedding": 10, "pooling": "mean"}
    maps = 9 * 4 + 2 * 9 * 4 * 4
    last = 4 * 12 * 10
    norms = 3 * 2 * 4
    assert cost(table, input_dim=12, frames=30) == Cost(maps + norms + last + 10, 30 * 12 * maps + last)


def test_counting_draws_no_random_number_and_trains_nothing() -> None:
    state = torch.get_rng_state()
    cost({"name": "ecapa"}, input_dim=80)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.zeros(1).device.type == "cpu"


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(BadConfig, match=r"encoder\.reduce"):
        cost({"name": "redimnet"}, input_dim=80)


# -- voxid models --------------------------------------------------------------------------------------------


def run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=250, check=True
    )
    assert done.stderr == ""
    return done.stdout


def test_models_as_json_can_be_trained(costs: dict[str, Cost]) -> None:
    said = json.loads(invoke(["models", "--json"]).stdout)
    assert [model["name"] for model in said["models"]] == ["voxid-base", "voxid-small"]
    assert [row["name"] for row in said["encoders"]] == [v.name for v in VARIANTS]
    for row in said["encoders"]:
        ENCODERS.parse(row["encoder"])
        assert Cost(row["parameters"], row["multiply_adds"]) == costs[row["name"]]


def test_models_as_text_shows_ours_beside_theirs() -> None:
    said = invoke(["models"]).stdout
    [line] = [line for line in said.splitlines() if line.startswith("ECAPA-512")]
    assert line.split() == ["ECAPA-512", "ecapa", "200x80", "6.19", "M", "6.2", "M", "0.96", "G", "1.04", "G"]


def test_models_without_torch() -> None:
    said = json.loads(run("-c", WITHOUT_TORCH, "models", "--json"))
    assert len(said["encoders"]) == len(VARIANTS)
    assert [model["name"] for model in said["models"]] == ["voxid-base", "voxid-small"]

"""Losses: hand-worked values, gradients against finite differences, and batches that are not triplets."""

from __future__ import annotations

import math

import pytest
import torch

from voxid.errors import BadConfig, TrainingError, UnknownComponent
from voxid.losses import LOSSES
from voxid.losses.triplet import TripletConfig, TripletLoss


def triplet(**options: float) -> TripletLoss:
    return TripletLoss(TripletConfig(**options), embedding_dim=2, n_speakers=4)


def at_angles(*degrees: float, length: float = 1.0) -> torch.Tensor:
    """Return embeddings of two values that point the given ways."""
    radians = torch.tensor([math.radians(d) for d in degrees], dtype=torch.float64)
    return length * torch.stack([radians.cos(), radians.sin()], dim=1)


@pytest.mark.parametrize(
    ("degrees", "margin", "expected"),
    [
        ((0, 0, 90), 0.1, 0.0),  # 0 - 1 + 0.1 < 0: far enough
        ((0, 90, 0), 0.1, 1.1),  # 1 - 0 + 0.1: the worst way round
        ((0, 60, 60), 0.1, 0.1),  # 0.5 - 0.5 + 0.1
        ((0, 60, 120), 0.1, 0.0),  # -0.5 - 0.5 + 0.1
        ((0, 60, 120), 1.5, 0.5),  # -0.5 - 0.5 + 1.5
        ((0, 180, 0), 0.0, 2.0),  # 1 - (-1)
    ],
)
def test_triplet_of_known_angles(degrees: tuple[float, ...], margin: float, expected: float) -> None:
    loss = triplet(margin=margin)(at_angles(*degrees), torch.tensor([0, 0, 1]))
    assert loss.shape == ()
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_triplets_are_rows_in_threes_and_the_loss_is_their_mean() -> None:
    # The second triplet costs 1.1, the first nothing: the mean is 0.55, whatever the lengths are.
    emb_BD = torch.cat([at_angles(0, 0, 90, length=0.01), at_angles(0, 90, 0, length=300.0)])
    assert triplet(margin=0.1)(emb_BD, torch.tensor([0, 0, 1, 2, 2, 0])).item() == pytest.approx(0.55)


def test_an_embedding_of_zeros_has_cosine_zero() -> None:
    emb_BD = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    loss = triplet(margin=0.1)(emb_BD, torch.tensor([0, 0, 1]))
    loss.backward()
    assert loss.item() == pytest.approx(0.1)
    assert emb_BD.grad is not None
    assert emb_BD.grad.isfinite().all()


def test_gradient_against_finite_differences() -> None:
    emb_BD = torch.randn(12, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    emb_BD.requires_grad_()
    labels_B = torch.tensor([0, 0, 1] * 4)
    loss = triplet(margin=0.5)
    assert loss(emb_BD, labels_B) > 0.1  # some triplets are active
    assert torch.autograd.gradcheck(lambda emb: loss(emb, labels_B), (emb_BD,))


def test_a_triplet_that_is_far_enough_apart_pulls_no_more() -> None:
    emb_BD = at_angles(0, 10, 170).requires_grad_()
    triplet(margin=0.1)(emb_BD, torch.tensor([0, 0, 1])).backward()
    assert emb_BD.grad is not None
    assert torch.count_nonzero(emb_BD.grad) == 0


@pytest.mark.parametrize(
    ("rows", "labels"),
    [
        (4, [0, 0, 1, 1]),  # not threes
        (0, []),
        (3, [0, 0]),  # a label is missing
        (3, [0, 1, 1]),  # anchor and positive differ
        (3, [1, 1, 1]),  # the negative is the same speaker
        (6, [0, 0, 1, 2, 2, 2]),
    ],
)
def test_rows_that_are_not_triplets_are_refused(rows: int, labels: list[int]) -> None:
    with pytest.raises(TrainingError, match="triplet"):
        triplet()(torch.randn(rows, 2), torch.tensor(labels, dtype=torch.long))


@pytest.mark.parametrize("name", LOSSES.names())
def test_every_loss_keeps_the_contract(name: str) -> None:
    cls, config = LOSSES.parse({"name": name})
    loss = cls(config, embedding_dim=7, n_speakers=2)
    emb_BD = torch.randn(24, 7, generator=torch.Generator().manual_seed(0), requires_grad=True)
    value = loss(emb_BD, torch.tensor([0, 0, 1] * 8))
    value.backward()
    assert value.shape == ()
    assert value.item() >= 0
    assert emb_BD.grad is not None
    assert emb_BD.grad.isfinite().all()
    assert torch.count_nonzero(emb_BD.grad) > 0


@pytest.mark.parametrize("name", LOSSES.names())
def test_unknown_options_are_refused_with_a_suggestion(name: str) -> None:
    with pytest.raises(BadConfig, match=r"loss\.margn.*Did you mean 'margin'"):
        LOSSES.parse({"name": name, "margn": 0.2})


def test_impossible_options_and_names_are_refused() -> None:
    with pytest.raises(BadConfig, match=r"loss\.margin"):
        LOSSES.parse({"name": "triplet", "margin": -1})
    with pytest.raises(UnknownComponent, match="Did you mean 'triplet'"):
        LOSSES.parse({"name": "triplets"})

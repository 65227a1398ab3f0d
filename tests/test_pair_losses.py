"""Losses over pairs: values worked out by hand from known angles, and what a speaker's only row does."""

from __future__ import annotations

import math

import pytest
import torch

from voxid.losses import LOSSES


def at_angles(*degrees: float, length: float = 1.0) -> torch.Tensor:
    radians = torch.tensor([math.radians(d) for d in degrees], dtype=torch.float64)
    return length * torch.stack([radians.cos(), radians.sin()], dim=1)


def value_of(degrees: list[float], labels: list[int], **table: object) -> float:
    return run(degrees, labels, **table)[0]


def run(degrees: list[float], labels: list[int], **table: object) -> tuple[float, float]:
    """Return (loss, share that is active) of embeddings that point the given ways."""
    cls, config = LOSSES.parse(table)
    loss = cls(config, embedding_dim=2, n_speakers=9).double()
    return loss(at_angles(*degrees, length=2.0), torch.tensor(labels)).item(), loss.active.item()


def cos(degrees: float) -> float:
    return math.cos(math.radians(degrees))


def cross_entropy(true: float, *others: float) -> float:
    return -true + math.log(sum(map(math.exp, (true, *others))))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


# ---- hard triplets -----------------------------------------------------------------------------------------

# Speaker 0 at 0, 10 and 50 degrees, speaker 1 at 60 and 200.
ANGLES, WHO = [0.0, 10.0, 50.0, 60.0, 200.0], [0, 0, 0, 1, 1]


def test_batch_hard_by_hand() -> None:
    hardest = [  # (farthest positive, nearest negative) of each row
        (50, 60), (40, 50), (50, 10), (140, 10), (140, 150)]  # fmt: skip
    costs = [max(0.0, cos(negative) - cos(positive) + 0.2) for positive, negative in hardest]
    value, active = run(ANGLES, WHO, name="hard-triplet", margin=0.2)
    assert value == pytest.approx(sum(costs) / 5, rel=1e-6)
    assert active == pytest.approx(sum(cost > 0 for cost in costs) / 5)


def test_semi_hard_by_hand() -> None:
    triplets = [  # (positive, negative): the nearest one beyond the positive, or else the farthest
        (10, 60), (50, 60), (10, 50), (40, 50), (50, 150), (40, 150), (140, 60), (140, 150)]  # fmt: skip
    # row 3's negatives are 60, 50 and 10 away: all nearer than its positive. Row 4's: 160, 170, 150.
    costs = [max(0.0, cos(negative) - cos(positive) + 0.2) for positive, negative in triplets]
    value, active = run(ANGLES, WHO, name="hard-triplet", mining="semi-hard", margin=0.2)
    assert value == pytest.approx(sum(costs) / 8, rel=1e-6)
    assert active == pytest.approx(sum(cost > 0 for cost in costs) / 8)


@pytest.mark.parametrize("mining", ["hard", "semi-hard"])
def test_mined_triplets_of_one_triplet_are_the_triplet_loss(mining: str) -> None:
    """Three rows leave no choice but for which of the two of one speaker is the anchor."""
    expected = (max(0, cos(50) - cos(20) + 0.3) + max(0, cos(30) - cos(20) + 0.3)) / 2
    got = value_of([0, 20, 50], [3, 3, 1], name="hard-triplet", mining=mining, margin=0.3)
    assert got == pytest.approx(expected, rel=1e-6)


# ---- GE2E --------------------------------------------------------------------------------------------------


def test_ge2e_by_hand() -> None:
    # Centroids: speaker 0 at 10 degrees, speaker 1 at 100; without itself, a row meets its partner.
    angles, labels = [0.0, 20.0, 90.0, 110.0], [0, 0, 1, 1]
    expected_softmax, expected_contrast = 0.0, 0.0
    for own, rival in [(20, 100), (20, 80), (20, 80), (20, 100)]:
        true, other = 10 * cos(own) - 5, 10 * cos(rival) - 5
        expected_softmax += cross_entropy(true, other) / 4
        expected_contrast += (1 - sigmoid(true) + sigmoid(other)) / 4
    value, active = run(angles, labels, name="ge2e")
    assert value == pytest.approx(expected_softmax, rel=1e-6)
    assert active == 0.0
    assert value_of(angles, labels, name="ge2e", kind="contrast") == pytest.approx(
        expected_contrast, rel=1e-6
    )


def test_ge2e_counts_rows_nearer_to_another_speaker() -> None:
    _, active = run([0.0, 90.0, 100.0, 110.0], [0, 0, 1, 1], name="ge2e")
    assert active == 0.25  # the row at 90: its own is at 0 without it, the other centroid at 105


# ---- angular prototypical ----------------------------------------------------------------------------------


def test_angular_by_hand() -> None:
    # Queries are the last rows: 30 and 120 degrees; prototypes the means of 0 and 20, and 90 and 100.
    value, active = run([0, 20, 30, 90, 100, 120], [4, 4, 4, 2, 2, 2], name="angular")
    first = cross_entropy(10 * cos(20) - 5, 10 * cos(65) - 5)
    second = cross_entropy(10 * cos(25) - 5, 10 * cos(110) - 5)
    assert value == pytest.approx((first + second) / 2, rel=1e-6)
    assert active == 0.0
    assert run([0, 80, 90, 60], [0, 0, 1, 1], name="angular")[1] == 0.5  # the query at 80 is nearer to 90


# ---- supervised contrastive --------------------------------------------------------------------------------


def test_supcon_by_hand() -> None:
    angles, labels, t = [0.0, 30.0, 60.0, 180.0, 100.0], [0, 0, 0, 1, 1], 0.5
    costs = []
    for i, (angle, label) in enumerate(zip(angles, labels, strict=True)):
        everyone = enumerate(zip(angles, labels, strict=True))
        others = [(cos(angle - a) / t, who == label) for j, (a, who) in everyone if j != i]
        total = math.log(sum(math.exp(s) for s, _ in others))
        partners = [total - s for s, same in others if same]
        costs.append(sum(partners) / len(partners))
    value, active = run(angles, labels, name="supcon", temperature=t)
    assert value == pytest.approx(sum(costs) / 5, rel=1e-6)
    assert active == pytest.approx(1 / 5)  # the row at 100 is nearer to 60 than to 180


# ---- a speaker's only row ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ge2e", "angular", "supcon", "hard-triplet"])
def test_an_only_row_is_a_rival_and_makes_no_term(name: str) -> None:
    """It adds nothing of its own when it is far from everything, and raises the loss when it is near."""
    without = value_of([0, 20, 170, 190], [0, 0, 1, 1], name=name)
    near = value_of([0, 20, 170, 190, 15], [0, 0, 1, 1, 2], name=name)
    assert near > without
    hidden = {"ge2e": "offset", "angular": "offset"}.get(name)
    if hidden is None:
        far = value_of([0, 20, 170, 190, 270], [0, 0, 1, 1, 2], name=name)
        assert far == pytest.approx(without, abs=0.05)

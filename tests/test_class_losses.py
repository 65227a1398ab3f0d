"""Losses over classes: values worked out by hand from known angles, margins, sub-centres, rivals."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from voxid.losses import LOSSES
from voxid.losses.margins import MarginLoss, turned


def at_angles(*degrees: float, length: float = 1.0) -> torch.Tensor:
    radians = torch.tensor([math.radians(d) for d in degrees], dtype=torch.float64)
    return length * torch.stack([radians.cos(), radians.sin()], dim=1)


def loss_with(centres: torch.Tensor, classes: int, **table: object) -> MarginLoss:
    """Return a loss over two dimensions with the given class centres."""
    cls, config = LOSSES.parse(table)
    loss = cls(config, embedding_dim=2, n_speakers=classes).double()
    loss.weight.data.copy_(centres)
    return loss


def cross_entropy(true: float, *others: float) -> float:
    """The witness: -log of the softmax, in plain numbers."""
    return -true + math.log(sum(map(math.exp, (true, *others))))


# The embedding points at 20 degrees; the classes' centres at 0, 90 and 200.
CENTRES = at_angles(0, 90, 200, length=3.0)
COS = [math.cos(math.radians(d)) for d in (20, 70, 180)]


@pytest.mark.parametrize("label", [0, 1, 2])
@pytest.mark.parametrize(("scale", "margin"), [(1.0, 0.0), (1.0, 0.2), (30.0, 0.2), (2.0, 0.5)])
def test_aam_by_hand(label: int, scale: float, margin: float) -> None:
    loss = loss_with(CENTRES, 3, name="aam", scale=scale, margin=margin)
    angle = math.radians((20, 70, 180)[label])
    harder = math.cos(angle + margin) if angle + margin <= math.pi else COS[label] - (1 - math.cos(margin))
    others = [scale * cos for number, cos in enumerate(COS) if number != label]
    value = loss(at_angles(20, length=0.1), torch.tensor([label]))
    assert value.item() == pytest.approx(cross_entropy(scale * harder, *others), rel=1e-6)


@pytest.mark.parametrize("label", [0, 1, 2])
@pytest.mark.parametrize(("scale", "margin"), [(1.0, 0.0), (30.0, 0.35)])
def test_am_by_hand(label: int, scale: float, margin: float) -> None:
    loss = loss_with(CENTRES, 3, name="am", scale=scale, margin=margin)
    others = [scale * cos for number, cos in enumerate(COS) if number != label]
    value = loss(at_angles(20, length=7.0), torch.tensor([label]))
    assert value.item() == pytest.approx(cross_entropy(scale * (COS[label] - margin), *others), rel=1e-6)


def softplus(value: float) -> float:
    return math.log1p(math.exp(value))


@pytest.mark.parametrize("label", [0, 1, 2])
@pytest.mark.parametrize(
    ("scale", "margin", "sharpness", "bias"), [(1, 0, 1, 0), (8, 0.2, 3, -2), (5, 0.1, 2, 1)]
)
def test_sphereface2_by_hand(label: int, scale: float, margin: float, sharpness: float, bias: float) -> None:
    options = {"scale": scale, "margin": margin, "sharpness": sharpness, "balance": 0.7}
    loss = loss_with(CENTRES, 3, name="sphereface2", **options)
    torch.nn.init.constant_(loss.bias, bias)  # pyright: ignore[reportArgumentType]
    spread = [2 * ((cos + 1) / 2) ** sharpness - 1 for cos in COS]
    true = softplus(-(scale * (spread[label] - margin) + bias))
    others = [softplus(scale * (value + margin) + bias) for n, value in enumerate(spread) if n != label]
    value = loss(at_angles(20, length=7.0), torch.tensor([label]))
    assert value.item() == pytest.approx(0.7 * true + 0.3 * sum(others), rel=1e-6)


def test_a_rival_of_sphereface2_counts_as_nearer() -> None:
    options = {"name": "sphereface2", "scale": 2.0, "margin": 0.2, "sharpness": 1.0, "balance": 0.5}
    loss = loss_with(CENTRES, 3, top_k=1, top_k_margin=0.06, **options)
    rivals = [COS[1] + 0.06, COS[2]]
    expected = softplus(-2 * (COS[0] - 0.2)) + sum(softplus(2 * (cos + 0.2)) for cos in rivals)
    assert loss(at_angles(20), torch.tensor([0])).item() == pytest.approx(expected / 2, rel=1e-6)


def test_the_loss_is_the_mean_of_its_rows() -> None:
    loss = loss_with(CENTRES, 3, name="aam")
    emb_BD, labels_B = at_angles(20, 100, 170), torch.tensor([0, 1, 1])
    alone = [loss(emb_BD[b : b + 1], labels_B[b : b + 1]).item() for b in range(3)]
    assert loss(emb_BD, labels_B).item() == pytest.approx(sum(alone) / 3)


def test_without_a_margin_aam_and_am_are_the_same_and_plain_cross_entropy() -> None:
    emb_BD, labels_B = at_angles(20, 100, 170), torch.tensor([0, 1, 1])
    aam = loss_with(CENTRES, 3, name="aam", margin=0.0)(emb_BD, labels_B)
    am = loss_with(CENTRES, 3, name="am", margin=0.0)(emb_BD, labels_B)
    plain = F.cross_entropy(32 * F.normalize(emb_BD) @ F.normalize(CENTRES).T, labels_B)
    assert aam.item() == pytest.approx(plain.item(), rel=1e-6)
    assert am.item() == pytest.approx(plain.item(), rel=1e-6)


def test_a_turned_cosine_falls_all_the_way_and_has_no_jump() -> None:
    theta = torch.linspace(0.001, math.pi - 0.001, 20_001, dtype=torch.float64)
    for angle in (0.0, 0.2, 0.5, 1.0, -0.06, -0.5):
        value = turned(theta.cos(), angle)
        steps = value.diff()
        assert (steps < 0).all(), angle
        assert steps.abs().max() < 2 * math.pi / 20_000, angle
        inside = (theta + angle > 0) & (theta + angle < math.pi)
        torch.testing.assert_close(value[inside], (theta + angle).cos()[inside], atol=1e-7, rtol=0)
        assert (value <= theta.cos() + 1e-12).all() if angle >= 0 else (value >= theta.cos() - 1e-12).all()


@pytest.mark.parametrize("angle", [0.0, 0.2, 0.5, -0.06])
@pytest.mark.parametrize("cos", [1.0, -1.0, 1 - 1e-7, -1 + 1e-7])
def test_the_gradient_at_the_ends_is_finite_and_draws_the_right_way(cos: float, angle: float) -> None:
    value = torch.tensor([cos], requires_grad=True)
    turned(value, angle).backward()
    assert value.grad is not None
    assert value.grad.isfinite().all()
    assert value.grad.item() > 0


def test_of_sub_centres_the_nearest_counts() -> None:
    centres = at_angles(150, 0, 90, 250)  # class 0 has 150 and 0, class 1 has 90 and 250
    loss = loss_with(centres, 2, name="aam", sub_centers=2, scale=2.0, margin=0.1)
    value = loss(at_angles(20), torch.tensor([0]))
    true, other = 2 * math.cos(math.radians(20) + 0.1), 2 * math.cos(math.radians(70))
    assert value.item() == pytest.approx(cross_entropy(true, other), rel=1e-6)
    value.backward()
    assert torch.count_nonzero(loss.weight.grad.abs().sum(dim=1)) == 2  # only the two that were nearest


@pytest.mark.parametrize("name", ["aam", "am"])
def test_the_nearest_rivals_are_penalised(name: str) -> None:
    centres = at_angles(0, 60, 100, 180)
    loss = loss_with(centres, 4, name=name, scale=2.0, margin=0.2, top_k=2, top_k_margin=0.1)

    def expected(margin: float, rival: float) -> float:
        def shifted(degrees: float, by: float) -> float:
            angle = math.radians(degrees)
            return 2 * (math.cos(angle + by) if name == "aam" else math.cos(angle) - by)

        return cross_entropy(
            shifted(20, margin), shifted(40, -rival), shifted(80, -rival), 2 * math.cos(math.radians(160))
        )

    assert loss(at_angles(20), torch.tensor([0])).item() == pytest.approx(expected(0.2, 0.1), rel=1e-6)
    loss.set_margin(0.1)  # half of the margin: half of the penalty
    assert loss(at_angles(20), torch.tensor([0])).item() == pytest.approx(expected(0.1, 0.05), rel=1e-6)


def test_the_true_class_is_no_rival_of_itself() -> None:
    loss = loss_with(at_angles(0, 120), 2, name="aam", scale=1.0, margin=0.0, top_k=5, top_k_margin=0.1)
    value = loss(at_angles(10), torch.tensor([0])).item()
    assert value == pytest.approx(
        cross_entropy(math.cos(math.radians(10)), math.cos(math.radians(110) - 0.1)), rel=1e-6
    )


def test_a_larger_margin_is_harder() -> None:
    loss = loss_with(CENTRES, 3, name="aam")
    values = []
    for margin in (0.0, 0.1, 0.2, 0.5):
        loss.set_margin(margin)
        values.append(loss(at_angles(20), torch.tensor([0])).item())
        assert loss.margin == margin
    assert values == sorted(values)
    assert values[0] < values[-1]


@pytest.mark.parametrize("name", ["aam", "am", "softmax", "sphereface2"])
def test_active_is_the_share_of_rows_not_recognised(name: str) -> None:
    cls, config = LOSSES.parse({"name": name})
    loss = cls(config, embedding_dim=3, n_speakers=3)
    with torch.no_grad():
        for parameter in loss.parameters():
            parameter.copy_(torch.eye(3) if parameter.ndim == 2 else torch.zeros_like(parameter))
    # The third row is nearest to its own class by less than the margin: recognised, if not by far.
    emb_BD = torch.tensor([[1.0, 0, 0], [0, 1, 0], [1.0, 0.99, 0], [0, 0, 1]])
    loss(emb_BD, torch.tensor([0, 1, 0, 1]))
    assert loss.active.item() == 0.25


@pytest.mark.parametrize("name", ["aam", "am", "softmax", "sphereface2"])
def test_classes_can_be_left_out_of_the_comparison(name: str) -> None:
    cls, config = LOSSES.parse({"name": name})
    whole, part = cls(config, 4, 6), cls(config, 4, 2)
    with torch.no_grad():
        for parameter, smaller in zip(whole.parameters(), part.parameters(), strict=True):
            smaller.copy_(parameter[:2] if parameter.ndim else parameter)
    whole.classes = 2
    emb_BD, labels_B = torch.randn(5, 4), torch.tensor([0, 1, 1, 0, 1])
    assert whole(emb_BD, labels_B).item() == pytest.approx(part(emb_BD, labels_B).item())


def test_softmax_by_hand() -> None:
    cls, config = LOSSES.parse({"name": "softmax"})
    loss = cls(config, embedding_dim=2, n_speakers=3)
    with torch.no_grad():
        loss.linear.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, 1.0]]))
        loss.linear.bias.copy_(torch.tensor([0.5, 0.0, 0.0]))
    value = loss(torch.tensor([[2.0, 1.0]]), torch.tensor([1]))  # outputs 2.5, 2, -1
    assert value.item() == pytest.approx(cross_entropy(2.0, 2.5, -1.0), rel=1e-6)


def test_smoothing_by_hand() -> None:
    cls, config = LOSSES.parse({"name": "softmax", "smoothing": 0.3})
    loss = cls(config, embedding_dim=1, n_speakers=3)
    with torch.no_grad():
        loss.linear.weight.copy_(torch.tensor([[1.0], [0.0], [0.0]]))
        loss.linear.bias.zero_()
    value = loss(torch.tensor([[2.0]]), torch.tensor([0]))
    costs = [cross_entropy(2.0, 0.0, 0.0), cross_entropy(0.0, 2.0, 0.0)]
    assert value.item() == pytest.approx(0.8 * costs[0] + 0.1 * costs[1] * 2, rel=1e-6)

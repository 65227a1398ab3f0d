"""The triplet loss: hand-worked values, gradients, and batches that are not triplets; the contract of all."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

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


def test_the_share_that_is_active() -> None:
    loss = triplet(margin=0.1)
    loss(at_angles(0, 0, 90, 0, 90, 0, 0, 60, 60, 0, 60, 120), torch.tensor([0, 0, 1] * 4))
    assert loss.active.item() == 0.5


def test_the_margin_can_be_set() -> None:
    loss = triplet(margin=0.1)
    loss.set_margin(1.5)
    assert loss.margin == 1.5
    assert loss(at_angles(0, 60, 120), torch.tensor([0, 0, 1])).item() == pytest.approx(0.5, abs=1e-6)


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


# ---- the contract ------------------------------------------------------------------------------------------

MEMBERS = [
    *({"name": name} for name in LOSSES.names()),
    {"name": "aam", "sub_centers": 3, "top_k": 2},
    {"name": "am", "sub_centers": 2, "top_k": 1},
    {"name": "sphereface2", "sub_centers": 2, "top_k": 1},
    {"name": "softmax", "smoothing": 0.1},
    {"name": "ge2e", "kind": "contrast"},
    {"name": "hard-triplet", "mining": "semi-hard"},
]


def member_id(options: dict) -> str:
    return "-".join(map(str, options.values()))


@pytest.fixture(params=MEMBERS, ids=member_id)
def member(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    cls, config = LOSSES.parse(request.param)
    return cls(config, embedding_dim=7, n_speakers=4)


def rows(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(12, 7, generator=torch.Generator().manual_seed(0), dtype=dtype, requires_grad=True)


LABELS_B = torch.tensor([0, 0, 1, 2, 2, 3, 3, 3, 0, 1, 1, 2])  # triplets, and every speaker has a pair


def test_every_loss_is_a_scalar_that_teaches_every_row(member: nn.Module) -> None:
    emb_BD = rows()
    value = member(emb_BD, LABELS_B)
    value.backward()
    assert value.shape == ()
    assert value.dtype == torch.float32
    assert value.item() >= 0
    assert emb_BD.grad is not None
    assert emb_BD.grad.isfinite().all()
    assert torch.count_nonzero(emb_BD.grad) > 0
    for name, parameter in member.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all()
        if name != "offset":  # adds the same to every class
            assert torch.count_nonzero(parameter.grad) > 0, name
    assert 0 <= float(member.active) <= 1
    assert not member.active.requires_grad


def test_every_gradient_equals_finite_differences(member: nn.Module) -> None:
    member.double()
    weights = {name: p.detach().requires_grad_() for name, p in member.named_parameters()}

    def value(emb_BD: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(member, dict(zip(weights, values, strict=True)), (emb_BD, LABELS_B))

    assert torch.autograd.gradcheck(value, (rows(torch.float64), *weights.values()))


@pytest.mark.parametrize("length", [0.0, 1e-30, 1e15], ids=["zeros", "tiny", "huge"])
def test_embeddings_of_any_length_have_a_finite_loss(member: nn.Module, length: float) -> None:
    emb_BD = (rows().detach() * length).requires_grad_()
    value = member(emb_BD, LABELS_B)
    value.backward()
    assert value.isfinite()
    assert emb_BD.grad is not None
    assert emb_BD.grad.isfinite().all()


def test_embeddings_that_are_all_the_same_have_a_finite_gradient(member: nn.Module) -> None:
    emb_BD = torch.ones(12, 7, requires_grad=True)
    with torch.no_grad():
        for parameter in member.parameters():
            if parameter.ndim == 2:
                parameter.fill_(1.0)  # every angle is zero, where the sine has no slope
    member(emb_BD, LABELS_B).backward()
    assert emb_BD.grad is not None
    assert emb_BD.grad.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in member.parameters())


def test_the_order_of_rows_does_not_matter(member: nn.Module) -> None:
    if member.needs == "triplets":
        pytest.skip("its rows are in threes")
    order = torch.tensor([1, 0, 4, 5, 3, 2, 6, 7, 8, 9, 10, 11])  # no speaker's last row moves
    emb_BD = rows()
    again = member(emb_BD[order], LABELS_B[order])
    assert again.item() == pytest.approx(member(emb_BD, LABELS_B).item(), rel=1e-5)


def test_under_autocast_the_loss_is_not_rounded(member: nn.Module) -> None:
    emb_BD = rows()
    whole = member(emb_BD, LABELS_B)
    with torch.autocast("cpu", torch.bfloat16):
        inside = member(emb_BD, LABELS_B)
    assert inside.dtype == torch.float32
    assert inside.item() == pytest.approx(whole.item(), rel=1e-6)


def test_in_16_bits_the_loss_is_computed_in_32(member: nn.Module) -> None:
    emb_BD = rows().detach().bfloat16()
    if member.needs == "triplets":
        pytest.skip("it is given what the encoder gives; the stepper hands it 32 bits")
    assert member(emb_BD, LABELS_B).dtype == torch.float32


@pytest.mark.parametrize(
    ("shape", "labels"),
    [((12,), [0] * 12), ((12, 7), [0] * 11), ((0, 7), []), ((3, 4), [0, 0, 1])],
    ids=["flat", "a label is missing", "no rows", "another width"],
)
def test_wrong_shapes_are_refused(member: nn.Module, shape: tuple, labels: list[int]) -> None:
    if member.needs == "triplets" and shape == (3, 4):
        pytest.skip("it has no weights, and takes any width")
    with pytest.raises(TrainingError, match="loss got"):
        member(torch.randn(shape), torch.tensor(labels, dtype=torch.long))


def test_labels_that_are_no_class_are_refused(member: nn.Module) -> None:
    if member.needs == "rows":
        for wrong in (-1, 4):
            with pytest.raises(TrainingError, match="made for 4 speakers"):
                member(rows(), torch.where(LABELS_B == 3, wrong, LABELS_B))
    if member.needs != "triplets":
        with pytest.raises(TrainingError, match="whole numbers"):
            member(rows(), LABELS_B + 0.5)


def test_batches_without_a_pair_are_refused(member: nn.Module) -> None:
    if member.needs == "rows":
        assert member(rows()[:2], torch.tensor([2, 2])).isfinite()
        return
    for labels in ([0, 1, 2], [1, 1, 1]):
        with pytest.raises(TrainingError, match=r"rows of|not triplets"):
            member(rows()[:3], torch.tensor(labels))


@pytest.mark.parametrize("name", LOSSES.names())
def test_unknown_options_are_refused_with_a_suggestion(name: str) -> None:
    option = next(iter(LOSSES.get(name).Config.model_fields))
    with pytest.raises(BadConfig, match=rf"loss\.{option}s.*Did you mean '{option}'"):
        LOSSES.parse({"name": name, f"{option}s": 0.2})


@pytest.mark.parametrize(
    "table",
    [
        {"name": "triplet", "margin": -1},
        {"name": "aam", "scale": 0},
        {"name": "aam", "sub_centers": 0},
        {"name": "am", "top_k": -1},
        {"name": "sphereface2", "balance": 1.0},
        {"name": "sphereface2", "sharpness": 0.5},
        {"name": "softmax", "smoothing": 1.0},
        {"name": "ge2e", "kind": "sum"},
        {"name": "angular", "scale": -1},
        {"name": "supcon", "temperature": 0},
        {"name": "hard-triplet", "mining": "easy"},
    ],
    ids=lambda table: table["name"] + "-" + list(table)[1],
)
def test_impossible_options_are_refused(table: dict) -> None:
    with pytest.raises(BadConfig, match=rf"loss\.{list(table)[1]}"):
        LOSSES.parse(table)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UnknownComponent, match="Did you mean 'triplet'"):
        LOSSES.parse({"name": "triplets"})

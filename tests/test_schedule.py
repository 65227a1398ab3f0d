"""Schedules, averages and optimizers by hand-worked values and beside torch's own."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from voxid.errors import BadConfig
from voxid.training.averaging import Average, AverageConfig
from voxid.training.optimizers import OPTIMIZERS, decay_groups
from voxid.training.schedule import Schedule, ScheduleConfig


def make(margin: float | None = None, lr: float = 0.1, steps: int = 1500, rows: int = 64, **options):
    """Return a schedule of epochs of ten steps."""
    return Schedule(ScheduleConfig(**options), lr, margin, steps, steps_per_epoch=10, rows=rows)


# ---- learning rate -----------------------------------------------------------------------------------------


def test_by_default_nothing_changes() -> None:
    constant = make(margin=0.2)
    assert {constant.lr_at(step) for step in (0, 1, 700, 5000)} == {0.1}
    assert {constant.margin_at(step) for step in (0, 700)} == {0.2}


def test_the_published_exponential_schedule() -> None:
    """WeSpeaker: 150 epochs, 0.1 to 5e-5, six of warm-up that multiply the decay."""
    published = make(kind="exponential", unit="epochs", warmup=6, final_lr=5e-5)
    assert published.lr_at(0) == 0
    assert published.lr_at(30) == pytest.approx(0.5 * 0.1 * (5e-4) ** (30 / 1500))
    assert published.lr_at(60) == pytest.approx(0.1 * math.exp(60 / 1500 * math.log(5e-4)))
    assert published.lr_at(750) == pytest.approx(0.1 * math.sqrt(5e-4))
    assert published.lr_at(1500) == pytest.approx(5e-5)
    ratios = {round(published.lr_at(step + 1) / published.lr_at(step), 9) for step in range(60, 1499)}
    assert len(ratios) == 1


def test_cosine_by_hand() -> None:
    cosine = make(kind="cosine", warmup=100, final_lr=0.02, steps=500)
    assert [cosine.lr_at(step) for step in (0, 50, 100)] == pytest.approx([0, 0.05, 0.1])
    assert cosine.lr_at(300) == pytest.approx(0.06)  # half way
    assert cosine.lr_at(200) == pytest.approx(0.02 + 0.08 * (1 + math.cos(math.pi / 4)) / 2)
    assert cosine.lr_at(500) == pytest.approx(0.02)
    falling = [cosine.lr_at(step) for step in range(100, 501)]
    assert falling == sorted(falling, reverse=True)


def test_a_warm_up_alone() -> None:
    rising = make(warmup=10)
    assert [rising.lr_at(step) for step in (0, 5, 10, 999)] == pytest.approx([0, 0.05, 0.1, 0.1])


def test_the_rate_grows_with_the_batch_where_the_recipe_says_so() -> None:
    assert make(rows=256, per_rows=64).lr_at(3) == pytest.approx(0.4)
    assert make(rows=256).lr_at(3) == pytest.approx(0.1)


def test_without_a_final_rate_it_is_a_thousandth() -> None:
    assert make(kind="exponential").lr_at(1500) == pytest.approx(1e-4)
    assert make(kind="cosine").lr_at(1500) == pytest.approx(1e-4)


# ---- margin ------------------------------------------------------------------------------------------------


def test_the_margin_ramps_up_in_a_line() -> None:
    ramp = make(margin=0.2, unit="epochs", margin_start=20, margin_end=40)
    margins = [ramp.margin_at(step) for step in (0, 200, 250, 300, 400, 1000)]
    assert margins == pytest.approx([0, 0, 0.05, 0.1, 0.2, 0.2])


def test_the_published_ramp_is_fast_at_first() -> None:
    ramp = make(
        margin=0.2, unit="epochs", margin_start=20, margin_end=40, margin_from=0.1, margin_ramp="exponential"
    )
    assert ramp.margin_at(200) == pytest.approx(0.1)
    assert ramp.margin_at(300) == pytest.approx(0.1 + 0.1 * (1 - math.sqrt(1e-3)))
    assert ramp.margin_at(399) == pytest.approx(0.2, abs=2e-4)
    assert ramp.margin_at(400) == 0.2


def test_a_loss_without_a_margin_has_none() -> None:
    assert make(margin=None, margin_start=1, margin_end=2).margin_at(5) is None


def test_a_ramp_of_no_length_is_a_step() -> None:
    sudden = make(margin=0.2, margin_start=5, margin_end=5)
    assert [sudden.margin_at(step) for step in (4, 5)] == [0.0, 0.2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"final_lr": 1e-5}, "final_lr needs kind"),
        ({"margin_start": 3}, "go together"),
        ({"margin_start": 3, "margin_end": 2}, "margin_end is before"),
        ({"margin_from": 0.1}, "margin_from needs"),
        ({"kind": "cosin"}, r"schedule\.kind"),
        ({"warm_up": 3}, "Did you mean 'warmup'"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_schedules_that_make_no_sense_are_refused(options: dict, message: str) -> None:
    with pytest.raises(BadConfig, match=message):
        ScheduleConfig.parse(options, "schedule")


# ---- averages ----------------------------------------------------------------------------------------------


def walk(average: Average, encoder: nn.Module, steps: int) -> list[torch.Tensor]:
    """Let the weights wander and the average follow; return all weights."""
    draw = torch.Generator().manual_seed(0)
    seen = []
    for step in range(1, steps + 1):
        with torch.no_grad():
            encoder.weight.add_(torch.randn(encoder.weight.shape, generator=draw))
        average.update(step)
        seen.append(encoder.weight.detach().clone())
    return seen


def test_ema_equals_torchs() -> None:
    """The witness starts where the first steps no longer count for more: decay 0.5 is below 11 / 20."""
    encoder = nn.Linear(3, 2)
    average = Average(AverageConfig(decay=0.5), encoder, steps=100, steps_per_epoch=10)
    walk(average, encoder, 10)
    witness = AveragedModel(encoder, multi_avg_fn=get_ema_multi_avg_fn(0.5))
    average.load(average.count, {name: value.clone() for name, value in encoder.state_dict().items()})
    witness.update_parameters(encoder)
    draw = torch.Generator().manual_seed(1)
    for step in range(11, 30):
        with torch.no_grad():
            encoder.weight.add_(torch.randn(2, 3, generator=draw))
        average.update(step)
        witness.update_parameters(encoder)
    torch.testing.assert_close(average.weights["weight"], witness.module.weight)


def test_ema_begins_with_a_plain_mean() -> None:
    encoder = nn.Linear(1, 1, bias=False)
    average = Average(AverageConfig(decay=0.999), encoder, 100, 10)
    first, second, third = walk(average, encoder, 3)
    by_hand = first + (1 - 2 / 11) * (second - first)
    by_hand = by_hand + (1 - 3 / 12) * (third - by_hand)
    torch.testing.assert_close(average.weights["weight"], by_hand)


@pytest.mark.parametrize(("every", "snapshots"), [(1, 4), (3, 2), (2, 50)])
def test_last_is_the_mean_of_the_last_snapshots(every: int, snapshots: int) -> None:
    encoder = nn.Linear(3, 2)
    config = AverageConfig(kind="last", snapshots=snapshots, every=every, unit="steps")
    average = Average(config, encoder, steps=20, steps_per_epoch=10)
    seen = walk(average, encoder, 20)
    taken = seen[::-every][:snapshots]  # a stage too short for all of them has its last one at the end too
    torch.testing.assert_close(average.weights["weight"], torch.stack(taken).mean(dim=0))


def test_last_in_epochs() -> None:
    encoder = nn.Linear(1, 1)
    average = Average(AverageConfig(kind="last", snapshots=3), encoder, steps=100, steps_per_epoch=10)
    seen = walk(average, encoder, 100)
    torch.testing.assert_close(average.weights["weight"], (seen[79] + seen[89] + seen[99]) / 3)


def test_before_the_first_snapshot_the_weights_are_the_encoders_own() -> None:
    encoder = nn.Linear(1, 1)
    average = Average(
        AverageConfig(kind="last", snapshots=2, every=1, unit="steps"), encoder, steps=9, steps_per_epoch=1
    )
    seen = walk(average, encoder, 5)
    assert torch.equal(average.weights["weight"], seen[-1])


def test_buffers_are_averaged_and_counters_taken_over() -> None:
    encoder = nn.BatchNorm1d(2)
    average = Average(AverageConfig(kind="last", snapshots=2, every=1, unit="steps"), encoder, 2, 1)
    means = []
    for step in (1, 2):
        encoder(torch.randn(8, 2))
        average.update(step)
        means.append(encoder.running_mean.clone())
    torch.testing.assert_close(average.weights["running_mean"], (means[0] + means[1]) / 2)
    assert average.weights["num_batches_tracked"] == 2


@pytest.mark.parametrize("kind", ["ema", "last"])
def test_an_average_goes_on_from_a_checkpoint(kind: str) -> None:
    config = AverageConfig(kind=kind, snapshots=9, every=1, unit="steps")
    encoder = nn.Linear(3, 2)
    whole = Average(config, encoder, 12, 1)
    stopped: Average | None = None
    draw = torch.Generator().manual_seed(0)
    for step in range(1, 13):
        with torch.no_grad():
            encoder.weight.add_(torch.randn(2, 3, generator=draw))
        whole.update(step)
        if step == 7:
            stopped = Average(config, encoder, 12, 1)
            stopped.load(whole.count, whole.mean)
        elif stopped:
            stopped.update(step)
    assert stopped is not None
    assert torch.equal(stopped.weights["weight"], whole.weights["weight"])


# ---- optimizers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_biases_and_normalisations_do_not_decay(name: str) -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Conv1d(1, 2, 3))
    net.scale = nn.Parameter(torch.tensor(2.0))
    cls, config = OPTIMIZERS.parse({"name": name, "weight_decay": 0.1, "lr": 0.5})
    optimizer = cls(config, net.parameters())
    before = {key: p.detach().clone() for key, p in net.named_parameters()}
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    moved = {key for key, p in net.named_parameters() if not torch.equal(p, before[key])}
    assert moved == {"0.weight", "2.weight"}
    if name != "adam":
        torch.testing.assert_close(net[0].weight, 0.95 * before["0.weight"])


def test_everything_decays_where_it_is_said() -> None:
    net = nn.Linear(2, 2)
    _, config = OPTIMIZERS.parse({"name": "sgd", "weight_decay": 0.1, "decays": "all"})
    assert [len(group["params"]) for group in decay_groups(config, net.parameters())] == [2]
    _, config = OPTIMIZERS.parse({"name": "sgd"})
    assert [len(group["params"]) for group in decay_groups(config, net.parameters())] == [2]


def test_nesterov_equals_torchs_and_needs_momentum() -> None:
    ours, plain = nn.Linear(2, 2), nn.Linear(2, 2)
    plain.load_state_dict(ours.state_dict())
    cls, config = OPTIMIZERS.parse(
        {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01, "decays": "all"}
    )
    optimizers = [
        cls(config, ours.parameters()),
        torch.optim.SGD(plain.parameters(), 0.1, 0.9, weight_decay=0.01, nesterov=True),
    ]
    for _ in range(4):
        for net, optimizer in zip((ours, plain), optimizers, strict=True):
            optimizer.zero_grad()
            net(torch.ones(1, 2)).square().sum().backward()
            optimizer.step()
    assert torch.equal(ours.weight, plain.weight)
    with pytest.raises(BadConfig, match="nesterov needs a momentum"):
        OPTIMIZERS.parse({"name": "sgd", "nesterov": True})

"""Training with everything at once: stages, schedules, averages, batch norm, waveforms; and resuming it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from packing import make_pack
from torch import nn

from voxid.augment import SpecAugment, WaveAugment
from voxid.data.pack import Packed
from voxid.errors import BadConfig, BadRecipe, ModelError, TrainingError
from voxid.losses.margins import AamLoss
from voxid.model.network import Model
from voxid.training import Recipe, TrainResult, initial_model, load_recipe, make_plan, train
from voxid.training.run_folder import Row, load_checkpoint, read_log
from voxid.training.step import Stepper, check_precision, memory_advice
from voxid.training.train import Training

FULL = """
name = "everything"
description = "Small, with every part of the training in it"

[features]
name = "fbank"
bins = 20

[encoder]
name = "ecapa"
channels = 8
scale = 2
squeeze = 4
aggregate = 12
attention = 4
embedding = 8

[loss]
name = "aam"
margin = 0.3

[specaugment]
time_max_width = 5

[augment]
rooms = 3
babble_prob = 0.5

[data]
sampler = "uniform"
rows = 6
window = 20
window_max = 30
speeds = [0.9, 1.1]

[schedule]
kind = "exponential"
unit = "epochs"
warmup = 1
margin_start = 2
margin_end = 6

[average]
kind = "ema"
decay = 0.9

[optimizer]
name = "sgd"
lr = 0.1
momentum = 0.9
nesterov = true
weight_decay = 1e-3

[training]
epochs = 9
save_every = 5
log_every = 4
keep = 50
threads = 1
clip_norm = 5.0

[[stage]]
name = "large margin"
steps = 7
lr = 0.01
margin = 0.5
augment = false
[stage.data]
window = 40
window_max = "none"
rows = 4
speeds = []
[stage.schedule]
kind = "cosine"

[[stage]]
name = "last"
epochs = 1
specaugment = false

[inference]
mode = "full"
"""


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    return make_pack(tmp_path_factory.mktemp("pack"), [4, 4, 4, 1], seconds=1.0)  # 13: two batches of six


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "everything.toml"
    path.write_text(FULL)
    return path


@pytest.fixture(scope="module")
def recipe(path: Path) -> Recipe:
    return load_recipe(path)


@pytest.fixture(scope="module")
def whole(recipe: Recipe, packed: Packed, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    return train(recipe, packed, tmp_path_factory.mktemp("whole") / "run")


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def logged(folder: Path) -> list[tuple]:
    return [(row.step, row.loss, row.lr, row.active, row.margin) for row in read_log(folder / "log.jsonl")]


# ---- the stages --------------------------------------------------------------------------------------------


def test_stages_follow_each_other(whole: TrainResult) -> None:
    assert whole.steps == 18 + 7 + 2
    rows = {row.step: row for row in read_log(whole.folder / "log.jsonl")}
    assert list(rows) == [4, 8, 12, 16, 20, 24, 27]
    # The row of step 4 has the rate of the step numbered 3: warm-up is over after 2.
    assert rows[4].lr == pytest.approx(0.1 * 1e-3 ** (3 / 18))
    assert rows[24].lr == pytest.approx(1e-5 + (0.01 - 1e-5) * (1 + np.cos(np.pi * 5 / 7)) / 2)
    assert rows[27].lr == pytest.approx(0.1)
    # The margin begins after 4 steps and is whole after 12.
    assert [rows[step].margin for step in (4, 8, 16, 20, 27)] == pytest.approx(
        [0, 0.3 * 3 / 8, 0.3, 0.5, 0.3]
    )


def test_each_stage_has_its_batches(
    recipe: Recipe, packed: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple] = []
    original = Stepper.__call__

    def look(self: Stepper, feat_BTF: torch.Tensor, labels_B: torch.Tensor):
        seen.append((tuple(feat_BTF.shape), int(labels_B.max()), self.loss.classes, self.loss.margin))
        return original(self, feat_BTF, labels_B)

    monkeypatch.setattr(Stepper, "__call__", look)
    train(recipe, packed, tmp_path / "run")
    main, large, last = seen[:18], seen[18:25], seen[25:]
    assert all(shape[0] == 6 and 20 <= shape[1] <= 30 for shape, *_ in main)
    assert len({shape[1] for shape, *_ in main}) > 3
    assert max(label for _, label, *_ in main) > 7  # at another speed everyone is another speaker
    assert {classes for *_, classes, _ in main} == {12}
    assert {shape for shape, *_ in large} == {(4, 40, 20)}
    assert max(label for _, label, *_ in large) < 4
    assert {(classes, margin) for *_, classes, margin in large} == {(4, 0.5)}
    assert {classes for *_, classes, _ in last} == {12}


def test_speeds_may_come_in_a_later_stage(
    path: Path, packed: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    original = Stepper.__call__

    def look(self: Stepper, feat_BTF: torch.Tensor, labels_B: torch.Tensor):
        seen.append((int(labels_B.max()), self.loss.classes))
        return original(self, feat_BTF, labels_B)

    monkeypatch.setattr(Stepper, "__call__", look)
    late = load_recipe(path, ["data.speeds=[]", "stage.0.data.speeds=[0.9]", "stage.1.data.speeds=[0.9,1.1]"])
    assert make_plan(late, packed).classes == 12
    train(late, packed, tmp_path / "run")
    for steps, classes in ((seen[:18], 4), (seen[18:25], 8), (seen[25:], 12)):
        assert {known for _, known in steps} == {classes}
        assert classes - 4 <= max(label for label, _ in steps) < classes


def test_the_next_stage_starts_from_the_average_with_a_fresh_optimizer(
    recipe: Recipe, packed: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[tuple] = []
    original = Training.enter

    def look(self: Training, stage) -> None:
        assert self.average is not None
        mean = {name: value.clone() for name, value in self.average.weights.items()}
        trained = {name: value.clone() for name, value in self.learned.state_dict().items()}
        original(self, stage)
        states.append((mean, trained, self.learned.state_dict(), dict(self.optimizer.state)))
        states.append((self.average.count,))
        monkeypatch.setattr(Training, "enter", original)
        raise InterruptedError

    monkeypatch.setattr(Training, "enter", look)
    with pytest.raises(InterruptedError):
        train(recipe, packed, tmp_path / "run")
    (mean, trained, now, state), (count,) = states
    assert all(torch.equal(now[name], mean[name]) for name in mean)
    assert any(not torch.equal(trained[name], mean[name]) for name in mean)
    assert not state
    assert count == 0


def test_the_saved_model_has_the_averaged_weights(whole: TrainResult) -> None:
    checkpoint = load_checkpoint(whole.folder / "checkpoints" / "step-00000027.pt")
    model = Model.load(whole.folder).encoder.state_dict()
    assert checkpoint.averaged == 2
    for name, value in model.items():
        assert torch.equal(value, checkpoint.average[f"encoder.{name}"])
    assert any(not torch.equal(value, checkpoint.encoder[name]) for name, value in model.items())


def test_the_plan_says_what_is_coming(recipe: Recipe, packed: Packed) -> None:
    plan = make_plan(recipe, packed)
    assert (plan.steps, plan.rows, plan.window, plan.classes) == (27, 6, 20, 12)
    assert plan.loss_parameters == 12 * 8
    assert [(stage.name, stage.steps, stage.epochs) for stage in plan.stages] == [
        ("training", 18, 9.0),
        ("large margin", 7, pytest.approx(2.333)),
        ("last", 2, 1.0),
    ]
    assert plan.stages[0].last_lr == pytest.approx(1e-4)


def test_snapshots_are_counted_from_the_end_of_each_stage(path: Path, packed: Packed, tmp_path: Path) -> None:
    last = ["average.kind=last", "average.snapshots=3", "average.every=2", "average.unit=steps"]
    recipe = load_recipe(path, [*last, "training.save_every=1", "stage.1.epochs=none", "stage.1.steps=6"])
    train(recipe, packed, tmp_path)
    taken = [load_checkpoint(tmp_path / "checkpoints" / f"step-{n:08d}.pt").encoder for n in (27, 29, 31)]
    for name, value in Model.load(tmp_path).encoder.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, torch.stack([one[name] for one in taken]).mean(dim=0))


@pytest.mark.parametrize("main", ["{kind='ema'}", pytest.param("none", marks=pytest.mark.slow)])
def test_a_stage_may_average_in_its_own_way(path: Path, packed: Packed, tmp_path: Path, main: str) -> None:
    own = "stage.1.average={kind='last',snapshots=2,every=1,unit='steps'}"
    recipe = load_recipe(path, [f"average={main}", own, "training.save_every=1", "training.keep=9"])
    train(recipe, packed, tmp_path)
    steps = [load_checkpoint(tmp_path / "checkpoints" / f"step-{n:08d}.pt") for n in (25, 26, 27)]
    assert bool(steps[0].average) == (main != "none")  # of the stage before
    for name, value in Model.load(tmp_path).encoder.state_dict().items():
        if value.is_floating_point():
            both = torch.stack([one.encoder[name] for one in steps[1:]])
            torch.testing.assert_close(value, both.mean(dim=0))
    before = weights(tmp_path)
    (tmp_path / "checkpoints" / "step-00000027.pt").unlink()
    train(recipe, packed, tmp_path, resume=True)
    assert weights(tmp_path) == before
    assert load_recipe(tmp_path / "recipe.toml") == recipe


def test_a_stage_can_do_without_augmentation(
    path: Path, packed: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    augmented: list[int] = []
    masked: list[int] = []
    wave_augment, spec_augment = WaveAugment.__call__, SpecAugment.__call__

    def look(self: WaveAugment, wave_BS: torch.Tensor, *others):
        augmented.append(len(wave_BS))
        return wave_augment(self, wave_BS, *others)

    def look_too(self: SpecAugment, feat_BTF: torch.Tensor, *others):
        masked.append(len(feat_BTF))
        return spec_augment(self, feat_BTF, *others)

    monkeypatch.setattr(WaveAugment, "__call__", look)
    monkeypatch.setattr(SpecAugment, "__call__", look_too)
    train(load_recipe(path, ["data.cache_features=false"]), packed, tmp_path)
    assert augmented == [6] * 20  # the first stage and the last
    assert masked == [6] * 18 + [4] * 7  # all but the last


# ---- stopping and going on ---------------------------------------------------------------------------------


def test_resumed_at_any_step_it_ends_with_the_same_weights(
    recipe: Recipe, packed: Packed, whole: TrainResult, tmp_path: Path
) -> None:
    """One run that is stopped in a stage, before, at and after a boundary, and before the end."""
    stops = (4, 17, 18, 19, 26)
    every = recipe.model_copy(update={"training": recipe.training.model_copy(update={"log_every": 1})})

    def interrupt(row: Row) -> None:
        if row.step in stops:
            os.kill(os.getpid(), signal.SIGINT)

    for step in stops:
        with pytest.raises(KeyboardInterrupt):
            train(every, packed, tmp_path, on_row=interrupt, resume=step > stops[0])
        assert load_checkpoint(tmp_path / "checkpoints" / f"step-{step:08d}.pt").step == step
    assert train(every, packed, tmp_path, resume=True).resumed_from == stops[-1]
    assert weights(tmp_path) == weights(whole.folder)
    first = load_checkpoint(tmp_path / "checkpoints" / "step-00000027.pt")
    second = load_checkpoint(whole.folder / "checkpoints" / "step-00000027.pt")
    for one, other in ((first.encoder, second.encoder), (first.loss, second.loss)):
        assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert any("num_batches_tracked" in name for name in first.encoder)


def test_loaders_and_threads_change_nothing(
    path: Path, packed: Packed, whole: TrainResult, tmp_path: Path
) -> None:
    for loaders in (0, 3):
        train(load_recipe(path, [f"training.loaders={loaders}"]), packed, tmp_path / str(loaders))
        assert weights(tmp_path / str(loaders)) == weights(whole.folder)
        assert logged(tmp_path / str(loaders)) == logged(whole.folder)


def test_a_step_in_parts_leaves_averaged_statistics() -> None:
    encoder = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4))
    encoder.dim = 4  # pyright: ignore[reportAttributeAccessIssue]
    feat_BTF = torch.randn(8, 2, 2)
    loss = AamLoss(AamLoss.Config(), 4, 3)
    with Stepper(encoder, loss, torch.optim.SGD(loss.parameters(), 0.1), parts=2, workers=2) as stepper:
        stepper(feat_BTF, torch.arange(8) % 3)
    variance = torch.stack([part.flatten(1).var(dim=0) for part in feat_BTF.chunk(2)]).mean(dim=0)
    torch.testing.assert_close(encoder[1].running_var, 0.9 + 0.1 * variance)


def test_parts_of_a_batch_train_alike_whatever_the_threads_and_resume(
    path: Path, packed: Packed, whole: TrainResult, tmp_path: Path
) -> None:
    def of(threads: int, *more: str) -> Recipe:
        return load_recipe(path, ["training.parts=2", f"training.threads={threads}", *more])

    two = train(of(2), packed, tmp_path / "two")
    train(of(1), packed, tmp_path / "one")
    assert weights(tmp_path / "one") == weights(two.folder) != weights(whole.folder)

    def interrupt(row: Row) -> None:
        if row.step == 12:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(of(2), packed, tmp_path / "stopped", on_row=interrupt)
    train(of(2), packed, tmp_path / "stopped", resume=True)
    assert weights(tmp_path / "stopped") == weights(two.folder)
    assert logged(tmp_path / "stopped") == logged(two.folder)
    with pytest.raises(ModelError, match=r"training\.parts"):
        train(load_recipe(path), packed, tmp_path / "two", resume=True)
    dropout = load_recipe("transformer-clean100-specaug", ["training.parts=2"])
    with pytest.raises(BadRecipe, match="has dropout"):
        train(dropout, packed, tmp_path / "dropout")
    assert not (tmp_path / "dropout").exists()


def test_where_the_end_matters_steps_cannot_be_raised(path: Path, packed: Packed, tmp_path: Path) -> None:
    def of(steps: int, *overrides: str) -> Recipe:
        return load_recipe(path, ["training.epochs=none", f"training.steps={steps}", *overrides])

    train(of(4, "stage=[]"), packed, tmp_path / "decaying")
    with pytest.raises(ModelError, match=r"training\.steps was 4, now it is 6"):
        train(of(6, "stage=[]"), packed, tmp_path / "decaying", resume=True)
    constant = ("stage=[]", "schedule.kind=constant")
    train(of(4, *constant), packed, tmp_path / "constant")
    train(of(6, *constant), packed, tmp_path / "constant", resume=True)
    train(of(6, *constant), packed, tmp_path / "at once")
    assert weights(tmp_path / "constant") == weights(tmp_path / "at once")


def test_a_checkpoint_from_before_an_option_was_known_goes_on(
    recipe: Recipe, packed: Packed, tmp_path: Path
) -> None:
    old = load_recipe("bilstm-clean100", ["training.steps=3", "data.window=20", "training.threads=1"])
    train(old, packed, tmp_path)
    path = tmp_path / "checkpoints" / "step-00000003.pt"
    checkpoint = load_checkpoint(path)
    written = dict(checkpoint.recipe)
    for table in ("schedule", "average", "augment", "stage"):
        del written[table]
    written["data"] = {key: written["data"][key] for key in ("triplets", "window", "short_utterances")}
    type(checkpoint)(**{**checkpoint.__dict__, "recipe": written}).save(path.parent, keep=2)
    more = load_recipe("bilstm-clean100", ["training.steps=5", "data.window=20", "training.threads=1"])
    assert train(more, packed, tmp_path, resume=True).resumed_from == 3


# ---- precision, validation, trouble ------------------------------------------------------------------------


def test_in_16_bits_it_learns_alike(path: Path, packed: Packed, whole: TrainResult, tmp_path: Path) -> None:
    train(load_recipe(path, ["training.precision=bf16"]), packed, tmp_path / "run")
    assert weights(tmp_path / "run") != weights(whole.folder)
    halves, wholes = logged(tmp_path / "run"), logged(whole.folder)
    assert halves[0][1] == pytest.approx(wholes[0][1], rel=0.05)
    assert all(t.dtype == torch.float32 for t in Model.load(tmp_path / "run").encoder.parameters())


def test_validation_goes_into_the_log_and_changes_nothing(
    path: Path, packed: Packed, whole: TrainResult, tmp_path: Path
) -> None:
    held_out = make_pack(tmp_path / "held", [3, 3, 3], seconds=1.2, seed=5)
    recipe = load_recipe(path, ["training.valid_every=10"])
    result = train(recipe, packed, tmp_path / "run", valid=held_out.folder)
    rows = read_log(tmp_path / "run" / "log.jsonl")
    measured = {row.step: row.valid_eer for row in rows if row.valid_eer is not None}
    assert list(measured) == [10, 20, 27]
    assert result.valid_eer == measured[27]
    assert weights(tmp_path / "run") == weights(whole.folder)
    from voxid.evaluation import evaluate

    report = evaluate([tmp_path / "run"], held_out.folder, "all", resamples=0, cache=False)
    assert measured[27] == pytest.approx(report.models[0].eer)


def test_a_loss_that_is_no_number_saves_its_batch(
    path: Path, packed: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = AamLoss.forward
    calls = []

    def break_down(self: AamLoss, emb_BD: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
        calls.append(labels_B)
        return original(self, emb_BD, labels_B) * (torch.nan if len(calls) == 20 else 1.0)

    monkeypatch.setattr(AamLoss, "forward", break_down)
    with pytest.raises(TrainingError, match=r"loss of step 19 is nan.*step-00000019\.npz") as caught:
        train(load_recipe(path), packed, tmp_path)
    content = json.loads((tmp_path / "nonfinite-step-00000019.json").read_text())
    assert content["labels"] == calls[19].tolist()
    saved = np.load(tmp_path / "nonfinite-step-00000019.npz", allow_pickle=False)
    assert saved["batch"].shape == (4, 40, 20)  # of features: nothing changes the waveform in this stage
    assert saved["labels"].tolist() == calls[19].tolist()
    assert max(p.name for p in (tmp_path / "checkpoints").iterdir()) == "step-00000015.pt"
    assert f"or from the model of step 15, with --init {tmp_path}." in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: 9"),
        MemoryError(),
    ],
    ids=["cuda", "cpu", "python"],
)
def test_out_of_memory_says_which_knob_to_turn(
    path: Path, packed: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    forward = AamLoss.forward
    stops_at = 6  # rows of a batch: first those of the training, then those of its first stage

    def fail(self: AamLoss, emb_BD: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
        if len(emb_BD) == stops_at:
            raise error
        return forward(self, emb_BD, labels_B)

    monkeypatch.setattr(AamLoss, "forward", fail)
    said = (
        r"6 windows of 30 frames.*Lower data\.rows .*or data\.window_max, or set training\.precision = .bf16"
    )
    with pytest.raises(TrainingError, match=said):
        train(load_recipe(path), packed, tmp_path / "training")
    stops_at = 4
    with pytest.raises(TrainingError, match=r"Lower stage\.0\.data\.rows .*or stage\.0\.data\.window; and"):
        train(load_recipe(path, ["training.precision=bf16"]), packed, tmp_path / "stage")


def test_a_network_that_does_not_fit_says_so(path: Path) -> None:
    with pytest.raises(TrainingError, match=r"the encoder 'ecapa' itself.*lower the sizes in \[encoder\]"):
        initial_model(load_recipe(path, [f"encoder.embedding={10**14}"]))


def test_real_allocation_failure_is_recognised() -> None:
    with pytest.raises(TrainingError, match="for a row"), memory_advice("cpu", "a row", "Take none."):
        torch.empty(1 << 60, dtype=torch.uint8)


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="shapes"), memory_advice("cpu", "a row", "Take none."):
        raise RuntimeError("shapes do not fit")


def test_16_bits_that_the_processor_does_not_have_are_refused_before_the_first_step(
    packed: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = nn.LSTM.forward

    def without_16_bits(self: nn.LSTM, *arguments):
        if torch.is_autocast_enabled("cpu"):
            raise RuntimeError("could not create a primitive descriptor for the LSTM. Run ...\nmore")
        return forward(self, *arguments)

    monkeypatch.setattr(nn.LSTM, "forward", without_16_bits)
    small = ["training.steps=1", "data.window=20", "training.threads=1"]
    with pytest.raises(
        BadRecipe, match=r'"bf16", and the cpu.*LstmEncoder.*training\.precision to "float32"'
    ):
        train(load_recipe("bilstm-clean100", [*small, "training.precision=bf16"]), packed, tmp_path / "run")
    assert not (tmp_path / "run").exists()  # so the same command with float32 goes through
    train(load_recipe("bilstm-clean100", small), packed, tmp_path / "run")


def test_a_processor_without_16_bit_instructions_is_found_out() -> None:
    """With AVX2 alone, oneDNN has no LSTM in 16 bits; elsewhere it may have one, and then training works."""
    code = (
        "import torch; from voxid.encoders.lstm import *; from voxid.training.step import check_precision\n"
        "check_precision(LstmEncoder(LstmConfig(), 40), 40, 'bf16', torch.device('cpu'))"
    )
    less = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    done = subprocess.run([sys.executable, "-c", code], env=less, capture_output=True, text=True, timeout=250)
    if done.returncode == 0:
        pytest.skip("an LSTM in 16 bits works here without AVX-512")
    assert "voxid.errors.BadRecipe: training.precision" in done.stderr


def test_trying_16_bits_changes_nothing() -> None:
    recipe = load_recipe("tiny", ["training.precision=bf16"])
    encoder = initial_model(recipe).encoder
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    state = torch.get_rng_state()
    check_precision(encoder, 80, "bf16", torch.device("cpu"))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert all(parameter.grad is None for parameter in encoder.parameters())


def test_one_row_is_no_batch_to_be_normalised_by(path: Path, packed: Packed, tmp_path: Path) -> None:
    for sets, said in (
        (
            ["data.rows=1"],
            r"^data\.rows makes batches of 1 windows: .*Raise data\.rows to 2 windows or more\.",
        ),
        (["stage.0.data.rows=3", "training.parts=2"], r"^stage\.0\.data\.rows .*among 2: .* to 4 windows"),
    ):
        with pytest.raises(BadRecipe, match=said):
            train(load_recipe(path, sets), packed, tmp_path / "run")
        assert not (tmp_path / "run").exists()


# ---- recipes that cannot be --------------------------------------------------------------------------------


def test_a_recipe_with_stages_survives_the_trip_to_toml(recipe: Recipe, whole: TrainResult) -> None:
    assert load_recipe(whole.folder / "recipe.toml") == recipe


def test_overrides_reach_into_stages(path: Path) -> None:
    changed = load_recipe(
        path, ["stage.0.steps=3", "stage.1.data.window=25", "stage.0.schedule.kind=constant"]
    )
    assert (changed.stage[0].steps, changed.stage[1].data) == (3, {"window": 25})
    assert changed.stage[0].schedule.kind == "constant"
    for wrong in ("stage.2.steps=3", "stage.first.steps=3"):
        with pytest.raises(BadRecipe, match="there are 2 tables"):
            load_recipe(path, [wrong])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("loss.name=ge2e", r"margin: no such option.*write --set 'loss=\{name=\"ge2e\"\}'"),
        ("loss.name=ge2f", r"Did you mean 'ge2e'\? One of your own is named my_module:MyClass\.$"),
        ("encoder.scale=3", r"^encoder: channels has to be a multiple of scale, got 8 and 3\.$"),
        ("stage.0.stepz=5", r"stepz: no such option.*Did you mean 'steps'"),
        ("stage.0.epochs=5", "either steps or epochs"),
        ("stage.0.data.windw=5", r"stage\.data\.windw.*Did you mean 'window'"),
        ("stage.0.data.speeds=[0.8]", r"stage\.0\.data\.speeds is \[0\.8\]"),
        ("schedule.warmupp=1", r"schedule\.warmupp"),
        ("average.kind=mean", r"average\.kind"),
        (
            "augment.noise_prob=0.5",
            r'recordings are named: set noise = \["FOLDER"\], or noise_prob = 0 \(got noise_prob = 0\.5\)\.$',
        ),
        ("training.precision=fp8", r"training\.precision"),
    ],
)
def test_parts_that_do_not_fit_are_refused(path: Path, override: str, message: str) -> None:
    with pytest.raises(BadConfig, match=message):
        load_recipe(path, [override])


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ({"name": "triplet"}, r"data\.sampler is 'uniform'.*takes triplets only.*hard-triplet"),
        ({"name": "supcon"}, r"data\.sampler is 'uniform'.*two windows of a speaker"),
        ({"name": "softmax"}, r"schedule\.margin_start: the loss 'softmax' has no margin"),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)
def test_a_loss_needs_batches_it_can_use(path: Path, loss: dict, message: str) -> None:
    text = path.read_text().replace('name = "aam"\nmargin = 0.3', f'name = "{loss["name"]}"')
    other = path.with_name("other.toml")
    other.write_text(text)
    no_ramp = ["schedule.margin_start=none", "schedule.margin_end=none"]
    with pytest.raises(BadRecipe, match=message):
        load_recipe(other, no_ramp if loss["name"] == "supcon" else [])
    if loss["name"] == "softmax":
        with pytest.raises(BadRecipe, match=r"stage\.0\.margin"):
            load_recipe(other, no_ramp)
    if loss["name"] == "supcon":
        assert load_recipe(other, [*no_ramp, "data.crops=2", "stage=[]"]).data.pairs


def test_batch_normalisation_is_in_this_test(whole: TrainResult) -> None:
    assert any(isinstance(module, nn.BatchNorm1d) for module in Model.load(whole.folder).encoder.modules())

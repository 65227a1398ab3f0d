"""Training: right steps, and files that survive whatever stops it."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import typer
from packing import make_pack
from torch import nn
from typer.testing import CliRunner

import voxid
from voxid.cli import build_app
from voxid.cli.train import train as train_command
from voxid.corpora.synthetic import make_corpus
from voxid.data.batches import Batches
from voxid.data.features_cache import cached_features
from voxid.data.pack import Packed
from voxid.errors import (
    BadCheckpoint,
    BadTrials,
    DeviceUnavailable,
    DiskFull,
    MissingExtra,
    ModelError,
    NotEnoughSpeakers,
    NotWritable,
    RunExists,
    TrainingError,
)
from voxid.model.network import Model
from voxid.training import Recipe, TrainResult, initial_model, load_recipe, make_plan, train
from voxid.training.run_folder import Row, load_checkpoint, newest_checkpoint, read_log, refuse_to_spoil

SMALL = [
    "encoder.layers=1", "encoder.hidden=16", "data.window=20", "data.triplets=4", "optimizer.lr=1e-2",
    "training.steps=60", "training.save_every=20", "training.log_every=7", "training.threads=1",
]  # fmt: skip


def small(*overrides: str) -> Recipe:
    return load_recipe("bilstm-clean100-specaug", [*SMALL, *overrides])


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    return make_pack(tmp_path_factory.mktemp("pack"), [3, 3, 3, 3, 1], seconds=1.0)


@pytest.fixture(scope="module")
def whole(packed: Packed, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """An uninterrupted training of the small recipe."""
    return train(small(), packed, tmp_path_factory.mktemp("whole") / "run")


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def logged(folder: Path) -> list[tuple]:
    """What of the log must not depend on the clock."""
    return [(row.step, row.loss, row.lr, row.active) for row in read_log(folder / "log.jsonl")]


def assert_same_training(folder: Path, whole: TrainResult) -> None:
    assert weights(folder) == weights(whole.folder)
    assert logged(folder) == logged(whole.folder)


def interrupt_at(step: int):
    def on_row(row: Row) -> None:
        if row.step == step:
            os.kill(os.getpid(), signal.SIGINT)

    return on_row


# ---- the steps -------------------------------------------------------------------------------------------


def test_steps_equal_plain_torch(packed: Packed, tmp_path: Path) -> None:
    """The witness is the training written out by hand: nn.LSTM, the loss as a formula, torch's Adam."""
    recipe = small("specaugment=none", "training.steps=5", "training.log_every=1")
    train(recipe, packed, tmp_path / "run")
    start = initial_model(recipe)
    lstm = nn.LSTM(40, 16, 1, batch_first=True, bidirectional=True)
    lstm.load_state_dict({k.removeprefix("lstm."): v for k, v in start.encoder.state_dict().items()})
    adam = torch.optim.Adam(lstm.parameters(), lr=1e-2)
    batches = Batches(packed, start.features, recipe.data, 0, cached_features(packed, start.features))
    losses = []
    for step in range(5):
        feat_BTF = batches.batch(step).feat_BTF
        assert feat_BTF is not None
        emb = nn.functional.normalize(lstm(feat_BTF)[0].mean(1))
        a, p, n = emb[0::3], emb[1::3], emb[2::3]
        loss = ((a * n).sum(1) - (a * p).sum(1) + 0.1).clamp(min=0).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    rows = read_log(tmp_path / "run" / "log.jsonl")
    assert [row.loss for row in rows] == pytest.approx(losses, abs=1e-5)
    trained = Model.load(tmp_path / "run").encoder.state_dict()
    for name, value in lstm.state_dict().items():
        torch.testing.assert_close(trained[f"lstm.{name}"], value, atol=1e-4, rtol=1e-3)


def test_it_learns_and_leaves_a_model(whole: TrainResult, packed: Packed) -> None:
    assert whole.steps == 60
    assert whole.last_loss < 0.5 * whole.first_loss
    model = Model.load(whole.folder)
    assert model.metadata["steps"] == 60
    assert model.metadata["training_data"]["fingerprint"] == packed.fingerprint
    assert load_recipe(whole.folder / "recipe.toml") == small()
    assert (whole.folder / "training.png").read_bytes().startswith(b"\x89PNG")
    rows = read_log(whole.folder / "log.jsonl")
    assert [row.step for row in rows] == [7, 14, 21, 28, 35, 42, 49, 56, 60]
    assert whole.first_loss == rows[0].loss
    assert whole.last_loss == pytest.approx((7 * rows[-2].loss + 4 * rows[-1].loss) / 11)
    assert all(0 <= row.active <= 1 and row.steps_per_s > 0 for row in rows)
    assert rows == sorted(rows, key=lambda row: row.seconds)


def test_seed_decides(packed: Packed, whole: TrainResult, tmp_path: Path) -> None:
    torch.manual_seed(123)  # the caller's random state must not matter
    train(small(), packed, tmp_path / "same")
    assert_same_training(tmp_path / "same", whole)
    train(small("training.seed=1"), packed, tmp_path / "other")
    assert weights(tmp_path / "other") != weights(whole.folder)


def test_clipping_bounds_the_gradient(packed: Packed, tmp_path: Path) -> None:
    def change(name: str, *overrides: str) -> float:
        sgd = ["optimizer.name=sgd", "optimizer.lr=1.0", "loss.margin=1.0", "training.steps=1"]
        recipe = small(*sgd, *overrides)
        train(recipe, packed, tmp_path / name)
        before, after = initial_model(recipe).state_dict(), Model.load(tmp_path / name).state_dict()
        return sum(float((after[k] - before[k]).square().sum()) for k in before) ** 0.5

    assert change("clipped", "training.clip_norm=0.001") == pytest.approx(0.001, rel=0.02)
    assert change("free") > 0.002


def test_time_limit(packed: Packed, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    recipe = small("training.steps=1_000_000", "training.max_seconds=0.5")
    result = train(recipe, packed, tmp_path / "run", progress=lambda *told: seen.append(told))
    assert 1 <= result.steps < 100_000
    assert result.seconds < 5
    assert seen[-1] == ("training", result.steps, result.steps)
    assert read_log(tmp_path / "run" / "log.jsonl")[-1].step == result.steps


def test_without_a_feature_cache(tmp_path: Path) -> None:
    packed = make_pack(tmp_path / "pack", [3, 3], seconds=1.0)
    result = train(small("data.cache_features=false", "training.steps=8"), packed, tmp_path / "run")
    assert result.steps == 8
    assert not list((tmp_path / "pack").glob("features-*"))


@pytest.mark.parametrize(("encoder", "in_torch", "workers"), [("lstm", 1, 3), ("transformer", 3, 0)])
def test_threads_are_for_the_training_only(
    packed: Packed, tmp_path: Path, encoder: str, in_torch: int, workers: int
) -> None:
    """Rows of the LSTM are shared out; a transformer with dropout leaves the threads to torch."""
    recipe = load_recipe(
        "bilstm-clean100" if encoder == "lstm" else "transformer-clean100-specaug",
        ["training.steps=10", "training.threads=3", "data.window=20", "data.triplets=2"],
    )
    before = torch.get_num_threads()
    inside = []

    def look(_: Row) -> None:
        sharing = sum(thread.name.startswith("voxid-rows") for thread in threading.enumerate())
        inside.append((torch.get_num_threads(), sharing))

    train(recipe, packed, tmp_path / "run", on_row=look)
    assert inside == [(in_torch, workers)]
    assert torch.get_num_threads() == before
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("voxid")]


def test_shared_rows_give_the_same_training(packed: Packed, whole: TrainResult, tmp_path: Path) -> None:
    train(small("training.threads=2", "training.steps=20"), packed, tmp_path / "two")
    train(small("training.threads=2", "training.steps=20"), packed, tmp_path / "again")
    assert weights(tmp_path / "two") == weights(tmp_path / "again")
    assert [row[1] for row in logged(tmp_path / "two")[:2]] == pytest.approx(
        [row[1] for row in logged(whole.folder)[:2]], abs=1e-4
    )


def test_plan_counts(packed: Packed) -> None:
    plan = make_plan(small("data.window=33"), packed)  # 32, 35, 38 frames: the first of each is short
    assert (plan.speakers, plan.single_speakers, plan.utterances, plan.short) == (5, 1, 13, 5)
    assert plan.rows == 12
    # One bidirectional layer: 2 x (4 gates x 16 units x (40 inputs + 16 recurrent + 2 biases)).
    assert plan.parameters == 2 * 4 * 16 * (40 + 16 + 2)


def test_one_call_prepares_trains_and_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`voxid.train` is what the command is: corpora on disk in, model, held-out error rate and report out."""
    monkeypatch.setenv("VOXID_CACHE", str(tmp_path / "cache"))
    parts = ("train", 0, 4), ("valid", 4, 2), ("test", 6, 3)
    speech = {
        name: make_corpus(tmp_path / name, speakers=speakers, utterances=3, seconds=(1.0, 1.2), start=start)
        for name, start, speakers in parts
    }
    told: list[str] = []
    result = voxid.train(
        "bilstm-clean100-specaug",
        **speech,
        trials="all",
        out=tmp_path / "run",
        overrides=[*SMALL, "training.steps=20"],
        progress=lambda what, done, total: told.append(what),
        on_plan=lambda plan, warnings: told.append(f"{plan.speakers} speakers"),
    )
    assert result.steps == 20
    assert result.report is not None
    assert result.report.models[0].trials == 9 * 8 // 2
    assert result.valid_eer is not None
    assert list(dict.fromkeys(told)) == [
        "decoding the training speech", "decoding the test speech", "decoding the held-out speech",
        "4 speakers", "features", "training", "measuring",
    ]  # fmt: skip


# ---- stopping and going on -------------------------------------------------------------------------------

KILLER = """
import os, random, signal, sys, time
from pathlib import Path
from voxid.training import load_recipe, train

pack, killed, whole, attempts, *overrides = sys.argv[1:]
recipe = load_recipe("transformer-clean100-specaug", overrides)
moments = random.Random(0)

def start(out, resume):
    pid = os.fork()  # before any torch work, so that no thread is lost in the fork
    if pid == 0:
        train(recipe, pack, out, resume=resume)
        os._exit(0)
    return pid

def newest():
    return max((p.name for p in Path(killed).glob("checkpoints/step-*.pt")), default="")

assert os.waitpid(start(whole, False), 0)[1] == 0
kills = 0
for attempt in range(int(attempts)):
    before, pid = newest(), start(killed, attempt > 0)
    while newest() == before and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        time.sleep(0.002)
    time.sleep(moments.uniform(0, 0.1))
    os.kill(pid, signal.SIGKILL)  # one that has ended is there until it is waited for
    kills += os.WIFSIGNALED(os.waitpid(pid, 0)[1])
assert os.waitpid(start(killed, True), 0)[1] == 0
print(kills)
"""


@pytest.mark.slow  # test_distributed.py kills one, too
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(("kills", "steps"), [(2, 100), (5, 210)])
def test_killed_and_resumed_is_as_if_never_stopped(
    packed: Packed, tmp_path: Path, kills: int, steps: int
) -> None:
    overrides = [
        "encoder.dim=16", "encoder.heads=2", "encoder.feedforward=32", "data.window=20",
        f"training.steps={steps}", "training.save_every=20", "training.log_every=8", "training.threads=1",
    ]  # fmt: skip
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    arguments = [str(packed.folder), str(killed), str(whole), str(kills), *overrides]
    command = [sys.executable, "-c", KILLER, *arguments]
    output = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert output.returncode == 0, output.stderr
    # a busy machine may let the training end before the later kills
    assert int(output.stdout) >= kills // 2, "the training ended before it was killed: nothing was tested"
    assert weights(killed) == weights(whole)
    assert logged(killed) == logged(whole)
    assert [row[0] for row in logged(killed)] == [*range(8, steps, 8), steps]
    assert not list(killed.rglob("*.partial"))


def test_ctrl_c_saves_and_resume_goes_on(packed: Packed, whole: TrainResult, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(small(), packed, tmp_path, on_row=interrupt_at(28))
    assert load_checkpoint(tmp_path / "checkpoints" / "step-00000028.pt").step == 28
    assert Model.load(tmp_path).metadata["steps"] == 28
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    result = train(small(), packed, tmp_path, resume=True)
    assert result.resumed_from == 28
    assert_same_training(tmp_path, whole)


def test_only_the_newest_checkpoints_are_kept(whole: TrainResult) -> None:
    names = sorted(path.name for path in (whole.folder / "checkpoints").iterdir())
    assert names == ["step-00000040.pt", "step-00000060.pt"]


@pytest.fixture(scope="module")
def forty(packed: Packed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training of forty steps, to be copied."""
    return train(small("training.steps=40"), packed, tmp_path_factory.mktemp("forty") / "run").folder


@pytest.mark.parametrize("how", ["cut", "flipped", "not torch"])
def test_damaged_newest_checkpoint_falls_back_to_the_one_before(
    packed: Packed, whole: TrainResult, forty: Path, tmp_path: Path, how: str
) -> None:
    shutil.copytree(forty, tmp_path, dirs_exist_ok=True)
    newest = tmp_path / "checkpoints" / "step-00000040.pt"
    content = bytearray(newest.read_bytes())
    if how == "flipped":  # inside a weight: nothing but a checksum can tell
        weight = load_checkpoint(newest).encoder["lstm.weight_ih_l0"].numpy().tobytes()
        content[content.find(weight) + 5] ^= 1
    newest.write_bytes({"cut": content[:-100], "flipped": content, "not torch": b"hello"}[how])
    result = train(small(), packed, tmp_path, resume=True)
    assert result.resumed_from == 20
    assert "step-00000040.pt" in result.warnings[0]
    assert weights(tmp_path) == weights(whole.folder)


def test_no_readable_checkpoint_is_an_error(packed: Packed, tmp_path: Path) -> None:
    train(small("training.steps=20"), packed, tmp_path)
    (tmp_path / "checkpoints" / "step-00000020.pt").write_bytes(b"")
    with pytest.raises(BadCheckpoint, match="none of the 1 checkpoints"):
        train(small(), packed, tmp_path, resume=True)


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "pwned"),))

    torch.save({"format": 1, "content": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(BadCheckpoint):
        load_checkpoint(tmp_path / "evil.pt")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("encoder.hidden=8", "encoder.hidden was 16, now it is 8"),
        ("optimizer.lr=0.5", "optimizer.lr"),
        ("loss.margin=0.2", "loss.margin"),
        ("data.window=21", "data.window"),
        ("training.seed=9", "training.seed"),
        ("specaugment=none", "specaugment"),
        ("training.steps=10", "training.steps is 10"),
    ],
)
def test_resume_refuses_another_training(whole: TrainResult, packed: Packed, override: str, key: str) -> None:
    before = (weights(whole.folder), logged(whole.folder), (whole.folder / "recipe.toml").read_text())
    with pytest.raises(ModelError, match=key):
        train(small(override), packed, whole.folder, resume=True)
    assert before == (weights(whole.folder), logged(whole.folder), (whole.folder / "recipe.toml").read_text())


def test_resume_refuses_other_data(whole: TrainResult, tmp_path: Path) -> None:
    other = make_pack(tmp_path, [3, 3, 3, 3, 1], seconds=1.0, seed=7)
    with pytest.raises(ModelError, match="fingerprint"):
        train(small(), other, whole.folder, resume=True)


def test_steps_may_be_raised(packed: Packed, whole: TrainResult, tmp_path: Path) -> None:
    train(small("training.steps=40"), packed, tmp_path)
    result = train(small("training.save_every=50"), packed, tmp_path, resume=True)
    assert result.resumed_from == 40
    assert weights(tmp_path) == weights(whole.folder)


def test_resume_of_nothing_starts(packed: Packed, whole: TrainResult, tmp_path: Path) -> None:
    result = train(small(), packed, tmp_path / "new", resume=True)
    assert result.resumed_from is None
    assert_same_training(tmp_path / "new", whole)
    again = train(small(), packed, tmp_path / "new", resume=True)  # nothing is left to do
    assert again.steps == again.resumed_from == 60
    assert_same_training(tmp_path / "new", whole)


def test_a_used_folder_is_not_overwritten_unasked(packed: Packed, whole: TrainResult, tmp_path: Path) -> None:
    train(small("training.steps=5", "training.seed=4"), packed, tmp_path)
    before = weights(tmp_path)
    with pytest.raises(RunExists, match="--resume"):
        train(small(), packed, tmp_path)
    assert weights(tmp_path) == before
    train(small(), packed, tmp_path, overwrite=True)
    assert_same_training(tmp_path, whole)


# ---- what can go wrong -----------------------------------------------------------------------------------


def test_full_disk_costs_no_checkpoint(packed: Packed, whole: TrainResult, tmp_path: Path) -> None:
    """A real limit of the system on file size: a write beyond it fails like one on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_the_disk(row: Row) -> None:
        if row.step == 28:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))

    try:
        with pytest.raises(DiskFull, match=r"step-00000040\.pt"):
            train(small(), packed, tmp_path, on_row=fill_the_disk)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000020.pt"]
    assert train(small(), packed, tmp_path, resume=True).resumed_from == 20
    assert_same_training(tmp_path, whole)


def test_loss_that_is_no_number_names_its_batch(packed: Packed, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"nonfinite-step-\d+\.json") as caught:
        train(small("optimizer.lr=1e38"), packed, tmp_path)
    (path,) = tmp_path.glob("nonfinite-step-*.json")
    assert str(path) in str(caught.value)
    content = json.loads(path.read_text())
    batch = Batches(packed, initial_model(small()).features, small().data, 0, None).batch(content["step"])
    assert content["utterance_numbers"] == batch.rows_B.tolist()
    assert content["utterances"] == [packed.utterances()[i] for i in batch.rows_B]
    assert not list((tmp_path / "checkpoints").iterdir())
    assert str(caught.value).endswith("start again in another folder.")  # and no word of a checkpoint


@pytest.mark.parametrize("counts", [[6], [1, 1, 1]], ids=["one speaker", "no pair"])
def test_too_few_speakers_leave_no_folder(tmp_path: Path, counts: list[int]) -> None:
    with pytest.raises(NotEnoughSpeakers):
        train(small(), make_pack(tmp_path / "pack", counts, seconds=1.0), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("speeds", ["[]", "[0.9, 1.1]"])
def test_one_speaker_is_not_enough_for_a_loss_over_classes(tmp_path: Path, speeds: str) -> None:
    """A corpus named one folder too high is one "speaker": nothing can be learned from it."""
    recipe = load_recipe("tiny", [f"data.speeds={speeds}"])
    with pytest.raises(NotEnoughSpeakers, match=r"6 utterances of 1 speaker from /corpus \(spk00\)"):
        train(recipe, make_pack(tmp_path / "pack", [6], seconds=1.0), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_no_permission_to_write(packed: Packed, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(NotWritable):
            train(small(), packed, out)
    if os.geteuid() == 0:
        return  # root may write anywhere
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(NotWritable):
        train(small(), packed, tmp_path / "locked" / "run")


def test_devices(packed: Packed, tmp_path: Path) -> None:
    with pytest.raises(DeviceUnavailable, match="cpu"):
        train(small(), packed, tmp_path / "run", device="tpu")
    if not torch.cuda.is_available():
        with pytest.raises(DeviceUnavailable):
            train(small(), packed, tmp_path / "run", device="cuda")
    assert not (tmp_path / "run").exists()


def test_tensorboard(packed: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = small("training.steps=8")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtra, match=r"voxid\[tensorboard\]"):
        train(recipe, packed, tmp_path / "without", tensorboard=True)
    monkeypatch.undo()
    pytest.importorskip("tensorboard")
    train(recipe, packed, tmp_path / "with", tensorboard=True)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "with" / "tensorboard")).Reload()
    rows = read_log(tmp_path / "with" / "log.jsonl")
    assert [event.step for event in events.Scalars("loss")] == [row.step for row in rows]
    assert [event.value for event in events.Scalars("loss")] == pytest.approx([row.loss for row in rows])


def test_log_with_a_torn_line(tmp_path: Path) -> None:
    row = Row(step=10, loss=0.1, lr=1e-4, steps_per_s=5.0, seconds=2.0, active=0.5)
    lines = [json.dumps(replace(row, step=step).__dict__) for step in (10, 20, 30)]
    (tmp_path / "log.jsonl").write_text("\n".join(lines)[:-20])
    assert [row.step for row in read_log(tmp_path / "log.jsonl")] == [10, 20]


# ---- the command -----------------------------------------------------------------------------------------


@pytest.fixture
def arguments(packed: Packed) -> list[str]:
    sets = [part for override in [*SMALL, "data.window=33"] for part in ("--set", override)]
    return ["bilstm-clean100", "--train", str(packed.folder), *sets]


def invoke(arguments: list[str]):
    app = typer.Typer()
    app.command()(train_command)
    return CliRunner().invoke(app, arguments)


def test_command_prints_its_plan_trains_and_measures(
    packed: Packed, arguments: list[str], tmp_path: Path
) -> None:
    test = make_pack(tmp_path / "test", [3, 3, 3], seconds=1.5, seed=3)
    measured = ["--test", str(test.folder), "--trials", "all", "-o", str(tmp_path / "run")]
    result = invoke([*arguments, *measured])
    assert result.exit_code == 0, result.output
    for part in ("5 speakers, 13 utterances", "1 speakers have one utterance", "5 utterances are shorter"):
        assert part in result.output
    assert "over 36 trials" in result.output  # 9 utterances: 9 x 8 / 2 pairs
    report = json.loads((tmp_path / "run" / "evaluation" / "report.json").read_text())
    assert report["models"][0]["trials"] == 36
    again = json.loads(invoke([*arguments, *measured, "--resume", "--json"]).stdout)
    assert again["result"]["resumed_from"] == 60
    assert again["evaluation"][0]["eer"] == report["models"][0]["eer"]
    assert again["plan"]["short"] == 5


def test_command_logs_the_error_rate_of_held_out_speakers(
    packed: Packed, arguments: list[str], tmp_path: Path
) -> None:
    held_out = make_pack(tmp_path / "held", [3, 3, 3], seconds=1.5, seed=3)
    often = ["--set", "training.valid_every=30", "--valid", str(held_out.folder)]
    result = invoke([*arguments, *often, "-o", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    assert "warning: 3 of the held-out speakers have the names of training speakers (spk00, spk01, spk02" in (
        result.output
    )
    rows = [row for row in read_log(tmp_path / "run" / "log.jsonl") if row.valid_eer is not None]
    assert [row.step for row in rows] == [30, 60]
    assert "step 30/60" in result.output
    assert f"EER {100 * rows[-1].valid_eer:.2f} % on the held-out speakers" in result.output
    summary = json.loads(
        invoke([*arguments, *often, "-o", str(tmp_path / "run"), "--resume", "--json"]).stdout
    )
    assert summary["result"]["valid_eer"] == rows[-1].valid_eer


def test_command_prints_the_stages_of_a_modern_recipe(packed: Packed, tmp_path: Path) -> None:
    small = [
        "encoder.channels=16", "encoder.aggregate=16", "data.rows=6", "data.window=20", "data.window_max=30",
        "training.steps=4", "stage.0.steps=2", "stage.0.data.rows=4", "stage.0.data.window=40",
        "stage.0.data.window_max=none", "schedule.warmup=1", "augment.rooms=2", "stage.1.steps=1",
        "stage.1.data.window=40", "stage.1.data.window_max=none", "whitening.min_seconds=0.1",
    ]  # fmt: skip
    sets = [part for override in small for part in ("--set", override)]
    result = invoke(["base", "--train", str(packed.folder), "-o", str(tmp_path / "run"), *sets])
    assert result.exit_code == 0, result.output
    assert "15 classes: everyone at 3 speeds" in result.output
    assert "never a pair" not in result.output  # a class of one utterance is a class
    assert "training: 4 steps (2 epochs) of 6 x 20 frames, learning rate" in result.output
    assert "more voices: 2 steps (0.667 epochs) of 4 x 40 frames" in result.output
    assert "large margin: 1 steps (0.5 epochs) of 6 x 40 frames" in result.output
    assert "7 steps in" in result.output


@pytest.mark.parametrize(
    ("override", "name"),
    [
        ('encoder={name="redimnet"}', "BadConfig"),  # made for another number of bins
        ('augment={noise=["nowhere"],noise_prob=0.5}', "CorpusNotFound"),
        ('augment={rir=["nowhere"]}', "CorpusNotFound"),
    ],
)
def test_command_finds_a_recipe_that_cannot_be_before_it_decodes(
    tmp_path: Path, override: str, name: str
) -> None:
    """The speech is not there either: nobody has looked for it yet."""
    arguments = ["tiny", "--train", str(tmp_path / "speech"), "-o", str(tmp_path / "run"), "--set", override]
    result = invoke(arguments)
    assert type(result.exception).__name__ == name
    assert "speech" not in str(result.exception)
    assert not (tmp_path / "run").exists()


def test_command_says_what_a_single_utterance_is_good_for(packed: Packed, tmp_path: Path) -> None:
    pairs = ["loss.name=hard-triplet", "data.sampler=pk", "data.speakers=3", "data.utterances=2"]
    sets = [part for override in [*SMALL, *pairs, "training.steps=1"] for part in ("--set", override)]
    arguments = ["bilstm-clean100", "--train", str(packed.folder), "-o", str(tmp_path / "run")]
    result = invoke([*arguments, *sets])
    assert result.exit_code == 0, result.output
    assert "1 speakers have one utterance: two windows of it are their pairs" in result.output


def test_command_finds_bad_trials_before_it_trains(
    packed: Packed, arguments: list[str], tmp_path: Path
) -> None:
    result = invoke(
        [*arguments, "--test", str(packed.folder), "--trials", "no-such-list", "-o", str(tmp_path / "run")]
    )
    assert isinstance(result.exception, BadTrials)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_command_stops_with_130_on_ctrl_c_and_can_be_resumed(arguments: list[str], tmp_path: Path) -> None:
    code = "from voxid.cli import main; main()"
    endless = ["train", *arguments, "-o", str(tmp_path / "run"), "--set", "training.steps=1_000_000"]
    process = subprocess.Popen([sys.executable, "-c", code, *endless], stdout=-1, stderr=-1, text=True)
    deadline = time.monotonic() + 250
    while not read_log(tmp_path / "run" / "log.jsonl") and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=250)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    checkpoint, _ = newest_checkpoint(tmp_path / "run" / "checkpoints")
    assert checkpoint is not None
    assert Model.load(tmp_path / "run").metadata["steps"] == checkpoint.step
    raised = ["--set", f"training.steps={checkpoint.step + 5}", "--resume", "--json"]
    result = invoke([*arguments, "-o", str(tmp_path / "run"), *raised])
    assert json.loads(result.stdout)["result"]["resumed_from"] == checkpoint.step


def test_a_used_folder_is_refused_before_anything_is_decoded(whole: TrainResult, tmp_path: Path) -> None:
    with pytest.raises(RunExists, match="--resume"):
        refuse_to_spoil(whole.folder, resume=False)
    refuse_to_spoil(whole.folder, resume=True)
    refuse_to_spoil(tmp_path / "new", resume=False)
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotWritable):
        refuse_to_spoil(tmp_path / "file", resume=False)
    no_corpus = ["train", "demo", "--train", str(tmp_path / "nowhere"), "-o", str(whole.folder)]
    result = CliRunner().invoke(build_app(), no_corpus)
    assert isinstance(result.exception, RunExists), result.exception  # not CorpusNotFound: asked first

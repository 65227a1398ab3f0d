"""Training in several processes: the numbers of one process, and files that survive the loss of a worker.

The processes are real (gloo), and each world is started once: `rank.py` trains every recipe in it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from packing import make_pack
from rank import OFTEN, RECIPES, recipe, undrawn
from safetensors.torch import load_file

from voxid.data.pack import Packed
from voxid.errors import BadRecipe, RunExists
from voxid.losses.margins import AamLoss, MarginConfig
from voxid.training import train
from voxid.training.run_folder import newest_checkpoint, read_log

HERE = Path(__file__).parent


def start(job: dict, world: int) -> tuple[int, str]:
    """Run `rank.py` in that many processes by torchrun; return its exit code and what went to stderr."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={world}", "--max-restarts=1"),
            *("--standalone", str(HERE / "rank.py"), json.dumps(job)),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.returncode, done.stderr[-5000:]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    return make_pack(tmp_path_factory.mktemp("pack"), [3, 3, 3, 3, 4, 2, 3], seconds=1.0)


class Alone:
    """The folder of each recipe trained by one process, when it is asked for."""

    def __init__(self, packed: Packed, out: Path) -> None:
        self._packed, self._out = packed, out

    def __truediv__(self, name: str) -> Path:
        if not (self._out / name).exists():
            train(recipe(name, "training.accumulate=1"), self._packed, self._out / name)
        return self._out / name


@pytest.fixture(scope="module")
def alone(packed: Packed, tmp_path_factory: pytest.TempPathFactory) -> Alone:
    undrawn()
    return Alone(packed, tmp_path_factory.mktemp("alone"))


def losses(folder: Path) -> list[float]:
    return [row.loss for row in read_log(folder / "log.jsonl")]


def assert_close(one: Path, other: Path) -> None:
    assert losses(one) == pytest.approx(losses(other), abs=1e-5)
    assert len(losses(one)) == 20
    weights = load_file(other / "model.safetensors")
    for name, value in load_file(one / "model.safetensors").items():
        torch.testing.assert_close(value, weights[name], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("world", "names", "kill"),
    [
        (2, ("aam", "ge2e"), False),
        pytest.param(2, OFTEN, True, marks=pytest.mark.slow),
        pytest.param(4, tuple(RECIPES), False, marks=pytest.mark.slow),
    ],
)
def test_many_processes_train_what_one_does(
    world: int, names: tuple[str, ...], kill: bool, packed: Packed, alone: Alone, tmp_path: Path
) -> None:
    """20 steps of every kind of loss, sharded, clipped, averaged, accumulated; then other worlds go on."""
    killed = tmp_path / "killed"
    if kill:
        train(recipe("aam", "training.steps=10"), packed, killed)  # one process begins, two go on ...
        (killed / "kill").touch()  # ... of which one is killed, once
    code, said = start({"packed": str(packed.folder), "out": str(tmp_path), "recipes": names}, world)
    assert code == 0, said
    for name in names:
        assert_close(tmp_path / name, alone / name)
    assert all((tmp_path / f"full-{rank}").exists() for rank in range(world))  # one's full disk ends all
    # one process goes on from what `world` of them began, with the classes of all of them
    train(recipe("aam"), packed, tmp_path / "begun", resume=True)
    assert_close(tmp_path / "begun", alone / "aam")
    if kill:
        assert not (killed / "kill").exists()
        assert "process 0 lost another one of this training" in (tmp_path / "lost-0").read_text()
        assert_close(killed, alone / "aam")


def test_accumulated_steps_are_the_steps(packed: Packed, alone: Alone, tmp_path: Path) -> None:
    for name in ("softmax", "ge2e"):
        train(recipe(name, "training.accumulate=3"), packed, tmp_path / name)
        assert_close(tmp_path / name, alone / name)
    with pytest.raises(BadRecipe, match="one of them has to be 1"):
        train(recipe("normalised", "training.accumulate=2"), packed, tmp_path / "both")


def test_two_trainings_in_one_folder(packed: Packed, tmp_path: Path) -> None:
    def another(row: object) -> None:
        with pytest.raises(RunExists, match="another training is going on"):
            train(recipe("triplet"), packed, tmp_path, resume=True)

    train(recipe("triplet", "training.steps=2"), packed, tmp_path, on_row=another)
    checkpoint, _ = newest_checkpoint(tmp_path / "checkpoints")
    assert checkpoint is not None
    assert checkpoint.step == 2


def test_a_sample_of_the_classes_holds_those_of_the_rows() -> None:
    """Partial FC: the true classes always, the others as far as the sample goes; all of them is the whole."""
    torch.manual_seed(0)
    emb_BD, labels_B = torch.randn(6, 8), torch.tensor([3, 3, 50, 51, 7, 99])
    whole = AamLoss(MarginConfig(), 8, 100)
    part = AamLoss(MarginConfig(sample=0.1), 8, 100)
    part.load_state_dict(whole.state_dict())
    chosen = part._chosen(labels_B)
    assert chosen is not None
    assert set(labels_B.tolist()) <= set(chosen.tolist())
    assert 10 <= len(chosen) <= 15
    part(emb_BD, labels_B).backward()
    assert part.weight.grad is not None
    touched = part.weight.grad.abs().sum(dim=1).nonzero()[:, 0]
    assert set(labels_B.tolist()) <= set(touched.tolist())
    assert len(touched) <= 15
    everything = AamLoss(MarginConfig(sample=1.0 - 1e-9), 8, 100)
    everything.load_state_dict(whole.state_dict())
    torch.testing.assert_close(everything(emb_BD, labels_B), whole(emb_BD, labels_B))

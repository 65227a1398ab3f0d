"""One process of a training of several: python rank.py JOB, with torchrun's variables set."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import torch

import voxid.plots
from voxid.data.pack import Packed
from voxid.errors import DiskFull, TrainingError
from voxid.training import load_recipe, train
from voxid.training.train import Training

SMALL = [
    *("encoder.layers=1", "encoder.hidden=16", "data.window=20", "optimizer.lr=1e-2"),
    *("training.steps=20", "training.log_every=1", "training.threads=1", "training.save_every=10"),
]
PK = ["data.sampler=pk", "data.speakers=4", "data.utterances=4", "specaugment=none"]
MARGIN = [*PK, 'loss={name="aam",sub_centers=2,top_k=2}', "training.clip_norm=0.5", "average={kind='ema'}"]
RECIPES = {
    "aam": MARGIN,
    "sphereface2": [*PK, 'loss={name="sphereface2"}', 'optimizer={name="sgd",lr=0.01,momentum=0.9}'],
    "softmax": [*PK, 'loss={name="softmax"}', "training.accumulate=2"],
    "triplet": ["data.triplets=8"],  # with SpecAugment
    "ge2e": [*PK, 'loss={name="ge2e"}', "training.accumulate=2"],
    "angular": [*PK, 'loss={name="angular"}'],
    "distil": [*PK, 'loss={name="distil"}', "training.accumulate=2", "data.speeds=[0.9]"],
    "supcon": [*PK, 'loss={name="supcon"}'],
    "normalised": [
        *PK,
        'loss={name="am",scale=4.0}',
        "training.parts=4",
        "data.speakers=8",
        'optimizer={name="sgd",lr=0.0001}',
        'encoder={name="xvector",channels=16,aggregate=24,embedding=16}',
    ],
}


OFTEN = ("aam", "softmax", "ge2e", "distil")  # beside a worker that is killed


def undrawn() -> None:
    """Draw no curves: matplotlib would take longer than the steps."""
    voxid.plots.training_curve = lambda *_: None  # pyright: ignore


def recipe(name: str, *more: str):
    table = [value for value in SMALL if not (name == "normalised" and value.startswith("encoder."))]
    return load_recipe("bilstm-clean100-specaug", [*table, *RECIPES[name], *more])


class Disturbed(Training):
    """The last process is slow in one step, and is killed in another, where a file says so."""

    def steer(self, stage, step) -> None:
        super().steer(stage, step)
        if self.ranks.rank == 1 and step == 5:
            time.sleep(0.3)
        if self.ranks.rank == 1 and step == 13 and (self.out / "kill").exists():
            (self.out / "kill").unlink()
            os.kill(os.getpid(), signal.SIGKILL)


def full_disk(*_: object) -> None:
    raise DiskFull("no room to write the checkpoint")


def main(job: dict) -> None:
    torch.set_num_threads(1)
    undrawn()
    module = sys.modules["voxid.training.train"]
    module.Training = Disturbed
    packed, out = Packed.open(job["packed"]), Path(job["out"])
    if (out / "killed").exists():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun ends who is left: first it says why
        try:
            train(recipe("aam"), packed, out / "killed", resume=True)
        except TrainingError as error:
            (out / f"lost-{os.environ['RANK']}").write_text(str(error))
            raise
    for name in job["recipes"]:
        train(recipe(name), packed, out / name)
    train(recipe("aam", "training.steps=10"), packed, out / "begun")
    module.Checkpoint.save = full_disk  # on the process that writes, and so on no other
    try:
        train(recipe("triplet"), packed, out / "full")
    except DiskFull:
        (out / f"full-{os.environ['RANK']}").touch()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))

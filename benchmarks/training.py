"""The training loop against its own bound: the same forward, backward and update on random tensors.

    python -m benchmarks.training [--recipe bilstm-clean100] [--steps 400] [--threads N]

The loop is the real one, on prepared speech with its features stored, its log and its read-ahead. After every
line of the log it stands still while as many steps are taken on one fixed batch of random numbers; plain
torch, all of the batch at once, has a turn too. So a busy machine slows all of them alike. Medians of the
turns. The original's published run, on a GPU: 100,000 steps in 31,599 s.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from voxid.data.pack import Packed, PackWriter
from voxid.losses import LOSSES
from voxid.training import initial_model, load_recipe, train
from voxid.training.log import Row
from voxid.training.optimizers import OPTIMIZERS
from voxid.training.recipe import Recipe
from voxid.training.step import Stepper, row_workers
from voxid.types import SAMPLE_RATE, Utterance

ORIGINAL_STEPS_PER_S = 100_000 / 31_599
TURN = 20  # steps
LONGEST_TURN_S = 4.0  # for a rival: two threads of plain torch can stall where other processes compute
CPU = torch.device("cpu")


def make_pack(folder: Path, speakers: int = 40, each: int = 5, seconds: float = 8.0) -> Packed:
    """Return prepared noise: the time of a step does not depend on what is said."""
    rng = np.random.default_rng(0)
    with PackWriter(folder) as writer:
        for number in range(speakers * each):
            wave = rng.integers(-3000, 3000, int(seconds * SAMPLE_RATE)).astype(np.int16)
            writer.add(Utterance(f"s{number % speakers}", f"u{number}", ""), wave)
        writer.finish(["noise"], [])
    return Packed.open(folder)


class OnRandomTensors:
    """Steps of the recipe on one batch of random numbers; `workers` 1 is plain torch with `threads`."""

    def __init__(self, recipe: Recipe, workers: int, threads: int) -> None:
        model = initial_model(recipe)
        encoder = copy.deepcopy(model.encoder).train()
        loss_class, loss_config = LOSSES.parse(recipe.loss, "loss")
        optimizer_class, optimizer_config = OPTIMIZERS.parse(recipe.optimizer, "optimizer")
        optimizer = optimizer_class(optimizer_config, encoder.parameters())
        self.stepper = Stepper(encoder, loss_class(loss_config, model.dim, 2), optimizer, workers=workers)
        self.threads = threads
        rows = 3 * recipe.data.triplets
        self.feat_BTF = 20 * torch.randn(rows, recipe.data.window, model.features.dim)
        self.labels_B = torch.tensor([0, 0, 1] * recipe.data.triplets)

    def steps_per_s(self) -> float:
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        start, taken = time.perf_counter(), 0
        while taken < TURN and time.perf_counter() - start < LONGEST_TURN_S:
            self.stepper(self.feat_BTF, self.labels_B)
            taken += 1
        seconds = time.perf_counter() - start
        torch.set_num_threads(before)
        return taken / seconds


def measure(recipe: Recipe, threads: int | None) -> dict[str, list[float]]:
    """Return the steps/s of every turn of the loop and of its rivals."""
    workers = row_workers(initial_model(recipe).encoder, CPU, 3 * recipe.data.triplets, threads)
    default = threads or torch.get_num_threads()
    rivals = {
        "random tensors": OnRandomTensors(recipe, workers, 1 if workers > 1 else default),
        "plain torch, 1 thread": OnRandomTensors(recipe, 1, 1),
        f"plain torch, {default} threads": OnRandomTensors(recipe, 1, default),
    }
    speeds: dict[str, list[float]] = {"training loop": [], **{name: [] for name in rivals}}
    resumed = 0.0

    def on_row(row: Row) -> None:
        nonlocal resumed
        speeds["training loop"].append(TURN / (time.perf_counter() - resumed))
        for name, rival in rivals.items():
            speeds[name].append(rival.steps_per_s())
        resumed = time.perf_counter()

    with tempfile.TemporaryDirectory() as folder:
        packed = make_pack(Path(folder) / "pack")
        train(recipe, packed, Path(folder) / "run", device="cpu", on_row=on_row)
    return {name: values[1:] for name, values in speeds.items()}  # the first turn warms up


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="bilstm-clean100")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    threads = [f"training.threads={arguments.threads}"] if arguments.threads else []
    options = [f"training.steps={arguments.steps}", f"training.log_every={TURN}", *threads]
    speeds = measure(load_recipe(arguments.recipe, options), arguments.threads)
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    loop = medians["training loop"]
    print(f"{arguments.recipe}, {len(speeds['training loop'])} turns of {TURN} steps each, medians")
    print("| what | step/s | training loop is |\n|---|---|---|")
    for name, median in medians.items():
        print(f"| {name} | {median:.1f} | {loop / median:.2f} x |")
    print(
        f"| original, published GPU run | {ORIGINAL_STEPS_PER_S:.2f} | {loop / ORIGINAL_STEPS_PER_S:.2f} x |"
    )
    return loop < 0.9 * medians["random tensors"]  # the data pipeline may cost a tenth


if __name__ == "__main__":
    sys.exit(main())

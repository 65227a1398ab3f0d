"""The training loop against its own bound: the same forward, backward and update on random tensors.

    python -m benchmarks.training [--recipe bilstm-clean100] [--rounds 5] [--steps 120] [--threads N]
        [--set data.rows=64] [--encoders [NAME ...]]

The loop is the real one, on prepared speech, and its log; with stored features or, for recipes that change
the waveform, with cutting, speed, augmentation and features. After every line of the log it stands still
while as many steps are taken on random numbers, so that a busy machine slows both. (A thread that makes
batches ahead is then one or two ahead: with it, look at the processor time.) Windows are all equally long.
Medians over the turns, of wall time and of this process' processor time, which other processes disturb less.
The original's published run, on a GPU: 100,000 steps in 31,599 s.

`--encoders` puts the published encoders (`voxid models`), or those named, into the recipe one after another:
`--recipe base --encoders --threads 1 --steps 40 --rounds 3 --set data.rows=8 --set training.parts=1`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from voxid.data.pack import Packed, PackWriter
from voxid.encoders.catalog import VARIANTS
from voxid.losses import LOSSES
from voxid.training import initial_model, load_recipe, train
from voxid.training.optimizers import OPTIMIZERS
from voxid.training.recipe import Recipe
from voxid.training.run_folder import Row
from voxid.training.step import Stepper, row_workers
from voxid.types import SAMPLE_RATE, Utterance

ORIGINAL_STEPS_PER_S = 100_000 / 31_599
TURN = 10  # steps
SPEAKERS = 40
BATCHES = 100  # of random numbers
# glibc hands freed memory back and fetches it again, more in one of the two than in the other by the chance
# of where it lies: up to 15% either way. For the comparison it keeps what it has.
KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": "1000000000", "MALLOC_MMAP_THRESHOLD_": "1000000000"}


def make_pack(folder: Path, speakers: int = SPEAKERS, each: int = 5, seconds: float = 8.0) -> Packed:
    """Return prepared noise: the time of a step does not depend on what is said."""
    rng = np.random.default_rng(0)
    with PackWriter(folder) as writer:
        for number in range(speakers * each):
            wave = rng.integers(-3000, 3000, int(seconds * SAMPLE_RATE)).astype(np.int16)
            writer.add(Utterance(f"s{number % speakers}", f"u{number}", ""), wave)
        writer.finish(["noise"], [])
    return Packed.open(folder)


def random_steps(recipe: Recipe, threads: int | None) -> Callable[[], None]:
    """Return a function that takes a turn of the recipe's steps on random numbers.

    There are many batches, so that they are not learned by heart: gradients of zero are quicker.
    """
    model = initial_model(recipe)
    encoder = model.encoder.train()
    rows = recipe.data.batch_rows
    classes = SPEAKERS * (1 + len(recipe.data.speeds))
    loss_class, loss_config = LOSSES.parse(recipe.loss, "loss")
    optimizer_class, optimizer_config = OPTIMIZERS.parse(recipe.optimizer, "optimizer")
    loss = loss_class(loss_config, model.dim, classes)
    stepper = Stepper(
        encoder,
        loss,
        optimizer_class(optimizer_config, [*encoder.parameters(), *loss.parameters()]),
        clip_norm=recipe.training.clip_norm,
        workers=row_workers(encoder, torch.device("cpu"), rows, threads, recipe.training.parts),
        parts=recipe.training.parts,
        bf16=recipe.training.precision == "bf16",
    )
    # Not larger: gates driven far into saturation make denormal numbers, which are slow, and speech does not.
    batches = torch.randn(BATCHES, rows, recipe.data.window, model.features.dim)
    labels_B = torch.arange(rows) % classes
    if recipe.data.sampler in ("triplets", "pk"):
        labels_B = torch.tensor([0, 0, 1] * rows)[:rows]

    step = itertools.count()

    def turn() -> None:
        for _ in range(TURN):
            stepper(batches[next(step) % BATCHES], labels_B)

    return turn


def measure(recipe: Recipe, threads: int | None) -> dict[str, list[tuple[float, float]]]:
    """Return (wall, processor) seconds of a step in every turn of the loop and of the random tensors."""
    turn = random_steps(recipe, threads)
    taken: dict[str, list[tuple[float, float]]] = {"training loop": [], "random tensors": []}
    last = (0.0, 0.0)

    def finish(name: str) -> None:
        nonlocal last
        now = (time.perf_counter(), time.process_time())
        taken[name].append(((now[0] - last[0]) / TURN, (now[1] - last[1]) / TURN))
        last = now

    def on_row(row: Row) -> None:
        finish("training loop")
        turn()
        finish("random tensors")

    with tempfile.TemporaryDirectory() as folder:
        packed = make_pack(Path(folder) / "pack")
        train(recipe, packed, Path(folder) / "run", device="cpu", on_row=on_row)
    return {name: values[1:] for name, values in taken.items()}  # the first turn warms up


def compare(recipe: Recipe, threads: int | None, rounds: int, encoder: str) -> float:
    """Print a line a round; return the loop's part of the bound, of wall time."""
    ratios, speeds = [], []
    for number in range(rounds):  # where memory and threads come to lie differs from round to round
        taken = measure(recipe, threads)
        loop, bound = ([statistics.median(kind) for kind in zip(*v, strict=True)] for v in taken.values())
        ratios.append((bound[0] / loop[0], bound[1] / loop[1]))
        speeds.append(1 / loop[0])
        row = f"{speeds[-1]:.2f} | {1 / bound[0]:.2f} | {ratios[-1][0]:.2f} | {ratios[-1][1]:.2f}"
        print(f"| {encoder} | {number + 1} | {row} |", flush=True)
    wall, processor = (statistics.median(kind) for kind in zip(*ratios, strict=True))
    speed = statistics.median(speeds)
    print(f"{encoder}: {wall:.2f} of the steps/s on random tensors (processor time: {processor:.2f})", end="")
    if recipe.published_eer is not None:
        against = speed / ORIGINAL_STEPS_PER_S
        print(f", {against:.2f} x the {ORIGINAL_STEPS_PER_S:.2f} step/s of the original's GPU run")
    else:
        print(f", {speed * recipe.data.batch_rows:.0f} windows/s of {recipe.data.window} frames")
    return wall


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="bilstm-clean100")
    parser.add_argument("--steps", type=int, default=120, help="of each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--set", action="append", default=[], help="change the recipe")
    parser.add_argument("--encoders", nargs="*", choices=[variant.name for variant in VARIANTS])
    arguments = parser.parse_args()
    if sys.platform == "linux" and not KEEP_MEMORY.items() <= os.environ.items():
        command = [sys.executable, "-m", "benchmarks.training", *sys.argv[1:]]
        os.execve(sys.executable, command, os.environ | KEEP_MEMORY)
    threads = [f"training.threads={arguments.threads}"] if arguments.threads else []
    options = [
        f"training.steps={arguments.steps}", "training.epochs=none", f"training.log_every={TURN}",
        "data.window_max=none", "stage=[]", "whitening=none", *threads, *arguments.set,
    ]  # fmt: skip
    chosen = [v for v in VARIANTS if not arguments.encoders or v.name in arguments.encoders]
    inside: dict[str, list[str]] = {"its own": []}
    if arguments.encoders is not None:
        inside = {v.name: [f"encoder={_toml(v.encoder)}", f"features.bins={v.input_dim}"] for v in chosen}
    print(f"{arguments.recipe}, {arguments.rounds} rounds of {arguments.steps} steps, medians")
    print("| encoder | round | loop, step/s | random tensors, step/s | ratio | ratio of processor time |")
    print("|---|---|---|---|---|---|")
    walls = [
        compare(load_recipe(arguments.recipe, [*options, *more]), arguments.threads, arguments.rounds, name)
        for name, more in inside.items()
    ]
    return min(walls) < 0.9  # the data pipeline may cost a tenth


def _toml(table: dict[str, Any]) -> str:
    """Return a table on one line, as TOML."""
    return "{" + ", ".join(f"{key} = {json.dumps(value)}" for key, value in table.items()) + "}"


if __name__ == "__main__":
    sys.exit(main())

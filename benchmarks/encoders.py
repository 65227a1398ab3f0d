"""Forward and backward of every encoder on random features, against its bound and SpeechBrain's ECAPA-TDNN.

    python -m benchmarks.encoders [--rounds 5] [--rows 32] [--only ECAPA-512 ...] [--threads 1 2]

The bound of an encoder is its multiply-adds, three times over (forward, gradient of the inputs, gradient of
the weights), at the speed of one large matrix product measured in the same round. Everything takes turns
within a round, so that a busy machine slows all alike; the ratios are medians over the rounds, of processor
time, which other processes disturb less. "in bf16" is forward and backward under autocast.

SpeechBrain (`pip install speechbrain`, its model class alone; not needed for anything else) is compared at
the same batch when it is there, and left out with a line that says so when it is not.
"""

from __future__ import annotations

import argparse
import importlib.machinery
import os
import statistics
import sys
import time
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from voxid.encoders import ENCODERS
from voxid.encoders.catalog import VARIANTS
from voxid.encoders.cost import FRAMES, cost

BINS = 80
MATRIX = 1536
PEER = "SpeechBrain ECAPA-512"
SMALL: dict[str, dict[str, Any]] = {
    "ECAPA-256": {"name": "ecapa", "channels": 256, "aggregate": 768, "squeeze": 64, "attention": 64},
    "ResNet18-16": {"name": "resnet", "channels": 16, "blocks": [2, 2, 2, 2], "embedding": 192},
    "ResNet18-16-SE": {
        "name": "resnet",
        "channels": 16,
        "blocks": [2, 2, 2, 2],
        "squeeze": 8,
        "embedding": 192,
    },
    "CAM++-small": {
        "name": "campplus",
        "front": 16,
        "channels": 96,
        "bottleneck": 96,
        "blocks": [6, 12, 8],
        "embedding": 192,
    },
}
TARGET = 1.2  # times SpeechBrain's crops/s
# glibc hands freed memory back and fetches it again, more in one network than in another by the chance of
# where it lies; here it keeps what it has.
KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": "1000000000", "MALLOC_MMAP_THRESHOLD_": "1000000000"}


def speechbrain_ecapa() -> nn.Module:
    """Return SpeechBrain's class with the sizes of its own VoxCeleb recipe, but 512 channels."""
    if "torchaudio" not in sys.modules:
        try:
            import torchaudio  # noqa: F401  # pyright: ignore[reportMissingImports]
        except (ImportError, OSError):  # its import is asked for; this model uses nothing of it
            absent = types.ModuleType("torchaudio")
            absent.__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)
            absent.__version__ = torch.__version__  # pyright: ignore[reportAttributeAccessIssue]
            sys.modules["torchaudio"] = absent
    from speechbrain.lobes.models.ECAPA_TDNN import (  # pyright: ignore[reportMissingImports]
        ECAPA_TDNN,
    )

    return ECAPA_TDNN(
        BINS,
        channels=[512, 512, 512, 512, 1536],
        kernel_sizes=[5, 3, 3, 3, 1],
        dilations=[1, 2, 3, 4, 1],
        attention_channels=128,
        lin_neurons=192,
    )


def stepper(encoder: nn.Module, frames: int, bins: int, rows: int, bf16: bool = False) -> Callable[[], None]:
    """Return a function that takes the gradients of one batch of random crops."""
    encoder.train()
    feat_BTF = torch.randn(rows, frames, bins)
    parameters = list(encoder.parameters())

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            emb_BD = encoder(feat_BTF)
        emb_BD.float().square().mean().backward()
        for parameter in parameters:
            parameter.grad = None

    return step


def product() -> Callable[[], None]:
    """Return one large matrix product."""
    a, b, out = (torch.randn(MATRIX, MATRIX) for _ in range(3))

    def multiply() -> None:
        torch.mm(a, b, out=out)

    return multiply


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """Return the (wall, processor) seconds `work` takes."""
    start, start_processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - start_processor


def candidates(
    only: list[str], rows: int, bf16: bool
) -> tuple[dict[str, Callable[[], None]], dict[str, float]]:
    """Return the work of every encoder, and its multiply-adds forward and backward."""
    works: dict[str, Callable[[], None]] = {}
    macs: dict[str, float] = {}
    tables = {v.name: (v.encoder, v.input_dim, v.frames) for v in VARIANTS}
    tables |= {name: (table, BINS, FRAMES) for name, table in SMALL.items()}
    for name, (table, bins, frames) in tables.items():
        if only and name not in only:
            continue
        cls, config = ENCODERS.parse(table)
        torch.manual_seed(0)
        works[name] = stepper(cls(config, bins), frames, bins, rows)
        macs[name] = 3 * rows * cost(table, bins, frames).multiply_adds
        if bf16:
            works[f"{name} in bf16"] = stepper(cls(config, bins), frames, bins, rows, bf16=True)
            macs[f"{name} in bf16"] = macs[name]
    if not only or "ECAPA-512" in only:
        try:
            works[PEER] = stepper(speechbrain_ecapa(), FRAMES, BINS, rows)
        except ImportError as error:
            print(f"without SpeechBrain ({error}): pip install speechbrain to compare")
    return works, macs


def measure(works: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Return (wall, processor) seconds of each work in each round; first comes a round that warms up."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            seconds = timed(work)
            if number:
                taken[name].append(seconds)
    return taken


def report(
    threads: int, rows: int, taken: dict[str, list[tuple[float, float]]], macs: dict[str, float]
) -> float:
    """Print a line for each encoder; return ECAPA-512's crops in the time of one of SpeechBrain's."""
    flops = 2 * MATRIX**3
    product_s = [processor for _, processor in taken["product"]]
    rate = flops / statistics.median(wall for wall, _ in taken["product"]) / 1e9
    print(f"\n{threads} threads, {rows} crops of 2 s; matrix product {rate:.0f} GFLOP/s")
    print("| encoder | crops/s | of the bound (processor time) |")
    print("|---|---|---|")
    for name, seconds in taken.items():
        if name == "product":
            continue
        crops = rows / statistics.median(wall for wall, _ in seconds)
        share = "-"
        if name in macs:
            bounds = [2 * macs[name] / flops * s for s in product_s]
            ratios = [bound / own for bound, (_, own) in zip(bounds, seconds, strict=True)]
            share = f"{statistics.median(ratios):.2f}"
        print(f"| {name} | {crops:.1f} | {share} |")
    if PEER not in taken:
        return float("inf")
    pairs = list(zip(taken[PEER], taken["ECAPA-512"], strict=True))
    wall, processor = (statistics.median(peer[kind] / ours[kind] for peer, ours in pairs) for kind in (0, 1))
    print(f"ECAPA-512: {wall:.2f} x SpeechBrain's crops/s (processor time: {processor:.2f})")
    return processor


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--bf16", action="store_true", help="measure each under autocast too")
    arguments = parser.parse_args()
    if sys.platform == "linux" and not KEEP_MEMORY.items() <= os.environ.items():
        command = [sys.executable, "-m", "benchmarks.encoders", *sys.argv[1:]]
        os.execve(sys.executable, command, os.environ | KEEP_MEMORY)
    ratios = []
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        works, macs = candidates(arguments.only, arguments.rows, arguments.bf16)
        taken = measure({"product": product(), **works}, arguments.rounds)
        ratios.append(report(threads, arguments.rows, taken, macs))
    return min(ratios) < TARGET


if __name__ == "__main__":
    sys.exit(main())

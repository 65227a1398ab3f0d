"""Augmentation of a batch against the training step it is for: 64 crops of 200 frames, a small encoder.

    python -m benchmarks.augment [--threads 2] [--rounds 8] [--noise FOLDER]

The step is real: filter bank, encoder, additive angular margin loss, update. It and the augmentation take
turns, so that a busy machine slows both. Speed perturbation, which the batch maker does, is counted too: two
rows of three. With the loader running ahead in a thread some of it is hidden; here all of it is counted.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from voxid.augment import AugmentConfig, Sources, WaveAugment
from voxid.augment.clips import Clips
from voxid.augment.speed import samples_needed, speed
from voxid.encoders import ENCODERS
from voxid.features import Fbank, FbankConfig
from voxid.losses import LOSSES
from voxid.training.step import Stepper
from voxid.types import SAMPLE_RATE

ROWS, FRAMES, SPEAKERS = 64, 200, 500
MOST = 0.15  # of a step
ENCODER_TABLES: dict[str, dict[str, Any]] = {
    "ecapa, 128 channels": {"name": "ecapa", "channels": 128, "aggregate": 384, "squeeze": 64},
    "ecapa, 256 channels": {"name": "ecapa", "channels": 256, "aggregate": 768},
}
CHANGES: dict[str, dict[str, Any]] = {
    "rir": {"rir_prob": 1.0},
    "noise": {"noise_prob": 1.0, "noise": ("x",)},
    "babble": {"babble_prob": 1.0},
    "gain": {"gain_prob": 1.0},
    "clip": {"clip_prob": 1.0},
    "telephone": {"telephone_prob": 1.0},
    "codec": {"codec_prob": 1.0},
    "lossy": {"lossy_prob": 1.0},
}
NOTHING = dict.fromkeys((f"{name}_prob" for name in CHANGES), 0.0)


def training_step(table: dict[str, Any], samples: int) -> Callable[[], object]:
    """Return a function that takes one step on noise, from the waveform on."""
    fbank = Fbank(FbankConfig())
    encoder_class, encoder_config = ENCODERS.parse(table)
    encoder = encoder_class(encoder_config, fbank.dim).train()
    loss_class, loss_config = LOSSES.parse({"name": "aam"})
    loss = loss_class(loss_config, encoder.dim, SPEAKERS)
    optimizer = torch.optim.SGD([*encoder.parameters(), *loss.parameters()], lr=1e-3, momentum=0.9)
    stepper = Stepper(encoder, loss, optimizer)
    wave_BS, labels_B = 0.1 * torch.randn(ROWS, samples), torch.randint(SPEAKERS, (ROWS,))

    def step() -> None:
        with torch.no_grad():
            feat_BTF = fbank(wave_BS)
        stepper(feat_BTF, labels_B)

    return step


def augmentation(options: dict[str, Any], sources: Sources, samples: int) -> Callable[[], object]:
    """Return a function that augments a batch of noise, other rows each time."""
    augment = WaveAugment(AugmentConfig(**options), sources)
    wave_BS, labels_B = 0.1 * torch.randn(ROWS, samples), torch.arange(ROWS)
    numbers = itertools.count()
    return lambda: augment(wave_BS, labels_B, np.random.default_rng(next(numbers)))


def speeds(samples: int) -> Callable[[], object]:
    """Return a function that plays a third of a batch slower and a third faster."""
    crops = {factor: 0.1 * torch.randn(ROWS // 3, samples_needed(samples, factor)) for factor in (0.9, 1.1)}
    return lambda: [speed(crop_BS, factor, samples) for factor, crop_BS in crops.items()]


def medians(functions: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return each function's median seconds; they take turns, and the first round is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds[1:]) for name, seconds in taken.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--noise", help="folder of recordings; without, three minutes of white noise")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    samples = Fbank(FbankConfig()).samples(FRAMES)
    if arguments.noise:
        noise = Clips.load([arguments.noise], "noise")
    else:
        noise = Clips((np.random.default_rng(0).integers(-9000, 9000, 180 * SAMPLE_RATE).astype(np.int16),))
    sources = Sources(noise, rooms=Sources.load(AugmentConfig()).rooms)
    usual = {"noise_prob": 0.4, "noise": ("x",)}  # and the other changes as often as they are by default
    parts = {
        name: augmentation({**NOTHING, **options}, sources, samples) for name, options in CHANGES.items()
    }
    taken = medians({**parts, "speed": speeds(samples)}, arguments.rounds)
    print(f"{ROWS} crops of {FRAMES} frames, {arguments.threads} threads, medians of {arguments.rounds}")
    print(
        "ms for every row (speed: two of three): " + ", ".join(f"{k} {v * 1e3:.0f}" for k, v in taken.items())
    )
    print("| encoder | step, ms | augmentation, ms | speed, ms | of a step |\n|---|---|---|---|---|")
    worst = 0.0
    for name, table in ENCODER_TABLES.items():
        functions = {
            "step": training_step(table, samples),
            "augment": augmentation(usual, sources, samples),
            "speed": speeds(samples),
        }
        took = medians(functions, arguments.rounds)
        share = (took["augment"] + took["speed"]) / took["step"]
        worst = max(worst, share)
        cells = " | ".join(f"{seconds * 1e3:.0f}" for seconds in took.values())
        print(f"| {name} | {cells} | {share:.1%} |", flush=True)
    print(f"at most {worst:.1%} of a step; {MOST:.0%} are allowed")
    return worst > MOST


if __name__ == "__main__":
    sys.exit(main())

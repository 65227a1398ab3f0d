"""What recordings hold beside speech: silence of every kind, tones, lost packets, a level that is not zero.

None of it tells who speaks, so a network has to see that it comes and goes. `spoil` leaves its input alone.

Shapes: C rows, S samples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from voxid.types import SAMPLE_RATE

Fault = Literal["silence", "idle", "dither", "noise", "beep", "gate", "loss", "dc"]
FAULTS: tuple[Fault, ...] = get_args(Fault)
LSB = 1 / 32768  # of 16 bits
IDLE = 8 * LSB  # what a line with A-law (ITU-T G.711) says when nobody speaks
LEAST_PART, MOST_PART = 0.1, 0.5  # of a row, that silence or a tone takes
PACKET_S = (0.01, 0.06)  # that is lost at a time
BLOCK = SAMPLE_RATE // 100  # samples that a gate opens for


def spoil(wave_CS: Tensor, faults: tuple[Fault, ...], rng: np.random.Generator) -> Tensor:
    """Return rows that each have one of `faults`, drawn for it.

    >>> spoil(torch.full((1, 1600), 0.5), ("dc",), np.random.default_rng(0)).std().item()
    0.0
    """
    rows = wave_CS.detach().cpu().numpy().copy()
    for wave_S in rows:
        _FAULTS[faults[rng.integers(len(faults))]](wave_S, rng)
    return torch.from_numpy(rows).to(wave_CS.device)


def _stretch(wave_S: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a view of a part of the row: at its beginning, at its end, or anywhere."""
    length = max(1, int(rng.uniform(LEAST_PART, MOST_PART) * len(wave_S)))
    free = len(wave_S) - length
    start = (0, free, int(rng.integers(free + 1)))[rng.integers(3)]
    return wave_S[start : start + length]


def _silence(wave_S: np.ndarray, rng: np.random.Generator) -> None:
    _stretch(wave_S, rng)[:] = 0


def _idle(wave_S: np.ndarray, rng: np.random.Generator) -> None:
    _stretch(wave_S, rng)[:] = rng.choice([-IDLE, IDLE])


def _dither(wave_S: np.ndarray, rng: np.random.Generator) -> None:
    part = _stretch(wave_S, rng)
    part[:] = rng.integers(-1, 2, size=len(part)) * LSB


def _noise(wave_S: np.ndarray, rng: np.random.Generator) -> None:
    """Put the noise of a codec or a cheap microphone where somebody paused."""
    level = _rms(wave_S) * 10 ** (rng.uniform(-60, -25) / 20)
    part = _stretch(wave_S, rng)
    part[:] = rng.standard_normal(len(part)) * level


def _beep(wave_S: np.ndarray, rng: np.random.Generator) -> None:
    level = _rms(wave_S) * 10 ** (rng.uniform(-40, 3) / 20)
    part = _stretch(wave_S, rng)
    hz = np.exp(rng.uniform(np.log(200), np.log(3000)))
    part[:] = level * np.sin(2 * np.pi * hz / SAMPLE_RATE * np.arange(len(part)))


def _gate(wave_S: np.ndarray, rng: np.random.Generator) -> None:
    """Let only what is loud through, as the gates and voice activity detectors of meetings and calls do."""
    block_KS = wave_S[: len(wave_S) // BLOCK * BLOCK].reshape(-1, BLOCK)
    power_K = np.square(block_KS).mean(axis=1)
    least = power_K.mean() * 10 ** (rng.uniform(-35, -15) / 10)
    loud_K = np.convolve(power_K >= least, np.ones(1 + 2 * rng.integers(1, 8)), mode="same") > 0
    block_KS[~loud_K[: len(block_KS)]] = 0


def _loss(wave_S: np.ndarray, rng: np.random.Generator) -> None:
    packet = int(rng.uniform(*PACKET_S) * SAMPLE_RATE)
    lost = rng.random(len(wave_S) // packet + 1) < rng.uniform(0.02, 0.2)
    wave_S[np.repeat(lost, packet)[: len(wave_S)]] = 0


def _dc(wave_S: np.ndarray, rng: np.random.Generator) -> None:
    wave_S += rng.choice([-1, 1]) * 10 ** rng.uniform(-3.5, -1)


def _rms(wave_S: np.ndarray) -> float:
    return float(np.sqrt(np.square(wave_S).mean()))


_FAULTS: dict[Fault, Callable[[np.ndarray, np.random.Generator], None]] = {
    "silence": _silence,
    "idle": _idle,
    "dither": _dither,
    "noise": _noise,
    "beep": _beep,
    "gate": _gate,
    "loss": _loss,
    "dc": _dc,
}

"""Speech played faster or slower: tempo and pitch together, so it is another voice.

Shapes: B batch, S samples before, R samples after.
"""

from __future__ import annotations

import math

import numpy as np
import soxr
import torch
from torch import Tensor

from voxid.errors import BadConfig
from voxid.types import SAMPLE_RATE

LEAST, MOST = 0.5, 2.0  # beyond, it is no voice any more


def speed_length(samples: int, factor: float) -> int:
    """Return how many samples are left of `samples` played at `factor` times the speed.

    >>> speed_length(16_000, 0.9), speed_length(16_000, 1.1)
    (17778, 14545)
    """
    return math.floor(samples / factor + 0.5)


def samples_needed(samples: int, factor: float) -> int:
    """Return how many samples to cut, so that at `factor` times the speed at least `samples` are left.

    >>> samples_needed(16_000, 1.1), speed_length(17_600, 1.1)
    (17600, 16000)
    """
    return math.ceil(samples * factor - 1e-6)


def speed(wave: Tensor, factor: float, samples: int | None = None) -> Tensor:
    """Return wave_S or wave_BS played at `factor` times the speed: 1.1 is shorter and higher.

    It has `speed_length` samples (by soxr, HQ), or the first `samples` of them. Factor 1 gives the wave
    itself. Raise BadConfig for a factor outside 0.5..2.

    >>> speed(torch.zeros(2, 16_000), 1.1).shape
    torch.Size([2, 14545])
    """
    if not LEAST <= factor <= MOST:
        raise BadConfig(
            f"speed factor {factor!r}; it has to be {LEAST:g} to {MOST:g}. 0.9 and 1.1 are usual."
        )
    length = speed_length(wave.shape[-1], factor)
    wanted = length if samples is None else samples
    if wanted > length:
        raise ValueError(
            f"{wave.shape[-1]} samples at {factor} times the speed are {length}, fewer than {wanted}"
        )
    if factor == 1.0:
        return wave[..., :wanted]
    rows = wave.detach().cpu().float().reshape(-1, wave.shape[-1]).numpy()
    played = np.zeros((len(rows), wanted), np.float32)
    for row, wave_S in zip(played, rows, strict=True):
        wave_R = soxr.resample(wave_S, SAMPLE_RATE * factor, SAMPLE_RATE, quality="HQ")[:wanted]
        row[: len(wave_R)] = wave_R  # soxr may round its length the other way
    return torch.from_numpy(played).reshape(*wave.shape[:-1], wanted).to(wave.device)

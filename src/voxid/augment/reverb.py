"""Room impulse responses, measured or simulated, aligned to their direct path, and speech in those rooms.

Shapes: B batch, S samples, R responses, L samples of a response.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
import torch
from torch import Tensor

from voxid.audio import open_source
from voxid.augment.channel import fast_length
from voxid.augment.clips import find, read_all
from voxid.augment.rooms import random_room
from voxid.errors import AudioEmpty, AudioNotFinite, AudioSilent
from voxid.types import SAMPLE_RATE

BEFORE = 32  # samples that a response keeps before its direct path: 2 ms, half of an impulse's own width
SEARCH_S = 10.0  # of a file, in which its direct path has to lie
TAIL_ENERGY = 1e-6  # the end of a response that holds less than this part of its energy is cut off
MOST_FILES = 2000  # responses taken from a folder: 64 MB at half a second


@dataclass(frozen=True)
class Rooms:
    """Impulse responses of one length, each of energy 1, its direct path (its peak) at sample BEFORE.

    `warnings` says in words what was found and is not here.
    """

    rir_RL: Tensor
    warnings: tuple[str, ...] = ()

    @classmethod
    def make(
        cls,
        folders: Iterable[str] = (),
        simulated: int = 0,
        rt60_s: tuple[float, float] = (0.1, 0.7),
        most_s: float = 0.5,
        seed: int = 0,
    ) -> Rooms:
        """Return the responses below `folders` and so many of simulated rooms; `most_s` is kept of each.

        Of a file with several channels the first is taken. Raise CorpusNotFound or EmptyCorpus.
        """
        most = round(most_s * SAMPLE_RATE)
        rng = np.random.default_rng(seed)
        responses, warnings = [], ()
        if folders := list(folders):
            paths = find(folders, "rir")
            drawn = rng.permutation(len(paths))[:MOST_FILES]
            responses, warnings = read_all(
                [paths[i] for i in sorted(drawn)], lambda path: aligned(_read(path), most), "rir"
            )
            if len(paths) > MOST_FILES:
                warnings = (*warnings, f"rir: {MOST_FILES} of {len(paths)} files are used")
        for rt60 in rng.uniform(*rt60_s, size=simulated):
            # The direct sound is on its way for up to 35 ms before the response begins.
            responses.append(aligned(random_room(rng, rt60, most + SAMPLE_RATE // 20), most))
        length = max(map(len, responses))
        rir_RL = np.stack([np.pad(rir_L, (0, length - len(rir_L))) for rir_L in responses])
        return cls(torch.from_numpy(rir_RL), warnings)

    def draw(self, rng: np.random.Generator, rows: int) -> Tensor:
        """Return random responses, rir_BL."""
        return self.rir_RL[torch.from_numpy(rng.integers(len(self.rir_RL), size=rows))]


def aligned(rir_S: np.ndarray, most: int) -> np.ndarray:
    """Return rir_L, float32, of energy 1 with its peak at sample BEFORE and at most `most` samples after it.

    >>> aligned(np.array([0.0, 0.0, 3.0, 4.0, 0.0]), most=100)[BEFORE - 1 :].round(3)
    array([0.6, 0.8], dtype=float32)
    """
    peak = int(np.abs(rir_S).argmax())
    rir_L = np.pad(rir_S, (max(0, BEFORE - peak), 0))[max(0, peak - BEFORE) :][: BEFORE + most]
    left_L = np.cumsum(rir_L[::-1] ** 2, dtype=np.float64)[::-1]  # energy from each sample on
    rir_L = rir_L[: np.flatnonzero(left_L > TAIL_ENERGY * left_L[0])[-1] + 1]
    return (rir_L / np.sqrt(left_L[0])).astype(np.float32)


def convolve(wave_BS: Tensor, rir_BL: Tensor) -> Tensor:
    """Return wave_BS in the rooms of `rir_BL`, as long as it was, the direct sound where it was."""
    length = fast_length(wave_BS.shape[1] + rir_BL.shape[1] - 1)
    spectrum = torch.fft.rfft(wave_BS, n=length) * torch.fft.rfft(rir_BL, n=length)
    return torch.fft.irfft(spectrum, n=length)[:, BEFORE : BEFORE + wave_BS.shape[1]]


def _read(path: Path) -> np.ndarray:
    """Return the first channel at 16 kHz, (S,); raise an AudioError."""
    with open_source(path) as opened:
        samples = opened.read(round(SEARCH_S * opened.rate))
        rir_S = samples if samples.ndim == 1 else samples[:, 0]
        rate = opened.rate
    if len(rir_S) == 0:
        raise AudioEmpty(f"{path}: no samples. Leave it out.")
    if not np.isfinite(rir_S).all():
        raise AudioNotFinite(f"{path}: NaN or infinity among its samples. Leave it out.")
    if not rir_S.any():
        raise AudioSilent(f"{path}: silence. Leave it out.")
    return rir_S if rate == SAMPLE_RATE else soxr.resample(rir_S, rate, SAMPLE_RATE, quality="HQ")

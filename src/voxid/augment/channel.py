"""What microphones, telephones and careless settings do to a signal. Every function returns a new tensor.

Shapes: B batch, S samples, K frequency bins.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from voxid.types import SAMPLE_RATE

EDGE_HZ = 100.0  # from where a band passes wholly to where nothing does
MU = 255.0  # ITU-T G.711


def fast_length(samples: int) -> int:
    """Return the least length of a quick Fourier transform that holds `samples`: few factors but two.

    >>> fast_length(32_000), fast_length(38_000)
    (32768, 40960)
    """
    return min(odd << max(0, math.ceil(math.log2(max(1, samples) / odd))) for odd in (1, 3, 5, 9))


def band_limit(wave_BS: Tensor, low_hz: float | Tensor, high_hz: float | Tensor) -> Tensor:
    """Return what passes from `low_hz` to `high_hz` (one band, or (B, 1) of them), as on a telephone.

    From EDGE_HZ outside of the band on, nothing is left. Phases stay as they are.
    """
    length = fast_length(wave_BS.shape[1] + SAMPLE_RATE // 50)  # zeros between the end and the beginning
    hz_K = torch.arange(length // 2 + 1, device=wave_BS.device) * (SAMPLE_RATE / length)
    rising_K = ((hz_K - low_hz) / EDGE_HZ + 1).clamp(0, 1)
    falling_K = ((high_hz - hz_K) / EDGE_HZ + 1).clamp(0, 1)
    smooth_K = 0.5 - 0.5 * torch.cos(math.pi * rising_K * falling_K)
    return torch.fft.irfft(torch.fft.rfft(wave_BS, n=length) * smooth_K, n=length)[:, : wave_BS.shape[1]]


def mu_law(wave_BS: Tensor) -> Tensor:
    """Return `wave_BS` after 8 bits of mu-law (ITU-T G.711's curve, mu = 255), the codec of telephone lines.

    Samples beyond full scale are clipped.

    >>> mu_law(torch.tensor([[0.0, 1.0, 2.0, -1.0]])).tolist()
    [[0.0, 1.0, 1.0, -1.0]]
    """
    compressed_BS = torch.log1p(wave_BS.abs().clamp_max(1.0) * MU) / math.log1p(MU)
    steps_BS = (compressed_BS * 127).round() / 127
    return torch.copysign(torch.expm1(steps_BS * math.log1p(MU)) / MU, wave_BS)


def amplify(wave_BS: Tensor, gain_db_B: Tensor) -> Tensor:
    """Return each row louder by so many decibels."""
    return wave_BS * (10 ** (gain_db_B / 20))[:, None]


def clip(wave_BS: Tensor, over_db_B: Tensor) -> Tensor:
    """Return each row cut off so many decibels below its own peak, as by a microphone set too loud."""
    top_B1 = (wave_BS.abs().amax(dim=1) * 10 ** (-over_db_B / 20))[:, None]
    return wave_BS.clamp(-top_B1, top_B1)

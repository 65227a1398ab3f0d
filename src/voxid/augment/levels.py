"""How loud speech is, and something else beside it at a ratio that was asked for.

Shapes: B batch, S samples, K blocks of 10 ms.
"""

from __future__ import annotations

import torch
from torch import Tensor

from voxid.types import SAMPLE_RATE

BLOCK = SAMPLE_RATE // 100  # samples: 10 ms
PAUSE = 0.01  # a block with less than this part of the row's mean power (-20 dB) is a pause
INAUDIBLE = 1e-4  # of full scale (-80 dB): what is quieter is no noise to be made louder


def active_rms(wave_BS: Tensor) -> Tensor:
    """Return rms_B, the root mean square over the blocks that are no pause; 0 for a silent row.

    Pauses would make speech with many of them seem quieter than it is.

    >>> wave_BS = torch.zeros(1, 1600)
    >>> wave_BS[:, :800] = 0.5
    >>> active_rms(wave_BS).tolist()
    [0.5]
    """
    samples = wave_BS.shape[1] // BLOCK * BLOCK
    if samples == 0:
        return wave_BS.square().mean(dim=1).sqrt()
    power_BK = wave_BS[:, :samples].square().unflatten(1, (-1, BLOCK)).mean(dim=2)
    active_BK = power_BK >= PAUSE * power_BK.mean(dim=1, keepdim=True)
    return ((power_BK * active_BK).sum(dim=1) / active_BK.sum(dim=1).clamp_min(1)).sqrt()


def add_at_snr(speech_BS: Tensor, noise_BS: Tensor, snr_B: Tensor) -> Tensor:
    """Return speech with noise added, `snr_B` decibels below it, both by their `active_rms`.

    A silent row stays silent, and noise that cannot be heard (INAUDIBLE) is not made louder: it is left out.
    """
    noise_rms_B = active_rms(noise_BS)
    ratio_B = active_rms(speech_BS) / noise_rms_B.clamp_min(INAUDIBLE) * 10 ** (-snr_B / 20)
    gain_B = torch.where(noise_rms_B > INAUDIBLE, ratio_B, 0.0)
    return torch.addcmul(speech_BS, noise_BS, gain_B[:, None])

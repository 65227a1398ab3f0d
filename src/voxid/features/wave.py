"""The samples themselves as features, for encoders that bring their own front end.

Shapes: B batch, S samples, T frames (here a sample each), M and F values of a frame (here one).
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from voxid.config import Config
from voxid.features.base import Count, Features
from voxid.types import SAMPLE_RATE


class WaveConfig(Config):
    """The options of `Wave`.

    >>> WaveConfig().scale
    1.0
    """

    sample_rate: int = Field(SAMPLE_RATE, gt=0)  # Hz
    scale: float = Field(1.0, gt=0)  # of the samples: 32768 gives those of a 16-bit file


class Wave(Features):
    """Every sample is a frame of one value.

    >>> tuple(Wave(WaveConfig())(torch.zeros(2, 16_000)).shape)
    (2, 16000, 1)
    """

    Config = WaveConfig
    summary_kind = "mean"
    scale_1: Tensor

    def __init__(self, config: WaveConfig) -> None:
        super().__init__()
        self.config = config
        self.dim = self.hop = self.window = 1
        self.lead = 0
        self.register_buffer("scale_1", torch.tensor([config.scale]), persistent=False)

    def frames(self, samples: Count) -> Count:
        """Return the number of frames of an utterance of `samples` samples: as many."""
        return samples

    def samples(self, frames: int) -> int:
        """Return the least number of samples that makes `frames` frames: as many."""
        return frames

    def log_mel(self, wave_BS: Tensor, samples_B: Tensor | None = None) -> Tensor:
        """Return the samples, scaled: (B, S, 1)."""
        if wave_BS.ndim != 2:
            raise ValueError(f"Wave takes waves of shape (batch, samples), got {tuple(wave_BS.shape)}")
        return (wave_BS.float() * self.scale_1)[:, :, None]

    def _extend(self, wave_BS: Tensor, before: int, after: int, samples_B: Tensor | None = None) -> Tensor:
        return wave_BS

    def _of_windows(self, window_XN: Tensor) -> Tensor:
        return window_XN * self.scale_1

    def _summary(self, logmel_BTM: Tensor, valid_BT1: Tensor | None) -> Tensor:
        """Return a zero for each row: nothing has to be known of the whole."""
        return logmel_BTM[:, :1, 0] * 0

    def from_log_mel(self, logmel_BTM: Tensor, summary_BU: Tensor) -> Tensor:
        """Return the samples as they are."""
        return logmel_BTM

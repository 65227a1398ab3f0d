"""SpecAugment: bands and stretches of the features hidden; nothing here writes into its input.

Shapes: B batch, T frames, F features per frame.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from voxid.config import Config


class SpecAugmentConfig(Config):
    """How often a mask falls on a row, and how wide it may be; the defaults are the original system's.

    >>> SpecAugmentConfig(freq_max_width=10).freq_max_width
    10
    """

    freq_prob: float = Field(0.3, ge=0, le=1)
    time_prob: float = Field(0.3, ge=0, le=1)
    freq_max_width: int = Field(8, ge=1)  # features
    time_max_width: int = Field(20, ge=1)  # frames


class SpecAugment:
    """Hide a random band of features and a random stretch of frames (Park et al. 2019, without warping).

    Every row draws for itself: with `freq_prob` a band, with `time_prob` a stretch, each 1..max_width wide
    (no wider than the row) and anywhere it fits, filled with the row's mean.

    >>> augment = SpecAugment(SpecAugmentConfig(freq_prob=1.0, time_prob=0.0))
    >>> feat_BTF = torch.arange(12.0).reshape(1, 3, 4)
    >>> masked_BTF = augment(feat_BTF, torch.Generator().manual_seed(0))
    >>> bool((masked_BTF != feat_BTF).any())
    True
    """

    Config = SpecAugmentConfig

    def __init__(self, config: SpecAugmentConfig) -> None:
        self.config = config

    def __call__(self, feat_BTF: Tensor, generator: torch.Generator, rank: int = 0, world: int = 1) -> Tensor:
        """Return a new feat_BTF with the masks in place; the same generator state gives the same masks.

        Where `feat_BTF` is the part of `rank` of a batch, its rows get the masks that they would get there.
        """
        config = self.config
        rows, frames, dim = feat_BTF.shape
        draws_6B = torch.rand(6, rows * world, generator=generator, device=generator.device)
        draws_6B = draws_6B[:, rank * rows : (rank + 1) * rows].to(feat_BTF.device)
        band_BF = _stretch(draws_6B[:3], dim, config.freq_max_width, config.freq_prob)
        stretch_BT = _stretch(draws_6B[3:], frames, config.time_max_width, config.time_prob)
        mean_B11 = feat_BTF.mean(dim=(1, 2), keepdim=True)
        return torch.where(band_BF[:, None, :] | stretch_BT[:, :, None], mean_B11, feat_BTF)


def _stretch(draws_3B: Tensor, length: int, max_width: int, probability: float) -> Tensor:
    """Return hidden_BL, True where the mask of each row lies; `draws_3B` are uniform in 0..1."""
    happens_B, width_B, start_B = draws_3B
    widest = min(max_width, length)
    # A draw of almost 1 can round up to the end of the range: clamp it to the last whole number.
    width_B = 1 + (width_B * widest).floor().clamp_max(widest - 1)
    last_B = length - width_B
    start_B = torch.minimum((start_B * (last_B + 1)).floor(), last_B)
    places_L = torch.arange(length, device=draws_3B.device)
    inside_BL = (places_L >= start_B[:, None]) & (places_L < (start_B + width_B)[:, None])
    return inside_BL & (happens_B < probability)[:, None]

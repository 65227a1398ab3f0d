"""Augmentation of training batches, waveforms and features; nothing here writes into its input.

Names load on first use: rooms and telephone lines need no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from voxid.lazy import names as _names

if TYPE_CHECKING:
    from voxid.augment.specaugment import SpecAugment, SpecAugmentConfig
    from voxid.augment.waves import AugmentConfig, Sources, WaveAugment

__all__ = ["AugmentConfig", "Sources", "SpecAugment", "SpecAugmentConfig", "WaveAugment"]

__getattr__ = _names(
    __name__,
    {
        "SpecAugment": "voxid.augment.specaugment",
        "SpecAugmentConfig": "voxid.augment.specaugment",
        "AugmentConfig": "voxid.augment.waves",
        "Sources": "voxid.augment.waves",
        "WaveAugment": "voxid.augment.waves",
    },
)

"""Augmentation of training batches, waveforms and features; nothing here writes into its input."""

from voxid.augment.specaugment import SpecAugment, SpecAugmentConfig
from voxid.augment.speed import samples_needed, speed, speed_length
from voxid.augment.waves import AugmentConfig, Sources, WaveAugment

__all__ = [
    "AugmentConfig",
    "Sources",
    "SpecAugment",
    "SpecAugmentConfig",
    "WaveAugment",
    "samples_needed",
    "speed",
    "speed_length",
]

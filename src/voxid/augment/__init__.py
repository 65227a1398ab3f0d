"""Augmentation of training batches; nothing here writes into its input."""

from voxid.augment.specaugment import SpecAugment, SpecAugmentConfig

__all__ = ["SpecAugment", "SpecAugmentConfig"]

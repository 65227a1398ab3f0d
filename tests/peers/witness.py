"""What both sides of a comparison draw for themselves: weights by names, and one wave. Needs numpy alone."""

from __future__ import annotations

import zlib

import numpy as np

RATE = 16_000


def drawn(shapes: dict[str, list[int]]) -> dict[str, np.ndarray]:
    """Return a tensor for each name: the same numbers for the same name and shape, everywhere."""
    return {name: _drawn(name, shape) for name, shape in shapes.items()}


def _drawn(name: str, shape: list[int]) -> np.ndarray:
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("running_var"):
        values = rng.uniform(0.5, 1.5, shape)
    elif len(shape) > 1:
        values = rng.standard_normal(shape) * (1.4 / np.sqrt(np.prod(shape[1:])))
    else:
        values = 0.1 * rng.standard_normal(shape) + (name.endswith("weight"))
    return values.astype(np.float32)


def wave(seconds: float = 3.3, level: float = 0.02) -> np.ndarray:
    """Return a voice-like wave: harmonics of a wandering pitch, in syllables, with noise and a gap."""
    t = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(130 + 25 * np.sin(2 * np.pi * 0.7 * t)) / RATE
    voiced = sum(np.sin(k * phase + k) / k * (1 + np.cos(k * t)) for k in range(1, 25))
    syllables = 0.1 + np.sin(2 * np.pi * 1.9 * t) ** 2
    noise = 0.05 * np.random.default_rng(0).standard_normal(t.size)
    there = (t < 1.7) | (t > 2.0)  # digital silence shows what each does about zeros
    return (level * (voiced * syllables + noise) * there).astype(np.float32)

"""Small prepared folders for tests, written without any corpus on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from voxid.data.pack import Packed, PackWriter
from voxid.types import SAMPLE_RATE, Utterance


def make_pack(folder: Path, counts: list[int], seconds: float = 3.5, seed: int = 0) -> Packed:
    """Return a pack whose speaker s has counts[s] utterances: a hum of a pitch of its own, in noise.

    Utterances are interleaved, so that no speaker's are neighbours, and differ in length.
    """
    rng = np.random.default_rng(seed)
    turns = sorted((k, s) for s, count in enumerate(counts) for k in range(count))
    with PackWriter(folder) as writer:
        for k, s in turns:
            t = np.arange(int((seconds + 0.1 * k) * SAMPLE_RATE)) / SAMPLE_RATE
            hum = np.sign(np.sin(2 * np.pi * (90 + 40 * s) * t + k)) * 0.2
            wave = (hum + 0.05 * rng.standard_normal(t.size)).astype(np.float32)
            writer.add(Utterance(f"spk{s:02d}", f"spk{s:02d}-{k}", f"/corpus/{s}/{k}.wav"), wave)
        writer.finish(["/corpus"], [])
    return Packed.open(folder)

"""Prepared speech -> the batch of a step: windows of features, or of the waveform."""

# N utterances, B rows of a batch (three a triplet), S samples, T frames, F features per frame

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from voxid.config import Config
from voxid.data.features_cache import FeatureStore, to_float
from voxid.data.pack import Packed
from voxid.data.triplets import CROPS, TripletSampler, generator


class DataConfig(Config):
    """How batches are made; the defaults are the original's."""

    triplets: int = Field(default=8, ge=1, le=10_000)  # of a batch: three windows each
    window: int = Field(default=100, ge=2)  # frames
    short_utterances: Literal["repeat", "drop"] = "repeat"  # shorter than a window
    cache_features: bool = True  # compute features once, on disk; False: afresh in every step


@dataclass(frozen=True)
class Batch:
    """One step's rows, anchor, positive, negative, anchor, ...: features or, without a cache, waveforms.

    `rows_B` are utterance numbers, `labels_B` speaker numbers, `starts_B` the first frame of each window.
    """

    step: int
    rows_B: np.ndarray
    starts_B: np.ndarray
    labels_B: Tensor
    feat_BTF: Tensor | None = None
    wave_BS: Tensor | None = None


class Batches:
    """The batches of a training: `batch(step)` depends on nothing but the data, the seed and the step.

    With a `store`, windows are cut from stored features; without, from the waveform, long enough for the
    same number of frames. Nothing is read ahead in a thread: a batch of stored features takes less than a
    hundredth of a step, and another thread costs the encoder's threads more. Raise NotEnoughSpeakers.
    """

    def __init__(
        self, packed: Packed, features: Any, config: DataConfig, seed: int, store: FeatureStore | None
    ) -> None:
        self.packed = packed
        self.config = config
        self.seed = seed
        self.store = store
        self.hop = features.hop
        self.samples = features.samples(config.window)
        self.frames_N = features.frames(torch.from_numpy(packed.lengths_N)).numpy()
        short_N = self.frames_N < config.window
        self.short = int(short_N.sum())
        allowed_N = ~short_N if config.short_utterances == "drop" else None
        self.sampler = TripletSampler(packed.speakers_N, config.triplets, seed, allowed_N)

    def batch(self, step: int) -> Batch:
        """Return the batch of `step`, 0 being the first."""
        rows_B = self.sampler.batch(step).ravel()
        room_B = np.maximum(self.frames_N[rows_B] - self.config.window, 0)
        starts_B = generator(self.seed, step, CROPS).integers(room_B + 1)
        labels_B = torch.from_numpy(self.packed.speakers_N[rows_B].astype(np.int64))
        if self.store is None:
            return Batch(step, rows_B, starts_B, labels_B, wave_BS=self._waves(rows_B, starts_B))
        feat_BTF = torch.from_numpy(self.store.gather(rows_B, starts_B, self.config.window))
        return Batch(step, rows_B, starts_B, labels_B, feat_BTF=feat_BTF)

    def _waves(self, rows_B: np.ndarray, starts_B: np.ndarray) -> Tensor:
        """Return wave_BS whose features have `window` frames; a short utterance is repeated."""
        samples = self.samples
        wave_BS = torch.empty(len(rows_B), samples)
        for row, (number, start) in enumerate(zip(rows_B.tolist(), starts_B.tolist(), strict=True)):
            length = int(self.packed.lengths_N[number])
            if length < samples:
                wave_BS[row] = to_float(np.resize(self.packed.wave(number), samples))
            else:
                first = min(start * self.hop, length - samples)
                wave_BS[row] = to_float(self.packed.crop(number, first, samples))
        self.packed.release()
        return wave_BS

"""Prepared speech -> the batch of a step: windows of features, or of the waveform."""

# N utterances, B rows of a batch, G groups of rows, S samples, T frames, F features per frame

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from voxid.augment.speed import samples_needed, speed
from voxid.config import Config
from voxid.data.features_cache import FeatureStore, to_float
from voxid.data.pack import Packed
from voxid.data.samplers import (
    OWN,
    SAMPLERS,
    SHUFFLE,
    CorpusSampler,
    SpeakerSampler,
    UniformSampler,
    corpora_of,
    sessions_of,
    shares_of,
)
from voxid.data.triplets import CROPS, SPEEDS, WAVES, WINDOW, TripletSampler, generator
from voxid.errors import BadRecipe, NotEnoughSpeakers, did_you_mean
from voxid.types import SAMPLE_RATE

Augment = Callable[[Tensor, Tensor, np.random.Generator], Tensor]  # (wave_BS, labels_B, random numbers)


class DataConfig(Config):
    """How batches are made; the defaults are the original's."""

    sampler: str = "triplets"  # uniform, speakers, corpora, pk; or my_module:MySampler (data/samplers.py)
    options: dict[str, Any] = Field(default_factory=dict)  # of a sampler of your own
    triplets: int = Field(default=8, ge=1, le=10_000)  # of a batch: three windows each
    rows: int = Field(default=64, ge=1, le=100_000)  # windows of a batch: uniform, speakers, corpora
    speakers: int = Field(default=16, ge=2, le=10_000)  # of a batch of pk ...
    utterances: int = Field(default=4, ge=2, le=1_000)  # ... and of each of them
    temperature: float = Field(default=1.0, gt=0)  # of corpora: 1 as large as they are, high makes them equal
    # inside a corpus; sessions: speakers, and of each speaker the sessions. With pk: windows of a speaker are
    # of as many sessions as can be
    balance: Literal["utterances", "speakers", "sessions"] = "utterances"
    lone: float = Field(default=1.0, gt=0)  # of corpora: how likely a speaker with one recording is
    shares: dict[str, float] = Field(default_factory=dict)  # of corpora: parts of a batch, by name
    crops: int = Field(default=1, ge=1)  # windows of each utterance drawn, as neighbours (not for triplets)
    window: int = Field(default=100, ge=2)  # frames
    window_max: int | None = Field(default=None, ge=2)  # frames; each batch has a length between the two
    seconds: float | None = Field(default=None, gt=0)  # of a window, in place of its frames
    short_utterances: Literal["repeat", "drop"] = "repeat"  # shorter than a window
    speeds: tuple[float, ...] = ()  # such as 0.9 and 1.1: at another speed everyone is another speaker
    cache_features: bool = True  # compute features once, on disk, where nothing changes the waveform

    @field_validator("sampler")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in SAMPLERS and ":" not in name:
            hint = did_you_mean(name, SAMPLERS)
            raise ValueError(
                f"got {name!r}.{hint} Known: {', '.join(SAMPLERS)}, or one of your own, my_module:MySampler"
            )
        return name

    @model_validator(mode="after")
    def _fits_together(self) -> DataConfig:
        if self.window_max is not None and self.window_max < self.window:
            raise ValueError(f"window_max is below window: {self.window_max} < {self.window}")
        if self.window_max is not None and self.seconds is not None:
            raise ValueError("seconds and window_max exclude each other")
        if self.sampler not in ("triplets", "pk") and self.rows % self.crops:
            raise ValueError(
                f"rows has to be a multiple of crops, {self.rows} is not a multiple of {self.crops}"
            )
        if self.options and ":" not in self.sampler:
            raise ValueError(f"options are for a sampler of your own, and {self.sampler} is one of voxid's")
        if self.sampler == "triplets" and self.crops > 1:
            raise ValueError("crops are for other samplers than triplets")
        if any(not 0.5 <= speed <= 2 or speed == 1 for speed in self.speeds):
            raise ValueError("speeds are between 0.5 and 2, and not 1: the original speed is always there")
        if len(set(self.speeds)) < len(self.speeds):
            raise ValueError("speeds has the same speed twice")
        return self

    @property
    def batch_rows(self) -> int:
        """How many windows a batch has."""
        if self.sampler == "triplets":
            return 3 * self.triplets
        return self.speakers * self.utterances * self.crops if self.sampler == "pk" else self.rows

    @property
    def rows_option(self) -> str:
        """The option that makes a batch larger or smaller."""
        return {"triplets": "triplets", "pk": "speakers"}.get(self.sampler, "rows")

    @property
    def together(self) -> int:
        """How many rows in a row are drawn as one, at one speed: otherwise a pair would be none any more."""
        if self.sampler == "triplets":
            return 3
        return self.utterances * self.crops if self.sampler == "pk" else self.crops

    @property
    def pairs(self) -> bool:
        """Whether every batch is sure to have two windows of one speaker."""
        own = ":" in self.sampler and getattr(OWN.get(self.sampler), "pairs", False)
        return self.sampler in ("triplets", "pk") or self.crops > 1 or own


@dataclass(frozen=True)
class Batch:
    """One step's rows: features or, without a cache, waveforms.

    `rows_B` are utterance numbers, `labels_B` class numbers (the speaker's, plus the number of speakers for
    each speed further), `starts_B` the first frame of each window.
    """

    step: int
    rows_B: np.ndarray
    starts_B: np.ndarray
    labels_B: Tensor
    feat_BTF: Tensor | None = None
    wave_BS: Tensor | None = None


class Sampler(Protocol):
    """Draws the utterances of a step."""

    def batch(self, step: int) -> np.ndarray:
        """Return utterance numbers, in the order of the batch."""
        ...


class Batches:
    """The batches of a training: `batch(step)` depends on nothing but the data, the seed and the step.

    Of several processes each gets its `rank`'s part of that very batch; only `augment` draws anew for each.

    With a `store`, windows are cut from stored features; without, from the waveform, long enough for the
    same number of frames, then brought to another speed and augmented where the recipe says so. Safe to call
    from several threads. Raise NotEnoughSpeakers.
    """

    def __init__(
        self,
        packed: Packed,
        features: Any,
        config: DataConfig,
        seed: int,
        store: FeatureStore | None,
        *,
        augment: Augment | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.packed, self.features, self.config, self.seed = packed, features, config, seed
        self.store, self.augment, self.rank, self.world = store, augment, rank, world
        self.hop = features.hop
        self.window = config.window
        if config.seconds is not None:
            self.window = max(2, int(features.frames(round(config.seconds * SAMPLE_RATE))))
        self.frames_N = features.frames(torch.from_numpy(packed.lengths_N)).numpy()
        short_N = self.frames_N < self.window
        self.short = int(short_N.sum())
        self.speakers = len(packed.speaker_names)
        self.classes = self.speakers * (1 + len(config.speeds))
        allowed_N = ~short_N if config.short_utterances == "drop" else None
        used_N = packed.speakers_N if allowed_N is None else packed.speakers_N[allowed_N]
        _need_speakers(packed, used_N)
        _need_whole_parts(config, world)
        self.steps_per_epoch = max(1, len(used_N) // (config.batch_rows // config.crops))
        self.sampler = _sampler(packed, config, seed, allowed_N)

    def batch(self, step: int) -> Batch:
        """Return the batch of `step`, 0 being the first, or this process' part of it."""
        config = self.config
        rows_B = np.repeat(self.sampler.batch(step).ravel(), config.crops)
        window = self.window_of(step)
        room_B = np.maximum(self.frames_N[rows_B] - window, 0)
        starts_B = generator(self.seed, step, CROPS).integers(room_B + 1)
        part = len(rows_B) // self.world
        mine = slice(self.rank * part, (self.rank + 1) * part)
        rows_B, room_B, starts_B = rows_B[mine], room_B[mine], starts_B[mine]
        labels_B = torch.from_numpy(self.packed.speakers_N[rows_B].astype(np.int64))
        if self.store is not None:
            feat_BTF = torch.from_numpy(self.store.gather(rows_B, starts_B, window))
            return Batch(step, rows_B, starts_B, labels_B, feat_BTF=feat_BTF)
        samples = self.features.samples(window)
        if config.speeds:
            groups = config.batch_rows // config.together
            speed_G = generator(self.seed, step, SPEEDS).integers(1 + len(config.speeds), size=groups)
            speed_B = np.repeat(speed_G, config.together)[mine]
            labels_B = labels_B + self.speakers * torch.from_numpy(speed_B)
            wave_BS = self._at_speeds(rows_B, starts_B, room_B, samples, speed_B)
        else:
            wave_BS = self._waves(rows_B, starts_B * self.hop, samples)
        if self.augment is not None:
            wave_BS = self.augment(wave_BS, labels_B, generator(self.seed, step, WAVES, self.rank))
        return Batch(step, rows_B, starts_B, labels_B, wave_BS=wave_BS)

    def of_classes(self, each: int, window: int) -> Iterator[tuple[np.ndarray, Tensor]]:
        """Yield (class_B, wave_BS) with `each` windows of the recordings of each class, in turn.

        The same as ever, nothing augmented; a speaker with few recordings gives some of them twice.
        """
        samples = self.features.samples(window)
        order = generator(self.seed, SHUFFLE, CROPS).permutation(self.packed.n)
        order = order[np.argsort(self.packed.speakers_N[order], kind="stable")]
        _, starts, counts = np.unique(self.packed.speakers_N[order], return_index=True, return_counts=True)
        for number in range(1 + len(self.config.speeds)):
            for turn in range(each):
                rows_P = order[starts + turn % counts]
                for speakers in np.array_split(np.arange(self.speakers), -(-self.speakers // 64)):
                    rows_B = rows_P[speakers]
                    middle_B, room_B = np.full(len(rows_B), 1 + turn), np.full(len(rows_B), 1 + each)
                    speed_B = np.full(len(rows_B), number)
                    yield (
                        speakers + self.speakers * number,
                        self._at_speeds(rows_B, middle_B, room_B, samples, speed_B),
                    )

    def window_of(self, step: int) -> int:
        """Return how many frames the windows of `step` have; the same on every rank."""
        if self.config.window_max is None:
            return self.window
        return int(generator(self.seed, step, WINDOW).integers(self.window, self.config.window_max + 1))

    def _waves(self, rows_B: np.ndarray, firsts_B: np.ndarray, samples: int) -> Tensor:
        """Return `samples` samples of each utterance, from `firsts_B` on; a short utterance is repeated."""
        wave_BS = torch.empty(len(rows_B), samples)
        for row, (number, first) in enumerate(zip(rows_B.tolist(), firsts_B.tolist(), strict=True)):
            length = int(self.packed.lengths_N[number])
            if length < samples:
                wave_BS[row] = to_float(np.resize(self.packed.wave(number), samples))
            else:
                wave_BS[row] = to_float(self.packed.crop(number, min(first, length - samples), samples))
        self.packed.release()
        return wave_BS

    def _at_speeds(
        self, rows_B: np.ndarray, starts_B: np.ndarray, room_B: np.ndarray, samples: int, speed_B: np.ndarray
    ) -> Tensor:
        """Return wave_BS of `samples` samples, each row played at its speed: 0 is 1.0, then `speeds`."""
        wave_BS = torch.empty(len(rows_B), samples)
        place_B = starts_B / np.maximum(room_B, 1)  # how far into the utterance, 0 to 1
        for number, factor in enumerate((1.0, *self.config.speeds)):
            mine = np.flatnonzero(speed_B == number)
            if not len(mine):
                continue
            taken = samples_needed(samples, factor)
            room = np.maximum(self.packed.lengths_N[rows_B[mine]] - taken, 0)
            source_BS = self._waves(rows_B[mine], (place_B[mine] * room).astype(np.int64), taken)
            wave_BS[torch.from_numpy(mine)] = speed(source_BS, factor, samples)
        return wave_BS


def _need_whole_parts(config: DataConfig, world: int) -> None:
    """Raise BadRecipe where the rows of a batch, or those drawn as one, cannot be shared out evenly."""
    if world > 1 and config.batch_rows % (world * config.together):
        raise BadRecipe(
            f"data.{config.rows_option} makes batches of {config.batch_rows} windows, {config.together} of "
            f"them drawn as one: they cannot be divided evenly between {world} processes. Make it a "
            f"multiple of {world * config.together} windows, or start another number of processes."
        )


def _need_speakers(packed: Packed, used_N: np.ndarray) -> None:
    """Raise NotEnoughSpeakers where a batch cannot hold two voices to be told apart."""
    speakers = len(np.unique(used_N))
    if speakers < 2:
        where = ", ".join(packed.info["sources"])
        raise NotEnoughSpeakers(
            f"got {len(used_N)} utterances of {speakers} {'speaker' if speakers == 1 else 'speakers'} from "
            f"{where} ({', '.join(packed.speaker_names[:3])}). A model learns to tell speakers apart, so two "
            "or more are needed: name a folder in which each speaker has a folder, or a list of them."
        )


def _sampler(packed: Packed, config: DataConfig, seed: int, allowed_N: np.ndarray | None) -> Sampler:
    """Return the sampler that `config` names, over the utterances that are allowed."""
    speakers_N = packed.speakers_N
    if config.sampler == "triplets":
        return TripletSampler(speakers_N, config.triplets, seed, allowed_N)
    numbers = np.arange(packed.n) if allowed_N is None else np.flatnonzero(allowed_N)
    sessions_N = sessions_of(packed) if config.balance == "sessions" else None
    if config.sampler == "pk":
        return SpeakerSampler(speakers_N, numbers, config.speakers, config.utterances, seed, sessions_N)
    drawn = config.rows // config.crops
    if ":" in config.sampler:
        own, options = OWN.parse({"name": config.sampler, **config.options}, "data.options")
        return own(options, packed, numbers, drawn, seed)
    if config.sampler == "uniform":
        return UniformSampler(numbers, drawn, seed)
    if config.sampler == "speakers":
        return SpeakerSampler(speakers_N, numbers, drawn, 1, seed)
    names, corpus_N = corpora_of(packed.speaker_names, speakers_N)
    return CorpusSampler(
        *(corpus_N, speakers_N, numbers, drawn, seed, config.temperature, config.balance != "utterances"),
        sessions_N=sessions_N,
        lone=config.lone,
        fixed=shares_of(names, config.shares),
    )

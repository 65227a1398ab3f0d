"""A training as a row of stages, and the plan of it that a person reads before it starts.

What a stage is depends on the recipe and the size of the data alone, so that resuming finds the same.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from voxid.data.batches import Augment, Batch, Batches, DataConfig
from voxid.data.pack import Packed
from voxid.data.samplers import corpora_of
from voxid.errors import BadRecipe
from voxid.losses import LOSSES
from voxid.model.network import Model
from voxid.parallel import OneThreadWorkers, usable_cores
from voxid.training.averaging import AverageConfig
from voxid.training.recipe import Recipe
from voxid.training.schedule import Schedule

MOST_LOADERS = 8  # threads that make batches


@dataclass(frozen=True)
class Stage:
    """Steps `first` to `end` - 1 of a training, with where their batches, rate and margin come from."""

    name: str
    where: str  # its tables in the recipe: "" or "stage.0."
    first: int
    steps: int
    batches: Batches
    stores_features: bool  # whether nothing changes the waveform, so that features can be computed once
    schedule: Schedule
    specaugment: bool
    average: AverageConfig | None

    @property
    def end(self) -> int:
        """The first step after the stage."""
        return self.first + self.steps

    def from_step(
        self, step: int, features: nn.Module, device: torch.device, loaders: int | None = None
    ) -> Generator[tuple[Batch, Tensor | None]]:
        """Yield the batches from `step` on, made ahead in `loaders` threads (None: as many as it is best).

        On a CPU they come with their features; elsewhere only where those are stored.
        """

        def make(step: int) -> tuple[Batch, Tensor | None]:
            batch = self.batches.batch(step)
            if batch.wave_BS is not None and device.type == "cuda":  # pinned, it is copied alongside
                batch = replace(batch, wave_BS=batch.wave_BS.pin_memory())
            if batch.wave_BS is None or device.type != "cpu":
                return batch, batch.feat_BTF
            with torch.no_grad():
                return batch, features(batch.wave_BS)

        if loaders is None and self.batches.store is not None:
            # A batch of stored features takes less than a hundredth of a step, and another thread costs the
            # encoder's threads more.
            loaders = 0
        elif loaders is None:
            loaders = 1 if device.type == "cpu" else max(1, min(MOST_LOADERS, usable_cores() - 1))
        if not loaders:
            yield from map(make, range(step, self.end))
            return
        with (
            OneThreadWorkers(loaders, "voxid-batches", engine=torch) as threads,
            closing(threads.map(make, range(step, self.end), ahead=loaders)) as made,
        ):
            yield from made


def make_stages(
    recipe: Recipe,
    packed: Packed,
    model: Model,
    augment: Augment | None = None,
    rank: int = 0,
    world: int = 1,
) -> list[Stage]:
    """Return the stages of training `recipe` on `packed`; raise NotEnoughSpeakers or BadRecipe.

    Batches are of waveforms until their `store` is set.
    """
    loss, config = LOSSES.parse(recipe.loss, "loss")
    margin = config.margin if hasattr(loss, "set_margin") else None
    stages: list[Stage] = []
    for number, stage in enumerate(recipe.stages()):
        data, where = recipe.data_of(stage), f"stage.{number - 1}." if number else ""
        _check_rows(recipe, model, data, where)
        used = augment if stage.augment else None
        batches = Batches(
            *(packed, model.features, data, recipe.training.seed, None), augment=used, rank=rank, world=world
        )
        steps = stage.steps or max(1, round((stage.epochs or 0) * batches.steps_per_epoch))
        schedule = Schedule(
            stage.schedule,
            lr=stage.lr or recipe.optimizer["lr"],
            margin=stage.margin if stage.margin is not None else margin,
            steps=steps,
            steps_per_epoch=batches.steps_per_epoch,
            rows=data.batch_rows,
        )
        stages.append(
            Stage(
                stage.name,
                where,
                first=stages[-1].end if stages else 0,
                steps=steps,
                batches=batches,
                stores_features=data.cache_features and not data.speeds and used is None,
                schedule=schedule,
                specaugment=stage.specaugment,
                average=stage.average or recipe.average,
            )
        )
    return stages


def most_classes(stages: list[Stage]) -> int:
    """Return how many classes the loss needs: those of the stage that has the most.

    Classes are speakers, speed by speed, so a stage without speeds uses the first of them.
    """
    return max(stage.batches.classes for stage in stages)


def _check_rows(recipe: Recipe, model: Model, data: DataConfig, where: str) -> None:
    """Raise BadRecipe for a part of a batch that is one row: it has no statistics to be normalised by."""
    parts = recipe.training.parts
    if data.batch_rows >= 2 * parts or not any(isinstance(m, nn.BatchNorm1d) for m in model.modules()):
        return
    few = f"{where}data.{data.rows_option} makes batches of {data.batch_rows} windows"
    many = f", and training.parts shares them out among {parts}" if parts > 1 else ""
    raise BadRecipe(
        f"{few}{many}: the encoder {recipe.encoder['name']!r} normalises by statistics of a batch, for which "
        f"one window is too few. Raise {where}data.{data.rows_option} to {2 * parts} windows or more"
        f"{', or lower training.parts' if parts > 1 else ''}."
    )


# ---- what is going to happen -------------------------------------------------------------------------------


@dataclass(frozen=True)
class PlanStage:
    """One stage: so many steps of so many windows of so many frames, from which to which learning rate."""

    name: str
    steps: int
    epochs: float
    rows: int
    window: int  # frames
    first_lr: float  # after the warm-up
    last_lr: float


@dataclass(frozen=True)
class Plan:
    """Counts of the data and the model; `short` utterances are shorter than a window of the first stage.

    >>> from voxid.training import load_recipe, make_plan
    >>> from voxid.data.pack import Packed
    >>> from voxid.data.prepare import ensure_prepared
    >>> make_plan(load_recipe("demo"), Packed.open(ensure_prepared("people"))).speakers
    4
    """

    recipe: str
    speakers: int
    classes: int  # of the loss: speakers, at every speed
    single_speakers: int  # with one utterance: negatives only, where the loss needs pairs of utterances
    needs_pairs: bool
    self_pairs: bool  # two windows of one utterance make a pair, too
    corpora: dict[str, int]  # utterances of each
    utterances: int
    hours: float
    dropped: dict[str, int]  # recordings left out when the speech was prepared, by reason
    short: int
    short_policy: str  # "repeat" or "drop"
    steps: int
    max_seconds: float | None
    rows: int  # windows in a batch
    window: int  # frames
    parameters: int
    loss_parameters: int
    stages: tuple[PlanStage, ...]

    @classmethod
    def of(cls, recipe: Recipe, packed: Packed, model: Model, loss: Any, stages: list[Stage]) -> Plan:
        """Return the plan of training `model` with `loss` through `stages`."""
        first = stages[0].batches
        counts = np.bincount(packed.speakers_N, minlength=len(packed.speaker_names))
        names, corpus_N = corpora_of(packed.speaker_names, packed.speakers_N)
        return cls(
            recipe=recipe.name,
            speakers=len(packed.speaker_names),
            classes=most_classes(stages),
            single_speakers=int((counts == 1).sum()),
            needs_pairs=loss.needs != "rows",
            self_pairs=first.config.sampler != "triplets",
            corpora=dict(zip(names, np.bincount(corpus_N, minlength=len(names)).tolist(), strict=True)),
            utterances=packed.n,
            hours=float(packed.lengths_N.sum()) / packed.info["sample_rate"] / 3600,
            dropped=packed.info["dropped"],
            short=first.short,
            short_policy=recipe.data.short_utterances,
            steps=stages[-1].end,
            max_seconds=recipe.training.max_seconds,
            rows=first.config.batch_rows,
            window=first.window,
            parameters=sum(p.numel() for p in model.encoder.parameters()),
            loss_parameters=sum(p.numel() for p in loss.parameters()),
            stages=tuple(
                PlanStage(
                    stage.name,
                    stage.steps,
                    round(stage.steps / stage.batches.steps_per_epoch, 3),
                    stage.batches.config.batch_rows,
                    stage.batches.window,
                    stage.schedule.lr_at(round(stage.schedule.in_steps(stage.schedule.config.warmup))),
                    stage.schedule.lr_at(stage.steps),
                )
                for stage in stages
            ),
        )

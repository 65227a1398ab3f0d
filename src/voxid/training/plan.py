"""What a training is going to do, for a person to read before it starts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from voxid.data.pack import Packed
from voxid.data.samplers import corpora_of
from voxid.losses import LOSSES
from voxid.training.loop import initial_model, stages_of
from voxid.training.recipe import Recipe
from voxid.training.stages import most_classes


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
    """Counts of the data and the model; `short` utterances are shorter than a window of the first stage."""

    recipe: str
    speakers: int
    classes: int  # of the loss: speakers, at every speed
    single_speakers: int  # with one utterance: negatives only, where the loss needs pairs of utterances
    needs_pairs: bool
    self_pairs: bool  # two windows of one utterance make a pair, too
    corpora: dict[str, int]  # utterances of each
    utterances: int
    hours: float
    short: int
    short_policy: str  # "repeat" or "drop"
    steps: int
    max_seconds: float | None
    rows: int  # windows in a batch
    window: int  # frames
    parameters: int
    loss_parameters: int
    stages: tuple[PlanStage, ...]


def make_plan(recipe: Recipe, packed: Packed) -> Plan:
    """Return the plan of training `recipe` on `packed`; raise NotEnoughSpeakers when it cannot be done."""
    model = initial_model(recipe)
    stages = stages_of(recipe, packed, model)
    first = stages[0].batches
    loss_class, loss_config = LOSSES.parse(recipe.loss, "loss")
    classes = most_classes(stages)
    loss = loss_class(loss_config, model.dim, classes)
    counts = np.bincount(packed.speakers_N, minlength=len(packed.speaker_names))
    names, corpus_N = corpora_of(packed.speaker_names, packed.speakers_N)
    return Plan(
        recipe=recipe.name,
        speakers=len(packed.speaker_names),
        classes=classes,
        single_speakers=int((counts == 1).sum()),
        needs_pairs=loss_class.needs != "rows",
        self_pairs=first.config.sampler != "triplets",
        corpora=dict(zip(names, np.bincount(corpus_N, minlength=len(names)).tolist(), strict=True)),
        utterances=packed.n,
        hours=float(packed.lengths_N.sum()) / packed.info["sample_rate"] / 3600,
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

"""What a training is going to do, for a person to read before it starts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from voxid.data.batches import Batches
from voxid.data.pack import Packed
from voxid.model import Model
from voxid.training.recipe import Recipe


@dataclass(frozen=True)
class Plan:
    """Counts of the data and the model; `short` utterances are shorter than a window."""

    recipe: str
    speakers: int
    single_speakers: int  # with one utterance: negatives only
    utterances: int
    hours: float
    short: int
    short_policy: str  # "repeat" or "drop"
    steps: int
    max_seconds: float | None
    rows: int  # windows in a batch
    window: int  # frames
    parameters: int


def make_plan(recipe: Recipe, packed: Packed) -> Plan:
    """Return the plan of training `recipe` on `packed`; raise NotEnoughSpeakers when it cannot be done."""
    model = Model.build(recipe.features, recipe.encoder)
    batches = Batches(packed, model.features, recipe.data, recipe.training.seed, store=None)
    counts = np.bincount(packed.speakers_N, minlength=len(packed.speaker_names))
    return Plan(
        recipe=recipe.name,
        speakers=len(packed.speaker_names),
        single_speakers=int((counts == 1).sum()),
        utterances=packed.n,
        hours=float(packed.lengths_N.sum()) / packed.info["sample_rate"] / 3600,
        short=batches.short,
        short_policy=recipe.data.short_utterances,
        steps=recipe.training.steps,
        max_seconds=recipe.training.max_seconds,
        rows=3 * recipe.data.triplets,
        window=recipe.data.window,
        parameters=sum(p.numel() for p in model.encoder.parameters()),
    )

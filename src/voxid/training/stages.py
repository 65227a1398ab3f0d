"""A training as a row of stages: the recipe's own, then one for each `[[stage]]` table.

What a stage is depends on the recipe and the size of the data alone, so that resuming finds the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import Field, model_validator

from voxid.config import Config
from voxid.data.batches import Batches, DataConfig
from voxid.training.averaging import AverageConfig
from voxid.training.schedule import Schedule, ScheduleConfig

MakeBatches = Callable[[DataConfig, bool], Batches]  # (data, whether waveforms are augmented)


class StageConfig(Config):
    """A stage after the recipe's own, with what differs in it; it starts from the averaged weights.

    The optimizer starts afresh; times of the schedule count from the start of the stage.
    """

    name: str = "fine-tuning"
    steps: int | None = Field(default=None, ge=1)
    epochs: float | None = Field(default=None, gt=0)  # in place of steps: passes over the data
    lr: float | None = Field(default=None, gt=0)  # None: the optimizer's
    margin: float | None = Field(default=None, ge=0)  # of the loss; None: the loss' own
    augment: bool = True  # as far as the recipe has it
    specaugment: bool = True  # as far as the recipe has it
    data: dict[str, Any] = Field(default_factory=dict)  # options of [data] that differ
    schedule: ScheduleConfig = ScheduleConfig()
    average: AverageConfig | None = None  # None: the recipe's

    @model_validator(mode="after")
    def _has_a_length(self) -> StageConfig:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("a stage has either steps or epochs")
        return self


@dataclass(frozen=True)
class Stage:
    """Steps `first` to `end` - 1 of a training, with where their batches, rate and margin come from."""

    name: str
    first: int
    steps: int
    batches: Batches
    schedule: Schedule
    specaugment: bool
    average: AverageConfig | None

    @property
    def end(self) -> int:
        """The first step after the stage."""
        return self.first + self.steps


def make_stages(recipe: Any, make_batches: MakeBatches, margin: float | None, world: int = 1) -> list[Stage]:
    """Return the stages of `recipe`; `margin` is the loss' own, None for a loss that has none.

    `make_batches` is called for each stage with its [data] and whether to augment.
    """
    main = StageConfig(
        name="training",
        steps=None if recipe.training.epochs else recipe.training.steps,
        epochs=recipe.training.epochs,
        schedule=recipe.schedule,
    )
    stages: list[Stage] = []
    for config in (main, *recipe.stage):
        data = stage_data(recipe, config)
        batches = make_batches(data, config.augment)
        steps = config.steps or max(1, round((config.epochs or 0) * batches.steps_per_epoch))
        schedule = Schedule(
            config.schedule,
            lr=config.lr or recipe.optimizer["lr"],
            margin=config.margin if config.margin is not None else margin,
            steps=steps,
            steps_per_epoch=batches.steps_per_epoch,
            rows=data.batch_rows * world,
        )
        first = stages[-1].end if stages else 0
        average = config.average or recipe.average
        stages.append(Stage(config.name, first, steps, batches, schedule, config.specaugment, average))
    return stages


def most_classes(stages: list[Stage]) -> int:
    """Return how many classes the loss needs: those of the stage that has the most.

    Classes are speakers, speed by speed, so a stage without speeds uses the first of them.
    """
    return max(stage.batches.classes for stage in stages)


def stage_data(recipe: Any, config: StageConfig) -> DataConfig:
    """Return the [data] table as the stage has it; raise BadConfig that names the key."""
    return DataConfig.parse({**recipe.data.model_dump(), **config.data}, "stage.data")


def stores_features(recipe: Any, data: DataConfig, augment: bool) -> bool:
    """Return whether the features of such a stage can be computed once for all its steps."""
    return data.cache_features and not data.speeds and not (augment and recipe.augment is not None)

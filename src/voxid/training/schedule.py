"""Learning rate and margin as functions of the step: nothing to save, nothing to restore."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, model_validator

from voxid.config import Config

RAMP_LEFT = 1e-3  # what an exponential ramp has left to go at its end, where it is set to its goal


class ScheduleConfig(Config):
    """How learning rate and margin change; the defaults leave both as they are.

    Times count from the start of the training, or of the stage, in `unit`.
    """

    kind: Literal["constant", "exponential", "cosine"] = "constant"
    unit: Literal["steps", "epochs"] = "steps"  # of the times below
    warmup: float = Field(default=0.0, ge=0)  # the rate rises in a line from 0 until then
    final_lr: float | None = Field(default=None, gt=0)  # at the end; None: a thousandth of optimizer.lr
    per_rows: int | None = Field(default=None, ge=1)  # rows of a batch that rates are for; they scale with it
    margin_start: float | None = Field(default=None, ge=0)  # the loss' margin is margin_from until then ...
    margin_end: float | None = Field(default=None, ge=0)  # ... and its own from then on
    margin_from: float = Field(default=0.0, ge=0)
    margin_ramp: Literal["linear", "exponential"] = "linear"  # exponential: fast at first

    @model_validator(mode="after")
    def _fits_together(self) -> ScheduleConfig:
        if self.kind == "constant" and self.final_lr is not None:
            raise ValueError('final_lr needs kind = "exponential" or "cosine"')
        if (self.margin_start is None) != (self.margin_end is None):
            raise ValueError("margin_start and margin_end go together")
        if self.margin_start is not None and self.margin_end is not None:
            if self.margin_end < self.margin_start:
                raise ValueError(
                    f"margin_end is before margin_start: {self.margin_end:g} < {self.margin_start:g}"
                )
        elif self.margin_from:
            raise ValueError("margin_from needs margin_start and margin_end")
        return self


@dataclass(frozen=True)
class Schedule:
    """Learning rate and margin of a stage of `steps` steps.

    `lr` is the peak rate, `margin` the loss' own (None: it has none); `steps_per_epoch` and `rows` are those
    of the batches of the whole world.

    >>> config = ScheduleConfig(kind="cosine", warmup=10, final_lr=0.1)
    >>> schedule = Schedule(config, lr=1.0, margin=None, steps=100, steps_per_epoch=10, rows=64)
    >>> [round(schedule.lr_at(step), 3) for step in (0, 5, 10, 55, 100)]
    [0.0, 0.5, 1.0, 0.55, 0.1]
    """

    config: ScheduleConfig
    lr: float
    margin: float | None
    steps: int
    steps_per_epoch: int
    rows: int

    def lr_at(self, step: int) -> float:
        """Return the learning rate of `step`, 0 being the first of the stage.

        Exponential as in WeSpeaker: the decay runs over all steps, the warm-up multiplies it. Cosine
        (Loshchilov and Hutter 2016): the decay begins where the warm-up ends.
        """
        config = self.config
        warmup = self.in_steps(config.warmup)
        rising = min(1.0, step / warmup) if warmup else 1.0
        scale = 1.0 if config.per_rows is None else self.rows / config.per_rows
        final = config.final_lr if config.final_lr is not None else self.lr / 1000
        if config.kind == "exponential":
            falling = (final / self.lr) ** min(1.0, step / self.steps)
        elif config.kind == "cosine":
            done = min(1.0, max(0.0, step - warmup) / max(1.0, self.steps - warmup))
            falling = (final + (self.lr - final) * (1 + math.cos(math.pi * done)) / 2) / self.lr
        else:
            falling = 1.0
        return scale * self.lr * rising * falling

    def margin_at(self, step: int) -> float | None:
        """Return the margin of `step`, None for a loss that has none."""
        config = self.config
        if self.margin is None or config.margin_start is None or config.margin_end is None:
            return self.margin
        start, end = self.in_steps(config.margin_start), self.in_steps(config.margin_end)
        if step >= end:
            return self.margin
        done = max(0.0, (step - start) / (end - start)) if end > start else 0.0
        if config.margin_ramp == "exponential":
            done = 1 - RAMP_LEFT**done
        return config.margin_from + (self.margin - config.margin_from) * done

    def in_steps(self, time: float) -> float:
        """Return a time of the config in steps."""
        return time * self.steps_per_epoch if self.config.unit == "epochs" else time

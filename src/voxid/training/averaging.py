"""The mean of the weights of many steps: quieter than the weights of the last one, and often better."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from voxid.config import Config


class AverageConfig(Config):
    """Which weights the saved model has: a mean over steps of each stage."""

    kind: Literal["ema", "last"] = "ema"
    decay: float = Field(default=0.999, gt=0, lt=1)  # of ema: what a step leaves of the mean before it
    snapshots: int = Field(default=10, ge=1)  # of last: how many, the last at the stage's end
    every: float = Field(default=1.0, gt=0)  # of last: from one to the next, in `unit`
    unit: Literal["steps", "epochs"] = "epochs"


class Average:
    """A running mean of an encoder's weights over the steps of one stage, buffers and all.

    "ema": mean = decay * mean + (1 - decay) * weights after each step; the first steps count for more, as
    decay is at most (1 + n) / (10 + n) in the n-th. "last": the plain mean of the last `snapshots` (Izmailov
    et al. 2018), kept as one running mean. What is no float (a counter) is the last one's.

    `steps` are those of the stage, `weights` what to use: the encoder's own as long as nothing is averaged.

    >>> encoder = nn.Linear(1, 1, bias=False)
    >>> average = Average(AverageConfig(kind="last", snapshots=2, every=1, unit="steps"), encoder, 3, 1)
    >>> for step, value in enumerate([5.0, 1.0, 2.0], start=1):
    ...     _ = encoder.weight.data.fill_(value)
    ...     average.update(step)
    >>> average.weights["weight"]
    tensor([[1.5000]])
    """

    def __init__(self, config: AverageConfig, encoder: nn.Module, steps: int, steps_per_epoch: int) -> None:
        self.config, self.encoder = config, encoder
        self.every = max(1, round(config.every * (steps_per_epoch if config.unit == "epochs" else 1)))
        fit = (steps - 1) // self.every  # snapshots before the last one, as far as the stage has room for
        self.first = steps - min(config.snapshots - 1, fit) * self.every
        self.count = 0
        self._mean: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take the weights after `step` steps of the stage into account."""
        if self.config.kind == "last" and (step < self.first or (step - self.first) % self.every):
            return
        now = self.encoder.state_dict()
        if not self.count:
            self._mean = {name: value.detach().clone() for name, value in now.items()}
            self.count = 1
            return
        if self.config.kind == "ema":
            share = 1 - min(self.config.decay, (1 + self.count) / (10 + self.count))
        else:
            share = 1 / (self.count + 1)
        floats = [name for name, value in now.items() if value.is_floating_point()]
        for name in floats:
            self._mean[name].lerp_(now[name], share)
        for name in now.keys() - set(floats):
            self._mean[name].copy_(now[name])
        self.count += 1

    @property
    def weights(self) -> dict[str, Tensor]:
        """The mean as a state dict of the encoder."""
        return self._mean if self.count else self.encoder.state_dict()

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint has to hold, beside `count`."""
        return self._mean

    def load(self, count: int, mean: dict[str, Tensor]) -> None:
        """Go on from a checkpoint."""
        now = self.encoder.state_dict()
        self.count = count
        self._mean = {name: value.to(now[name].device, copy=True) for name, value in mean.items()}

"""Optimizers by name, each with its config beside it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch.nn import Parameter

from voxid.config import Config
from voxid.registry import Registry

OPTIMIZERS = Registry(
    "optimizer",
    {
        "adam": "voxid.training.optimizers:Adam",
        "adamw": "voxid.training.optimizers:AdamW",
        "sgd": "voxid.training.optimizers:Sgd",
    },
    needs=("step", "zero_grad"),
)


class AdamConfig(Config):
    """Kingma and Ba 2014; the learning rate is the original's."""

    lr: float = Field(default=1e-4, gt=0)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)
    eps: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    decays: Literal["weights", "all"] = "weights"  # biases and normalisations as well?


class SgdConfig(Config):
    """Stochastic gradient descent, with momentum if wanted."""

    lr: float = Field(default=1e-2, gt=0)
    momentum: float = Field(default=0.0, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(default=0.0, ge=0)
    decays: Literal["weights", "all"] = "weights"  # biases and normalisations as well?

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> SgdConfig:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum, such as 0.9")
        return self


class Adam(torch.optim.Adam):
    """`torch.optim.Adam`, one fused kernel where the device has it."""

    Config = AdamConfig

    def __init__(self, config: AdamConfig, parameters: Iterable[Parameter]) -> None:
        super().__init__(decay_groups(config, parameters), **_adam_options(config))


class AdamW(torch.optim.AdamW):
    """`torch.optim.AdamW`: Adam whose weight decay does not pass through the moments."""

    Config = AdamConfig

    def __init__(self, config: AdamConfig, parameters: Iterable[Parameter]) -> None:
        super().__init__(decay_groups(config, parameters), **_adam_options(config))


class Sgd(torch.optim.SGD):
    """`torch.optim.SGD`."""

    Config = SgdConfig

    def __init__(self, config: SgdConfig, parameters: Iterable[Parameter]) -> None:
        super().__init__(
            decay_groups(config, parameters), config.lr, config.momentum, nesterov=config.nesterov
        )


def decay_groups(config: AdamConfig | SgdConfig, parameters: Iterable[Parameter]) -> list[dict[str, Any]]:
    """Return torch's parameter groups: what weight decay shrinks, and what it leaves alone.

    Weights shrink; biases, the scales of normalisations and single learned numbers have less than two
    dimensions and stay, unless `decays` is "all".
    """
    everyone = list(parameters)
    if not config.weight_decay or config.decays == "all":
        return [{"params": everyone, "weight_decay": config.weight_decay}]
    groups = {
        config.weight_decay: [p for p in everyone if p.ndim > 1],
        0.0: [p for p in everyone if p.ndim <= 1],
    }
    return [{"params": members, "weight_decay": decay} for decay, members in groups.items() if members]


def _adam_options(config: AdamConfig) -> dict:
    return {"lr": config.lr, "betas": (config.beta1, config.beta2), "eps": config.eps, "fused": True}

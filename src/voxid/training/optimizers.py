"""Optimizers by name, each with its config beside it."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from pydantic import Field
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
)


class AdamConfig(Config):
    """Kingma and Ba 2014; the learning rate is the original's."""

    lr: float = Field(default=1e-4, gt=0)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)
    eps: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)


class SgdConfig(Config):
    """Stochastic gradient descent, with momentum if wanted."""

    lr: float = Field(default=1e-2, gt=0)
    momentum: float = Field(default=0.0, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)


class Adam(torch.optim.Adam):
    """`torch.optim.Adam`, one fused kernel where the device has it."""

    Config = AdamConfig

    def __init__(self, config: AdamConfig, parameters: Iterable[Parameter]) -> None:
        super().__init__(parameters, **_adam_options(config))


class AdamW(torch.optim.AdamW):
    """`torch.optim.AdamW`: Adam whose weight decay does not pass through the moments."""

    Config = AdamConfig

    def __init__(self, config: AdamConfig, parameters: Iterable[Parameter]) -> None:
        super().__init__(parameters, **_adam_options(config))


class Sgd(torch.optim.SGD):
    """`torch.optim.SGD`."""

    Config = SgdConfig

    def __init__(self, config: SgdConfig, parameters: Iterable[Parameter]) -> None:
        super().__init__(parameters, config.lr, config.momentum, weight_decay=config.weight_decay)


def _adam_options(config: AdamConfig) -> dict:
    return {
        "lr": config.lr,
        "betas": (config.beta1, config.beta2),
        "eps": config.eps,
        "weight_decay": config.weight_decay,
        "fused": True,
    }
